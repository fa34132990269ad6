//! The clock that all processes of one host share.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A length of time in nanoseconds.
pub(crate) const fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
