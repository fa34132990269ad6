//! What a subscriber of traces sees of reads: a span for each, and one inside of it for its load.
//!
//! A key may name people: of it there is only its kind.

use std::future::Future;

use tracing::{
    Instrument, Span, field::Empty, instrument::Instrumented, level_filters::LevelFilter,
};

use crate::{CacheKey, Cached, LoadError, Source};

const TARGET: &str = "larder::read";

/// The span of a read, if anybody wants it. Boxed: a read that nobody traces carries a null pointer
/// through its flight.
#[derive(Clone)]
pub(crate) struct Reading(Option<Box<Span>>);

impl Reading {
    /// For nobody who wants spans it is a look at the most that anybody wants.
    #[inline(always)]
    pub(crate) fn begin<K: CacheKey>() -> Self {
        if LevelFilter::current() < LevelFilter::DEBUG {
            return Self::by_nobody();
        }
        Self::traced(K::NAMESPACE, K::NAME)
    }

    /// The read that a refresh in the background is for has been answered: it must not stay open
    /// until the refresh has ended, whose load is a trace of its own.
    pub(crate) fn by_nobody() -> Self {
        Self(None)
    }

    #[cold]
    fn traced(namespace: &'static str, kind: &'static str) -> Self {
        let span = tracing::debug_span!(
            target: TARGET,
            "cache.read",
            namespace,
            kind,
            tier = Empty,
            hit = Empty,
            graced = Empty,
        );
        Self((!span.is_disabled()).then(|| Box::new(span)))
    }

    pub(crate) fn is_traced(&self) -> bool {
        self.0.is_some()
    }

    /// Says how the read was answered.
    #[inline(always)]
    pub(crate) fn answered(self, source: Source, is_stale: bool) {
        if let Some(span) = self.0 {
            record(&span, source, is_stale);
        }
    }

    /// Reads inside of the span, and says how that ended. What failed, no tier has answered.
    pub(crate) async fn within<T, E>(
        self,
        read: impl Future<Output = Result<Cached<T>, LoadError<E>>>,
    ) -> Result<Cached<T>, LoadError<E>> {
        let span = self.0.as_deref().cloned().unwrap_or_else(Span::none);
        let read = read.instrument(span.clone()).await;
        match &read {
            Ok(read) => self.answered(read.source, read.is_stale),
            Err(_) => {
                span.record("hit", false).record("graced", false);
            }
        }
        read
    }

    /// Runs a loader in a span of its own, inside of this one.
    pub(crate) fn loading<K: CacheKey, F: Future>(
        self,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> impl FnOnce() -> Instrumented<F> + Send + 'static {
        move || {
            let loading = self.load_span(K::NAMESPACE, K::NAME);
            let loaded = loading.in_scope(load);
            loaded.instrument(loading)
        }
    }

    fn load_span(self, namespace: &'static str, kind: &'static str) -> Span {
        // Held until the load's span is there: whoever read may be gone, and their span with them.
        // Entered and not named: where this thread has another subscriber, the id is nobody's there.
        match &self.0 {
            Some(read) => read
                .in_scope(|| tracing::debug_span!(target: TARGET, "cache.load", namespace, kind)),
            None => {
                tracing::debug_span!(target: TARGET, parent: None, "cache.load", namespace, kind)
            }
        }
    }
}

#[cold]
fn record(span: &Span, source: Source, is_stale: bool) {
    let tier = match source {
        Source::L1 => "l1",
        Source::L2 => "l2",
        Source::Loader => "loader",
        Source::Joined => "joined",
    };
    span.record("tier", tier).record("hit", source.is_hit()).record("graced", is_stale);
}
