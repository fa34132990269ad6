//! Bugs that a test build (`--cfg larder_bugs`) can switch on with `LARDER_BUG=<name>`, to prove
//! that a test notices each of them; unit tests can switch one on for their own thread. In every
//! other build no bug is ever seeded and the compiler removes the switches. `make bugs` runs them
//! all; the letters are the protocol's.

/// One part of the protocol taken away.
#[cfg_attr(
    not(larder_bugs),
    allow(dead_code, reason = "some have their switch in code that only this build has")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Naive: a load stores whatever it has, and nobody compares generations.
    A,
    /// As naive, and the invalidation deletes twice.
    B,
    /// All leases have the same id.
    C,
    /// An invalidation leaves the lease.
    D,
    /// L1 is served without a look at the stamps.
    F,
    /// A flight born before an invalidation is joined after it.
    G,
    /// The own stamps are made before Redis is told.
    H,
    /// The loader reads before the lease is granted.
    I,
    /// A lost message is not noticed.
    J,
    /// A flight is joined after the window has lapsed.
    J2,
    /// An entry of another epoch is served.
    K,
    /// A generation that was lost comes back as it was.
    T2,
    /// Generations are read after the load.
    T4,
    /// An L1 entry is born when it is inserted.
    X1,
    /// What cannot be served is deleted before the lease is asked for.
    X5,
    /// A dead value is not replaced through its head.
    X5b,
    /// Generations are read before the value.
    X5c,
    /// Two missing sequences count as equal.
    SequenceMissing,
    /// The drain barrier skips rows that somebody else may hold.
    BarrierSkips,
    /// The message is sent before, not by, the script that invalidates.
    PublishOutside,
    /// The heartbeat only reads.
    HeartbeatReads,
    /// Another task than the one that applies messages extends the window.
    WindowElsewhere,
    /// The key in an envelope is not compared.
    NoEmbeddedKey,
    /// What the relay sends is taken for what a writer of this process has stamped already.
    RelayDeaf,
    /// Of an entry's names only the first, its key, is compared.
    FirstName,
    /// A lazy name never counts.
    LazyNever,
    /// Names that Redis has not heard of are served.
    NoDirt,
}

#[cfg(not(any(test, larder_bugs)))]
#[inline(always)]
pub(crate) const fn is_seeded(_: Bug) -> bool {
    false
}

#[cfg(any(test, larder_bugs))]
pub(crate) fn is_seeded(bug: Bug) -> bool {
    #[cfg(test)]
    if SEEDED_HERE.get() == Some(bug) {
        return true;
    }
    is_seeded_everywhere(bug)
}

#[cfg(all(test, not(larder_bugs)))]
fn is_seeded_everywhere(_: Bug) -> bool {
    false
}

#[cfg(larder_bugs)]
fn is_seeded_everywhere(bug: Bug) -> bool {
    static SEEDED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let seeded = SEEDED.get_or_init(|| std::env::var("LARDER_BUG").unwrap_or_default());
    *seeded == format!("{bug:?}")
}

#[cfg(test)]
thread_local! {
    static SEEDED_HERE: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Runs `run` with a bug that only this thread has.
#[cfg(test)]
pub(crate) fn with_seeded<T>(bug: Bug, run: impl FnOnce() -> T) -> T {
    SEEDED_HERE.set(Some(bug));
    let result = run();
    SEEDED_HERE.set(None);
    result
}
