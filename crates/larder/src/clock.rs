//! Time as the cache sees it. Nothing else in the crate asks the system for the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The clock that judges expiry.
///
/// L1 uses a monotonic clock, so a wall clock that jumps cannot revive or kill its entries; the
/// expiry inside an L2 envelope is wall-clock time, since several machines read it.
///
/// ```
/// use larder::Clock;
/// use std::time::Duration;
///
/// let clock = Clock::manual();
/// let hand = clock.clone();
/// hand.advance(Duration::from_secs(5));
/// assert_eq!(clock.elapsed(), Duration::from_secs(5));
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    /// Milliseconds since the clock was made, which was at this moment in real time.
    Manual(Arc<AtomicU64>, Instant),
}

/// Where a manual clock's wall time begins: 2026-01-01T00:00:00Z.
const MANUAL_EPOCH_MS: u64 = 1_767_225_600_000;

impl Clock {
    /// The system's clocks.
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// A clock that only moves when told to, for tests. Clones share their time.
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::default(), Instant::now()))
    }

    /// Moves a manual clock forward; a system clock ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now, _) = &self.0 {
            now.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// Monotonic time since an arbitrary origin.
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now())
    }

    /// Monotonic milliseconds since an arbitrary origin. May lag by a kernel tick (≤ 10 ms): a
    /// hit asks for the time, and the precise clock costs more than the rest of the hit.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        match &self.0 {
            Source::System(origin) => coarse(origin),
            Source::Manual(now, _) => now.load(Ordering::SeqCst),
        }
    }

    /// What [`now`](Self::now) says on the system's clock: connections live in real time also
    /// where a test holds the hand.
    #[inline]
    pub(crate) fn real(&self) -> u64 {
        match &self.0 {
            Source::System(origin) | Source::Manual(_, origin) => coarse(origin),
        }
    }

    /// [`real`](Self::real), for whoever has asked for [`now`](Self::now) a moment before.
    #[inline]
    pub(crate) fn real_at(&self, now: u64) -> u64 {
        match &self.0 {
            Source::System(_) => now,
            Source::Manual(_, origin) => coarse(origin),
        }
    }

    /// Milliseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    pub(crate) fn unix(&self) -> u64 {
        match &self.0 {
            Source::System(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis),
            Source::Manual(now, _) => MANUAL_EPOCH_MS + now.load(Ordering::SeqCst),
        }
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn coarse(_: &Instant) -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

#[cfg(not(target_os = "linux"))]
#[inline]
fn coarse(origin: &Instant) -> u64 {
    millis(origin.elapsed())
}

/// Whole milliseconds, saturating.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
