//! Configuration: flags, environment and `.env`, read here and nowhere else.
//!
//! A flag beats the environment, the environment beats `.env`. Every value is
//! checked before anything starts, and an error names the variable it is about.

mod content;
pub mod lifetimes;
mod names;
mod operating;
mod redis_url;
mod report;
mod resolve;
mod secret;
mod serving;
mod settings;
mod traces;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::store::without_password;

pub use content::ContentConfig;
#[cfg(feature = "mongo")]
pub use content::MongoConfig;
pub use lifetimes::{Lifetime, NAMESPACES, Namespace};
pub use operating::{MetricsConfig, WarmConfig};
pub use redis_url::RedisConfig;
pub use report::{Report, Sources};
pub use secret::Secret;
pub use serving::Service;
pub use settings::Settings;
pub use traces::{Heeds, Sampler, TracesConfig};

/// A configuration that was checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub addr: SocketAddr,
    pub service: Service,
    /// How long a server goes on after SIGTERM, so that proxies can hear that it is not ready.
    pub shutdown_delay: Duration,
    pub database_url: DatabaseUrl,
    pub content: ContentConfig,
    /// How long a request waits for a connection.
    pub database_timeout: Duration,
    pub redis: Option<RedisConfig>,
    pub cache: CacheConfig,
    pub auth: AuthConfig,
    pub seed: Seed,
    pub log_format: LogFormat,
    pub log_filter: String,
    pub trusted_proxies: Vec<Network>,
    /// Web sites whose scripts may read the answers.
    pub cors_origins: Vec<String>,
    pub warm: WarmConfig,
    pub metrics: MetricsConfig,
    /// Absent: none are sent.
    pub traces: Option<TracesConfig>,
    /// For tests of a crash: how many commits this process lives. Only in debug builds.
    pub abort_after_commit: Option<u32>,
    /// Things to tell the operator once the log is there.
    pub warnings: Vec<String>,
}

/// A database URL, which may hold a password.
#[derive(Clone)]
pub struct DatabaseUrl(pub String);

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

#[derive(Debug, Clone)]
pub struct CacheConfig {
    pub enabled: Toggle,
    pub l1: Toggle,
    pub l1_bytes: u64,
    pub max_entry_bytes: usize,
    /// Larger entries are compressed in Redis.
    pub compress_above: usize,
    pub l1_max_ttl: Option<Duration>,
    /// How long L1 goes on answering while Redis is away.
    pub degraded_l1_ttl: Duration,
    /// What the operator changed, by namespace.
    pub lifetimes: BTreeMap<&'static str, Lifetime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toggle {
    On,
    Off,
}

#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Absent: generated beside the SQLite file at the first start.
    pub jwt_secret: Option<Secret>,
    pub access_lifetime: Duration,
    pub refresh_lifetime: Duration,
    pub admin_password: Option<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    Demo,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Pretty,
    Json,
}

/// A range of addresses whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().ok()?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(whole);
        (prefix <= whole).then_some(Self { address, prefix })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - self.prefix;
                (u64::from(net.to_bits()) >> shift) == (u64::from(ip.to_bits()) >> shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - self.prefix;
                shift == 128 || (net.to_bits() >> shift) == (ip.to_bits() >> shift)
            }
            _ => false,
        }
    }
}

/// What is wrong with the configuration: every problem at once.
#[derive(Debug)]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration is not valid")?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::{Network, without_password};

    #[test]
    fn a_shown_url_has_no_password() {
        let shown = without_password("redis://:s3cret@localhost:6379/1");
        assert_eq!(shown, "redis://:***@localhost:6379/1");
    }

    #[test]
    fn a_network_contains_its_addresses_only() {
        let network = Network::parse("10.1.0.0/16").unwrap();
        assert!(network.contains("10.1.200.3".parse().unwrap()));
        assert!(!network.contains("10.2.0.1".parse().unwrap()));
        assert!(Network::parse("::/0").unwrap().contains("::1".parse().unwrap()));
        assert!(Network::parse("10.0.0.0/33").is_none());
    }
}
