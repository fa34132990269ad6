//! Where course content is kept.

use super::resolve::{Check, set};
#[cfg(feature = "mongo")]
use crate::store::{Documents, without_password};

#[derive(Debug, Clone)]
pub enum ContentConfig {
    /// With everything else.
    Sql,
    #[cfg(feature = "mongo")]
    Mongo(MongoConfig),
}

#[cfg(feature = "mongo")]
#[derive(Clone)]
pub struct MongoConfig {
    pub url: String,
    pub database: String,
}

#[cfg(feature = "mongo")]
impl std::fmt::Debug for MongoConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}", without_password(&self.url), self.database)
    }
}

impl Check<'_> {
    pub(super) fn content(&mut self) -> ContentConfig {
        match set(&self.settings.content_store) {
            Some("mongo") => return self.mongo(),
            None | Some("sql") => {}
            Some(other) => {
                self.problems.push(format!("CONTENT_STORE: '{other}' is not one of: sql, mongo"));
            }
        }
        if let Some((name, _)) = self.mongo_url() {
            self.warnings.push(format!("{name} has no effect without CONTENT_STORE=mongo"));
        }
        ContentConfig::Sql
    }

    /// The URL and the variable that it is from.
    pub(super) fn mongo_url(&self) -> Option<(&'static str, &str)> {
        let url = set(&self.settings.mongodb_url).map(|url| ("MONGODB_URL", url));
        url.or_else(|| set(&self.settings.mongo_uri).map(|url| ("MONGO_URI", url)))
    }

    #[cfg(not(feature = "mongo"))]
    fn mongo(&mut self) -> ContentConfig {
        self.problems.push(
            "CONTENT_STORE: this build has no MongoDB support; use sql, or build it with \
             `cargo build --release --features mongo`"
                .to_owned(),
        );
        ContentConfig::Sql
    }

    #[cfg(feature = "mongo")]
    fn mongo(&mut self) -> ContentConfig {
        let problem = match self.mongo_url() {
            Some((name, url)) => {
                Documents::check_url(url).err().map(|problem| format!("{name} {problem}"))
            }
            None => Some("CONTENT_STORE: mongo needs MONGODB_URL".to_owned()),
        };
        self.problems.extend(problem);
        let database = set(&self.settings.mongodb_db_name).unwrap_or("smartcourse");
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if database.len() > 63 || !database.bytes().all(is_plain) {
            self.problems.push(format!(
                "MONGODB_DB_NAME: '{database}' is not a name of at most 63 letters, digits, - and _"
            ));
        }
        let url = self.mongo_url().map_or("", |(_, url)| url).to_owned();
        ContentConfig::Mongo(MongoConfig { url, database: database.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    #[cfg(feature = "mongo")]
    use super::ContentConfig;
    use crate::config::{Config, Settings};

    fn settings(url: &str, uri: &str) -> Settings {
        Settings {
            content_store: Some("mongo".to_owned()),
            mongodb_url: Some(url.to_owned()),
            mongo_uri: Some(uri.to_owned()),
            ..Settings::default()
        }
    }

    fn problems(settings: &Settings) -> String {
        let config = Config::resolve(settings, &BTreeMap::new());
        config.err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn a_mongodb_that_is_not_used_is_warned_about() {
        let unused = Settings { content_store: None, ..settings("", "mongodb://two") };
        let config = Config::resolve(&unused, &BTreeMap::new()).unwrap();
        assert_eq!(config.warnings, ["MONGO_URI has no effect without CONTENT_STORE=mongo"]);
    }

    #[cfg(not(feature = "mongo"))]
    #[test]
    fn a_build_without_mongodb_says_how_to_make_one_with_it() {
        assert!(problems(&settings("mongodb://one", "")).contains("--features mongo"));
    }

    #[cfg(feature = "mongo")]
    #[test]
    fn the_url_wins_over_the_uri_and_is_shown_without_its_password() {
        let settings = settings("mongodb://u:s3cret@one", "mongodb://two/?replicaSet=rs0");
        let config = Config::resolve(&settings, &BTreeMap::new()).unwrap();
        let ContentConfig::Mongo(mongo) = &config.content else { unreachable!("{config:?}") };
        assert_eq!(mongo.url, "mongodb://u:s3cret@one");
        assert_eq!(mongo.database, "smartcourse");
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[cfg(feature = "mongo")]
    #[test]
    fn a_mongodb_that_cannot_be_one_is_refused_by_the_name_of_its_variable() {
        assert!(problems(&settings("", "")).contains("MONGODB_URL"));
        assert!(problems(&settings("", "http://two")).contains("MONGO_URI must start with"));
        let named =
            Settings { mongodb_db_name: Some("a/b".to_owned()), ..settings("mongodb://one", "") };
        assert!(problems(&named).contains("MONGODB_DB_NAME"));
    }
}
