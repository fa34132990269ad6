//! The settings as they arrive: texts, from flags and variables.
//!
//! One field per variable; the flag, the help and the list of known names all come from here.

/// Every setting, not checked yet.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// Where to listen [default: 127.0.0.1:8000]
    #[arg(long, global = true, env = "CAMPUS_ADDR")]
    pub addr: Option<String>,
    /// Serve one part: user or course; services share database and Redis [default: all]
    #[arg(long, global = true, env = "CAMPUS_ONLY")]
    pub only: Option<String>,
    /// sqlite://FILE or postgres://.. [default: sqlite://data/campus.db]
    #[arg(long, global = true, env = "DATABASE_URL")]
    pub database_url: Option<String>,
    /// Milliseconds that a request waits for a connection to PostgreSQL [default: 5000]
    #[arg(long, global = true, env = "DATABASE_TIMEOUT_MS", hide_short_help = true)]
    pub database_timeout_ms: Option<String>,
    /// Milliseconds from SIGTERM, from when on it is not ready, to the end of accepting [default: 1000]
    #[arg(long, global = true, env = "CAMPUS_SHUTDOWN_DELAY_MS", hide_short_help = true)]
    pub shutdown_delay_ms: Option<String>,
    /// What an empty database starts with: demo or none [default: demo]
    #[arg(long, global = true, env = "CAMPUS_SEED")]
    pub seed: Option<String>,
    /// The first admin's password; generated and shown once when absent
    #[arg(long, global = true, env = "CAMPUS_ADMIN_PASSWORD", hide_short_help = true)]
    pub admin_password: Option<String>,
    /// pretty or json [default: pretty]
    #[arg(long, global = true, env = "LOG_FORMAT", hide_short_help = true)]
    pub log_format: Option<String>,
    /// What to log, for example info,campus=debug [default: info]
    #[arg(long, global = true, env = "LOG_FILTER", hide_short_help = true)]
    pub log_filter: Option<String>,
    /// Addresses or networks whose X-Forwarded-For is believed, comma separated
    #[arg(long, global = true, env = "TRUSTED_PROXIES", hide_short_help = true)]
    pub trusted_proxies: Option<String>,
    /// Origins that may call the API from a browser, comma separated
    #[arg(long, global = true, env = "CORS_ORIGINS", hide_short_help = true)]
    pub cors_origins: Option<String>,
    /// redis://.. or rediss://..; empty: in-process cache only
    #[arg(long, global = true, env = "REDIS_URL")]
    pub redis_url: Option<String>,
    /// For a REDIS_URL without a password
    #[arg(long, global = true, env = "REDIS_PASSWORD", hide_short_help = true)]
    pub redis_password: Option<String>,
    /// Begins every key in Redis [default: skillup:]
    #[arg(long, global = true, env = "REDIS_KEY_PREFIX", hide_short_help = true)]
    pub redis_key_prefix: Option<String>,
    /// Time that one read may spend on Redis [default: 100]
    #[arg(long, global = true, env = "REDIS_OP_TIMEOUT_MS", hide_short_help = true)]
    pub redis_op_timeout_ms: Option<String>,
    /// The same in seconds; REDIS_OP_TIMEOUT_MS wins
    #[arg(long, global = true, env = "REDIS_SOCKET_TIMEOUT", hide_short_help = true)]
    pub redis_socket_timeout: Option<String>,
    /// Seconds that an attempt to connect may take [default: 2]
    #[arg(long, global = true, env = "REDIS_SOCKET_CONNECT_TIMEOUT", hide_short_help = true)]
    pub redis_socket_connect_timeout: Option<String>,
    /// Most connections to Redis; a server opens 2, whatever the load, so 2 at least [default: 10]
    #[arg(long, global = true, env = "REDIS_MAX_CONNECTIONS", hide_short_help = true)]
    pub redis_max_connections: Option<String>,
    /// Accepted; invalidations are always retried
    #[arg(long, global = true, env = "REDIS_RETRY_ON_TIMEOUT", hide_short_help = true)]
    pub redis_retry_on_timeout: Option<String>,
    /// Seconds, for namespaces without a TTL of their own
    #[arg(long, global = true, env = "REDIS_DEFAULT_TTL", hide_short_help = true)]
    pub redis_default_ttl: Option<String>,
    /// Seconds, for the namespace courses
    #[arg(long, global = true, env = "REDIS_COURSE_TTL", hide_short_help = true)]
    pub redis_course_ttl: Option<String>,
    /// false: every read loads [default: true]
    #[arg(long, global = true, env = "CACHE_ENABLED", hide_short_help = true)]
    pub cache_enabled: Option<String>,
    /// false: only Redis caches [default: true]
    #[arg(long, global = true, env = "CACHE_L1_ENABLED", hide_short_help = true)]
    pub cache_l1_enabled: Option<String>,
    /// Bytes that L1 may hold, in MB [default: 256]
    #[arg(long, global = true, env = "CACHE_MAX_MEMORY_MB", hide_short_help = true)]
    pub cache_max_memory_mb: Option<String>,
    /// Larger entries are not cached, in KB [default: 1024]
    #[arg(long, global = true, env = "CACHE_MAX_ENTRY_KB", hide_short_help = true)]
    pub cache_max_entry_kb: Option<String>,
    /// Larger entries are compressed in Redis where that saves an eighth, in KB [default: 8]
    #[arg(long, global = true, env = "CACHE_COMPRESS_ABOVE_KB", hide_short_help = true)]
    pub cache_compress_above_kb: Option<String>,
    /// Seconds, for namespaces without a TTL of their own
    #[arg(long, global = true, env = "CACHE_DEFAULT_TTL", hide_short_help = true)]
    pub cache_default_ttl: Option<String>,
    /// Seconds, for the namespace articles
    #[arg(long, global = true, env = "CACHE_TTL_ARTICLES_DETAIL", hide_short_help = true)]
    pub cache_ttl_articles_detail: Option<String>,
    /// Whether a write waits until every node has heard of it (no effect yet) [default: off]
    #[arg(long, global = true, env = "CACHE_STRICT_WRITES", hide_short_help = true)]
    pub cache_strict_writes: Option<String>,
    /// Upper bound for the life of an L1 entry, in seconds
    #[arg(long, global = true, env = "CACHE_L1_MAX_TTL", hide_short_help = true)]
    pub cache_l1_max_ttl: Option<String>,
    /// Seconds that L1 may answer while Redis is away [default: 0]
    #[arg(long, global = true, env = "CACHE_DEGRADED_L1_TTL", hide_short_help = true)]
    pub cache_degraded_l1_ttl: Option<String>,
    /// At least 32 bytes; generated beside an SQLite file when absent
    #[arg(long, global = true, env = "JWT_SECRET", hide_short_help = true)]
    pub jwt_secret: Option<String>,
    /// Life of an access token [default: 15]
    #[arg(long, global = true, env = "ACCESS_TOKEN_EXPIRE_MINUTES", hide_short_help = true)]
    pub access_token_expire_minutes: Option<String>,
    /// Life of a refresh token [default: 7]
    #[arg(long, global = true, env = "REFRESH_TOKEN_EXPIRE_DAYS", hide_short_help = true)]
    pub refresh_token_expire_days: Option<String>,
    /// Builds a DATABASE_URL where there is none
    #[arg(long, global = true, env = "POSTGRES_USER", hide_short_help = true)]
    pub postgres_user: Option<String>,
    /// Builds a DATABASE_URL where there is none
    #[arg(long, global = true, env = "POSTGRES_PASSWORD", hide_short_help = true)]
    pub postgres_password: Option<String>,
    /// Builds a DATABASE_URL where there is none
    #[arg(long, global = true, env = "POSTGRES_DB", hide_short_help = true)]
    pub postgres_db: Option<String>,
    /// Builds a DATABASE_URL where there is none [default: localhost]
    #[arg(long, global = true, env = "POSTGRES_HOST", hide_short_help = true)]
    pub postgres_host: Option<String>,
    /// Builds a DATABASE_URL where there is none [default: 5432]
    #[arg(long, global = true, env = "POSTGRES_PORT", hide_short_help = true)]
    pub postgres_port: Option<String>,
    /// Where course content is kept: sql, or mongo in a build with MongoDB [default: sql]
    #[arg(long, global = true, env = "CONTENT_STORE", hide_short_help = true)]
    pub content_store: Option<String>,
    /// mongodb://.., for CONTENT_STORE=mongo
    #[arg(long, global = true, env = "MONGODB_URL", hide_short_help = true)]
    pub mongodb_url: Option<String>,
    /// The same; MONGODB_URL wins
    #[arg(long, global = true, env = "MONGO_URI", hide_short_help = true)]
    pub mongo_uri: Option<String>,
    /// The database there, of this installation alone [default: smartcourse]
    #[arg(long, global = true, env = "MONGODB_DB_NAME", hide_short_help = true)]
    pub mongodb_db_name: Option<String>,
    /// Seconds between warmings of the cache, 0 for none [default: 600]
    #[arg(long, global = true, env = "WARM_INTERVAL_SECS", hide_short_help = true)]
    pub warm_interval_secs: Option<String>,
    /// How many of the most popular courses are warmed [default: 10]
    #[arg(long, global = true, env = "WARM_TOP", hide_short_help = true)]
    pub warm_top: Option<String>,
    /// The page size of warmed lists [default: 12]
    #[arg(long, global = true, env = "WARM_PAGE_SIZE", hide_short_help = true)]
    pub warm_page_size: Option<String>,
    /// Where /metrics is served; absent: on the main address
    #[arg(long, global = true, env = "METRICS_ADDR", hide_short_help = true)]
    pub metrics_addr: Option<String>,
    /// The token that /metrics asks for on the main address; absent: this machine only
    #[arg(long, global = true, env = "METRICS_TOKEN", hide_short_help = true)]
    pub metrics_token: Option<String>,
    /// A collector of traces that takes OTLP over HTTP, in a build with them; absent: none are sent
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_short_help = true)]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// What traces call this server [default: campus]
    #[arg(long, global = true, env = "OTEL_SERVICE_NAME", hide_short_help = true)]
    pub otel_service_name: Option<String>,
    /// Which requests are traced, by OpenTelemetry's names [default: parentbased_always_on]
    #[arg(long, global = true, env = "OTEL_TRACES_SAMPLER", hide_short_help = true)]
    pub otel_traces_sampler: Option<String>,
    /// The share of them for a sampler with ratio in its name [default: 1.0]
    #[arg(long, global = true, env = "OTEL_TRACES_SAMPLER_ARG", hide_short_help = true)]
    pub otel_traces_sampler_arg: Option<String>,
    /// For tests: abort after this many commits, before the cache hears of the last one
    #[cfg(debug_assertions)]
    #[arg(long, global = true, env = "CAMPUS_ABORT_AFTER_COMMIT", hide = true)]
    pub abort_after_commit: Option<String>,
}
