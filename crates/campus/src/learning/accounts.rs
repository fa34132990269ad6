//! Accounts: registering, logging in, profiles, roles, deletion.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::passwords::Match;
use super::{Error, Learning, Result, overtaken};
use crate::model::{
    InstructorProfile, NewUser, Patch, Principal, ProfileEdit, Refusal, Role, User, Window,
};
use crate::store::{Rotation, Tx};
use crate::token::Rejected;

/// A successful login or refresh.
pub struct Session {
    pub access_token: String,
    pub refresh_token: String,
    pub expires_in: Duration,
}

/// A person who signs up.
pub struct Registration {
    pub username: String,
    pub email: String,
    pub password: String,
    pub full_name: String,
}

/// A partial update of an instructor's profile.
#[derive(Debug, Clone, Default)]
pub struct InstructorEdit {
    pub headline: Patch<String>,
    pub bio: Patch<String>,
    pub expertise: Patch<Vec<String>>,
}

const WRONG_LOGIN: Refusal = Refusal::Unauthenticated("Wrong e-mail or password");
const BAD_REFRESH: Refusal = Refusal::Unauthenticated("The refresh token is not valid");
const NO_USER: Refusal = Refusal::NotFound("User not found");
const NO_INSTRUCTOR: Refusal = Refusal::NotFound("Instructor not found");
const NOT_SELF: Refusal = Refusal::Forbidden("You may only change your own account");
const ADMINS_ONLY: Refusal = Refusal::Forbidden("Only an admin may do this");

impl Learning {
    /// Whom a token speaks for.
    pub fn identify(&self, token: &str) -> std::result::Result<Principal, Rejected> {
        self.tokens.verify(token, self.clock.now())
    }

    /// Signs a new student up.
    pub async fn register(&self, who: Registration) -> Result<User> {
        self.create_user(who, Role::Student).await
    }

    /// Creates an account of any role; for operators, who need no permission.
    pub async fn create_user(&self, who: Registration, role: Role) -> Result<User> {
        let email = who.email.trim().to_lowercase();
        NewUser::check(&who.username, &email, &who.full_name, &who.password)?;
        let password_hash = self.passwords.hash(who.password).await?;
        let tx = self.store.begin().await?;
        if tx.email_taken(&email, None).await? {
            return Err(taken("e-mail address", &email));
        }
        if tx.username_taken(&who.username, None).await? {
            return Err(taken("user name", &who.username));
        }
        let new = NewUser {
            username: who.username,
            email,
            full_name: who.full_name,
            password_hash,
            role,
        };
        let user = match tx.insert_user(new, self.clock.now()).await {
            Err(e) if e.is_duplicate() => return Err(taken_meanwhile()),
            user => user?,
        };
        tx.commit().await?;
        self.reads.user_registered(user.id).await;
        Ok(user)
    }

    /// Checks a password; every failure counts against the account and the address.
    pub async fn login(&self, email: &str, password: String, from: IpAddr) -> Result<Session> {
        let email = email.trim().to_lowercase();
        let account = format!("account:{email}");
        let names = [account.clone(), format!("address:{from}")];
        self.logins
            .admit(&names, self.clock.now())
            .map_err(|retry_after| Refusal::TooManyAttempts { retry_after })?;
        let found = self.store.credentials_by_email(&email).await?;
        let (user, hash) = found.map_or((None, None), |c| (Some(c.user), c.password_hash));
        let matched = self.passwords.verify(password, hash).await;
        if matched.is_err() {
            self.logins.take_back(&names);
        }
        let Some(user) = user.filter(|_| matches!(matched, Ok(Match::Yes))) else {
            matched?;
            return Err(WRONG_LOGIN.into());
        };
        self.logins.take_back(&names[1..]);
        self.logins.forget(&account);
        self.open_session(&user).await
    }

    async fn open_session(&self, user: &User) -> Result<Session> {
        let now = self.clock.now();
        let refresh_token = random_token();
        let tx = self.store.begin().await?;
        let expires = now.plus(self.refresh_lifetime);
        let hash = token_hash(&refresh_token);
        tx.insert_token(user.id, random_token(), hash, expires).await?;
        tx.commit().await?;
        Ok(self.session(user, refresh_token))
    }

    fn session(&self, user: &User, refresh_token: String) -> Session {
        let principal = Principal { id: user.id, role: user.role };
        Session {
            access_token: self.tokens.sign(principal, self.clock.now()),
            refresh_token,
            expires_in: self.tokens.lifetime(),
        }
    }

    /// Trades a refresh token for a new pair. One that was used before ends the whole session.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Session> {
        let now = self.clock.now();
        let successor = random_token();
        let expires = now.plus(self.refresh_lifetime);
        let tx = self.store.begin().await?;
        let old = token_hash(refresh_token);
        let rotation = tx.rotate_token(&old, token_hash(&successor), now, expires);
        match rotation.await? {
            Rotation::Rotated { user_id } => {
                let user = tx.user(user_id).await?.ok_or(BAD_REFRESH)?;
                tx.commit().await?;
                Ok(self.session(&user, successor))
            }
            Rotation::Reused => {
                tx.commit().await?;
                tracing::warn!("a refresh token was used twice; its session is revoked");
                Err(BAD_REFRESH.into())
            }
            Rotation::Unknown | Rotation::Expired => Err(BAD_REFRESH.into()),
        }
    }

    /// Ends the session of a refresh token; an unknown one is as good as ended.
    pub async fn logout(&self, refresh_token: &str) -> Result<()> {
        let tx = self.store.begin().await?;
        tx.revoke_family_of(&token_hash(refresh_token), self.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    /// One's own account, private fields included, from the database.
    pub async fn me(&self, principal: Principal) -> Result<User> {
        let user = self.store.user(principal.id).await?;
        Ok(user.ok_or(Refusal::Unauthenticated("This account no longer exists"))?)
    }

    pub async fn users(&self, window: Window) -> Result<Vec<User>> {
        Ok(self.store.users(window).await?)
    }

    pub async fn edit_user(&self, by: Principal, id: i64, edit: ProfileEdit) -> Result<User> {
        let tx = self.store.begin().await?;
        let by = self.actor(&tx, by).await?;
        if by.id != id && !by.is_admin() {
            return Err(NOT_SELF.into());
        }
        let mut user = tx.user(id).await?.ok_or(NO_USER)?;
        edit.apply(&mut user)?;
        if let Some(email) = &user.email
            && tx.email_taken(email, Some(id)).await?
        {
            return Err(taken("e-mail address", email));
        }
        if tx.username_taken(&user.username, Some(id)).await? {
            return Err(taken("user name", &user.username));
        }
        match tx.save_user(&user).await {
            Ok(true) => {}
            Ok(false) => return Err(overtaken()),
            Err(e) if e.is_duplicate() => return Err(taken_meanwhile()),
            Err(e) => return Err(e.into()),
        }
        let (courses, articles) = tx.rows_naming(id).await?;
        tx.commit().await?;
        self.reads.user_changed(id, &courses, &articles).await;
        Ok(user)
    }

    /// Changes one's own password and ends every session.
    pub async fn change_password(&self, by: Principal, current: String, new: String) -> Result<()> {
        ProfileEdit::check_new_password(&new)?;
        let names = [format!("password:{}", by.id)];
        self.logins
            .admit(&names, self.clock.now())
            .map_err(|retry_after| Refusal::TooManyAttempts { retry_after })?;
        let known = self.store.credentials(by.id).await?;
        let known = known.ok_or(Refusal::Unauthenticated("This account no longer exists"))?;
        if self.passwords.verify(current, known.password_hash).await? == Match::No {
            return Err(Refusal::Forbidden("The current password is wrong").into());
        }
        self.logins.forget(&names[0]);
        self.set_password(by.id, new).await
    }

    /// Sets a password without asking for the old one; for operators.
    pub async fn set_password(&self, id: i64, password: String) -> Result<()> {
        ProfileEdit::check_new_password(&password)?;
        let hash = self.passwords.hash(password).await?;
        let tx = self.store.begin().await?;
        tx.set_password(id, hash).await?;
        tx.revoke_sessions(id, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    pub async fn change_role(&self, by: Principal, id: i64, role: Role) -> Result<User> {
        let tx = self.store.begin().await?;
        if !self.actor(&tx, by).await?.is_admin() {
            return Err(ADMINS_ONLY.into());
        }
        let user = self.assign_role(&tx, id, role).await?;
        let (courses, articles) = tx.rows_naming(id).await?;
        tx.commit().await?;
        self.reads.user_changed(id, &courses, &articles).await;
        Ok(user)
    }

    /// Changes a role without asking who does it; for operators.
    pub async fn set_role(&self, id: i64, role: Role) -> Result<User> {
        let tx = self.store.begin().await?;
        let user = self.assign_role(&tx, id, role).await?;
        tx.commit().await?;
        self.reads.user_changed(id, &[], &[]).await;
        Ok(user)
    }

    async fn assign_role(&self, tx: &Tx, id: i64, role: Role) -> Result<User> {
        let mut user = tx.user(id).await?.ok_or(NO_USER)?;
        if user.role == Role::Admin && role != Role::Admin && !tx.another_admin_exists(id).await? {
            return Err(last_admin());
        }
        user.role = role;
        if !tx.save_user(&user).await? {
            return Err(overtaken());
        }
        tx.revoke_sessions(id, self.clock.now()).await?;
        Ok(user)
    }

    /// Blanks an account, ends its active enrollments and frees its e-mail.
    pub async fn delete_user(&self, by: Principal, id: i64) -> Result<()> {
        let now = self.clock.now();
        let tx = self.store.begin().await?;
        if !self.actor(&tx, by).await?.is_admin() {
            return Err(ADMINS_ONLY.into());
        }
        let user = tx.user(id).await?.ok_or(NO_USER)?;
        if user.role == Role::Admin && !tx.another_admin_exists(id).await? {
            return Err(last_admin());
        }
        let (courses, articles) = tx.rows_naming(id).await?;
        let ended = tx.end_enrollments(id, now).await?;
        tx.revoke_sessions(id, now).await?;
        tx.blank_user(id, now).await?;
        tx.commit().await?;
        self.reads.user_deleted(id, &ended, &courses, &articles).await;
        Ok(())
    }

    pub async fn edit_instructor(
        &self,
        by: Principal,
        id: i64,
        edit: InstructorEdit,
    ) -> Result<InstructorProfile> {
        let before = self.store.instructor(id).await?.ok_or(NO_INSTRUCTOR)?;
        let tx = self.store.begin().await?;
        let by = self.actor(&tx, by).await?;
        if !by.governs(id) {
            return Err(Refusal::Forbidden("You may only change your own profile").into());
        }
        let profile = InstructorProfile {
            user_id: id,
            full_name: before.full_name,
            headline: edit.headline.over(before.headline),
            bio: edit.bio.over(before.bio),
            expertise: edit.expertise.over(Some(before.expertise)).unwrap_or_default(),
        };
        profile.check()?;
        tx.save_instructor(&profile).await?;
        tx.commit().await?;
        self.reads.instructor_changed(id).await;
        Ok(profile)
    }

    /// Whether nobody has ever run this database: a server that has started leaves an admin.
    pub async fn is_first_start(&self) -> Result<bool> {
        Ok(!self.store.has_admin().await?)
    }

    /// Creates the first admin and answers the password; `None` when there is an admin.
    pub async fn create_first_admin(&self, password: Option<String>) -> Result<Option<String>> {
        if self.store.has_admin().await? {
            return Ok(None);
        }
        let password = password.unwrap_or_else(|| random_token()[..20].to_owned());
        let admin = NewUser {
            username: "admin".to_owned(),
            email: "admin@campus.local".to_owned(),
            full_name: "Administrator".to_owned(),
            password_hash: self.passwords.hash(password.clone()).await?,
            role: Role::Admin,
        };
        let tx = self.store.begin().await?;
        let user = match tx.insert_user(admin, self.clock.now()).await {
            // Another server on the same database was faster.
            Err(e) if e.is_duplicate() => return Ok(None),
            user => user?,
        };
        tx.commit().await?;
        self.reads.user_registered(user.id).await;
        Ok(Some(password))
    }
}

fn taken(what: &str, value: &str) -> Error {
    Refusal::conflict(format!("The {what} '{value}' is already taken")).into()
}

fn taken_meanwhile() -> Error {
    Refusal::conflict("The user name or the e-mail address is already taken").into()
}

fn last_admin() -> Error {
    Refusal::conflict("The last admin cannot be removed").into()
}

/// 256 random bits as text.
fn random_token() -> String {
    let mut bytes = [0u8; 32];
    #[expect(clippy::expect_used, reason = "nothing can be done safely without randomness")]
    getrandom::fill(&mut bytes).expect("the system has a random source");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What the database keeps of a refresh token. It is random, so a fast hash is enough.
fn token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}
