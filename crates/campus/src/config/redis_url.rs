//! Which Redis, and how its URL is read.

use std::fmt;
use std::time::Duration;

use super::resolve::is_host;
use crate::store::lock::Sharing;
use crate::store::without_password;

#[derive(Clone)]
pub struct RedisConfig {
    pub url: String,
    pub prefix: String,
    pub op_timeout: Duration,
    pub connect_timeout: Duration,
    /// `host:port/db`, without a login.
    pub(super) address: String,
}

impl RedisConfig {
    /// The URL as it may be shown.
    pub fn shown(&self) -> String {
        without_password(&self.url)
    }

    /// What servers on one SQLite file must have in common to hear of each other's writes.
    pub fn sharing(&self) -> Sharing {
        Sharing::Through(format!("{} with the prefix {:?}", self.address, self.prefix))
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &self.shown())
            .field("prefix", &self.prefix)
            .field("op_timeout", &self.op_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// `host:port/db` of a URL, the same for every spelling of it. The problems do not quote
/// the URL: where it is wrong, a part of the password may be what stands there.
pub(super) fn address(url: &str) -> Result<String, &'static str> {
    let rest = url.strip_prefix("redis://").or_else(|| url.strip_prefix("rediss://"));
    let rest = rest.ok_or("must start with redis:// or rediss://")?;
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let port_at = place.rfind(':').filter(|at| !place[*at..].contains(']'));
    let (host, port) = port_at.map_or((place, "6379"), |at| (&place[..at], &place[at + 1..]));
    if !is_host(host) {
        return Err("has no host that could be one; a password with / ? or # must be encoded");
    }
    let port: u16 = port.parse().map_err(|_| "has a port that is no number up to 65535")?;
    let database: u32 = match path.trim_matches('/') {
        "" => 0,
        database => database.parse().map_err(|_| "ends in a database that is no number")?,
    };
    Ok(format!("{}:{port}/{database}", host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn spellings_of_one_redis_are_one_address_without_its_login() {
        for url in ["redis://Host", "redis://:s3cret@host:6379/", "rediss://a:b@c@host/0?x=1"] {
            assert_eq!(address(url).unwrap(), "host:6379/0", "{url}");
        }
        assert_eq!(address("redis://[::1]:7000/2").unwrap(), "[::1]:7000/2");
        assert_eq!(address("redis://[::1]").unwrap(), "[::1]:6379/0");
    }

    #[test]
    fn a_url_that_points_nowhere_is_refused_without_its_password() {
        for url in ["redis://", "redis://host:port", "redis://host/x", "redis://:se/cret@host"] {
            let problem = address(url).unwrap_err();
            assert!(!problem.contains("cret"), "{url}: {problem}");
        }
    }
}
