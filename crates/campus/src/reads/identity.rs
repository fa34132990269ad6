//! Whose answers Redis holds under this prefix: a server must not serve those of another database.

use std::convert::Infallible;
use std::time::Duration;

use larder::{CacheKey, KeyWriter, Names, Policy, Public};

use super::{Reads, RedisState};
use crate::store;

/// Twice what an operator can give any answer; written anew by then at the latest.
const LIFE: Duration = Duration::from_secs(62 * 24 * 3600);

/// The name of the database that filled this cache.
struct DatabaseKey;

impl CacheKey for DatabaseKey {
    type Value = String;
    type Scope = Public;
    const NAMESPACE: &'static str = "database";
    const NAME: &'static str = "database";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        Policy::new(LIFE / 2, LIFE)
    }

    fn segments(&self, _: &mut KeyWriter) {}
}

/// Whose answers are in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Those of this database, or none, or nobody can tell because Redis is away.
    Ours,
    /// Those of another database.
    Others,
}

impl Reads {
    /// The name by which this database is told from others.
    pub async fn database_name(&self) -> store::Result<String> {
        let mut random = [0; 16];
        // Without randomness this database looks like another one without: it is not told apart.
        let _ = getrandom::fill(&mut random);
        let new: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        self.store.identity(&new).await
    }

    /// Looks whose answers Redis holds; says that they are ours from now on if it holds nobody's.
    pub async fn whose(&self, ours: &str) -> Holds {
        if self.stats().redis != RedisState::Up {
            return Holds::Ours;
        }
        let name = ours.to_owned();
        let load = move || async move { Ok::<_, Infallible>(name) };
        match self.cache.fresh().get_or_load(&DatabaseKey, load).await {
            Ok(found) if *found.value != ours => Holds::Others,
            Ok(_) | Err(_) => Holds::Ours,
        }
    }

    /// Ends everything that Redis holds under this prefix, whoever it is of.
    pub async fn take_over(&self) {
        self.cache.invalidate(Names::everything()).await;
    }
}
