//! Refresh tokens: only their hashes, rotated on use, revoked as a family on reuse.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Set};

use super::tables::refresh_tokens;
use super::{Result, Tx};
use crate::model::Timestamp;

/// What presenting a refresh token led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    Rotated {
        user_id: i64,
    },
    Unknown,
    Expired,
    /// The token had been used or revoked before: its whole family is revoked now.
    Reused,
}

impl Tx {
    pub async fn insert_token(
        &self,
        user_id: i64,
        family: String,
        token_hash: String,
        expires_at: Timestamp,
    ) -> Result<()> {
        let row = refresh_tokens::ActiveModel {
            token_hash: Set(token_hash),
            user_id: Set(user_id),
            family: Set(family),
            expires_at: Set(expires_at.0),
            ..Default::default()
        };
        refresh_tokens::Entity::insert(row).exec_without_returning(&self.0).await?;
        Ok(())
    }

    /// Trades a token for its successor. The conditional update makes sure that
    /// of two requests with the same token only one wins.
    pub async fn rotate_token(
        &self,
        token_hash: &str,
        successor_hash: String,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotation> {
        use refresh_tokens::Column;
        let found = refresh_tokens::Entity::find()
            .filter(Column::TokenHash.eq(token_hash))
            .one(&self.0)
            .await?;
        let Some(row) = found else {
            return Ok(Rotation::Unknown);
        };
        if row.expires_at <= now.0 {
            return Ok(Rotation::Expired);
        }
        let used = refresh_tokens::Entity::update_many()
            .col_expr(Column::RevokedAt, Some(now.0).into())
            .filter(Column::Id.eq(row.id))
            .filter(Column::RevokedAt.is_null())
            .exec(&self.0)
            .await?;
        if used.rows_affected == 0 {
            self.revoke(Column::Family.eq(row.family), now).await?;
            return Ok(Rotation::Reused);
        }
        self.insert_token(row.user_id, row.family, successor_hash, expires_at).await?;
        self.forget_expired(row.user_id, now).await?;
        Ok(Rotation::Rotated { user_id: row.user_id })
    }

    /// Ends the session a token belongs to; an unknown token is no error.
    pub async fn revoke_family_of(&self, token_hash: &str, now: Timestamp) -> Result<()> {
        use refresh_tokens::Column;
        let found = refresh_tokens::Entity::find()
            .filter(Column::TokenHash.eq(token_hash))
            .one(&self.0)
            .await?;
        match found {
            Some(row) => self.revoke(Column::Family.eq(row.family), now).await,
            None => Ok(()),
        }
    }

    /// Ends every session of a person.
    pub async fn revoke_sessions(&self, user_id: i64, now: Timestamp) -> Result<()> {
        self.revoke(refresh_tokens::Column::UserId.eq(user_id), now).await
    }

    async fn revoke(&self, which: sea_orm::sea_query::SimpleExpr, now: Timestamp) -> Result<()> {
        use refresh_tokens::Column;
        refresh_tokens::Entity::update_many()
            .col_expr(Column::RevokedAt, Some(now.0).into())
            .filter(which)
            .filter(Column::RevokedAt.is_null())
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Keeps the table small without a job of its own.
    async fn forget_expired(&self, user_id: i64, now: Timestamp) -> Result<()> {
        use refresh_tokens::Column;
        refresh_tokens::Entity::delete_many()
            .filter(Column::UserId.eq(user_id))
            .filter(Column::ExpiresAt.lte(now.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
