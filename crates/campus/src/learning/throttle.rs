//! Bounds how often a login may fail, per account and per address.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::Timestamp;

/// More names than this are not remembered: memory must not be the attacker's choice.
const MAX_NAMES: usize = 20_000;

/// Counts attempts in a window that begins with the first one.
pub(super) struct Throttle {
    allowed: u32,
    window: Duration,
    attempts: Mutex<HashMap<String, Attempts>>,
}

struct Attempts {
    since: Timestamp,
    count: u32,
}

impl Throttle {
    pub(super) fn new(allowed: u32, window: Duration) -> Self {
        Self { allowed, window, attempts: Mutex::new(HashMap::new()) }
    }

    /// Counts an attempt before it is made, so that many at once cannot slip through.
    ///
    /// # Errors
    /// How long to wait, when one of the names has no attempts left.
    pub(super) fn admit(&self, names: &[String], now: Timestamp) -> Result<(), Duration> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |since: Timestamp| since.plus(self.window) <= now;
        for name in names {
            match attempts.get(name) {
                Some(a) if !over(a.since) && a.count >= self.allowed => {
                    let left = a.since.plus(self.window).0 - now.0;
                    return Err(Duration::from_micros(left.max(0) as u64));
                }
                _ => {}
            }
        }
        if attempts.len() + names.len() > MAX_NAMES {
            attempts.retain(|_, a| !over(a.since));
        }
        if attempts.len() + names.len() > MAX_NAMES {
            // Still full: forgetting everybody is the lesser evil than refusing everybody.
            attempts.clear();
        }
        for name in names {
            let entry = attempts.entry(name.clone()).or_insert(Attempts { since: now, count: 0 });
            if over(entry.since) {
                *entry = Attempts { since: now, count: 0 };
            }
            entry.count += 1;
        }
        Ok(())
    }

    /// Takes a counted attempt back because it was not a failure.
    pub(super) fn take_back(&self, names: &[String]) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if let Some(a) = attempts.get_mut(name) {
                a.count = a.count.saturating_sub(1);
            }
        }
    }

    /// Starts a name over: its owner has shown the password.
    pub(super) fn forget(&self, name: &str) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Throttle;
    use crate::model::Timestamp;

    #[test]
    fn after_the_allowed_failures_the_name_waits_until_the_window_ends() {
        let throttle = Throttle::new(2, Duration::from_secs(60));
        let names = ["account:a".to_owned()];
        let start = Timestamp(0);
        assert!(throttle.admit(&names, start).is_ok());
        assert!(throttle.admit(&names, start).is_ok());
        let wait = throttle.admit(&names, start.plus(Duration::from_secs(20)));
        assert_eq!(wait, Err(Duration::from_secs(40)));
        assert!(throttle.admit(&names, start.plus(Duration::from_secs(60))).is_ok());
    }
}
