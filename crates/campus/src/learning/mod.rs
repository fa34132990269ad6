//! The verbs: authorise, decide, write, invalidate.
//!
//! Every write goes the same way: one transaction, its commit together with a row that
//! says which reads it made old, their invalidation, and only then the answer. The web
//! layer runs writes in tasks of their own, so that a client that goes away cannot stop
//! one between its commit and its invalidation.

pub mod accounts;
mod articles;
mod courses;
mod enrollment;
mod events;
mod figures;
mod lessons;
mod operations;
mod passwords;
mod profiles;
mod progress;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::model::{Principal, Refusal};
use crate::reads::{self, Origin, Read, Reads};
use crate::store::{self, Store, Tx};
use crate::token::TokenKey;

pub use enrollment::EnrollRequest;
use events::Listeners;
pub use events::{ListenRequest, Subscription, Told};
pub use operations::{Clearing, Operator};
use passwords::Passwords;
pub use progress::{MOST_MINUTES, ProgressReport};
use throttle::Throttle;

/// Everything the verbs work with.
pub struct Learning {
    store: Arc<Store>,
    reads: Reads,
    clock: Clock,
    tokens: TokenKey,
    refresh_lifetime: Duration,
    passwords: Passwords,
    /// Counts failures.
    logins: Throttle,
    /// Counts tries to sign up, by address: a school may be behind one.
    sign_ups: Throttle,
    listeners: Listeners,
}

const QUARTER_HOUR: Duration = Duration::from_secs(15 * 60);

const GONE: Refusal = Refusal::Unauthenticated("This account no longer exists");

/// Why a verb did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A read that may be cached found nothing, or nothing for this viewer; how it knew.
    #[error("{0}")]
    Absent(Refusal, Origin),
    #[error("a write failed")]
    Store(#[from] store::Error),
    #[error("a read failed")]
    Read(#[from] reads::Error),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Learning {
    pub fn new(
        store: Arc<Store>,
        reads: Reads,
        clock: Clock,
        tokens: TokenKey,
        refresh_lifetime: Duration,
    ) -> Self {
        Self {
            store,
            reads,
            clock,
            tokens,
            refresh_lifetime,
            passwords: Passwords::new(),
            logins: Throttle::new(10, QUARTER_HOUR),
            sign_ups: Throttle::new(300, QUARTER_HOUR),
            listeners: Listeners::default(),
        }
    }

    /// The person behind a token as the database has them now: a write must not
    /// rely on a role that was taken away, nor on an account that is gone.
    async fn actor(&self, tx: &Tx, principal: Principal) -> Result<Principal> {
        let user = tx.user(principal.id).await?;
        let user = user.ok_or(GONE)?;
        let role = user.role;
        Ok(Principal { id: user.id, role })
    }
}

/// What a read found, or that it found nothing.
fn found<T>(read: Read<Option<T>>, missing: Refusal) -> Result<Read<T>> {
    let Read { value, origin } = read;
    value.map(|value| Read { value, origin }).ok_or(Error::Absent(missing, origin))
}

/// Whoever asks, as the database has them, held until the commit: what they do at once is
/// done in turn, and the deletion of their account waits.
async fn held(tx: &Tx, by: Principal) -> Result<Principal> {
    let user = tx.user_to_edit(by.id).await?.ok_or(GONE)?.user;
    Ok(Principal { id: user.id, role: user.role })
}

/// For a write whose `WHERE version = ..` matched nothing: somebody was faster.
fn overtaken() -> Error {
    Refusal::conflict("The resource was changed by another request, read it again").into()
}
