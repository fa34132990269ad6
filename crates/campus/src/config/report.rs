//! What the configuration comes to, and where each value is from; without secrets.

use std::collections::BTreeSet;
use std::fmt;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args};

use super::{Config, Lifetime, NAMESPACES, Settings, lifetimes};
use crate::store::without_password;

/// What was given to this process.
pub struct Sources<'a> {
    pub arguments: &'a ArgMatches,
    /// The variables that `.env` has set.
    pub dotenv: &'a BTreeSet<String>,
}

/// The whole configuration, for people and programs to read.
pub struct Report {
    pub settings: Vec<Setting>,
    pub lifetimes: Vec<NamespaceLife>,
    pub warnings: Vec<String>,
}

pub struct Setting {
    pub name: String,
    /// Absent: not set, and there is no default.
    pub value: Option<String>,
    pub origin: Origin,
}

/// How long the entries of a namespace live, and which variables say so.
pub struct NamespaceLife {
    pub namespace: &'static str,
    pub life: Lifetime,
    pub set_by: Vec<(String, Origin)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    DotEnv,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::DotEnv => ".env",
            Self::Default => "default",
        })
    }
}

impl Report {
    pub fn new(config: &Config, sources: &Sources<'_>) -> Self {
        let command = Settings::augment_args(clap::Command::new("campus"));
        let mut settings: Vec<Setting> =
            command.get_arguments().filter_map(|arg| sources.setting(arg)).collect();
        derive(&mut settings, "DATABASE_URL", "POSTGRES_USER", config.database_url.0.clone());
        #[cfg(feature = "mongo")]
        if let super::ContentConfig::Mongo(mongo) = &config.content {
            derive(&mut settings, "MONGODB_URL", "MONGO_URI", mongo.url.clone());
        }
        if let Some(redis) = &config.redis {
            let millis = redis.op_timeout.as_millis().to_string();
            derive(&mut settings, "REDIS_OP_TIMEOUT_MS", "REDIS_SOCKET_TIMEOUT", millis);
        }
        let changed = &config.cache.lifetimes;
        let lifetimes: Vec<NamespaceLife> = NAMESPACES
            .iter()
            .map(|namespace| NamespaceLife {
                namespace: namespace.name,
                life: *changed.get(namespace.name).unwrap_or(&namespace.life),
                set_by: sources.deciding(namespace.name, &settings),
            })
            .collect();
        for setting in &mut settings {
            setting.value = setting.value.take().map(|value| shown(&setting.name, value));
        }
        Self { settings, lifetimes, warnings: config.warnings.clone() }
    }
}

impl Sources<'_> {
    /// The help is where the defaults are written down.
    fn setting(&self, arg: &Arg) -> Option<Setting> {
        let name = arg.get_env()?.to_str()?.to_owned();
        let id = arg.get_id().as_str();
        let given = self.arguments.get_one::<String>(id).map(|value| value.trim());
        if let Some(given) = given.filter(|given| !given.is_empty()) {
            let origin = match self.arguments.value_source(id) {
                Some(ValueSource::CommandLine) => Origin::Flag,
                _ => self.origin(&name),
            };
            return Some(Setting { name, value: Some(given.to_owned()), origin });
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let default = help.split_once("[default: ").and_then(|(_, rest)| rest.split_once(']'));
        let value = default.map(|(default, _)| default.to_owned());
        Some(Setting { name, value, origin: Origin::Default })
    }

    /// Of a variable that is set.
    fn origin(&self, name: &str) -> Origin {
        if self.dotenv.contains(name) { Origin::DotEnv } else { Origin::Environment }
    }

    /// The variables that decide about a namespace; some of them are settings with a flag.
    fn deciding(&self, namespace: &str, settings: &[Setting]) -> Vec<(String, Origin)> {
        let origin = |name: &str| match settings.iter().find(|setting| setting.name == name) {
            Some(setting) => Some(setting.origin).filter(|origin| *origin != Origin::Default),
            None => {
                let value = std::env::var(name).ok().filter(|value| !value.trim().is_empty());
                value.map(|_| self.origin(name))
            }
        };
        let names = lifetimes::deciding(namespace, |name| origin(name).is_some()).into_iter();
        names.filter_map(|name| Some((name.clone(), origin(&name)?))).collect()
    }
}

/// A setting that is not given and has its value from another one that is.
fn derive(settings: &mut [Setting], name: &str, from: &str, value: String) {
    let origin = |name: &str| settings.iter().find(|s| s.name == name).map(|s| s.origin);
    let (Some(Origin::Default), Some(origin)) = (origin(name), origin(from)) else {
        return;
    };
    if origin != Origin::Default
        && let Some(setting) = settings.iter_mut().find(|s| s.name == name)
    {
        (setting.value, setting.origin) = (Some(value), origin);
    }
}

fn shown(name: &str, value: String) -> String {
    let is_secret = ["_PASSWORD", "_SECRET", "_TOKEN"].iter().any(|end| name.ends_with(end));
    let is_address = ["_URL", "_URI"].iter().any(|end| name.ends_with(end));
    match (is_secret, is_address) {
        (true, _) => "***".to_owned(),
        (false, true) => without_password(&value),
        (false, false) => value,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use clap::{Args as _, FromArgMatches as _};

    use super::{Report, Sources};
    use crate::config::{Config, Settings};

    fn parsed(arguments: &[String]) -> (Config, Report) {
        let command = Settings::augment_args(clap::Command::new("campus").no_binary_name(true));
        let arguments = command.try_get_matches_from(arguments).unwrap();
        let settings = Settings::from_arg_matches(&arguments).unwrap();
        let config = Config::resolve(&settings, &BTreeMap::new()).unwrap();
        let sources = Sources { arguments: &arguments, dotenv: &BTreeSet::new() };
        let report = Report::new(&config, &sources);
        (Config { warnings: Vec::new(), ..config }, report)
    }

    #[test]
    fn the_defaults_that_are_shown_are_those_that_hold() {
        let (default, report) = parsed(&[]);
        let command = Settings::augment_args(clap::Command::new("campus"));
        let mut arguments = Vec::new();
        for arg in command.get_arguments() {
            let name = arg.get_env().and_then(|name| name.to_str());
            let setting = report.settings.iter().find(|setting| Some(&*setting.name) == name);
            if let Some((long, value)) = arg.get_long().zip(setting.and_then(|s| s.value.clone())) {
                arguments.extend([format!("--{long}"), value]);
            }
        }
        assert!(arguments.len() > 30, "{arguments:?}");
        let (given, _) = parsed(&arguments);
        assert_eq!(format!("{given:?}"), format!("{default:?}"));
    }
}
