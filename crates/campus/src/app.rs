//! The application: everything that the server, the commands and the tests share.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use larder::{Cache, PolicyOverride, RedisKeys};
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::config::{
    CacheConfig, Config, ContentConfig, MetricsConfig, Network, Secret, Service, Toggle,
};
use crate::learning::Learning;
use crate::meters::{self, Meters};
use crate::reads;
use crate::reads::{Caching, Crash, Reads, Rows, Warming};
use crate::store::{self, ContentStore, Location, Store};
use crate::token::TokenKey;

/// How long a health probe may take, and how long its result is believed.
const PROBE_LIMIT: Duration = Duration::from_millis(200);
const PROBE_LIFE: Duration = Duration::from_secs(1);

/// How long a command waits for a connection to Redis.
const REDIS_PATIENCE: Duration = Duration::from_secs(5);

pub struct App {
    pub learning: Learning,
    pub reads: Reads,
    pub clock: Clock,
    pub trusted_proxies: Vec<Network>,
    pub cors_origins: Vec<String>,
    pub service: Service,
    pub tiers: String,
    cache_clock: larder::Clock,
    /// What is warmed is courses: the user service has none.
    pub warming: Option<Warming>,
    pub metrics: MetricsConfig,
    pub meters: Arc<Meters>,
    /// What every key in Redis begins with.
    pub key_prefix: String,
    store: Arc<Store>,
    started: Instant,
    health: Mutex<Option<(Instant, Health)>>,
    pub leaving: Leaving,
}

/// Whether this server is about to stop: it serves what comes, and asks everybody to go elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Leaving(Arc<AtomicBool>);

impl Leaving {
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the probes found.
#[derive(Debug, Clone)]
pub struct Health {
    pub database: State,
    pub redis: State,
    /// Where course content is, if it is not in the database.
    pub mongodb: State,
    pub redis_latency: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Up,
    Down,
    /// Not configured.
    Off,
}

/// Why the application could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the changed rules of the cache cannot be read")]
    Rules(#[from] reads::Error),
    #[error("REDIS_URL: {0}")]
    Redis(#[source] larder::ConfigError),
    #[error("the metrics cannot be set up")]
    Metrics(#[from] meters::Error),
    #[error("the cache cannot be set up: {0}")]
    Cache(#[from] larder::ConfigError),
    #[error("there is no secret in {0} yet: start `campus serve` once, or set JWT_SECRET")]
    NoSecret(String),
    #[error("there is no Redis (REDIS_URL), and L1 is the server's own")]
    NoRedis,
    #[error("Redis cannot list its keys: {0}")]
    Keys(#[source] larder::RedisUnavailable),
    #[error("cannot keep the generated JWT secret in {path} (or set JWT_SECRET)")]
    Secret { path: String, source: io::Error },
}

impl App {
    /// Opens the database, brings its schema up to date, connects to MongoDB if that has the
    /// content, and starts the cache.
    /// Redis may be down: the cache connects in the background.
    pub async fn build(config: &Config, clock: Clock) -> Result<Self, BuildError> {
        let app = Self::assemble(config, clock, open_store(config).await?)?;
        app.reads.apply_rules().await?;
        Ok(app)
    }

    /// Whether the cache takes the configuration. Nothing is opened or connected to.
    pub fn check(config: &Config) -> Result<(), BuildError> {
        cache_builder(config).map(drop)
    }

    fn assemble(config: &Config, clock: Clock, store: Store) -> Result<Self, BuildError> {
        let store = Arc::new(store);
        let cache_clock = match clock {
            Clock::System => larder::Clock::system(),
            Clock::Manual(_) => larder::Clock::manual(),
        };
        let mut builder = cache_builder(config)?.clock(cache_clock.clone());
        if config.redis.is_some() {
            builder = builder.outbox(Rows(Arc::clone(&store)));
        }
        let cache = builder.build()?;
        let crash = Crash::after(config.abort_after_commit);
        let lifetimes = config.cache.lifetimes.clone();
        let reads = Reads::new(cache, Arc::clone(&store), caching(config), crash, lifetimes);
        let secret = jwt_secret(config, &store)?;
        let tokens = TokenKey::new(secret.expose().as_bytes(), config.auth.access_lifetime);
        let learning = Learning::new(
            Arc::clone(&store),
            reads.clone(),
            clock.clone(),
            tokens,
            config.auth.refresh_lifetime,
        );
        let warming = Warming { top: config.warm.top, page_size: config.warm.page_size };
        Ok(Self {
            learning,
            reads,
            clock,
            trusted_proxies: config.trusted_proxies.clone(),
            cors_origins: config.cors_origins.clone(),
            service: config.service,
            tiers: tiers(config),
            cache_clock,
            metrics: config.metrics.clone(),
            meters: Arc::new(Meters::new()?),
            warming: config.service.has_courses().then_some(warming),
            key_prefix: config.redis.as_ref().map(|r| r.prefix.clone()).unwrap_or_default(),
            store,
            started: Instant::now(),
            health: Mutex::new(None),
            leaving: Leaving::default(),
        })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Moves a manual clock, and that by which the cache's entries age; the system clock cannot
    /// be moved.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.cache_clock.advance(by);
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The state of what this process depends on, at most a second old. Callers
    /// that come at the same time share one probe.
    pub async fn health(&self) -> Health {
        let mut last = self.health.lock().await;
        if let Some((at, health)) = last.as_ref()
            && at.elapsed() < PROBE_LIFE
        {
            return health.clone();
        }
        let health = self.probe().await;
        *last = Some((Instant::now(), health.clone()));
        health
    }

    async fn probe(&self) -> Health {
        // A task, because connecting anew may take longer than this probe: the next one has it.
        let store = Arc::clone(&self.store);
        let database = tokio::spawn(async move { store.ping().await });
        let database = tokio::time::timeout(PROBE_LIMIT, database);
        let redis = tokio::time::timeout(PROBE_LIMIT, self.reads.ping_redis());
        let (database, redis, mongodb) = tokio::join!(database, redis, self.probe_mongodb());
        let redis_latency = match redis {
            Ok(Some(Ok(ref latency))) => Some(*latency),
            _ => None,
        };
        Health {
            database: match database {
                Ok(Ok(Ok(()))) => State::Up,
                // A file does not go away by itself: its readers are busy, which is no
                // reason to take this server out of service or to start it anew.
                Err(_) if self.store.file().is_some() => State::Up,
                Ok(Ok(Err(_)) | Err(_)) | Err(_) => State::Down,
            },
            redis: match redis {
                Ok(None) => State::Off,
                Ok(Some(Ok(_))) => State::Up,
                Ok(Some(Err(_))) | Err(_) => State::Down,
            },
            mongodb,
            redis_latency,
        }
    }

    async fn probe_mongodb(&self) -> State {
        match self.store.content_store() {
            ContentStore::Sql => State::Off,
            #[cfg(feature = "mongo")]
            ContentStore::Mongo(documents) => {
                match tokio::time::timeout(PROBE_LIMIT, documents.ping()).await {
                    Ok(Ok(())) => State::Up,
                    Ok(Err(_)) | Err(_) => State::Down,
                }
            }
        }
    }
}

/// Opens the database, brings its schema up to date, and connects to MongoDB if that has the
/// content.
pub async fn open_store(config: &Config) -> store::Result<Store> {
    let store = Store::connect_waiting(&config.database_url.0, config.database_timeout).await?;
    store.migrate().await?;
    store.keep_content_in(content_store(config).await?).await
}

async fn content_store(config: &Config) -> store::Result<ContentStore> {
    Ok(match &config.content {
        ContentConfig::Sql => ContentStore::Sql,
        #[cfg(feature = "mongo")]
        ContentConfig::Mongo(mongo) => {
            ContentStore::Mongo(store::Documents::open(&mongo.url, &mongo.database).await?)
        }
    })
}

/// What this installation signs with, known without opening its database. Nothing is made: an
/// installation that has never been started has no secret.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn token_key(config: &Config) -> Result<TokenKey, BuildError> {
    let secret = match &config.auth.jwt_secret {
        Some(secret) => secret.clone(),
        None => {
            let path = secret_path(&Location::parse(&config.database_url.0)?);
            let kept = kept_secret(&path)?;
            kept.ok_or_else(|| BuildError::NoSecret(path.display().to_string()))?
        }
    };
    Ok(TokenKey::new(secret.expose().as_bytes(), config.auth.access_lifetime))
}

/// Keys in Redis, at most `most`, without their prefix. The database is not opened.
///
/// # Errors
/// There is no Redis, or it does not answer in time.
pub async fn redis_keys(config: &Config, most: usize) -> Result<RedisKeys, BuildError> {
    let cache = cache_builder(config)?.build()?;
    let connected = async {
        while cache.stats().l2 == larder::L2State::Down {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // If it is still away then, it says so itself.
    let _ = tokio::time::timeout(REDIS_PATIENCE, connected).await;
    let keys = cache.redis_keys(most).await.ok_or(BuildError::NoRedis)?;
    keys.map_err(BuildError::Keys)
}

fn cache_builder(config: &Config) -> Result<larder::Builder, BuildError> {
    let cache = &config.cache;
    let mut builder = Cache::builder()
        .l1_bytes(cache.l1_bytes)
        .max_entry_bytes(cache.max_entry_bytes)
        .compress_above(cache.compress_above)
        .degraded_l1_life(cache.degraded_l1_ttl);
    if let Some(redis) = &config.redis {
        builder = builder.redis(&redis.url).map_err(BuildError::Redis)?;
        builder = builder.prefix(redis.prefix.as_str()).op_timeout(redis.op_timeout);
        builder = builder.connect_timeout(redis.connect_timeout);
    }
    if cache.l1 == Toggle::Off {
        builder = builder.without_l1();
    }
    if cache.enabled == Toggle::Off {
        builder = builder.disabled();
    }
    if let Some(most) = cache.l1_max_ttl {
        builder = builder.l1_max_life(most);
    }
    for (namespace, change) in overrides(cache) {
        builder = builder.policy_override(namespace, change);
    }
    Ok(builder)
}

/// The lifetimes that the operator has set, by namespace.
fn overrides(cache: &CacheConfig) -> impl Iterator<Item = (&'static str, PolicyOverride)> {
    crate::config::NAMESPACES.iter().filter_map(|namespace| {
        let lifetime = cache.lifetimes.get(namespace.name)?;
        let (soft, hard) = (Some(lifetime.soft), Some(lifetime.hard));
        Some((namespace.name, PolicyOverride { soft, hard, ..PolicyOverride::default() }))
    })
}

/// Without a tier nothing is ever kept, which is the same as off.
fn caching(config: &Config) -> Caching {
    match (config.cache.enabled, config.cache.l1, &config.redis) {
        (Toggle::Off, _, _) | (Toggle::On, Toggle::Off, None) => Caching::Off,
        (Toggle::On, _, _) => Caching::On,
    }
}

/// The active tiers, as the server prints them.
fn tiers(config: &Config) -> String {
    let cache = &config.cache;
    let l1 = format!("L1 {} MB", cache.l1_bytes >> 20);
    match (cache.enabled, cache.l1, &config.redis) {
        (Toggle::Off, _, _) => "off (CACHE_ENABLED=false)".to_owned(),
        (Toggle::On, Toggle::On, Some(redis)) => format!("{l1} + Redis {}", redis.shown()),
        (Toggle::On, Toggle::Off, Some(redis)) => format!("Redis {} only", redis.shown()),
        (Toggle::On, Toggle::On, None) => format!("{l1} only (in-process)"),
        (Toggle::On, Toggle::Off, None) => "none (no Redis and CACHE_L1_ENABLED=false)".to_owned(),
    }
}

/// The configured secret, or with SQLite one that is made at the first start and kept.
fn jwt_secret(config: &Config, store: &Store) -> Result<Secret, BuildError> {
    if let Some(secret) = &config.auth.jwt_secret {
        return Ok(secret.clone());
    }
    let path = secret_path(store.location());
    if let Some(kept) = kept_secret(&path)? {
        return Ok(kept);
    }
    let secret = new_secret();
    let failed = |source| BuildError::Secret { path: path.display().to_string(), source };
    keep_secret(&path, &secret).map_err(failed)?;
    Ok(Secret::new(secret))
}

/// Beside the database.
fn secret_path(location: &Location) -> PathBuf {
    let folder = location.file().and_then(|file| file.parent());
    folder.unwrap_or(Path::new("")).join("secret")
}

fn kept_secret(path: &Path) -> Result<Option<Secret>, BuildError> {
    let failed = |source| BuildError::Secret { path: path.display().to_string(), source };
    match fs::read_to_string(path) {
        Ok(kept) if kept.trim().len() >= 32 => Ok(Some(Secret::new(kept.trim()))),
        Ok(_) => Err(failed(io::Error::other("it has fewer than 32 bytes"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

fn new_secret() -> String {
    let mut bytes = [0u8; 48];
    #[expect(clippy::expect_used, reason = "nothing can be done safely without randomness")]
    getrandom::fill(&mut bytes).expect("the system has a random source");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Readable by its owner only, from the first moment on.
fn keep_secret(path: &Path, secret: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::App;
    use crate::config::{Config, Settings};

    #[test]
    fn a_bad_url_is_blamed_on_redis_url() {
        let redis_url = Some("redis://localhost/?protocol=seven".to_owned());
        let settings = Settings { redis_url, ..Settings::default() };
        let config = Config::resolve(&settings, &BTreeMap::new()).unwrap();
        let error = App::check(&config).err().unwrap().to_string();
        assert!(error.starts_with("REDIS_URL: "), "{error}");
    }
}
