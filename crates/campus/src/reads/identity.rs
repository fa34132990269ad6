//! Whose answers Redis holds under this prefix: a server must not serve those of another database.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use larder::{CacheKey, KeyWriter, Names, Policy, Public};

use super::{Reads, RedisState};
use crate::store;

/// Longer than any answer lives, and read anew long before.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// The name of the database that filled this cache.
struct DatabaseKey;

impl CacheKey for DatabaseKey {
    type Value = String;
    type Scope = Public;
    const NAMESPACE: &'static str = "database";
    const NAME: &'static str = "database";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        Policy::new(LIFE, LIFE)
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
    /// Looks whose answers Redis holds; says that they are ours from now on if it holds nobody's.
    ///
    /// # Errors
    /// The database does not say which one it is.
    pub async fn whose(&self) -> store::Result<Holds> {
        if self.stats().redis != RedisState::Up {
            return Ok(Holds::Ours);
        }
        let mut random = [0; 16];
        // Without randomness this database looks like another one without: it is not told apart.
        let _ = getrandom::fill(&mut random);
        let new: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let ours = self.store.identity(&new).await?;
        let name = ours.clone();
        let load = move || async move { Ok::<_, Infallible>(name) };
        let found = self.cache.fresh().get_or_load(&DatabaseKey, load).await;
        let found = found.map_or_else(|_| Arc::new(ours.clone()), |found| found.value);
        Ok(if *found == ours { Holds::Ours } else { Holds::Others })
    }

    /// Ends everything that Redis holds under this prefix, whoever it is of.
    pub async fn take_over(&self) {
        self.cache.invalidate(Names::everything()).await;
    }
}
