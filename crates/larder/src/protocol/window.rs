//! The freshness window: until when L1 may answer without asking anybody.
//!
//! An invalidation executes in Redis at T. A hit at r ≥ T + Δ needs a heartbeat that was answered
//! and sent at t > r − Δ ≥ T; Redis executed it after the invalidation, so the invalidation's
//! message came first on the same connection and was applied. This holds for hangs, cut lines and
//! stopped processes alike, since each of them only keeps the window from being extended.

use super::atomic::{AtomicU64, Ordering};

/// Δ: no answer from L1 is older than this, whatever happens to the backplane.
pub(crate) const DELTA_MS: u64 = 1_000;
/// The clock of a hit may lag by this much, so what ends after Δ ends that much sooner.
pub(crate) const CLOCK_LAG_MS: u64 = 10;

/// Times are milliseconds of a monotonic clock.
#[derive(Debug)]
pub(crate) struct Window {
    until: AtomicU64,
}

impl Window {
    /// For a cache without Redis: every invalidation is our own.
    pub(crate) fn always_open() -> Self {
        Self { until: AtomicU64::new(u64::MAX) }
    }

    pub(crate) fn closed() -> Self {
        Self { until: AtomicU64::new(0) }
    }

    #[inline(always)]
    pub(crate) fn is_open(&self, now: u64) -> bool {
        now < self.until.load(Ordering::Acquire)
    }

    /// A heartbeat sent at `sent` was answered, and everything before the answer is applied.
    pub(crate) fn prove(&self, sent: u64) {
        self.hold(sent, DELTA_MS);
    }

    /// Lets L1 answer for `life` since the last proof: longer than Δ only while Redis is away and
    /// the operator has allowed it.
    pub(crate) fn hold(&self, proven: u64, life: u64) {
        self.until.store(proven + life.saturating_sub(CLOCK_LAG_MS), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_for_delta_after_the_heartbeat_was_sent() {
        let window = Window::closed();
        assert!(!window.is_open(0));
        window.prove(5_000);
        assert!(window.is_open(5_000 + DELTA_MS - CLOCK_LAG_MS - 1));
        assert!(!window.is_open(5_000 + DELTA_MS - CLOCK_LAG_MS));
    }

    #[test]
    fn without_redis_it_never_closes() {
        assert!(Window::always_open().is_open(u64::MAX - 1));
    }
}
