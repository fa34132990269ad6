//! Password hashing, off the async workers and never more than the cores can bear.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Error, Result};
use crate::model::Refusal;

/// How long a login may queue for a core before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(2);

/// Verified against when nobody has the e-mail, so that an answer takes as long as for somebody.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash("nobody has this password"));

#[derive(Clone)]
pub(super) struct Passwords {
    cores: Arc<Semaphore>,
}

/// Whether a password belongs to a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    Yes,
    No,
}

impl Passwords {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { cores: Arc::new(Semaphore::new(cores)) }
    }

    pub(super) async fn hash(&self, password: String) -> Result<String> {
        self.run(move || hash(&password)).await
    }

    /// Without a hash the time is spent all the same, and the answer is no.
    pub(super) async fn verify(&self, password: String, hash: Option<String>) -> Result<Match> {
        self.run(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.clone());
            let same = Argon2::default().verify_password(password.as_bytes(), hash.as_str());
            if known && same.is_ok() { Match::Yes } else { Match::No }
        })
        .await
    }

    /// The permit moves into the work: a caller that goes away frees no core that is still busy.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = self.permit().await?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        task.await.map_err(|_| Error::Refused(Refusal::Busy))
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        let queue = Arc::clone(&self.cores).acquire_owned();
        match tokio::time::timeout(PATIENCE, queue).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Refusal::Busy.into()),
        }
    }
}

/// Argon2id with the crate's defaults (19 MiB, 2 passes) and a random salt.
fn hash(password: &str) -> String {
    #[expect(clippy::expect_used, reason = "fails only without a system random source")]
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .expect("the system has a random source");
    hash.to_string()
}
