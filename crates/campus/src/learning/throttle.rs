//! Bounds how often something may be tried, per account and per address.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::{Refusal, Timestamp};

/// More names than this are not remembered: memory must not be the attacker's choice.
const MAX_NAMES: usize = 20_000;

/// What attempts are counted against. A hash, because its length must not be
/// the caller's choice either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name([u8; 16]);

impl Name {
    /// The account that somebody wants to log in to; it need not exist.
    pub(super) fn account(email: &str) -> Self {
        Self::new("account", email.as_bytes())
    }

    /// The person who shows a password again, signed in.
    pub(super) fn person(id: i64) -> Self {
        Self::new("person", &id.to_be_bytes())
    }

    /// Where the attempt comes from. An IPv6 customer has a /64 to choose from.
    pub(super) fn address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ip) => Self::new("IPv4", &ip.octets()),
            IpAddr::V6(ip) => Self::new("IPv6", &ip.octets()[..8]),
        }
    }

    fn new(kind: &str, value: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(kind.as_bytes()).update(b":").update(value);
        let mut name = [0; 16];
        hasher.finalize_xof().fill(&mut name);
        Self(name)
    }
}

/// Counts attempts in a window that begins with the first one.
pub(super) struct Throttle {
    allowed: u32,
    window: Duration,
    attempts: Mutex<Attempts>,
}

/// Both fields have the same names.
#[derive(Default)]
struct Attempts {
    by_name: HashMap<Name, Window>,
    /// The oldest window first: the one to forget when there are too many.
    by_age: BTreeSet<(Timestamp, Name)>,
}

#[derive(Clone, Copy)]
struct Window {
    since: Timestamp,
    count: u32,
}

impl Throttle {
    pub(super) fn new(allowed: u32, window: Duration) -> Self {
        Self { allowed, window, attempts: Mutex::default() }
    }

    /// Counts an attempt before it is made, so that many at once cannot slip through.
    ///
    /// # Errors
    /// How long to wait, when one of the names has no attempts left. Then none is counted.
    pub(super) fn admit(&self, names: &[Name], now: Timestamp) -> Result<(), Refusal> {
        let mut attempts = self.lock();
        attempts.forget_before(now, self.window);
        for name in names {
            if let Some(window) = attempts.by_name.get(name)
                && window.count >= self.allowed
            {
                let left = window.since.plus(self.window).0 - now.0;
                let retry_after = Duration::from_micros(left.max(0) as u64);
                return Err(Refusal::TooManyAttempts { retry_after });
            }
        }
        for name in names {
            attempts.count(*name, now);
        }
        Ok(())
    }

    /// Takes a counted attempt back because it was not a failure.
    pub(super) fn take_back(&self, names: &[Name]) {
        let mut attempts = self.lock();
        for name in names {
            attempts.take_back(*name);
        }
    }

    /// Starts a name over: its owner has shown the password.
    pub(super) fn forget(&self, name: Name) {
        self.lock().forget(name);
    }

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempts {
    fn count(&mut self, name: Name, now: Timestamp) {
        if let Some(window) = self.by_name.get_mut(&name) {
            window.count += 1;
            return;
        }
        if self.by_name.len() >= MAX_NAMES
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_name.remove(&oldest);
        }
        self.by_name.insert(name, Window { since: now, count: 1 });
        self.by_age.insert((now, name));
    }

    fn take_back(&mut self, name: Name) {
        match self.by_name.get_mut(&name) {
            Some(window) if window.count > 1 => window.count -= 1,
            _ => self.forget(name),
        }
    }

    fn forget(&mut self, name: Name) {
        if let Some(window) = self.by_name.remove(&name) {
            self.by_age.remove(&(window.since, name));
        }
    }

    /// Forgets the windows that are over.
    fn forget_before(&mut self, now: Timestamp, window: Duration) {
        while let Some(&(since, name)) = self.by_age.first()
            && since.plus(window) <= now
        {
            self.forget(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::{MAX_NAMES, Name, Throttle};
    use crate::model::{Refusal, Timestamp};

    const START: Timestamp = Timestamp(0);

    fn throttle() -> Throttle {
        Throttle::new(2, Duration::from_secs(60))
    }

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn address(text: &str) -> Name {
        Name::address(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn after_the_allowed_failures_the_name_waits_until_the_window_ends() {
        let (throttle, names) = (throttle(), [Name::account("a")]);
        assert!(throttle.admit(&names, START).is_ok());
        assert!(throttle.admit(&names, START).is_ok());
        let Err(Refusal::TooManyAttempts { retry_after }) = throttle.admit(&names, after(20))
        else {
            panic!("the third attempt was admitted");
        };
        assert_eq!(retry_after, Duration::from_secs(40));
        assert!(throttle.admit(&names, after(60)).is_ok());
    }

    #[test]
    fn an_attempt_that_was_taken_back_does_not_count() {
        let (throttle, names) = (throttle(), [Name::account("a"), Name::person(1)]);
        for _ in 0..5 {
            assert!(throttle.admit(&names, START).is_ok());
            throttle.take_back(&names);
        }
        assert!(throttle.lock().by_name.is_empty() && throttle.lock().by_age.is_empty());
    }

    #[test]
    fn a_full_table_forgets_the_oldest_and_nobody_else() {
        let throttle = throttle();
        for nth in 0..=MAX_NAMES as i64 {
            assert!(throttle.admit(&[Name::person(nth)], Timestamp(nth)).is_ok());
        }
        let attempts = throttle.lock();
        assert_eq!((attempts.by_name.len(), attempts.by_age.len()), (MAX_NAMES, MAX_NAMES));
        assert!(!attempts.by_name.contains_key(&Name::person(0)));
        assert!(attempts.by_name.contains_key(&Name::person(1)));
    }

    #[test]
    fn an_address_is_counted_as_what_one_customer_has() {
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.7"), address("192.0.2.7"));
        assert_ne!(address("192.0.2.7"), address("192.0.2.8"));
    }
}
