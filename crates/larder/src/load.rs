//! What a loader returns and what a read returns.

use std::time::Duration;

/// A loaded value, and whether and how long it may be kept. A plain value converts into one.
///
/// ```
/// use larder::Loaded;
/// use std::time::Duration;
///
/// let kept: Loaded<u32> = 7.into();
/// let passed_on = Loaded::uncached(7);
/// let short = Loaded::from(7).ttl(Duration::from_secs(1), Duration::from_secs(2));
/// assert!(kept != passed_on && kept != short);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<V> {
    pub(crate) value: V,
    pub(crate) keep: Keep,
}

/// How long to keep a loaded value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Keep {
    AsPolicy,
    For { soft: Duration, hard: Duration },
    No,
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self { value, keep: Keep::AsPolicy }
    }
}

impl<V> Loaded<V> {
    /// A value for the callers that wait for it, not to be stored anywhere.
    pub fn uncached(value: V) -> Self {
        Self { value, keep: Keep::No }
    }

    /// Replaces the TTLs of the policy for this value; `hard` is at least `soft`.
    #[must_use]
    pub fn ttl(self, soft: Duration, hard: Duration) -> Self {
        Self { keep: Keep::For { soft, hard: hard.max(soft) }, ..self }
    }
}

/// A value and how it was come by; see [`crate::Cache::get_or_load`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cached<T> {
    /// The value: an `Arc<V>`, or an `Option` of one.
    pub value: T,
    /// Which tier answered.
    pub source: Source,
    /// Past its soft TTL. `get_or_load` and `find_or_load` see to it that it is refreshed.
    pub is_stale: bool,
    pub(crate) age_ms: u64,
    pub(crate) ttl_ms: u64,
}

impl<T> Cached<T> {
    pub(crate) fn just_loaded(value: T) -> Self {
        Self { value, source: Source::Loader, is_stale: false, age_ms: 0, ttl_ms: 0 }
    }

    /// Time since the value was loaded.
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.age_ms)
    }

    /// Time until the value may not be served any more; zero if it was not stored.
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }
}

/// Which tier answered a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This process.
    L1,
    /// Redis.
    L2,
    /// The loader, run for this read.
    Loader,
    /// The loader, run for an earlier read of the same key that this one waited for.
    Joined,
}

impl Source {
    /// Whether a tier answered, rather than the loader.
    pub fn is_hit(self) -> bool {
        matches!(self, Self::L1 | Self::L2)
    }
}
