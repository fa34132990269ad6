//! Accounts and instructor profiles.

use sea_orm::sea_query::{Expr, Func, LockType, OnConflict, SimpleExpr};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select, Set,
};

use super::tables::{articles, courses, instructor_profiles, users};
use super::{Error, Result, Store, Tx};
use crate::model::{InstructorProfile, NewUser, Role, Timestamp, User, Window};

/// What a login is checked against.
#[derive(Clone)]
pub struct Credentials {
    pub user: User,
    pub password_hash: Option<String>,
}

/// The shown name of a deleted account.
const DELETED_NAME: &str = "Deleted user";

fn user(row: users::Model) -> Result<User> {
    Ok(User {
        id: row.id,
        role: row.role.parse().map_err(Error::corrupt)?,
        username: row.username,
        email: row.email,
        full_name: row.full_name,
        bio: row.bio,
        created_at: Timestamp(row.created_at),
        version: row.version,
    })
}

fn live(id: i64) -> Select<users::Entity> {
    users::Entity::find_by_id(id).filter(users::Column::DeletedAt.is_null())
}

/// Names are the same whatever their case: `Nina` must not pass for `nina`.
pub(super) fn is_named(username: &str) -> SimpleExpr {
    Func::lower(Expr::col(users::Column::Username)).eq(username.to_ascii_lowercase())
}

async fn find<C: ConnectionTrait>(db: &C, id: i64) -> Result<Option<users::Model>> {
    Ok(live(id).one(db).await?)
}

/// An instructor as the public sees them; people who do not teach are not found.
async fn instructor<C: ConnectionTrait>(db: &C, id: i64) -> Result<Option<InstructorProfile>> {
    let Some(row) = find(db, id).await? else {
        return Ok(None);
    };
    let profile = instructor_profiles::Entity::find_by_id(id).one(db).await?;
    if profile.is_none() && row.role != Role::Instructor.as_str() {
        return Ok(None);
    }
    let expertise = profile.as_ref().map_or("[]", |p| p.expertise.as_str());
    let expertise = serde_json::from_str(expertise);
    Ok(Some(InstructorProfile {
        user_id: id,
        full_name: row.full_name,
        expertise: expertise.map_err(|e| Error::corrupt(e.to_string()))?,
        bio: profile.as_ref().and_then(|p| p.bio.clone()),
        headline: profile.and_then(|p| p.headline),
    }))
}

impl Store {
    /// A live account; deleted ones are not found.
    pub async fn user(&self, id: i64) -> Result<Option<User>> {
        find(&self.reader, id).await?.map(user).transpose()
    }

    pub async fn credentials_by_email(&self, email: &str) -> Result<Option<Credentials>> {
        let live = users::Entity::find()
            .filter(users::Column::Email.eq(email))
            .filter(users::Column::DeletedAt.is_null());
        live.one(&self.reader).await?.map(credentials).transpose()
    }

    pub async fn credentials(&self, id: i64) -> Result<Option<Credentials>> {
        find(&self.reader, id).await?.map(credentials).transpose()
    }

    pub async fn has_admin(&self) -> Result<bool> {
        Ok(self.first_admin().await?.is_some())
    }

    /// The admin with the lowest id.
    pub async fn first_admin(&self) -> Result<Option<i64>> {
        let admins = users::Entity::find().filter(users::Column::Role.eq(Role::Admin.as_str()));
        let live = admins.filter(users::Column::DeletedAt.is_null());
        let first = live.order_by_asc(users::Column::Id).one(&self.reader).await?;
        Ok(first.map(|admin| admin.id))
    }

    pub async fn users(&self, window: Window) -> Result<Vec<User>> {
        let rows = users::Entity::find()
            .filter(users::Column::DeletedAt.is_null())
            .order_by_asc(users::Column::Id)
            .offset(window.skip as u64)
            .limit(window.limit as u64)
            .all(&self.reader)
            .await?;
        rows.into_iter().map(user).collect()
    }

    /// An instructor's profile; people who do not teach are not found.
    pub async fn instructor(&self, id: i64) -> Result<Option<InstructorProfile>> {
        instructor(&self.reader, id).await
    }
}

fn credentials(row: users::Model) -> Result<Credentials> {
    let password_hash = row.password_hash.clone();
    Ok(Credentials { user: user(row)?, password_hash })
}

impl Tx {
    pub async fn user(&self, id: i64) -> Result<Option<User>> {
        find(&self.0, id).await?.map(user).transpose()
    }

    /// A live account and its password hash, held until the transaction ends: whoever
    /// changes it, its sessions or its places takes turns. A transaction takes this lock
    /// before any course's. SQLite has one writer and ignores the clause.
    pub async fn user_to_edit(&self, id: i64) -> Result<Option<Credentials>> {
        let row = live(id).lock(LockType::NoKeyUpdate).one(&self.0).await?;
        row.map(credentials).transpose()
    }

    /// Every admin, held like [`Tx::user_to_edit`] and in one order, so that two
    /// transactions that each remove an admin cannot miss or block each other.
    pub async fn admins_to_edit(&self) -> Result<Vec<i64>> {
        let admins = users::Entity::find()
            .filter(users::Column::Role.eq(Role::Admin.as_str()))
            .filter(users::Column::DeletedAt.is_null())
            .order_by_asc(users::Column::Id)
            .lock(LockType::NoKeyUpdate)
            .all(&self.0)
            .await?;
        Ok(admins.into_iter().map(|admin| admin.id).collect())
    }

    pub async fn instructor(&self, id: i64) -> Result<Option<InstructorProfile>> {
        instructor(&self.0, id).await
    }

    pub async fn username_taken(&self, username: &str, but: Option<i64>) -> Result<bool> {
        let same = users::Entity::find().filter(is_named(username));
        let same = same.filter(users::Column::Id.ne(but.unwrap_or(0)));
        Ok(same.count(&self.0).await? > 0)
    }

    pub async fn email_taken(&self, email: &str, but: Option<i64>) -> Result<bool> {
        let same = users::Entity::find().filter(users::Column::Email.eq(email));
        let same = same.filter(users::Column::Id.ne(but.unwrap_or(0)));
        Ok(same.count(&self.0).await? > 0)
    }

    pub async fn insert_user(&self, new: NewUser, now: Timestamp) -> Result<User> {
        let row = users::ActiveModel {
            username: Set(new.username),
            email: Set(Some(new.email)),
            password_hash: Set(Some(new.password_hash)),
            full_name: Set(new.full_name),
            role: Set(new.role.as_str().to_owned()),
            version: Set(1),
            created_at: Set(now.0),
            ..Default::default()
        };
        user(row.insert(&self.0).await?)
    }

    /// Writes the profile fields back; `false` when somebody else wrote since it was read.
    pub async fn save_user(&self, user: &User) -> Result<bool> {
        let changes = users::ActiveModel {
            username: Set(user.username.clone()),
            email: Set(user.email.clone()),
            full_name: Set(user.full_name.clone()),
            role: Set(user.role.as_str().to_owned()),
            bio: Set(user.bio.clone()),
            version: Set(user.version + 1),
            ..Default::default()
        };
        let written = users::Entity::update_many()
            .set(changes)
            .filter(users::Column::Id.eq(user.id))
            .filter(users::Column::Version.eq(user.version))
            .filter(users::Column::DeletedAt.is_null())
            .exec(&self.0)
            .await?;
        Ok(written.rows_affected == 1)
    }

    /// `false` when there is no such live account.
    pub async fn set_password(&self, id: i64, password_hash: String) -> Result<bool> {
        use users::Column;
        let written = users::Entity::update_many()
            .col_expr(Column::PasswordHash, Some(password_hash).into())
            .col_expr(Column::Version, Column::Version.into_expr().add(1))
            .filter(Column::Id.eq(id))
            .filter(Column::DeletedAt.is_null())
            .exec(&self.0)
            .await?;
        Ok(written.rows_affected == 1)
    }

    /// Blanks everything personal and frees the e-mail; the row stays for what refers to it.
    pub async fn blank_user(&self, id: i64, now: Timestamp) -> Result<()> {
        let blank = users::ActiveModel {
            id: Set(id),
            username: Set(format!("deleted-{id}")),
            email: Set(None),
            password_hash: Set(None),
            full_name: Set(DELETED_NAME.to_owned()),
            bio: Set(None),
            deleted_at: Set(Some(now.0)),
            ..Default::default()
        };
        blank.update(&self.0).await?;
        instructor_profiles::Entity::delete_by_id(id).exec(&self.0).await?;
        Ok(())
    }

    /// The courses and articles whose answers show this person's name.
    pub async fn rows_naming(&self, user_id: i64) -> Result<(Vec<i64>, Vec<i64>)> {
        rows_naming(&self.0, user_id).await
    }

    pub async fn save_instructor(&self, profile: &InstructorProfile) -> Result<()> {
        let (headline, bio) = (profile.headline.as_deref(), profile.bio.as_deref());
        save_instructor(&self.0, profile.user_id, headline, bio, &profile.expertise).await
    }
}

pub(super) async fn rows_naming<C: ConnectionTrait>(
    db: &C,
    user_id: i64,
) -> Result<(Vec<i64>, Vec<i64>)> {
    let courses = courses::Entity::find()
        .select_only()
        .column(courses::Column::Id)
        .filter(courses::Column::InstructorId.eq(user_id))
        .filter(courses::Column::DeletedAt.is_null())
        .into_tuple()
        .all(db)
        .await?;
    let articles = articles::Entity::find()
        .select_only()
        .column(articles::Column::Id)
        .filter(articles::Column::AuthorId.eq(user_id))
        .filter(articles::Column::DeletedAt.is_null())
        .into_tuple()
        .all(db)
        .await?;
    Ok((courses, articles))
}

pub(super) async fn save_instructor<C: ConnectionTrait>(
    db: &C,
    user_id: i64,
    headline: Option<&str>,
    bio: Option<&str>,
    expertise: &[String],
) -> Result<()> {
    use instructor_profiles::Column;
    let expertise = serde_json::to_string(expertise);
    let row = instructor_profiles::ActiveModel {
        user_id: Set(user_id),
        headline: Set(headline.map(str::to_owned)),
        bio: Set(bio.map(str::to_owned)),
        expertise: Set(expertise.map_err(|e| Error::corrupt(e.to_string()))?),
    };
    let replace = OnConflict::column(Column::UserId)
        .update_columns([Column::Headline, Column::Bio, Column::Expertise])
        .to_owned();
    instructor_profiles::Entity::insert(row)
        .on_conflict(replace)
        .exec_without_returning(db)
        .await?;
    Ok(())
}
