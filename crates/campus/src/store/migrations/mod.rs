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
    use crate::store::Store;
    use crate::store::tables::users;

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
}
