//! What a subscriber of traces sees of reads: a span for each, and one inside of it for its load.
//!
//! A key may name people: of it there is only its kind.

use std::future::Future;

use tracing::{Instrument, Span, field::Empty, instrument::Instrumented};

use crate::{CacheKey, Cached, Source};

const TARGET: &str = "larder::read";

/// Begins a read. For nobody who wants spans it is a look at the most that anybody wants.
#[inline(always)]
pub(crate) fn reading<K: CacheKey>() -> Span {
    tracing::debug_span!(
        target: TARGET,
        "cache.read",
        namespace = K::NAMESPACE,
        kind = K::NAME,
        tier = Empty,
        hit = Empty,
        graced = Empty,
    )
}

/// Says in the span of a read how it was answered.
#[inline(always)]
pub(crate) fn answered<T>(reading: &Span, read: &Cached<T>) {
    if !reading.is_disabled() {
        record(reading, read.source, read.is_stale);
    }
}

#[cold]
fn record(reading: &Span, source: Source, is_stale: bool) {
    let tier = match source {
        Source::L1 => "l1",
        Source::L2 => "l2",
        Source::Loader => "loader",
        Source::Joined => "joined",
    };
    reading.record("tier", tier).record("hit", source.is_hit()).record("graced", is_stale);
}

/// Says that a read failed: no tier has answered it.
pub(crate) fn failed(reading: &Span) {
    reading.record("hit", false).record("graced", false);
}

/// Runs a loader in a span of its own, inside of the read that waits for it. It is a trace of its
/// own for [`Span::none`]: a read that was answered already must not stay open until it has ended.
pub(crate) fn loading<K: CacheKey, F: Future>(
    reading: Span,
    load: impl FnOnce() -> F + Send + 'static,
) -> impl FnOnce() -> Instrumented<F> + Send + 'static {
    move || {
        let loading = tracing::debug_span!(
            target: TARGET,
            parent: &reading,
            "cache.load",
            namespace = K::NAMESPACE,
            kind = K::NAME,
        );
        let loaded = loading.in_scope(load);
        loaded.instrument(loading)
    }
}
