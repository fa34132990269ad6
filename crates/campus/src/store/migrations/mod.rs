//! The schema, step by step. A released step is never edited: a change is a new step.

mod m0001_foundation;

use sea_orm_migration::{MigrationTrait, MigratorTrait, async_trait};

pub(super) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_foundation::Migration)]
    }
}
