//! What a subscriber of traces sees of reads, and that no key is in it.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use larder::{Cache, Clock, PolicyOverride};
use tokio::{runtime, time::timeout};
use tracing::{
    Dispatch, Instrument, Subscriber, dispatcher,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::{DefaultGuard, set_default},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use crate::support::{Database, DocKey, Redis, Tiers, built, until};

/// Who reads it must not be told by a trace.
const ID: i64 = 987_654_321;

/// One span, as far as it was told.
#[derive(Clone, Debug, Default)]
struct Told {
    id: u64,
    parent: Option<&'static str>,
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
    is_closed: bool,
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

impl Told {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("-", String::as_str)
    }

    /// Tier, hit and graced.
    fn outcome(&self) -> [&str; 3] {
        ["tier", "hit", "graced"].map(|name| self.field(name))
    }
}

/// All spans, in the order in which they began.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Told>>>);

impl Seen {
    /// Whatever is told on this thread from here on.
    fn begin() -> (Self, DefaultGuard) {
        let seen = Self::default();
        let guard = set_default(tracing_subscriber::registry().with(seen.clone()));
        (seen, guard)
    }

    fn change(&self, id: &Id, change: impl FnOnce(&mut Told)) {
        let mut spans = self.0.lock().expect("nobody panicked");
        if let Some(told) = spans.iter_mut().rev().find(|told| told.id == id.into_u64()) {
            change(told);
        }
    }

    /// The spans of that name; no span names the key.
    fn named(&self, name: &str) -> Vec<Told> {
        let spans = self.0.lock().expect("nobody panicked");
        for told in spans.iter() {
            assert!(!format!("{told:?}").contains(&ID.to_string()), "{told:?}");
        }
        spans.iter().filter(|told| told.name == name).cloned().collect()
    }

    fn reads(&self) -> Vec<Told> {
        self.named("cache.read")
    }

    fn loads(&self) -> Vec<Told> {
        self.named("cache.load")
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).and_then(|span| span.parent());
        let mut told = Told {
            id: id.into_u64(),
            parent: parent.map(|parent| parent.name()),
            name: attributes.metadata().name(),
            ..Told::default()
        };
        attributes.record(&mut told);
        self.0.lock().expect("nobody panicked").push(told);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.change(id, |told| values.record(told));
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.change(&id, |told| told.is_closed = true);
    }
}

/// A read for somebody with a span of their own.
async fn read(database: &Database, cache: &Cache) {
    database.read(cache, ID).instrument(tracing::info_span!("request")).await;
}

/// Waits until Redis has it, if it is to have it.
async fn filled(tiers: Tiers, redis: &Redis, clock: &Clock) {
    if tiers != Tiers::L1 {
        let other = built(Tiers::L2.builder(redis).clock(clock.clone())).await;
        while other.get(&DocKey(ID)).await.is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn a_read_is_a_span_of_its_caller_and_says_which_tier_answered() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let (cache, database) = (tiers.cache(&redis).await, Database::default());
        let (seen, _guard) = Seen::begin();
        read(&database, &cache).await;
        filled(tiers, &redis, &Clock::system()).await;
        read(&database, &cache).await;
        if tiers == Tiers::Both {
            read(&database, &tiers.cache(&redis).await).await;
        }
        let reads = seen.reads();
        let outcomes: Vec<_> = reads.iter().map(Told::outcome).collect();
        let (miss, l1, l2) =
            (["loader", "false", "false"], ["l1", "true", "false"], ["l2", "true", "false"]);
        match tiers {
            Tiers::L1 => assert_eq!(outcomes, [miss, l1]),
            Tiers::L2 => assert_eq!(outcomes, [miss, l2]),
            Tiers::Both => assert_eq!(outcomes, [miss, l1, l2]),
        }
        for told in &reads {
            assert_eq!((told.parent, told.is_closed), (Some("request"), true), "{told:?}");
            let named = (told.field("namespace"), told.field("kind"));
            assert_eq!(named, ("docs", "doc:detail"));
        }
        let loads = seen.loads();
        assert_eq!(loads.len(), 1, "{tiers:?}: {loads:?}");
        assert_eq!((loads[0].parent, loads[0].is_closed), (Some("cache.read"), true), "{tiers:?}");
    }
}

#[tokio::test]
async fn a_read_that_waits_for_anothers_load_says_so() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let cache = tiers.cache(&redis).await;
        let database = Database::slow(Duration::from_millis(50));
        let (seen, _guard) = Seen::begin();
        tokio::join!(read(&database, &cache), read(&database, &cache));
        let reads = seen.reads();
        let outcomes: Vec<_> = reads.iter().map(Told::outcome).collect();
        let (loaded, joined) = (["loader", "false", "false"], ["joined", "false", "false"]);
        assert_eq!(outcomes, [loaded, joined], "{tiers:?}");
        assert_eq!(seen.loads().len(), 1, "{tiers:?}");
    }
}

#[tokio::test]
async fn a_stale_value_is_graced_and_its_refresh_is_a_trace_of_its_own() {
    let redis = Redis::start().await;
    for tiers in Tiers::ALL {
        redis.command::<()>(&["FLUSHALL"]).await;
        let clock = Clock::manual();
        let long_l1 = PolicyOverride { l1: Some(Duration::from_secs(120)), ..Default::default() };
        let builder = tiers.builder(&redis).clock(clock.clone());
        let cache = built(builder.policy_override("docs", long_l1)).await;
        let database = Database::default();
        read(&database, &cache).await;
        filled(tiers, &redis, &clock).await;
        clock.advance(Duration::from_secs(70));
        let (seen, _guard) = Seen::begin();
        let slow = Database { delay: Duration::from_secs(2), ..database.clone() };
        read(&slow, &cache).await;
        until("the refresh has begun", || !seen.loads().is_empty()).await;
        let (reads, loads) = (seen.reads(), seen.loads());
        let tier = if tiers == Tiers::L2 { "l2" } else { "l1" };
        assert_eq!(reads.len(), 1, "{tiers:?}: {reads:?}");
        assert_eq!(reads[0].outcome(), [tier, "true", "true"], "{tiers:?}");
        assert!(reads[0].is_closed, "{tiers:?}: nobody waits for the refresh");
        assert_eq!((loads.len(), loads[0].parent), (1, None), "{tiers:?}: {loads:?}");
        assert!(!loads[0].is_closed, "{tiers:?}: it takes two seconds");
    }
}

#[tokio::test]
async fn a_load_whose_reader_went_away_before_its_turn_is_still_below_the_read() {
    let cache = Cache::builder().most_loads(1).build().expect("valid");
    let database = Database::slow(Duration::from_millis(200));
    let (seen, _guard) = Seen::begin();
    let first = database.read(&cache, 1);
    let leaving = async {
        let second = timeout(Duration::from_millis(50), read(&database, &cache)).await;
        assert!(second.is_err(), "its load waits for the other one");
        assert_eq!(seen.loads().len(), 1, "it has not had its turn");
    };
    tokio::join!(first, leaving);
    until("both are loaded", || database.loads() == 2).await;
    assert_eq!(seen.reads()[1].outcome(), ["-", "-", "-"]);
    assert_eq!(seen.loads()[1].parent, Some("cache.read"));
}

#[tokio::test]
async fn a_read_that_failed_has_no_tier() {
    let cache = Cache::builder().build().expect("valid");
    let (seen, _guard) = Seen::begin();
    let failing = || async { Err::<crate::support::Doc, _>("no such table") };
    assert!(cache.get_or_load(&DocKey(ID), failing).await.is_err());
    assert_eq!(seen.reads()[0].outcome(), ["-", "false", "false"]);
    assert_eq!(seen.loads()[0].parent, Some("cache.read"));
}

#[tokio::test]
async fn a_read_past_a_cache_that_is_off_is_a_miss_with_its_load() {
    let cache = Cache::builder().disabled().build().expect("valid");
    let (seen, _guard) = Seen::begin();
    read(&Database::default(), &cache).await;
    assert_eq!(seen.reads()[0].outcome(), ["loader", "false", "false"]);
    assert_eq!(seen.loads()[0].parent, Some("cache.read"));
}

/// A span is known to its own subscriber alone.
#[test]
fn a_load_on_a_thread_with_another_subscriber_is_made_all_the_same() {
    let elsewhere = Dispatch::new(tracing_subscriber::registry());
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .on_thread_start(move || std::mem::forget(dispatcher::set_default(&elsewhere)))
        .build();
    let (seen, _guard) = Seen::begin();
    runtime.expect("a runtime").block_on(async {
        let (cache, database) = (built(Cache::builder()).await, Database::default());
        read(&database, &cache).await;
        assert_eq!(database.loads(), 1);
    });
    assert_eq!((seen.reads().len(), seen.loads().len()), (1, 0));
}
