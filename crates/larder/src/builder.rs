//! Building a cache: which tiers, how large, how patient.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::ConnectionInfo;

use crate::{
    Cache, Clock, ConfigError, Outbox, PolicyOverride,
    cache::{Inner, Mode},
    l2,
};

const MOST_PREFIX_BYTES: usize = 128;

/// Assembles a [`Cache`]; see [`Cache::builder`].
///
/// Without [`redis`](Self::redis) the cache is in-process: the same semantics on one node.
///
/// ```
/// use larder::{Cache, Clock, PolicyOverride};
/// use std::time::Duration;
///
/// let cache = Cache::builder()
///     .l1_bytes(64 << 20)
///     .l1_max_life(Duration::from_secs(30))
///     .max_entry_bytes(256 << 10)
///     .wait_max(Duration::from_secs(1))
///     .most_refreshes(16)
///     .policy_override("news", PolicyOverride { enabled: Some(false), ..Default::default() })
///     .clock(Clock::manual())
///     .build()?;
/// assert_eq!(cache.stats().l1.capacity, 64 << 20);
/// # Ok::<(), larder::ConfigError>(())
/// ```
#[must_use]
pub struct Builder {
    pub(crate) redis: Option<ConnectionInfo>,
    pub(crate) prefix: String,
    pub(crate) l1_bytes: Option<u64>,
    pub(crate) l1_max_life: Duration,
    pub(crate) degraded_l1_life: Duration,
    pub(crate) enabled: bool,
    pub(crate) max_entry_bytes: usize,
    pub(crate) compress_above: usize,
    pub(crate) op_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) wait_max: Duration,
    pub(crate) most_refreshes: usize,
    pub(crate) most_loads: usize,
    pub(crate) overrides: HashMap<String, PolicyOverride>,
    pub(crate) clock: Clock,
    pub(crate) outbox: Option<Arc<dyn Outbox>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            redis: None,
            prefix: String::from("larder:"),
            l1_bytes: Some(256 << 20),
            l1_max_life: Duration::MAX,
            degraded_l1_life: Duration::ZERO,
            enabled: true,
            max_entry_bytes: 1 << 20,
            compress_above: 8 << 10,
            op_timeout: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(2),
            wait_max: Duration::from_secs(2),
            most_refreshes: 64,
            most_loads: 256,
            overrides: HashMap::new(),
            clock: Clock::system(),
            outbox: None,
        }
    }
}

impl Builder {
    /// Adds Redis as L2: `redis://[user:password@]host:port/db`, `rediss://` for TLS. It need not
    /// be up: connecting goes on in the background.
    ///
    /// # Errors
    /// If the URL cannot be parsed. The error does not quote it.
    pub fn redis(mut self, url: &str) -> Result<Self, ConfigError> {
        self.redis = Some(l2::connection_info(url)?);
        Ok(self)
    }

    /// What every key in Redis begins with. Default `larder:`. All processes of one installation
    /// share it.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Bound of L1 in charged bytes (see [`crate::CacheKey::weigh`]). Default 256 MiB.
    pub fn l1_bytes(mut self, bytes: u64) -> Self {
        self.l1_bytes = Some(bytes);
        self
    }

    /// No entry stays longer in L1, whatever its policy says. Unbounded by default.
    pub fn l1_max_life(mut self, most: Duration) -> Self {
        self.l1_max_life = most;
        self
    }

    /// How long L1 goes on answering while Redis is configured and away. Default 0: at most a
    /// second, after which every read loads, since other processes may write meanwhile. For a
    /// single process a longer one keeps hits through an outage; its own writes still count.
    pub fn degraded_l1_life(mut self, life: Duration) -> Self {
        self.degraded_l1_life = life;
        self
    }

    /// Turns L1 off: every read asks Redis.
    pub fn without_l1(mut self) -> Self {
        self.l1_bytes = None;
        self
    }

    /// Turns caching off: every read loads. Invalidations are still sent to Redis, if there is
    /// one, for the sake of other processes.
    pub fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }

    /// Largest value that is cached, in bytes. A larger one is delivered and not stored. Default
    /// 1 MiB, at most 512 MiB (what Redis can hold under one key). Give all processes of one
    /// installation the same: one with a smaller cap cannot read larger entries, loads instead,
    /// and removes them.
    pub fn max_entry_bytes(mut self, bytes: usize) -> Self {
        self.max_entry_bytes = bytes.min(512 << 20);
        self
    }

    /// Values of more bytes than this are compressed in Redis (LZ4) where that saves an eighth.
    /// Default 8 KiB; `usize::MAX` compresses none. Whoever reads decides nothing by this: the
    /// processes of one installation may differ.
    pub fn compress_above(mut self, bytes: usize) -> Self {
        self.compress_above = bytes;
        self
    }

    /// How long an attempt to connect to Redis may take, log-in and all. Default 2 s, at least 1 ms,
    /// at most a minute. No read waits for it.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit.clamp(Duration::from_millis(1), Duration::from_secs(60));
        self
    }

    /// How long one read may wait for Redis in all, whatever the number of commands. Default
    /// 100 ms, at most a minute.
    pub fn op_timeout(mut self, timeout: Duration) -> Self {
        self.op_timeout = timeout.min(Duration::from_secs(60));
        self
    }

    /// How long a read waits for a value that another process is loading before it loads for
    /// itself. Default 2 s.
    pub fn wait_max(mut self, limit: Duration) -> Self {
        self.wait_max = limit;
        self
    }

    /// How many loaders of one namespace may run at a time; others wait for their turn within their
    /// load timeout. Default 256, at least 1. A loader that reads other keys of its own namespace
    /// keeps its turn meanwhile: where all turns are kept by such loaders, all end in a timeout.
    pub fn most_loads(mut self, most: usize) -> Self {
        self.most_loads = most;
        self
    }

    /// How many background refreshes may run at a time. Default 64.
    pub fn most_refreshes(mut self, most: usize) -> Self {
        self.most_refreshes = most;
        self
    }

    /// Changes the policy of one namespace.
    pub fn policy_override(mut self, namespace: impl Into<String>, change: PolicyOverride) -> Self {
        self.overrides.insert(namespace.into(), change);
        self
    }

    /// Adds the table in which writers leave their invalidations; see [`Outbox`]. A writer that dies
    /// between its COMMIT and its invalidation is then healed by any process, and Redis is not
    /// read after an outage before everything committed meanwhile is applied.
    pub fn outbox(mut self, outbox: impl Outbox) -> Self {
        self.outbox = Some(Arc::new(outbox));
        self
    }

    /// Replaces the clock, for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the cache and starts connecting to Redis.
    ///
    /// # Errors
    /// If L1 is smaller than 64 KiB, the prefix longer than 128 bytes, or the Redis settings cannot be used. Redis being down is no
    /// error.
    ///
    /// # Panics
    /// If Redis or an outbox is configured and this is called outside of a tokio runtime.
    pub fn build(self) -> Result<Cache, ConfigError> {
        if self.prefix.len() > MOST_PREFIX_BYTES {
            return Err(ConfigError::new("the prefix is longer than 128 bytes"));
        }
        Ok(Cache { inner: Inner::new(self)?, mode: Mode::Any })
    }
}

impl Cache {
    /// Begins to build a cache.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::ConfigError> {
    /// let cache = larder::Cache::builder()
    ///     .redis("redis://127.0.0.1:6379/0")? // leave out for in-process only
    ///     .prefix("shop:")
    ///     .l1_bytes(64 << 20)
    ///     .build()?; // Redis may be down: reads then load
    /// assert_eq!(cache.stats().l1.capacity, 64 << 20);
    /// # Ok(()) }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }
}
