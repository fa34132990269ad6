//! What this process measures of its requests, and all its figures in the format of Prometheus.
//!
//! The cache counts for itself; its figures are only read when somebody asks for them. Labels are
//! namespaces, route templates, methods and outcomes: none of them grows with the requests.

use std::time::Duration;

use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry, TextEncoder,
};

use crate::reads::{CacheReport, NamespaceReport, RedisState};

/// In seconds, from a hit to a request that somebody gave up on.
const BUCKETS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

const REQUEST: [&str; 3] = ["method", "path", "cache_status"];

pub use prometheus::Error;

pub type Result<T> = std::result::Result<T, Error>;

/// The requests of this process.
pub struct Meters {
    registry: Registry,
    requests: HistogramVec,
}

/// One request. All of it is bounded: nothing of what a client sends is repeated.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// The template of the route, `/courses/{id}`.
    pub path: &'a str,
    pub cache_status: &'a str,
}

impl Meters {
    pub fn new() -> Result<Self> {
        let registry = Registry::new();
        let opts = HistogramOpts::new(
            "http_request_duration_seconds",
            "Time until the answer begins, by route and by what the cache did.",
        );
        let requests = HistogramVec::new(opts.buckets(BUCKETS.to_vec()), &REQUEST)?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self { registry, requests })
    }

    pub fn record(&self, request: Request<'_>, took: Duration) {
        let Request { method, path, cache_status } = request;
        let labels = [method, path, cache_status];
        self.requests.with_label_values(&labels).observe(took.as_secs_f64());
    }

    /// Every figure, as `/metrics` shows it.
    pub fn render(
        &self,
        cache: &CacheReport,
        outbox_depth: Option<u64>,
        statements: u64,
    ) -> Result<Vec<u8>> {
        let figures = Figures(Registry::new());
        let help = "Statements sent to the database, looks at the outbox and probes left out.";
        figures.counter("database_statements_total", help, statements)?;
        figures.about_namespaces(&cache.namespaces)?;
        figures.about_tiers(cache)?;
        figures.about_others(cache, outbox_depth)?;
        let mut families = self.registry.gather();
        families.extend(figures.0.gather());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

/// The figures of one moment.
struct Figures(Registry);

/// A counter of namespaces: its name, its help, and where it is read from.
type OfNamespace = (&'static str, &'static str, fn(&NamespaceReport) -> u64);

const OF_NAMESPACES: [OfNamespace; 7] = [
    ("cache_misses_total", "Reads that neither tier answered.", |n| n.misses),
    ("cache_stale_total", "Hits past their soft TTL.", |n| n.stale),
    ("cache_loads_total", "Runs of a loader.", |n| n.loads),
    ("cache_load_errors_total", "Loads that failed, panicked or took too long.", |n| n.load_errors),
    ("cache_coalesced_total", "Misses that waited for somebody else's load.", |n| n.coalesced),
    ("cache_fills_refused_total", "Loaded values that Redis did not get.", |n| n.fills_refused),
    ("cache_redis_errors_total", "Reads and fills that Redis did not answer.", |n| n.l2_errors),
];

impl Figures {
    fn about_namespaces(&self, namespaces: &[NamespaceReport]) -> Result<()> {
        let help = "Reads that a tier answered, by namespace.";
        let hits = self.counters("cache_hits_total", help, &["key_prefix", "tier"])?;
        for n in namespaces {
            hits.with_label_values(&[n.namespace, "l1"]).inc_by(n.l1_hits);
            hits.with_label_values(&[n.namespace, "l2"]).inc_by(n.l2_hits);
        }
        for (name, help, count) in OF_NAMESPACES {
            let counters = self.counters(name, help, &["key_prefix"])?;
            for n in namespaces {
                counters.with_label_values(&[n.namespace]).inc_by(count(n));
            }
        }
        Ok(())
    }

    fn about_tiers(&self, cache: &CacheReport) -> Result<()> {
        self.gauge("cache_l1_bytes", "Bytes that L1 is charged.", cache.l1_bytes as f64)?;
        let help = "Bytes that L1 may be charged.";
        self.gauge("cache_l1_capacity_bytes", help, cache.l1_capacity as f64)?;
        self.gauge("cache_l1_entries", "Entries of L1.", cache.l1_entries as f64)?;
        let help = "Entries of L1 that had to make room.";
        self.counter("cache_l1_evictions_total", help, cache.l1_evictions)?;
        let help = "1 in the state of the breaker before Redis: closed, open or off.";
        let breaker = GaugeVec::new(Opts::new("cache_breaker_state", help), &["state"])?;
        let now = match cache.redis {
            RedisState::Up => "closed",
            RedisState::Down => "open",
            RedisState::Off => "off",
        };
        for state in ["closed", "open", "off"] {
            breaker.with_label_values(&[state]).set(f64::from(u8::from(state == now)));
        }
        self.0.register(Box::new(breaker))
    }

    fn about_others(&self, cache: &CacheReport, outbox_depth: Option<u64>) -> Result<()> {
        let help = "Invalidations that this process was asked for.";
        self.counter("cache_invalidations_total", help, cache.invalidations)?;
        let help = "Invalidations that Redis has not acknowledged yet.";
        self.gauge("cache_pending_invalidations", help, cache.pending_invalidations as f64)?;
        let backplane = &cache.backplane;
        let help = "Invalidations heard from the backplane, the own ones among them.";
        self.counter("cache_backplane_messages_total", help, backplane.messages)?;
        let help = "How often L1 was given up because an invalidation may have been missed.";
        self.counter("cache_backplane_flushes_total", help, backplane.flushes)?;
        if let Some(lag) = backplane.lag {
            let help = "For how long nothing has proved that no invalidation was missed.";
            self.gauge("cache_backplane_lag_seconds", help, lag.as_secs_f64())?;
        }
        if let Some(depth) = outbox_depth {
            let help = "Committed writes that Redis has yet to be told of.";
            self.gauge("cache_outbox_depth", help, depth as f64)?;
        }
        self.counter("cache_warm_reads_total", "Reads made to warm.", cache.warming.reads)?;
        let help = "Reads that could not be warmed.";
        self.counter("cache_warm_failures_total", help, cache.warming.failed)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> Result<()> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.0.register(Box::new(counter))
    }

    fn gauge(&self, name: &str, help: &str, value: f64) -> Result<()> {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        self.0.register(Box::new(gauge))
    }
}
