//! The servers that run on this database, and through which Redis they hear of each other.
//!
//! A server is there for as long as it says so; one that was killed is soon forgotten.

use std::time::Duration;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter,
    QueryOrder, Set,
};

use super::outbox::before_now;
use super::tables::servers::{ActiveModel, Column, Entity, Model};
use super::{Result, Store};

/// Rows of servers that have not been heard of for so long are deleted.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// A server as it has introduced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub service: String,
    pub url: String,
    /// Which Redis and prefix, without a secret.
    pub shares: String,
}

impl Store {
    /// Writes a server down, and answers the number of its row.
    pub async fn add_server(&self, server: Server) -> Result<i64> {
        let tx = self.begin().await?;
        let long_ago = before_now(&tx.0, KEPT);
        Entity::delete_many().filter(Column::SeenAt.into_expr().lt(long_ago)).exec(&tx.0).await?;
        let row = ActiveModel {
            service: Set(server.service),
            url: Set(server.url),
            shares: Set(server.shares),
            seen_at: Set(0),
            ..Default::default()
        };
        let id = row.insert(&tx.0).await?.id;
        seen(&tx.0, id).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Says that a server is still there.
    pub async fn server_runs(&self, id: i64) -> Result<()> {
        seen(&self.writer, id).await
    }

    pub async fn remove_server(&self, id: i64) -> Result<()> {
        Entity::delete_by_id(id).exec(&self.writer).await?;
        Ok(())
    }

    /// Those that have been heard of within this time, but for one.
    pub async fn servers_beside(&self, id: i64, within: Duration) -> Result<Vec<Server>> {
        let rows = Entity::find()
            .filter(Column::Id.ne(id))
            .filter(Column::SeenAt.into_expr().gte(before_now(&self.writer, within)))
            .order_by_asc(Column::Id)
            .all(&self.writer)
            .await?;
        let server = |row: Model| Server { service: row.service, url: row.url, shares: row.shares };
        Ok(rows.into_iter().map(server).collect())
    }
}

async fn seen<C: ConnectionTrait>(db: &C, id: i64) -> Result<()> {
    Entity::update_many()
        .col_expr(Column::SeenAt, before_now(db, Duration::ZERO))
        .filter(Column::Id.eq(id))
        .exec(db)
        .await?;
    Ok(())
}
