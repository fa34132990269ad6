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
    /// Begins or continues a session. Expired tokens of the person go at the same time,
    /// which keeps the table small without a job of its own.
    pub async fn insert_token(
        &self,
        user_id: i64,
        family: String,
        token_hash: String,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<()> {
        self.forget_expired(user_id, now).await?;
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
    /// of two requests with the same token only one wins, and the person is locked:
    /// a revocation that comes meanwhile would not see the successor and leave it valid.
    pub async fn rotate_token(
        &self,
        token_hash: &str,
        successor_hash: String,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotation> {
        use refresh_tokens::Column;
        let Some(row) = self.token(token_hash).await? else {
            return Ok(Rotation::Unknown);
        };
        if self.user_to_edit(row.user_id).await?.is_none() {
            return Ok(Rotation::Unknown);
        }
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
        self.insert_token(row.user_id, row.family, successor_hash, now, expires_at).await?;
        Ok(Rotation::Rotated { user_id: row.user_id })
    }

    /// Ends the session a token belongs to; an unknown token is no error.
    pub async fn revoke_family_of(&self, token_hash: &str, now: Timestamp) -> Result<()> {
        let Some(row) = self.token(token_hash).await? else {
            return Ok(());
        };
        self.user_to_edit(row.user_id).await?;
        self.revoke(refresh_tokens::Column::Family.eq(row.family), now).await
    }

    /// Ends every session of a person.
    pub async fn revoke_sessions(&self, user_id: i64, now: Timestamp) -> Result<()> {
        self.user_to_edit(user_id).await?;
        self.revoke(refresh_tokens::Column::UserId.eq(user_id), now).await
    }

    async fn token(&self, token_hash: &str) -> Result<Option<refresh_tokens::Model>> {
        let same = refresh_tokens::Column::TokenHash.eq(token_hash);
        Ok(refresh_tokens::Entity::find().filter(same).one(&self.0).await?)
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::Rotation;
    use crate::model::{NewUser, Role, Timestamp};
    use crate::store::{Store, Tx};

    const LATER: Timestamp = Timestamp(1000);

    /// A transaction with one person in it.
    async fn person(folder: &TempDir) -> (Tx, i64) {
        let url = format!("sqlite://{}", folder.path().join("campus.db").display());
        let store = Store::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        let tx = store.begin().await.unwrap();
        let new = NewUser {
            username: "nina".to_owned(),
            email: "nina@example.org".to_owned(),
            full_name: "Nina".to_owned(),
            password_hash: String::new(),
            role: Role::Student,
        };
        let id = tx.insert_user(new, Timestamp(0)).await.unwrap().id;
        (tx, id)
    }

    async fn insert(tx: &Tx, id: i64, token: &str, now: i64, expires: Timestamp) {
        let family = format!("family of {token}");
        tx.insert_token(id, family, token.to_owned(), Timestamp(now), expires).await.unwrap();
    }

    async fn rotate(tx: &Tx, token: &str, successor: &str) -> Rotation {
        tx.rotate_token(token, successor.to_owned(), Timestamp(1), LATER).await.unwrap()
    }

    #[tokio::test]
    async fn a_new_session_leaves_no_expired_ones_behind() {
        let folder = TempDir::new().unwrap();
        let (tx, id) = person(&folder).await;
        insert(&tx, id, "old", 0, Timestamp(10)).await;
        insert(&tx, id, "valid", 0, LATER).await;
        insert(&tx, id, "new", 10, LATER).await;
        assert!(tx.token("old").await.unwrap().is_none());
        assert!(tx.token("valid").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_revocation_ends_the_successors_too() {
        let folder = TempDir::new().unwrap();
        let (tx, user_id) = person(&folder).await;
        insert(&tx, user_id, "first", 0, LATER).await;
        assert_eq!(rotate(&tx, "first", "second").await, Rotation::Rotated { user_id });
        tx.revoke_sessions(user_id, Timestamp(2)).await.unwrap();
        assert_eq!(rotate(&tx, "second", "third").await, Rotation::Reused);
    }

    #[tokio::test]
    async fn a_deleted_person_has_no_session_to_go_on_with() {
        let folder = TempDir::new().unwrap();
        let (tx, id) = person(&folder).await;
        insert(&tx, id, "first", 0, LATER).await;
        tx.blank_user(id, Timestamp(1)).await.unwrap();
        assert_eq!(rotate(&tx, "first", "second").await, Rotation::Unknown);
        assert!(!tx.set_password(id, "hash".to_owned()).await.unwrap());
    }
}
