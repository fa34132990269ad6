//! How long the entries of one key type live.

use std::time::Duration;

/// Lifetimes of a key type's entries. `soft` and `hard` must be stated; the rest has safe defaults.
///
/// Between soft and hard TTL an entry is *stale*: it is served at once and refreshed once in the
/// background. An invalidated entry is never served, however young.
///
/// ```
/// use larder::Policy;
/// use std::time::Duration;
///
/// let policy = Policy::new(Duration::from_secs(300), Duration::from_secs(600))
///     .negative(Duration::from_secs(30));
/// assert_eq!(policy.jitter_percent, 10);
/// assert_eq!(policy.l1_life(), Duration::from_secs(300));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Policy {
    /// Age from which an entry is refreshed in the background. Zero: by every hit.
    pub soft: Duration,
    /// Age from which an entry is not served any more. Zero: nothing is stored, loads still coalesce.
    pub hard: Duration,
    /// Life of "there is no such thing" answers of [`crate::Cache::find_or_load`]. Zero (the
    /// default) does not cache them.
    pub negative: Duration,
    /// Longest life in L1; an entry never outlives its hard TTL there either. `None`: half of
    /// `hard`.
    pub l1: Option<Duration>,
    /// TTLs are stretched or shrunk by up to this many percent, so that entries filled together
    /// do not expire together. Default 10.
    pub jitter_percent: u8,
    /// A load that takes longer is dropped, its lease is released and its callers get
    /// [`crate::LoadError::is_timeout`]. Default 10 s, at most a day.
    pub load_timeout: Duration,
    /// What an operator has changed holds for what is stored already, too.
    caps: Caps,
}

impl Policy {
    /// A policy with these soft and hard TTLs.
    pub const fn new(soft: Duration, hard: Duration) -> Self {
        Self {
            soft,
            hard,
            negative: Duration::ZERO,
            l1: None,
            jitter_percent: 10,
            load_timeout: Duration::from_secs(10),
            caps: Caps { soft: None, hard: None },
        }
    }

    /// Caches "not found" answers for `life`.
    #[must_use]
    pub const fn negative(mut self, life: Duration) -> Self {
        self.negative = life;
        self
    }

    /// Caps the life in L1.
    #[must_use]
    pub const fn l1(mut self, life: Duration) -> Self {
        self.l1 = Some(life);
        self
    }

    /// Limits how long a load may take.
    #[must_use]
    pub const fn load_timeout(mut self, limit: Duration) -> Self {
        self.load_timeout = limit;
        self
    }

    /// How long L1 may keep an entry at most.
    pub fn l1_life(&self) -> Duration {
        self.l1.unwrap_or(self.hard / 2).min(self.hard)
    }

    pub(crate) fn overridden_by(mut self, change: &PolicyOverride) -> Self {
        self.soft = change.soft.unwrap_or(self.soft);
        self.hard = change.hard.unwrap_or(self.hard).max(self.soft);
        self.l1 = change.l1.or(self.l1);
        let is_off = change.enabled == Some(false);
        self.caps =
            Caps { soft: change.soft.and(Some(self.soft)), hard: change.hard.and(Some(self.hard)) };
        if is_off {
            // Whoever has begun before it was turned off stores nothing any more.
            (self.soft, self.hard, self.negative) = Default::default();
            self.caps = Caps { soft: Some(Duration::ZERO), hard: Some(Duration::ZERO) };
        }
        self
    }

    /// These TTLs under the TTLs that an operator has changed. Jitter comes after this.
    pub(crate) fn capped(&self, soft: Duration, hard: Duration) -> (Duration, Duration) {
        let hard = hard.min(self.caps.hard.unwrap_or(Duration::MAX));
        (soft.min(self.caps.soft.unwrap_or(Duration::MAX)).min(hard), hard)
    }

    /// The longest lives, soft and hard, that an entry which is stored already may have. Jitter was
    /// added to those that it was stored with.
    pub(crate) fn longest_stored(&self) -> (Option<Duration>, Option<Duration>) {
        let most = |life: Duration| life.saturating_mul(100 + u32::from(self.jitter())) / 100;
        (self.caps.soft.map(most), self.caps.hard.map(most))
    }

    pub(crate) fn jitter(&self) -> u8 {
        self.jitter_percent.min(100)
    }

    pub(crate) fn at_most_in_l1(mut self, most: Duration) -> Self {
        self.l1 = Some(self.l1_life().min(most));
        self
    }
}

/// TTLs that an operator has changed, each for itself; `None` is the key type's own.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Caps {
    soft: Option<Duration>,
    hard: Option<Duration>,
}

/// What an operator changes for one namespace; `None` keeps what the key type says.
///
/// ```
/// use larder::{Cache, PolicyOverride};
/// use std::time::Duration;
///
/// let shorter = PolicyOverride { hard: Some(Duration::from_secs(60)), ..PolicyOverride::default() };
/// assert!(Cache::builder().policy_override("courses", shorter).build().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyOverride {
    /// Replaces [`Policy::soft`].
    pub soft: Option<Duration>,
    /// Replaces [`Policy::hard`]; never shorter than the soft TTL.
    pub hard: Option<Duration>,
    /// Replaces [`Policy::l1`].
    pub l1: Option<Duration>,
    /// `Some(false)` turns caching off for the namespace: every read loads.
    pub enabled: Option<bool>,
}
