//! Which database this is: a name that it was given when it was first asked for one.

use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait, Set};

use super::tables::identity::{ActiveModel, Column, Entity};
use super::{Result, Store};

const ROW: i64 = 1;

impl Store {
    /// The name of this database; `new` if it has none yet. A copied database keeps the name.
    pub async fn identity(&self, new: &str) -> Result<String> {
        if let Some(row) = Entity::find_by_id(ROW).one(&self.writer).await? {
            return Ok(row.name);
        }
        let row = ActiveModel { id: Set(ROW), name: Set(new.to_owned()) };
        let unless_there = OnConflict::column(Column::Id).do_nothing().to_owned();
        Entity::insert(row).on_conflict(unless_there).exec_without_returning(&self.writer).await?;
        // Another server may have been first.
        let row = Entity::find_by_id(ROW).one(&self.writer).await?;
        Ok(row.map_or_else(|| new.to_owned(), |row| row.name))
    }
}
