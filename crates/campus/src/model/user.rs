//! People: roles, accounts, instructor profiles.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Fields, Patch, Refusal, Timestamp};

/// What a person may do, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(utoipa::ToSchema)]
pub enum Role {
    Student,
    Instructor,
    Admin,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Instructor => "instructor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "student" => Ok(Self::Student),
            "instructor" => Ok(Self::Instructor),
            "admin" => Ok(Self::Admin),
            other => Err(format!("'{other}' is not a role (student, instructor, admin)")),
        }
    }
}

/// Who makes a request, as far as the token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    pub id: i64,
    pub role: Role,
}

impl Principal {
    pub fn is_admin(self) -> bool {
        self.role == Role::Admin
    }

    /// Owner rights over something that belongs to `owner`.
    pub fn governs(self, owner: i64) -> bool {
        self.is_admin() || (self.id == owner && self.role >= Role::Instructor)
    }
}

/// An account. `email` is absent for imported people, who cannot log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: i64,
    pub username: String,
    pub email: Option<String>,
    pub full_name: String,
    pub role: Role,
    pub bio: Option<String>,
    pub created_at: Timestamp,
    pub version: i64,
}

/// An account to be created. The password is hashed already; `Debug` leaves it out.
#[derive(Clone)]
pub struct NewUser {
    pub username: String,
    pub email: String,
    pub full_name: String,
    pub password_hash: String,
    pub role: Role,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser")
            .field("username", &self.username)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl NewUser {
    /// Whether an account can have this e-mail address, as it is stored.
    pub fn may_have_email(email: &str) -> bool {
        let mut fields = Fields::default();
        check_email(&mut fields, email);
        fields.finish().is_ok()
    }

    /// Checks what a person typed, before the password is hashed.
    pub fn check(
        username: &str,
        email: &str,
        full_name: &str,
        password: &str,
    ) -> Result<(), Refusal> {
        let mut fields = Fields::default();
        check_username(&mut fields, username);
        check_email(&mut fields, email);
        fields.text("full_name", full_name, 1, 200);
        check_password(&mut fields, "password", password);
        fields.finish()
    }
}

fn check_username(fields: &mut Fields, username: &str) {
    fields.text("username", username, 3, 50);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !username.chars().all(allowed) {
        fields.refuse("username", "may only have letters, digits, '_', '-' and '.'");
    }
    // A deleted account is called `deleted-{id}`: somebody who has that name would be in its way.
    let start = username.get(..8).unwrap_or("");
    if start.eq_ignore_ascii_case("deleted-") {
        fields.refuse("username", "must not begin with 'deleted-'");
    }
}

/// Catches typing mistakes only; whether a mailbox exists is for a mail to tell.
fn check_email(fields: &mut Fields, email: &str) {
    fields.text("email", email, 3, 254);
    let plausible = email.split_once('@').is_some_and(|(name, domain)| {
        !name.is_empty()
            && domain.len() >= 2
            && !domain.contains('@')
            && !domain.starts_with('.')
            && !domain.ends_with('.')
    });
    if !plausible || email.chars().any(|c| c.is_whitespace() || c.is_control()) {
        fields.refuse("email", "is not an e-mail address");
    }
}

/// 128 characters at most: hashing cost must not be the caller's choice.
pub(super) fn check_password(fields: &mut Fields, field: &str, password: &str) {
    fields.text(field, password, 8, 128);
}

/// A partial update of one's profile.
#[derive(Debug, Clone, Default)]
pub struct ProfileEdit {
    pub username: Patch<String>,
    pub email: Patch<String>,
    pub full_name: Patch<String>,
    pub bio: Patch<String>,
}

impl ProfileEdit {
    /// The profile after the edit. Identity fields cannot be cleared, the biography can.
    pub fn apply(self, user: &mut User) -> Result<(), Refusal> {
        let mut fields = Fields::default();
        if let Some(username) = self.username.required("username", &mut fields) {
            check_username(&mut fields, &username);
            user.username = username;
        }
        if let Some(email) = self.email.required("email", &mut fields) {
            let email = email.to_lowercase();
            check_email(&mut fields, &email);
            user.email = Some(email);
        }
        if let Some(full_name) = self.full_name.required("full_name", &mut fields) {
            fields.text("full_name", &full_name, 1, 200);
            user.full_name = full_name;
        }
        if let Some(bio) = self.bio.value() {
            fields.text("bio", bio, 0, 5000);
        }
        user.bio = self.bio.over(user.bio.take());
        fields.finish()
    }

    pub fn check_new_password(password: &str) -> Result<(), Refusal> {
        let mut fields = Fields::default();
        check_password(&mut fields, "new_password", password);
        fields.finish()
    }
}

/// What an instructor shows of themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstructorProfile {
    pub user_id: i64,
    pub full_name: String,
    pub headline: Option<String>,
    pub bio: Option<String>,
    pub expertise: Vec<String>,
}

impl InstructorProfile {
    pub fn check(&self) -> Result<(), Refusal> {
        let mut fields = Fields::default();
        if let Some(headline) = &self.headline {
            fields.text("headline", headline, 0, 200);
        }
        if let Some(bio) = &self.bio {
            fields.text("bio", bio, 0, 5000);
        }
        if self.expertise.len() > 50 {
            fields.refuse("expertise", "must have at most 50 entries");
        }
        for topic in &self.expertise {
            fields.text("expertise", topic, 1, 100);
        }
        fields.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{NewUser, Role};

    #[test]
    fn a_hash_of_a_password_is_not_shown() {
        let new = NewUser {
            username: "nina".to_owned(),
            email: "nina@example.org".to_owned(),
            full_name: "Nina".to_owned(),
            password_hash: "$argon2id$secret".to_owned(),
            role: Role::Student,
        };
        let shown = format!("{new:?}");
        assert!(shown.contains("nina") && !shown.contains("argon2") && !shown.contains("@"));
    }

    #[test]
    fn no_account_has_an_address_that_postgresql_could_not_store() {
        assert!(NewUser::may_have_email("nina@example.org"));
        assert!(!NewUser::may_have_email("ni\0na@example.org"));
        assert!(!NewUser::may_have_email(&format!("{}@example.org", "n".repeat(255))));
    }
}
