//! A course with its teacher, for tests of what students do in it.

use super::{Person, TestApp};

/// A published course with three lessons.
pub(crate) struct School {
    pub(crate) app: TestApp,
    pub(crate) ada: Person,
    pub(crate) root: Person,
    pub(crate) course: i64,
}

impl School {
    pub(crate) async fn on(app: TestApp) -> Self {
        let (ada, root) = (app.instructor("ada").await, app.admin().await);
        let course = app.published(&ada, "Rust").await;
        app.write_content(&ada, course).await;
        Self { app, ada, root, course }
    }

    /// A new student with a place, and the id of the enrollment.
    pub(crate) async fn enrolled(&self, name: &str) -> (Person, i64) {
        let student = self.app.student(name).await;
        let id = self.app.enroll(&student, self.course).await.expect(201).id();
        (student, id)
    }
}
