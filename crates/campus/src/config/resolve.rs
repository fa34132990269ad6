//! From texts to a checked [`Config`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::{
    AuthConfig, CacheConfig, Config, ConfigError, DatabaseUrl, Lifetime, LogFormat, Network,
    RedisConfig, Secret, Seed, Settings, Toggle, lifetimes, names, redis_url,
};

/// Secrets that stand in tutorials and seed documents.
const KNOWN_SECRETS: &[&str] = &[
    "your-secret-key",
    "your-super-secret-key-change-in-production",
    "your-super-secret-jwt-key-change-in-production",
    "change-me-in-production",
    "changeme",
    "smartcourse_secret",
    "secret",
];

/// What a server opens to Redis, and never more.
const REDIS_CONNECTIONS: u64 = 2;

type Field = fn(&Settings) -> &Option<String>;

/// Variables that are accepted before what they configure is there.
const WITHOUT_EFFECT_YET: &[(&str, Field)] = &[("CACHE_STRICT_WRITES", |s| &s.cache_strict_writes)];

impl Config {
    /// Puts `.env` under the environment, and answers the names that come from there. Call
    /// it before any thread is started.
    ///
    /// # Errors
    /// A `.env` that exists and cannot be read; a missing one is fine.
    pub fn load_dotenv() -> Result<BTreeSet<String>, ConfigError> {
        let file = Path::new(".env");
        let refused = |error| match error {
            dotenvy::Error::LineParse(_, at) => {
                ConfigError(vec![format!(".env: there is a mistake near character {at}")])
            }
            error => ConfigError(vec![format!(".env: {error}")]),
        };
        let lines = match dotenvy::from_path_iter(file) {
            Ok(lines) => lines,
            Err(e) if e.not_found() => return Ok(BTreeSet::new()),
            Err(e) => return Err(refused(e)),
        };
        let mut names = BTreeSet::new();
        for line in lines {
            let (name, _) = line.map_err(refused)?;
            if std::env::var_os(&name).is_none() {
                names.insert(name);
            }
        }
        dotenvy::from_path(file).map_err(refused)?;
        Ok(names)
    }

    /// Checks the settings and the variables of this process.
    ///
    /// # Errors
    /// Every problem there is, each with the name of its variable.
    pub fn from_process(settings: &Settings) -> Result<Self, ConfigError> {
        let vars: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        Self::resolve(settings, &vars)
    }

    /// Checks settings against a set of variables.
    ///
    /// # Errors
    /// Every problem there is, each with the name of its variable.
    pub fn resolve(
        settings: &Settings,
        vars: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let mut check = Check { vars, ..Check::of(settings) };
        let config = check.config();
        if check.problems.is_empty() { Ok(config) } else { Err(ConfigError(check.problems)) }
    }
}

pub(super) struct Check<'a> {
    pub(super) settings: &'a Settings,
    vars: &'a BTreeMap<String, String>,
    pub(super) problems: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// An empty variable is an unset one.
pub(super) fn set(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|v| !v.is_empty())
}

/// What there is to check against when only settings count.
static NO_VARIABLES: BTreeMap<String, String> = BTreeMap::new();

impl<'a> Check<'a> {
    pub(super) fn of(settings: &'a Settings) -> Self {
        Self { settings, vars: &NO_VARIABLES, problems: Vec::new(), warnings: Vec::new() }
    }
}

impl Check<'_> {
    fn config(&mut self) -> Config {
        let present = self.vars.keys().map(String::as_str);
        names::check_unknown(present, &mut self.problems, &mut self.warnings);
        self.without_effect_yet();
        let s = self.settings;
        let addr = self.addr();
        let database_url = self.database_url();
        let config = Config {
            addr,
            service: self.service(),
            content: self.content(),
            shutdown_delay: self.shutdown_delay(),
            database_timeout: self.database_timeout(),
            redis: self.redis(),
            cache: self.cache(),
            auth: self.auth(&database_url),
            database_url: DatabaseUrl(database_url),
            seed: self.choice(
                "CAMPUS_SEED",
                &s.seed,
                &[("demo", Seed::Demo), ("none", Seed::None)],
            ),
            log_format: self.choice(
                "LOG_FORMAT",
                &s.log_format,
                &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)],
            ),
            log_filter: self.log_filter(),
            trusted_proxies: self.networks(),
            cors_origins: self.origins(),
            warm: self.warm(),
            metrics: self.metrics(),
            traces: self.traces(),
            abort_after_commit: self.abort_after_commit(),
            warnings: Vec::new(),
        };
        self.warn_of_nodes_that_cannot_hear(&config);
        Config { warnings: std::mem::take(&mut self.warnings), ..config }
    }

    #[cfg(debug_assertions)]
    fn abort_after_commit(&mut self) -> Option<u32> {
        let text = set(&self.settings.abort_after_commit)?;
        let commits = text.parse().ok().filter(|commits| *commits > 0);
        if commits.is_none() {
            let problem = format!("CAMPUS_ABORT_AFTER_COMMIT: '{text}' is not a number from 1 on");
            self.problems.push(problem);
        }
        commits
    }

    #[cfg(not(debug_assertions))]
    fn abort_after_commit(&mut self) -> Option<u32> {
        None
    }

    /// Several servers on one PostgreSQL tell each other of their writes through Redis.
    fn warn_of_nodes_that_cannot_hear(&mut self, config: &Config) {
        let cache = &config.cache;
        let keeps = cache.enabled == Toggle::On && cache.l1 == Toggle::On;
        if keeps && config.redis.is_none() && config.database_url.0.starts_with("postgres") {
            self.warnings.push(
                "PostgreSQL without REDIS_URL: run one server only, or set \
                 CACHE_L1_ENABLED=false; another one would not hear of writes and would serve \
                 what it has cached until its TTL (CACHE_L1_MAX_TTL bounds that)"
                    .to_owned(),
            );
        }
    }

    fn addr(&mut self) -> SocketAddr {
        let default = SocketAddr::from(([127, 0, 0, 1], 8000));
        let Some(text) = set(&self.settings.addr) else {
            return default;
        };
        text.parse().unwrap_or_else(|_| {
            self.problems
                .push(format!("CAMPUS_ADDR: '{text}' is not an address such as {default}"));
            default
        })
    }

    fn log_filter(&mut self) -> String {
        let filter = set(&self.settings.log_filter).unwrap_or("info");
        if let Err(problem) = EnvFilter::try_new(filter) {
            self.problems.push(format!("LOG_FILTER: {problem}"));
        }
        filter.to_owned()
    }

    /// Their values are checked all the same: a mistake must not wait for the day it counts.
    fn without_effect_yet(&mut self) {
        let s = self.settings;
        for (name, field) in WITHOUT_EFFECT_YET {
            if set(field(s)).is_some() {
                self.warnings.push(format!("{name} has no effect yet"));
            }
        }
        self.toggle("CACHE_STRICT_WRITES", &s.cache_strict_writes);
        self.toggle("REDIS_RETRY_ON_TIMEOUT", &s.redis_retry_on_timeout);
    }

    fn database_url(&mut self) -> String {
        let s = self.settings;
        if let Some(url) = set(&s.database_url) {
            if let Err(problem) = crate::store::Location::parse(url) {
                self.problems.push(problem.to_string());
            }
            return url.to_owned();
        }
        let Some(user) = set(&s.postgres_user) else {
            return "sqlite://data/campus.db".to_owned();
        };
        let password = set(&s.postgres_password).map(percent_encoded);
        let login = password.map_or_else(
            || percent_encoded(user),
            |password| format!("{}:{password}", percent_encoded(user)),
        );
        let host = set(&s.postgres_host).unwrap_or("localhost");
        if !is_host(host) {
            let problem = "is not a host name or an address";
            self.problems.push(format!("POSTGRES_HOST: '{host}' {problem}"));
        }
        let port = self.number("POSTGRES_PORT", &s.postgres_port, 5432, 1..=65_535);
        let name = percent_encoded(set(&s.postgres_db).unwrap_or(user));
        format!("postgres://{login}@{host}:{port}/{name}")
    }

    fn redis(&mut self) -> Option<RedisConfig> {
        let s = self.settings;
        // Checked without Redis too: a bad value must not wait for the day it is turned on.
        let op_timeout = self.redis_op_timeout();
        let name = "REDIS_SOCKET_CONNECT_TIMEOUT";
        let connect_timeout = self.number(name, &s.redis_socket_connect_timeout, 2, 1..=60);
        self.redis_connections();
        let prefix = set(&s.redis_key_prefix).unwrap_or("skillup:");
        if prefix.len() > 128 {
            self.problems.push("REDIS_KEY_PREFIX is longer than 128 bytes".to_owned());
        }
        let url = set(&s.redis_url)?;
        let address = redis_url::address(url).unwrap_or_else(|problem| {
            self.problems.push(format!("REDIS_URL {problem}"));
            String::new()
        });
        Some(RedisConfig {
            url: with_password(url, set(&s.redis_password)),
            prefix: prefix.to_owned(),
            op_timeout,
            connect_timeout: Duration::from_secs(connect_timeout),
            address,
        })
    }

    /// A server has one connection for reads and writes and one that hears the others, whatever the
    /// cap: one that allows less cannot be kept.
    fn redis_connections(&mut self) {
        let name = "REDIS_MAX_CONNECTIONS";
        let most = self.number(name, &self.settings.redis_max_connections, 10, 0..=1_000_000);
        if most < REDIS_CONNECTIONS {
            self.problems.push(format!(
                "{name}: {most} are too few; a server needs {REDIS_CONNECTIONS}, one for reads and \
                 writes and one to hear other servers' writes"
            ));
        }
    }

    /// Milliseconds win over the seconds of the older name.
    fn redis_op_timeout(&mut self) -> Duration {
        let s = self.settings;
        let name = "REDIS_OP_TIMEOUT_MS";
        let millis = self.number(name, &s.redis_op_timeout_ms, 100, 1..=60_000);
        let Some(text) = set(&s.redis_socket_timeout) else {
            return Duration::from_millis(millis);
        };
        let seconds = text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
        let allowed = Duration::from_millis(1)..=Duration::from_secs(60);
        match seconds.filter(|seconds| allowed.contains(seconds)) {
            Some(seconds) if set(&s.redis_op_timeout_ms).is_none() => seconds,
            Some(_) => Duration::from_millis(millis),
            None => {
                let problem = "is not a number of seconds from 0.001 to 60";
                self.problems.push(format!("REDIS_SOCKET_TIMEOUT: '{text}' {problem}"));
                Duration::from_millis(millis)
            }
        }
    }

    fn cache(&mut self) -> CacheConfig {
        let s = self.settings;
        let name = "CACHE_MAX_MEMORY_MB";
        let megabytes = self.number(name, &s.cache_max_memory_mb, 256, 1..=1_048_576);
        let name = "CACHE_MAX_ENTRY_KB";
        let kilobytes = self.number(name, &s.cache_max_entry_kb, 1024, 1..=524_288);
        let name = "CACHE_COMPRESS_ABOVE_KB";
        let compress_above = self.number(name, &s.cache_compress_above_kb, 8, 0..=524_288);
        let name = "CACHE_L1_MAX_TTL";
        let l1_max = self.number(name, &s.cache_l1_max_ttl, 0, 0..=86_400);
        let name = "CACHE_DEGRADED_L1_TTL";
        let degraded = self.number(name, &s.cache_degraded_l1_ttl, 0, 0..=86_400);
        let lifetimes = self.lifetimes();
        CacheConfig {
            enabled: self.toggle("CACHE_ENABLED", &s.cache_enabled),
            l1: self.toggle("CACHE_L1_ENABLED", &s.cache_l1_enabled),
            l1_bytes: megabytes << 20,
            max_entry_bytes: (kilobytes << 10) as usize,
            compress_above: (compress_above << 10) as usize,
            degraded_l1_ttl: Duration::from_secs(degraded),
            l1_max_ttl: (l1_max > 0).then(|| Duration::from_secs(l1_max)),
            lifetimes,
        }
    }

    /// Flags and variables share their fields; only the per-namespace names have no flag.
    fn lifetimes(&mut self) -> BTreeMap<&'static str, Lifetime> {
        let (s, vars) = (self.settings, self.vars);
        let lookup = |name: &str| {
            let flag = match name {
                "CACHE_DEFAULT_TTL" => &s.cache_default_ttl,
                "REDIS_DEFAULT_TTL" => &s.redis_default_ttl,
                "REDIS_COURSE_TTL" => &s.redis_course_ttl,
                "CACHE_TTL_ARTICLES_DETAIL" => &s.cache_ttl_articles_detail,
                _ => return vars.get(name).filter(|v| !v.trim().is_empty()).cloned(),
            };
            set(flag).map(str::to_owned)
        };
        lifetimes::read(lookup, &mut self.problems)
    }

    fn auth(&mut self, database_url: &str) -> AuthConfig {
        let s = self.settings;
        let name = "ACCESS_TOKEN_EXPIRE_MINUTES";
        // At most 15: a role that was taken away holds as long as the token.
        let minutes = self.number(name, &s.access_token_expire_minutes, 15, 1..=15);
        let name = "REFRESH_TOKEN_EXPIRE_DAYS";
        let days = self.number(name, &s.refresh_token_expire_days, 7, 1..=365);
        let admin_password = set(&s.admin_password);
        if admin_password.is_some_and(|p| !(8..=128).contains(&p.chars().count())) {
            self.problems.push("CAMPUS_ADMIN_PASSWORD must have 8 to 128 characters".to_owned());
        }
        AuthConfig {
            jwt_secret: self.jwt_secret(database_url),
            access_lifetime: Duration::from_secs(minutes * 60),
            refresh_lifetime: Duration::from_secs(days * 86_400),
            admin_password: admin_password.map(Secret::new),
        }
    }

    fn jwt_secret(&mut self, database_url: &str) -> Option<Secret> {
        let secret = set(&self.settings.jwt_secret);
        let problem = match secret {
            Some(secret) if KNOWN_SECRETS.contains(&secret) => {
                "JWT_SECRET is a well-known example; choose one of your own".to_owned()
            }
            Some(secret) if secret.len() < 32 => {
                format!("JWT_SECRET has {} bytes; at least 32 are needed", secret.len())
            }
            None if database_url.starts_with("postgres") => {
                "JWT_SECRET must be set with PostgreSQL: all servers need the same one".to_owned()
            }
            _ => return secret.map(Secret::new),
        };
        self.problems.push(problem);
        None
    }

    fn networks(&mut self) -> Vec<Network> {
        let mut networks = Vec::new();
        for text in list(&self.settings.trusted_proxies) {
            match Network::parse(text) {
                Some(network) => networks.push(network),
                None => self
                    .problems
                    .push(format!("TRUSTED_PROXIES: '{text}' is not an address or a network")),
            }
        }
        networks
    }

    pub(super) fn number(
        &mut self,
        name: &str,
        value: &Option<String>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let Some(text) = set(value) else {
            return default;
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (least, most) = (range.start(), range.end());
                let problem = format!("is not a whole number from {least} to {most}");
                self.problems.push(format!("{name}: '{text}' {problem}"));
                default
            }
        }
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &str,
        value: &Option<String>,
        choices: &[(&str, T)],
    ) -> T {
        let text = set(value).unwrap_or(choices[0].0);
        let found = choices.iter().find(|(word, _)| *word == text);
        found.map_or_else(
            || {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                self.problems.push(format!("{name}: '{text}' is not one of: {}", words.join(", ")));
                choices[0].1
            },
            |(_, value)| *value,
        )
    }

    fn toggle(&mut self, name: &str, value: &Option<String>) -> Toggle {
        let folded = set(value).map(str::to_lowercase);
        let words = [
            ("true", Toggle::On),
            ("on", Toggle::On),
            ("1", Toggle::On),
            ("yes", Toggle::On),
            ("false", Toggle::Off),
            ("off", Toggle::Off),
            ("0", Toggle::Off),
            ("no", Toggle::Off),
        ];
        self.choice(name, &folded, &words)
    }
}

pub(super) fn list(value: &Option<String>) -> impl Iterator<Item = &str> {
    let items = value.as_deref().unwrap_or("").split(',');
    items.map(str::trim).filter(|item| !item.is_empty())
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            !text.is_empty() && text.bytes().all(allowed)
        }
    }
}

/// A password in the URL wins over the separate one.
fn with_password(url: &str, password: Option<&str>) -> String {
    let Some((password, (scheme, rest))) = password.zip(url.split_once("://")) else {
        return url.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((login, _)) if login.contains(':') => url.to_owned(),
        Some((user, host)) => format!("{scheme}://{user}:{}@{host}", percent_encoded(password)),
        None => format!("{scheme}://:{}@{rest}", percent_encoded(password)),
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Config, Settings, with_password};

    fn problems(settings: &Settings) -> String {
        Config::resolve(settings, &BTreeMap::new())
            .err()
            .map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(problems(&Settings::default()), "");
    }

    #[test]
    fn a_bad_value_is_refused_by_the_name_of_its_variable() {
        let settings = Settings {
            cache_max_memory_mb: Some("lots".to_owned()),
            jwt_secret: Some("too short".to_owned()),
            log_format: Some("xml".to_owned()),
            ..Settings::default()
        };
        let problems = problems(&settings);
        for name in ["CACHE_MAX_MEMORY_MB", "JWT_SECRET", "LOG_FORMAT"] {
            assert!(problems.contains(name), "{name} in {problems}");
        }
    }

    #[test]
    fn values_without_effect_yet_are_checked_too() {
        let bad = || Some("banana".to_owned());
        let settings = Settings {
            cache_strict_writes: bad(),
            metrics_addr: bad(),
            redis_retry_on_timeout: bad(),
            warm_top: bad(),
            ..Settings::default()
        };
        let problems = problems(&settings);
        for name in ["CACHE_STRICT_WRITES", "METRICS_ADDR", "REDIS_RETRY_ON_TIMEOUT", "WARM_TOP"] {
            assert!(problems.contains(name), "{name} in {problems}");
        }
    }

    #[test]
    fn fewer_connections_to_redis_than_a_server_needs_are_refused() {
        let problems = |most: &str| {
            let redis_max_connections = Some(most.to_owned());
            problems(&Settings { redis_max_connections, ..Settings::default() })
        };
        assert_eq!((problems("2"), problems("")), (String::new(), String::new()));
        for most in ["0", "1"] {
            assert!(problems(most).contains("REDIS_MAX_CONNECTIONS"), "{most}");
            assert!(problems(most).contains("needs 2"), "{most}");
        }
    }

    #[test]
    fn compression_and_the_time_to_connect_are_those_that_were_set() {
        let settings = |above: &str, seconds: &str| Settings {
            redis_url: Some("redis://localhost".to_owned()),
            cache_compress_above_kb: Some(above.to_owned()),
            redis_socket_connect_timeout: Some(seconds.to_owned()),
            ..Settings::default()
        };
        let told = |above: &str, seconds: &str| {
            let config = Config::resolve(&settings(above, seconds), &BTreeMap::new()).unwrap();
            assert_eq!(config.warnings, [""; 0]);
            (config.cache.compress_above, config.redis.unwrap().connect_timeout.as_secs())
        };
        assert_eq!(told("", ""), (8 << 10, 2));
        assert_eq!(told("3", "7"), (3 << 10, 7));
    }

    #[test]
    fn the_parts_of_a_postgresql_url_cannot_change_what_it_means() {
        let secret = "0123456789abcdef0123456789abcdef";
        let settings = |host: &str, port: &str| Settings {
            jwt_secret: Some(secret.to_owned()),
            postgres_user: Some("app".to_owned()),
            postgres_db: Some("a/b?c".to_owned()),
            postgres_host: Some(host.to_owned()),
            postgres_port: Some(port.to_owned()),
            ..Settings::default()
        };
        let config = Config::resolve(&settings("db", "5433"), &BTreeMap::new()).unwrap();
        assert_eq!(config.database_url.0, "postgres://app@db:5433/a%2Fb%3Fc");
        assert!(problems(&settings("db@evil", "5433")).contains("POSTGRES_HOST"));
        assert!(problems(&settings("db", "port")).contains("POSTGRES_PORT"));
    }

    #[test]
    fn postgresql_with_l1_and_without_redis_is_warned_about() {
        let settings = |redis: &str| Settings {
            jwt_secret: Some("0123456789abcdef0123456789abcdef".to_owned()),
            database_url: Some("postgres://localhost/campus".to_owned()),
            redis_url: Some(redis.to_owned()),
            ..Settings::default()
        };
        let warnings = |redis: &str| {
            Config::resolve(&settings(redis), &BTreeMap::new()).unwrap().warnings.join("\n")
        };
        assert!(warnings("").contains("without REDIS_URL"));
        assert_eq!(warnings("redis://localhost"), "");
    }

    #[test]
    fn postgresql_needs_a_secret_of_its_own() {
        let settings = Settings {
            database_url: Some("postgres://localhost/campus".to_owned()),
            ..Settings::default()
        };
        assert!(problems(&settings).contains("JWT_SECRET"));
    }

    #[test]
    fn a_shown_configuration_has_no_secrets() {
        let settings = Settings {
            jwt_secret: Some("0123456789abcdef0123456789abcdef".to_owned()),
            redis_url: Some("redis://localhost".to_owned()),
            redis_password: Some("hunter2hunter2".to_owned()),
            admin_password: Some("hunter3hunter3".to_owned()),
            ..Settings::default()
        };
        let config = Config::resolve(&settings, &BTreeMap::new()).unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("0123456789abcdef") && !shown.contains("hunter"));
    }

    #[test]
    fn the_password_in_the_url_wins() {
        let own = with_password("redis://:a@h:1/0", Some("b"));
        assert_eq!(own, "redis://:a@h:1/0");
        assert_eq!(with_password("redis://h:1/0", Some("p/w")), "redis://:p%2Fw@h:1/0");
    }
}
