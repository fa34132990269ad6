//! Places in courses: giving one up, and what else a student does with it.

use serde_json::{Value, json};

use crate::support::{Person, TestApp, counts, on_both};

/// A published course with three lessons.
struct School {
    app: TestApp,
    ada: Person,
    root: Person,
    course: i64,
}

impl School {
    async fn on(app: TestApp) -> Self {
        let (ada, root) = (app.instructor("ada").await, app.admin().await);
        let course = app.published(&ada, "Rust").await;
        app.write_content(&ada, course).await;
        Self { app, ada, root, course }
    }

    /// A new student with a place, and the id of the enrollment.
    async fn enrolled(&self, name: &str) -> (Person, i64) {
        let student = self.app.student(name).await;
        let id = self.app.enroll(&student, self.course).await.expect(201).id();
        (student, id)
    }

    async fn taken_seats(&self) -> Value {
        let path = format!("/courses/{}/seats", self.course);
        self.app.get(&path).await.expect(200).json()["enrolled"].clone()
    }
}

on_both!(
    dropping,
    a_dropped_place_is_free_at_once_and_can_be_taken_again_on_sqlite,
    a_dropped_place_is_free_at_once_and_can_be_taken_again_on_postgresql
);

async fn dropping(app: TestApp) {
    let school = School::on(app).await;
    let (app, course) = (&school.app, school.course);
    let limit = json!({"max_students": 1});
    app.put(&format!("/courses/{course}")).by(&school.ada).json(limit).await.expect(200);
    let (sam, id) = school.enrolled("sam").await;
    let content = format!("/courses/{course}/content");
    app.get(&content).by(&sam).await.expect(200);
    let path = format!("/enrollments/{id}");
    let dropped = app.post(&format!("{path}/drop")).by(&sam).await.expect(200);
    assert_eq!(dropped.header("cache-control"), "private, no-store");
    let dropped = dropped.json();
    assert_eq!((&dropped["status"], &dropped["version"]), (&json!("dropped"), &json!(2)));
    assert!(dropped["dropped_at"].is_string(), "{dropped}");
    assert_eq!(app.get(&path).by(&sam).await.expect(200).json(), dropped);
    app.get(&content).by(&sam).await.refused(403);
    assert_eq!(school.taken_seats().await, 0);
    // Again, and the other way: nothing happens, and no seat is given back twice.
    assert_eq!(app.delete(&path).by(&sam).await.expect(200).json(), dropped);
    assert_eq!(school.taken_seats().await, 0);
    let again = app.enroll(&sam, course).await.expect(201);
    assert_ne!(again.id(), id);
    app.get(&content).by(&sam).await.expect(200);
    assert_eq!(school.taken_seats().await, 1);
    let own = app.get("/enrollments/my-enrollments").by(&sam).await.expect(200).json();
    assert_eq!(own["total"], 2);
    app.delete(&format!("/enrollments/{}", again.id())).by(&school.root).await.expect(200);
    assert_eq!(school.taken_seats().await, 0);
}

on_both!(
    droppers,
    a_place_is_dropped_by_its_student_and_admins_only_on_sqlite,
    a_place_is_dropped_by_its_student_and_admins_only_on_postgresql
);

async fn droppers(app: TestApp) {
    let school = School::on(app).await;
    let app = &school.app;
    let (eve, bob) = (app.student("eve").await, app.instructor("bob").await);
    let (_, id) = school.enrolled("sam").await;
    let path = format!("/enrollments/{id}/drop");
    app.post(&path).await.refused(401);
    for stranger in [&eve, &bob] {
        assert_eq!(app.post(&path).by(stranger).await.refused(404), "Enrollment not found");
    }
    app.post(&path).by(&school.ada).await.refused(403);
    app.post("/enrollments/424242/drop").by(&school.root).await.refused(404);
    app.post("/enrollments/one/drop").by(&school.root).await.refused(422);
    assert_eq!(school.taken_seats().await, 1);
    app.post(&path).by(&school.root).await.expect(200);
}

on_both!(
    dropping_at_once,
    a_place_dropped_by_many_at_once_gives_one_seat_back_on_sqlite,
    a_place_dropped_by_many_at_once_gives_one_seat_back_on_postgresql
);

async fn dropping_at_once(app: TestApp) {
    let school = School::on(app).await;
    let app = &school.app;
    let (sam, id) = school.enrolled("sam").await;
    school.enrolled("eve").await;
    let path = format!("/enrollments/{id}");
    let drop = || async { app.delete(&path).by(&sam).await };
    let answers = futures_util::future::join_all((0..32).map(|_| drop())).await;
    assert_eq!(counts(&answers, [200]), [32]);
    assert_eq!(school.taken_seats().await, 1);
    // Dropping and taking a place at once: whatever comes first, seats and places agree.
    for _ in 0..10 {
        let place = app.enroll(&sam, school.course).await.expect(201).id();
        let path = format!("/enrollments/{place}");
        let (dropped, taken) =
            tokio::join!(app.delete(&path).by(&sam).send(), app.enroll(&sam, school.course));
        dropped.expect(200);
        let places = if taken.status == 201 { 2 } else { 1 };
        assert_eq!(counts(std::slice::from_ref(&taken), [201, 409]).iter().sum::<usize>(), 1);
        assert_eq!(school.taken_seats().await, places);
        if taken.status == 201 {
            app.delete(&format!("/enrollments/{}", taken.id())).by(&sam).await.expect(200);
        }
    }
}
