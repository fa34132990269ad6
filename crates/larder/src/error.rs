//! What can go wrong: the loader, or the configuration. Redis cannot: its faults are misses.

use std::{any::Any, error::Error, fmt, sync::Arc, time::Duration};

/// Why a read has no value. Only the loader can fail a read: an error of Redis never shows here.
///
/// All callers that waited for one load share its error.
///
/// ```
/// # use larder::*; use std::time::Duration;
/// # struct Answer; impl CacheKey for Answer { type Value = u32; type Scope = Public;
/// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "answer"; const VERSION: u16 = 1;
/// # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)) }
/// # fn segments(&self, _: &mut KeyWriter) {} }
/// # #[tokio::main] async fn main() -> Result<(), ConfigError> {
/// # let cache = Cache::builder().build()?;
/// let failing = || async { Err::<u32, _>("the database is down") };
/// let error = cache.get_or_load(&Answer, failing).await.unwrap_err();
/// assert_eq!(error.as_loader(), Some(&"the database is down"));
/// assert!(!error.is_timeout() && !error.is_panic());
/// # Ok(()) }
/// ```
pub struct LoadError<E>(Kind<E>);

enum Kind<E> {
    Loader(Arc<E>),
    Panicked,
    TimedOut(Duration),
    ShutDown,
}

impl<E> LoadError<E> {
    /// The loader's own error, unchanged.
    pub fn as_loader(&self) -> Option<&E> {
        match &self.0 {
            Kind::Loader(error) => Some(error),
            _ => None,
        }
    }

    /// The loader's own error; shared with the other callers of the same load.
    pub fn into_loader(self) -> Option<Arc<E>> {
        match self.0 {
            Kind::Loader(error) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn shut_down() -> Self {
        Self(Kind::ShutDown)
    }

    /// Whether the loader took longer than [`crate::Policy::load_timeout`].
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Kind::TimedOut(_))
    }

    /// Whether the runtime shut down before the load ended.
    pub fn is_shut_down(&self) -> bool {
        matches!(self.0, Kind::ShutDown)
    }

    /// Whether the loader panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Kind::Panicked)
    }
}

impl<E> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Loader(_) => f.write_str("the loader failed"),
            Kind::Panicked => f.write_str("the loader panicked"),
            Kind::TimedOut(limit) => write!(f, "the loader took longer than {limit:?}"),
            Kind::ShutDown => f.write_str("the runtime shut down during the load"),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Loader(error) => f.debug_tuple("LoadError").field(error).finish(),
            _ => write!(f, "LoadError({self})"),
        }
    }
}

impl<E: Error + 'static> Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.as_loader().map(|error| error as _)
    }
}

/// A failed load on its way to all who wait for it; `E` differs between callers.
#[derive(Clone)]
pub(crate) enum Failure {
    Loader(Arc<dyn Any + Send + Sync>),
    Panicked,
    TimedOut(Duration),
    ShutDown,
}

impl Failure {
    /// `None` if the load's error is of another type than this caller's.
    pub(crate) fn into_error<E: Send + Sync + 'static>(self) -> Option<LoadError<E>> {
        Some(LoadError(match self {
            Self::Loader(error) => Kind::Loader(error.downcast().ok()?),
            Self::Panicked => Kind::Panicked,
            Self::TimedOut(limit) => Kind::TimedOut(limit),
            Self::ShutDown => Kind::ShutDown,
        }))
    }
}

/// A cache that cannot be built as asked. The text says why and quotes no URL.
///
/// ```
/// let error = larder::Cache::builder().redis("redis://:secret@[").err().expect("no URL");
/// assert!(!error.to_string().contains("secret"));
/// ```
#[derive(Debug)]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// Keeps the class of the error only: its text may quote a URL with a password.
    pub(crate) fn redis(error: redis::RedisError) -> Self {
        Self(format!("the Redis URL cannot be used ({:?})", error.kind()))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ConfigError {}

/// Redis gave no answer.
#[derive(Clone, Debug)]
pub struct RedisUnavailable(pub(crate) String);

impl fmt::Display for RedisUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis: {}", self.0)
    }
}

impl Error for RedisUnavailable {}
