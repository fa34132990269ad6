//! Which part of Campus a process serves, and to the scripts of which web sites.

use std::time::Duration;

use super::Config;
use super::resolve::{Check, is_host, list, set};
use super::{ConfigError, Settings};

/// What one process serves. The services are one installation: they share a database, and a
/// Redis through which each hears of the others' writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Everything.
    All,
    /// Accounts and people.
    User,
    /// Courses, learning, figures and articles, and the catalogue page.
    Course,
}

impl Service {
    const NAMES: [(&'static str, Self); 3] =
        [("all", Self::All), ("user", Self::User), ("course", Self::Course)];

    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::User => "user",
            Self::Course => "course",
        }
    }

    pub fn has_users(self) -> bool {
        self != Self::Course
    }

    pub fn has_courses(self) -> bool {
        self != Self::User
    }
}

impl Config {
    /// The service alone, for what needs no other setting.
    ///
    /// # Errors
    /// There is no such service.
    pub fn service(settings: &Settings) -> Result<Service, ConfigError> {
        let mut check = Check::of(settings);
        let service = check.named_service();
        if check.problems.is_empty() { Ok(service) } else { Err(ConfigError(check.problems)) }
    }
}

impl Check<'_> {
    fn named_service(&mut self) -> Service {
        self.choice("CAMPUS_ONLY", &self.settings.only, &Service::NAMES)
    }

    pub(super) fn service(&mut self) -> Service {
        let service = self.named_service();
        if service != Service::All && set(&self.settings.redis_url).is_none() {
            let name = service.name();
            self.problems.push(format!(
                "CAMPUS_ONLY: {name} needs REDIS_URL: the services hear of each other's writes \
                 through it"
            ));
        }
        service
    }

    pub(super) fn shutdown_delay(&mut self) -> Duration {
        let (name, given) = ("CAMPUS_SHUTDOWN_DELAY_MS", &self.settings.shutdown_delay_ms);
        Duration::from_millis(self.number(name, given, 1000, 0..=600_000))
    }

    pub(super) fn database_timeout(&mut self) -> Duration {
        let (name, given) = ("DATABASE_TIMEOUT_MS", &self.settings.database_timeout_ms);
        Duration::from_millis(self.number(name, given, 5000, 100..=60_000))
    }

    pub(super) fn origins(&mut self) -> Vec<String> {
        let (good, bad): (Vec<&str>, Vec<&str>) =
            list(&self.settings.cors_origins).partition(|origin| is_origin(origin));
        for origin in bad {
            let problem = "is not an origin such as https://example.org";
            self.problems.push(format!("CORS_ORIGINS: '{origin}' {problem}"));
        }
        good.into_iter().map(as_browsers_write_it).collect()
    }
}

/// `https://example.org` or `http://localhost:3000`: no path, no name, nothing quoted.
pub(super) fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => is_host(host) && is_port(port),
        _ => is_host(rest),
    })
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// With the name of the host in small letters, and without the port that the scheme has anyway.
fn as_browsers_write_it(origin: &str) -> String {
    let mut origin = origin.to_ascii_lowercase();
    let rest = origin.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let number = rest.and_then(|(before, port)| Some((before.len(), port.parse::<u16>().ok()?)));
    if let Some((end, port)) = number {
        origin.truncate(end);
        let default = if origin.starts_with("https:") { 443 } else { 80 };
        if port != default {
            origin = format!("{origin}:{port}");
        }
    }
    origin
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{as_browsers_write_it, is_origin};
    use crate::config::{Config, Settings};

    fn problems(settings: &Settings) -> String {
        let config = Config::resolve(settings, &BTreeMap::new());
        config.err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn origins_are_told_from_addresses_with_more_in_them() {
        for good in ["https://example.org", "http://localhost:3000", "http://[::1]:80"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "example.org",
            "https://",
            "https://a/b",
            "https://a:b",
            "https://u@a",
            "*",
            "https://a:+80",
            "https://a:0",
            "https://a:",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
        let some = Some("https://example.org, banana, http://a.b/path".to_owned());
        let settings = Settings { cors_origins: some, ..Settings::default() };
        assert_eq!(problems(&settings).matches("CORS_ORIGINS").count(), 2);
    }

    #[test]
    fn an_origin_is_compared_as_browsers_send_it() {
        for (written, sent) in [
            ("https://Example.org:443", "https://example.org"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:443", "http://localhost:443"),
            ("https://a.b:08443", "https://a.b:8443"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://[::1]", "http://[::1]"),
            ("https://example.org", "https://example.org"),
        ] {
            assert_eq!(as_browsers_write_it(written), sent);
        }
    }

    #[test]
    fn waiting_for_the_database_and_for_proxies_is_bounded_whatever_is_set() {
        let resolved = |settings| Config::resolve(&settings, &BTreeMap::new());
        let default = resolved(Settings::default()).unwrap();
        let waits = (default.database_timeout.as_millis(), default.shutdown_delay.as_millis());
        assert_eq!(waits, (5000, 1000));
        for (database, shutdown) in [("0", "600001"), ("60001", "-1"), ("soon", "later")] {
            let settings = Settings {
                database_timeout_ms: Some(database.to_owned()),
                shutdown_delay_ms: Some(shutdown.to_owned()),
                ..Settings::default()
            };
            let problems = problems(&settings);
            for name in ["DATABASE_TIMEOUT_MS", "CAMPUS_SHUTDOWN_DELAY_MS"] {
                assert!(problems.contains(name), "{problems}");
            }
        }
    }

    #[test]
    fn a_service_needs_a_name_and_a_redis() {
        let settings = |only: &str, redis: &str| Settings {
            only: Some(only.to_owned()),
            redis_url: Some(redis.to_owned()),
            ..Settings::default()
        };
        assert!(problems(&settings("users", "redis://localhost")).contains("all, user, course"));
        assert!(problems(&settings("user", "")).contains("needs REDIS_URL"));
        assert_eq!(problems(&settings("user", "redis://localhost")), "");
    }
}
