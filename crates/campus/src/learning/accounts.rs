//! Accounts: registering, logging in, profiles, roles, deletion.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::passwords::Match;
use super::throttle::Name;
use super::{Error, GONE, Learning, Result, overtaken};
use crate::model::{
    InstructorProfile, NewUser, Patch, Principal, ProfileEdit, Refusal, Role, User,
};
use crate::reads::Ending;
use crate::store::{Credentials, Rotation, Tx};
use crate::token::{Access, Rejected};

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
pub(super) const NO_USER: Refusal = Refusal::NotFound("User not found");
pub(super) const NO_INSTRUCTOR: Refusal = Refusal::NotFound("Instructor not found");
const NOT_SELF: Refusal = Refusal::Forbidden("You may only change your own account");
pub(super) const ADMINS_ONLY: Refusal = Refusal::Forbidden("Only an admin may do this");

impl Learning {
    /// Whom a token speaks for, and for how long.
    pub fn identify(&self, token: &str) -> std::result::Result<Access, Rejected> {
        self.tokens.verify(token, self.clock.now())
    }

    /// Whether a token is the command line's, for this very request.
    pub fn is_command_line(&self, token: &str, request: &str) -> bool {
        self.tokens.allows_request(token, request, self.clock.now())
    }

    /// Proves to whoever has the secret that this is their installation.
    pub fn prove(&self, challenge: &str) -> String {
        self.tokens.prove(challenge)
    }

    /// Signs a new student up. Every try counts against the address, the good ones too.
    pub async fn register(&self, who: Registration, from: IpAddr) -> Result<User> {
        self.sign_ups.admit(&[Name::address(from)], self.clock.now())?;
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
        self.reads.commit(tx, Ending::user_registered(user.id)).await?;
        Ok(user)
    }

    /// Checks a password; every failure counts against the account and the address.
    pub async fn login(&self, email: &str, password: String, from: IpAddr) -> Result<Session> {
        let email = email.trim().to_lowercase();
        let names = [Name::account(&email), Name::address(from)];
        let check = async {
            // What no account can have is not looked for: PostgreSQL refuses a NUL.
            let known = match NewUser::may_have_email(&email) {
                true => self.store.credentials_by_email(&email).await?,
                false => None,
            };
            self.matching(known, password).await
        };
        let checked = self.counted(&names, check).await?.ok_or(WRONG_LOGIN)?;
        self.open_session(checked).await
    }

    /// Checks a password under the throttle, in the name of `names[0]`. Only `None`, a wrong
    /// one, stays counted: who was right starts over, and who could not be answered has not failed.
    async fn counted(
        &self,
        names: &[Name],
        check: impl Future<Output = Result<Option<Credentials>>>,
    ) -> Result<Option<Credentials>> {
        self.logins.admit(names, self.clock.now())?;
        let checked = check.await;
        match &checked {
            Ok(Some(_)) => {
                self.logins.forget(names[0]);
                self.logins.take_back(&names[1..]);
            }
            Ok(None) => {}
            Err(_) => self.logins.take_back(names),
        }
        checked
    }

    /// The account, if this is its password. It takes as long to say no about nobody.
    async fn matching(
        &self,
        known: Option<Credentials>,
        password: String,
    ) -> Result<Option<Credentials>> {
        let hash = known.as_ref().and_then(|known| known.password_hash.clone());
        let matched = self.passwords.verify(password, hash).await?;
        Ok(known.filter(|_| matched == Match::Yes))
    }

    /// Begins a session, unless the password has changed since it was checked: whoever
    /// changes theirs relies on the old one opening nothing any more.
    async fn open_session(&self, checked: Credentials) -> Result<Session> {
        let now = self.clock.now();
        let refresh_token = random_token();
        let tx = self.store.begin().await?;
        let current = tx.user_to_edit(checked.user.id).await?;
        let same = current.filter(|current| current.password_hash == checked.password_hash);
        let user = same.ok_or(WRONG_LOGIN)?.user;
        let expires = now.plus(self.refresh_lifetime);
        let hash = token_hash(&refresh_token);
        tx.insert_token(user.id, random_token(), hash, now, expires).await?;
        tx.commit().await?;
        Ok(self.session(&user, refresh_token))
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
        Ok(user.ok_or(GONE)?)
    }

    pub async fn edit_user(&self, by: Principal, id: i64, edit: ProfileEdit) -> Result<User> {
        let tx = self.store.begin().await?;
        let by = self.actor(&tx, by).await?;
        if by.id != id && !by.is_admin() {
            return Err(NOT_SELF.into());
        }
        let before = tx.user(id).await?.ok_or(NO_USER)?;
        let mut user = before.clone();
        edit.apply(&mut user)?;
        if user == before {
            return Ok(before);
        }
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
        self.reads.commit(tx, Ending::user_changed(id, &courses, &articles)).await?;
        Ok(user)
    }

    /// Changes one's own password and ends every session.
    pub async fn change_password(&self, by: Principal, current: String, new: String) -> Result<()> {
        ProfileEdit::check_new_password(&new)?;
        let check = async {
            let known = self.store.credentials(by.id).await?.ok_or(GONE)?;
            self.matching(Some(known), current).await
        };
        let checked = self.counted(&[Name::person(by.id)], check).await?;
        let checked = checked.ok_or(Refusal::Forbidden("The current password is wrong"))?;
        let hash = self.passwords.hash(new).await?;
        let tx = self.store.begin().await?;
        let current = tx.user_to_edit(by.id).await?.ok_or(GONE)?;
        if current.password_hash != checked.password_hash {
            return Err(overtaken());
        }
        self.replace_password(tx, by.id, hash).await
    }

    /// Sets a password without asking for the old one; for operators.
    pub async fn set_password(&self, id: i64, password: String) -> Result<()> {
        ProfileEdit::check_new_password(&password)?;
        let hash = self.passwords.hash(password).await?;
        self.replace_password(self.store.begin().await?, id, hash).await
    }

    async fn replace_password(&self, tx: Tx, id: i64, hash: String) -> Result<()> {
        if !tx.set_password(id, hash).await? {
            return Err(NO_USER.into());
        }
        tx.revoke_sessions(id, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    pub async fn change_role(&self, by: Principal, id: i64, role: Role) -> Result<User> {
        let tx = self.store.begin().await?;
        if !self.actor(&tx, by).await?.is_admin() {
            return Err(ADMINS_ONLY.into());
        }
        self.assign_role(tx, id, role).await
    }

    /// Changes a role without asking who does it; for operators.
    pub async fn set_role(&self, id: i64, role: Role) -> Result<User> {
        self.assign_role(self.store.begin().await?, id, role).await
    }

    async fn assign_role(&self, tx: Tx, id: i64, role: Role) -> Result<User> {
        let mut user = match role {
            Role::Admin => tx.user_to_edit(id).await?.ok_or(NO_USER)?.user,
            Role::Student | Role::Instructor => unless_last_admin(&tx, id).await?,
        };
        user.role = role;
        if !tx.save_user(&user).await? {
            return Err(overtaken());
        }
        tx.revoke_sessions(id, self.clock.now()).await?;
        let (courses, articles) = tx.rows_naming(id).await?;
        self.reads.commit(tx, Ending::user_changed(id, &courses, &articles)).await?;
        Ok(user)
    }

    /// Blanks an account, ends its active enrollments and frees its e-mail.
    pub async fn delete_user(&self, by: Principal, id: i64) -> Result<()> {
        let now = self.clock.now();
        let tx = self.store.begin().await?;
        if !self.actor(&tx, by).await?.is_admin() {
            return Err(ADMINS_ONLY.into());
        }
        unless_last_admin(&tx, id).await?;
        let (courses, articles) = tx.rows_naming(id).await?;
        let ended = tx.end_enrollments(id, now).await?;
        tx.revoke_sessions(id, now).await?;
        tx.blank_user(id, now).await?;
        self.reads.commit(tx, Ending::user_deleted(id, &ended, &courses, &articles)).await?;
        Ok(())
    }

    pub async fn edit_instructor(
        &self,
        by: Principal,
        id: i64,
        edit: InstructorEdit,
    ) -> Result<InstructorProfile> {
        let tx = self.store.begin().await?;
        let by = self.actor(&tx, by).await?;
        // Held until the commit, so that of two edits the second builds on the first.
        tx.user_to_edit(id).await?.ok_or(NO_INSTRUCTOR)?;
        let before = tx.instructor(id).await?.ok_or(NO_INSTRUCTOR)?;
        if !by.governs(id) {
            return Err(Refusal::Forbidden("You may only change your own profile").into());
        }
        let profile = InstructorProfile {
            user_id: id,
            full_name: before.full_name.clone(),
            headline: edit.headline.over(before.headline.clone()),
            bio: edit.bio.over(before.bio.clone()),
            expertise: edit.expertise.over(Some(before.expertise.clone())).unwrap_or_default(),
        };
        profile.check()?;
        if profile == before {
            return Ok(before);
        }
        tx.save_instructor(&profile).await?;
        self.reads.commit(tx, Ending::instructor_changed(id)).await?;
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
        self.reads.commit(tx, Ending::user_registered(user.id)).await?;
        Ok(Some(password))
    }
}

fn taken(what: &str, value: &str) -> Error {
    Refusal::conflict(format!("The {what} '{value}' is already taken")).into()
}

fn taken_meanwhile() -> Error {
    Refusal::conflict("The user name or the e-mail address is already taken").into()
}

/// A person who is about to be no admin any more, if they are one. The admins are locked
/// before the person, who may be one of them: everybody takes the same order.
async fn unless_last_admin(tx: &Tx, id: i64) -> Result<User> {
    let admins = tx.admins_to_edit().await?;
    let user = tx.user_to_edit(id).await?.ok_or(NO_USER)?.user;
    if user.role == Role::Admin && admins.iter().all(|&admin| admin == id) {
        return Err(Refusal::conflict("The last admin cannot be removed").into());
    }
    Ok(user)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    use tempfile::TempDir;

    use super::super::throttle::Name;
    use super::{Error, Registration};
    use crate::app::App;
    use crate::clock::Clock;
    use crate::config::{Config, Settings};
    use crate::model::{Refusal, Role, User};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    async fn app(folder: &TempDir) -> App {
        let file = folder.path().join("campus.db");
        let database_url = Some(format!("sqlite://{}", file.display()));
        let settings = Settings { database_url, ..Settings::default() };
        let config = Config::resolve(&settings, &BTreeMap::new()).unwrap();
        App::build(&config, Clock::System).await.unwrap()
    }

    fn named(username: &str) -> Registration {
        Registration {
            username: username.to_owned(),
            email: format!("{username}@example.org"),
            password: "correct horse".to_owned(),
            full_name: "Nina".to_owned(),
        }
    }

    async fn nina(app: &App) -> User {
        app.learning.register(named("nina"), HERE).await.unwrap()
    }

    #[tokio::test]
    async fn a_password_that_changed_since_it_was_checked_opens_no_session() {
        let folder = TempDir::new().unwrap();
        let app = app(&folder).await;
        let nina = nina(&app).await;
        let checked = app.store().credentials(nina.id).await.unwrap().unwrap();
        app.learning.set_password(nina.id, "another horse".to_owned()).await.unwrap();
        let session = app.learning.open_session(checked).await;
        assert!(matches!(session, Err(Error::Refused(Refusal::Unauthenticated(_)))));
    }

    #[tokio::test]
    async fn a_session_begins_with_the_role_of_that_moment() {
        let folder = TempDir::new().unwrap();
        let app = app(&folder).await;
        let nina = nina(&app).await;
        let checked = app.store().credentials(nina.id).await.unwrap().unwrap();
        app.learning.set_role(nina.id, Role::Instructor).await.unwrap();
        let session = app.learning.open_session(checked).await.unwrap();
        let access = app.learning.identify(&session.access_token).ok().unwrap();
        assert_eq!(access.principal.role, Role::Instructor);
    }

    #[tokio::test]
    async fn there_is_no_password_to_set_for_nobody() {
        let folder = TempDir::new().unwrap();
        let app = app(&folder).await;
        let set = app.learning.set_password(999, "correct horse".to_owned()).await;
        assert!(matches!(set, Err(Error::Refused(Refusal::NotFound(_)))));
    }

    #[tokio::test]
    async fn a_check_that_could_not_be_made_is_no_failure() {
        let folder = TempDir::new().unwrap();
        let app = app(&folder).await;
        let names = [Name::account("nina"), Name::address(HERE)];
        for _ in 0..20 {
            let checked = app.learning.counted(&names, async { Err(Refusal::Busy.into()) }).await;
            assert!(matches!(checked, Err(Error::Refused(Refusal::Busy))));
        }
        for _ in 0..10 {
            assert!(app.learning.counted(&names, async { Ok(None) }).await.is_ok());
        }
        let refused = app.learning.counted(&names, async { Ok(None) }).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::TooManyAttempts { .. }))));
    }

    #[tokio::test]
    async fn one_address_cannot_sign_up_without_end() {
        let folder = TempDir::new().unwrap();
        let app = app(&folder).await;
        // Not valid, because hashing takes its time; every try counts.
        for _ in 0..300 {
            let refused = app.learning.register(named("?"), HERE).await;
            assert!(matches!(refused, Err(Error::Refused(Refusal::Invalid(_)))));
        }
        let refused = app.learning.register(named("nina"), HERE).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::TooManyAttempts { .. }))));
        assert!(app.learning.register(named("nina"), ELSEWHERE).await.is_ok());
    }
}
