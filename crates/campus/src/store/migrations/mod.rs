//! The schema, step by step. A released step is never edited: a change is a new step.

mod m0001_foundation;
mod m0002_user_names;
mod m0003_outbox;
mod m0004_certificates;
mod m0005_articles;
mod m0006_figures;
mod m0008_operations;
mod m0010_servers;
mod m0012_content_to_carry;
mod m0013_completions_by_course;
mod m0014_identity;

use sea_orm_migration::{MigrationTrait, MigratorTrait, async_trait};

pub(super) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_foundation::Migration),
            Box::new(m0002_user_names::Migration),
            Box::new(m0003_outbox::Migration),
            Box::new(m0004_certificates::Migration),
            Box::new(m0005_articles::Migration),
            Box::new(m0006_figures::Migration),
            Box::new(m0008_operations::Migration),
            Box::new(m0010_servers::Migration),
            Box::new(m0012_content_to_carry::Migration),
            Box::new(m0013_completions_by_course::Migration),
            Box::new(m0014_identity::Migration),
        ]
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectionTrait, EntityTrait, QueryOrder};
    use sea_orm_migration::MigratorTrait;
    use tempfile::TempDir;

    use super::Migrator;
    use crate::model::{Timestamp, Window};
    use crate::store::Store;
    use crate::store::tables::{lesson_completions, users};

    #[tokio::test]
    async fn names_that_differ_by_case_only_are_told_apart_and_the_oldest_keeps_its_own() {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite://{}", folder.path().join("campus.db").display());
        let store = Store::connect(&url).await.unwrap();
        Migrator::up(&store.writer, Some(1)).await.unwrap();
        for name in ["Nina", "otto", "nina", "NINA"] {
            let insert = format!(
                "INSERT INTO users (username, full_name, role, version, created_at) \
                 VALUES ('{name}', '{name}', 'student', 1, 0)"
            );
            store.writer.execute_unprepared(&insert).await.unwrap();
        }
        store.migrate().await.unwrap();
        let rows = users::Entity::find().order_by_asc(users::Column::Id).all(&store.reader).await;
        let names: Vec<String> = rows.unwrap().into_iter().map(|row| row.username).collect();
        assert_eq!(names, ["Nina", "otto", "nina-3", "NINA-4"]);
    }

    #[tokio::test]
    async fn lessons_done_before_the_upgrade_are_counted_in_their_course() {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite://{}", folder.path().join("campus.db").display());
        let store = Store::connect(&url).await.unwrap();
        let before = Migrator::migrations();
        let before = before.iter().position(|step| step.name().starts_with("m0013")).unwrap();
        Migrator::up(&store.writer, Some(before as u32)).await.unwrap();
        let course = "INSERT INTO courses (id, slug, title, description, search_text, category, \
            category_key, level, price_cents, status, instructor_id, enrolled_count, rating_sum, \
            rating_count, rating_score, created_at, updated_at, version) \
            VALUES (7, 's', 't', '', '', 'c', 'c', 'beginner', 0, 'published', 1, 1, 0, 0, 0, 0, 0, 1)";
        let done = "INSERT INTO lesson_completions (enrollment_id, lesson_id, module_id, \
            completed_at) VALUES (3, 4, 5, 6)";
        for statement in [
            "INSERT INTO users (id, username, full_name, role, version, created_at) \
             VALUES (1, 'nina', 'Nina', 'student', 1, 0)",
            course,
            "INSERT INTO enrollments (id, student_id, course_id, status, enrollment_source, \
             enrolled_at, time_spent_minutes, version) VALUES (3, 1, 7, 'active', 'web', 0, 0, 1)",
            "INSERT INTO course_contents (course_id, version, doc, outline, updated_at) \
             VALUES (7, 1, '{}', '[[5, [4, 8]]]', 0)",
            done,
        ] {
            store.writer.execute_unprepared(statement).await.unwrap();
        }
        store.migrate().await.unwrap();
        let row = lesson_completions::Entity::find().one(&store.reader).await.unwrap().unwrap();
        assert_eq!((row.course_id, row.lesson_id), (7, 4));
        // By a server of the version before, which is still running.
        store.writer.execute_unprepared(&done.replace("(3, 4,", "(3, 8,")).await.unwrap();
        let place = store.enrollments_of(1, Window { skip: 0, limit: 1 }).await.unwrap().0;
        assert_eq!(store.details(place).await.unwrap()[0].completed_lessons, [4, 8]);
        let figures = store.course_figures(7, Timestamp(0)).await.unwrap().unwrap();
        let done: Vec<i64> = figures.lessons.iter().map(|lesson| lesson.completions).collect();
        assert_eq!(done, [1, 1]);
    }
}
