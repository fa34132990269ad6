//! How each namespace is cached: as configured, and as operators have changed it since.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use larder::{L2State, PolicyOverride};
use tokio::sync::Mutex;

use super::ending::rules;
use super::{Reads, Result};
use crate::config::{Lifetime, NAMESPACES, Namespace};
use crate::model::CacheRule;

/// How soon a server looks after it has heard that there is a change.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// And how soon without: while the backplane is away nothing is heard of other servers.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);

/// The rules of this process.
#[derive(Debug)]
pub(super) struct Rules {
    /// What the variables change.
    configured: BTreeMap<&'static str, Lifetime>,
    /// What operators have changed. Held while the database is read, so that an older answer
    /// cannot be applied after a younger one.
    changed: Mutex<BTreeMap<&'static str, CacheRule>>,
}

/// How a namespace is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    pub namespace: &'static str,
    pub is_enabled: bool,
    pub life: Lifetime,
    /// The longest life in L1; absent: half of the hard TTL, or what the key says.
    pub l1: Option<Duration>,
    pub rule: CacheRule,
}

impl Rules {
    pub(super) fn new(configured: BTreeMap<&'static str, Lifetime>) -> Self {
        Self { configured, changed: Mutex::default() }
    }

    fn configured(&self, namespace: Namespace) -> Lifetime {
        *self.configured.get(namespace.name).unwrap_or(&namespace.life)
    }

    fn definition(&self, namespace: Namespace, rule: CacheRule) -> Definition {
        let configured = self.configured(namespace);
        let hard = rule.hard.map_or(configured.hard, seconds);
        let soft = rule.soft.map_or(configured.soft, seconds).min(hard);
        Definition {
            namespace: namespace.name,
            is_enabled: rule.enabled.unwrap_or(true),
            life: Lifetime { soft, hard },
            l1: rule.l1.map(seconds),
            rule,
        }
    }

    /// What the cache is told of it. A namespace that nobody has changed keeps what its keys say.
    fn policy(&self, definition: &Definition) -> PolicyOverride {
        let Definition { namespace, life, l1, rule, .. } = definition;
        let says = self.configured.contains_key(namespace) || rule.soft.or(rule.hard).is_some();
        PolicyOverride {
            soft: says.then_some(life.soft),
            hard: says.then_some(life.hard),
            l1: *l1,
            enabled: rule.enabled,
        }
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

impl Reads {
    /// The hard TTL of a namespace without what operators have changed, in seconds.
    pub fn configured_hard(&self, namespace: Namespace) -> i64 {
        self.rules.configured(namespace).hard.as_secs() as i64
    }

    /// Every namespace as this process caches it now.
    pub async fn definitions(&self) -> Vec<Definition> {
        let changed = self.rules.changed.lock().await;
        let rule = |name| changed.get(name).copied().unwrap_or_default();
        NAMESPACES.iter().map(|&ns| self.rules.definition(ns, rule(ns.name))).collect()
    }

    /// Applies what operators have changed, here or on another server.
    pub async fn apply_rules(&self) -> Result<()> {
        let mut changed = self.rules.changed.lock().await;
        let stored: BTreeMap<String, CacheRule> =
            self.store.cache_rules().await?.into_iter().collect();
        for &namespace in NAMESPACES {
            let name = namespace.name;
            let rule = stored.get(name).copied().unwrap_or_default();
            if changed.get(name).copied().unwrap_or_default() != rule {
                let definition = self.rules.definition(namespace, rule);
                self.cache.override_policy(name, self.rules.policy(&definition));
                changed.insert(name, rule);
                tracing::info!(namespace = name, ?rule, "the cache follows a changed rule");
            }
        }
        Ok(())
    }

    /// Applies what other servers change, for as long as this one runs.
    pub async fn follow_rules(&self) {
        let is_alone = self.cache.stats().l2 == L2State::Off;
        let mut seen = None;
        let mut looked = Instant::now();
        loop {
            // Before the database is read: what changes meanwhile is seen by the next look.
            let latest = Some(self.cache.changes(&rules()));
            if latest != seen || (!is_alone && looked.elapsed() >= LOOK_ANYWAY) {
                looked = Instant::now();
                match self.apply_rules().await {
                    Ok(()) => seen = latest,
                    Err(error) => tracing::debug!(%error, "changed rules cannot be read yet"),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
