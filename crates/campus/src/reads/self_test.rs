//! A round through the cache, and one through Redis, for whoever wants to see that they work.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use larder::{Ack, CacheKey, KeyWriter, Names, Policy, Public};

use super::Reads;

const LIFE: Duration = Duration::from_secs(10);

/// One step of a test.
#[derive(Debug, Clone)]
pub struct TestStep {
    pub op: &'static str,
    /// How long it took, or what was wrong.
    pub outcome: Result<Duration, String>,
}

/// A key that nobody else reads.
struct TestKey(u64);

impl CacheKey for TestKey {
    type Value = u64;
    type Scope = Public;
    const NAMESPACE: &'static str = "self_test";
    const NAME: &'static str = "self_test";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        Policy::new(LIFE, LIFE)
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.0);
    }
}

impl Reads {
    /// Loads a value, finds it, invalidates it, and must find the next one.
    pub async fn test_cache(&self) -> Vec<TestStep> {
        let mut id = [0; 8];
        // Without randomness two tests at once may see each other's value, and say so.
        let _ = getrandom::fill(&mut id);
        let key = TestKey(u64::from_le_bytes(id));
        let mut steps = vec![self.read_step("load", &key, 1, 1).await];
        let expected = if self.caching == super::Caching::On { 1 } else { 2 };
        steps.push(self.read_step("hit", &key, 2, expected).await);
        let began = Instant::now();
        let acked = self.cache.invalidate(Names::new().key(&key)).await;
        let outcome = match acked {
            Ack::Applied => Ok(began.elapsed()),
            Ack::Queued => Err("Redis did not take it; it is queued".to_owned()),
        };
        steps.push(TestStep { op: "invalidate", outcome });
        steps.push(self.read_step("reload", &key, 3, 3).await);
        self.cache.invalidate(Names::new().key(&key)).await;
        steps
    }

    async fn read_step(&self, op: &'static str, key: &TestKey, next: u64, right: u64) -> TestStep {
        let began = Instant::now();
        let read = self.cache.get_or_load(key, move || async move { Ok::<_, Infallible>(next) });
        let outcome = match read.await {
            Ok(read) if *read.value == right => Ok(began.elapsed()),
            Ok(read) => Err(format!("found {} instead of {right}", read.value)),
            Err(error) => Err(error.to_string()),
        };
        TestStep { op, outcome }
    }

    /// SET, GET and DEL in Redis; nothing without Redis.
    pub async fn test_redis(&self) -> Option<Vec<TestStep>> {
        let steps = self.cache.test_redis().await?;
        let step = |step: larder::RedisStep| TestStep {
            op: step.command,
            outcome: step.outcome.map_err(|error| error.to_string()),
        };
        Some(steps.into_iter().map(step).collect())
    }
}
