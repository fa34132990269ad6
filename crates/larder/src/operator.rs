//! What operators change and ask while the cache runs.

use std::{collections::HashMap, time::Duration};

use crate::{Cache, PolicyOverride, RedisUnavailable, Tag, key::Name};

/// What Redis says of itself; see [`Cache::redis_info`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisInfo {
    /// Its version, `7.0.15`.
    pub version: String,
    /// Time since it was started.
    pub uptime: Duration,
    /// Open connections of clients.
    pub connected_clients: u64,
    /// Bytes of memory in use.
    pub used_memory: u64,
    /// The same for people: `1.20M`.
    pub used_memory_human: String,
    /// Commands since it was started.
    pub commands_processed: u64,
    /// Lookups of keys that were there, of all its users.
    pub keyspace_hits: u64,
    /// Lookups of keys that were not.
    pub keyspace_misses: u64,
    /// Keys in the database that the cache uses, of all its users.
    pub keys: u64,
}

impl RedisInfo {
    /// Reads the answer to INFO; what is missing stays zero.
    pub(crate) fn read(text: &str, database: i64) -> Self {
        let fields: HashMap<&str, &str> =
            text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let text = |name: &str| fields.get(name).map_or_else(String::new, |v| (*v).to_owned());
        let number = |name: &str| fields.get(name).and_then(|v| v.parse().ok()).unwrap_or(0);
        let keyspace = text(&format!("db{database}"));
        let keys = keyspace.split(',').find_map(|part| part.strip_prefix("keys="));
        Self {
            version: text("redis_version"),
            uptime: Duration::from_secs(number("uptime_in_seconds")),
            connected_clients: number("connected_clients"),
            used_memory: number("used_memory"),
            used_memory_human: text("used_memory_human"),
            commands_processed: number("total_commands_processed"),
            keyspace_hits: number("keyspace_hits"),
            keyspace_misses: number("keyspace_misses"),
            keys: keys.and_then(|keys| keys.parse().ok()).unwrap_or(0),
        }
    }
}

/// What [`Cache::redis_keys`] has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisKeys {
    /// Without the prefix, in order.
    pub keys: Vec<String>,
    /// There are, or may be, more: a limit of the search was reached.
    pub is_cut: bool,
}

/// One command of [`Cache::test_redis`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedisStep {
    /// `set`, `get` or `delete`.
    pub command: &'static str,
    /// How long it took, or why it did not work.
    pub outcome: Result<Duration, RedisUnavailable>,
}

impl Cache {
    /// Replaces what an operator changes for a namespace, from the next read of this process on;
    /// `PolicyOverride::default()` takes every change back. See
    /// [`Builder::policy_override`](crate::Builder::policy_override).
    ///
    /// Entries of the namespace in L1 are given up. Those in Redis stay, and from now on live no
    /// longer than the changed TTLs allow.
    ///
    /// ```
    /// # use larder::*; use std::time::Duration;
    /// # struct Answer; impl CacheKey for Answer { type Value = u32; type Scope = Public;
    /// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "answer"; const VERSION: u16 = 1;
    /// # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)) }
    /// # fn segments(&self, _: &mut KeyWriter) {} }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = Cache::builder().build()?;
    /// let second = Some(Duration::from_secs(1));
    /// cache.override_policy("n", PolicyOverride { soft: second, hard: second, ..Default::default() });
    /// let read = cache.get_or_load(&Answer, || async { Ok::<_, std::io::Error>(42) }).await?;
    /// assert!(read.ttl() <= Duration::from_millis(1100));
    /// # Ok(()) }
    /// ```
    pub fn override_policy(&self, namespace: &'static str, change: PolicyOverride) {
        self.inner.overrides.rcu(|overrides| {
            let mut overrides = HashMap::clone(overrides);
            overrides.insert(namespace.to_owned(), change.clone());
            overrides
        });
        // A flight asks for its policy after its birth, so whatever lives by the old one is older.
        self.inner.stamps.bump(&[Name::namespace(namespace).hash]);
    }

    /// A number that changes with every invalidation of `tag` that this process makes or hears of,
    /// and sometimes without one. For what an application keeps beside the cache: if the number is
    /// another one, look again. Ask for the number before you look, or what happens in between is
    /// lost. While the backplane is away nothing is heard of other processes, and the number stands
    /// still.
    ///
    /// ```
    /// # use larder::{Cache, Tag};
    /// # #[tokio::main] async fn main() -> Result<(), larder::ConfigError> {
    /// let cache = Cache::builder().build()?;
    /// let before = cache.changes(&Tag::named("settings"));
    /// cache.invalidate(Tag::named("settings")).await;
    /// assert_ne!(cache.changes(&Tag::named("settings")), before);
    /// # Ok(()) }
    /// ```
    pub fn changes(&self, tag: &Tag) -> u64 {
        self.inner.stamps.latest(Name::tag(tag.clone()).hash)
    }

    /// What Redis says of itself; `None` if none is configured.
    ///
    /// # Errors
    /// If Redis is not connected or does not answer within the operation timeout.
    ///
    /// # Cancel safety
    /// Safe.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::ConfigError> {
    /// let in_process = larder::Cache::builder().build()?;
    /// assert!(in_process.redis_info().await.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn redis_info(&self) -> Option<Result<RedisInfo, RedisUnavailable>> {
        let info = self.inner.l2.as_ref()?.info(self.inner.op_timeout).await;
        Some(info.map_err(|fault| RedisUnavailable(fault.to_string())))
    }

    /// Keys in Redis behind the prefix, without it and in order, at most `most`; `None` if no Redis
    /// is configured. They are found by SCAN, which holds nobody up: while it goes on keys come
    /// and go. The search ends after some 250,000 keys, whoever's they are, or ten seconds;
    /// [`RedisKeys::is_cut`] says so.
    ///
    /// # Errors
    /// If Redis is not connected, refuses SCAN, or does not answer a step of a thousand keys within
    /// the operation timeout.
    ///
    /// # Cancel safety
    /// Safe.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::ConfigError> {
    /// let in_process = larder::Cache::builder().build()?;
    /// assert!(in_process.redis_keys(100).await.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn redis_keys(&self, most: usize) -> Option<Result<RedisKeys, RedisUnavailable>> {
        let keys = self.inner.l2.as_ref()?.keys(most, self.inner.op_timeout).await;
        Some(keys.map_err(|fault| RedisUnavailable(fault.to_string())))
    }

    /// Writes, reads and deletes a key of its own in Redis, and says how long each took; `None` if
    /// no Redis is configured. After a step that fails there is none.
    ///
    /// # Cancel safety
    /// Safe: the key expires within seconds.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::ConfigError> {
    /// let in_process = larder::Cache::builder().build()?;
    /// assert!(in_process.test_redis().await.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn test_redis(&self) -> Option<Vec<RedisStep>> {
        let l2 = self.inner.l2.as_ref()?;
        let tested = l2.test(self.inner.op_timeout).await;
        let step = |(command, outcome): (_, Result<_, crate::l2::Fault>)| RedisStep {
            command,
            outcome: outcome.map_err(|fault| RedisUnavailable(fault.to_string())),
        };
        Some(tested.into_iter().map(step).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_the_database_in_use() {
        let text = "# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:60\r\n\
            used_memory_human:1.20M\r\n\r\n# Keyspace\r\n\
            db0:keys=7,expires=1,avg_ttl=0\r\ndb1:keys=9,expires=0,avg_ttl=0\r\n";
        let info = RedisInfo::read(text, 1);
        assert_eq!((info.version.as_str(), info.keys), ("7.0.15", 9));
        assert_eq!(info.uptime, Duration::from_secs(60));
        assert_eq!(RedisInfo::read(text, 2).keys, 0);
    }
}
