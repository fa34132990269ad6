//! Why the domain says no. The web layer alone knows which status that becomes.

use std::time::Duration;

use super::FieldError;

/// A request that was understood and refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    NotFound(&'static str),
    #[error("{0}")]
    Forbidden(&'static str),
    /// Not signed in, or no longer who the token says.
    #[error("{0}")]
    Unauthenticated(&'static str),
    #[error("{0}")]
    Conflict(String),
    /// `If-Match` named a version that is no longer the current one.
    #[error("the resource is at version {current}")]
    VersionMismatch { current: i64 },
    #[error("some fields are not valid")]
    Invalid(Vec<FieldError>),
    /// What would be stored is larger than anybody could read or send back.
    #[error("{0}")]
    TooLarge(String),
    #[error("too many failed attempts, try again later")]
    TooManyAttempts { retry_after: Duration },
    #[error("you have {most} event streams open already, close one")]
    TooManyStreams { most: usize },
    #[error("{most} event streams are open from your address, try again later")]
    TooManyStreamsFrom { most: usize },
    /// A bounded resource (the password hashers) stayed busy for too long.
    #[error("the service is busy, try again")]
    Busy,
}

impl Refusal {
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::Conflict(detail.into())
    }

    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }
}
