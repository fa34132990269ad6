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
        if let Some(redis) = &config.redis {
            let millis = redis.op_timeout.as_millis().to_string();
            derive(&mut settings, "REDIS_OP_TIMEOUT_MS", "REDIS_SOCKET_TIMEOUT", millis);
        }
        for setting in &mut settings {
            setting.value = setting.value.take().map(|value| shown(&setting.name, value));
        }
        let changed = &config.cache.lifetimes;
        let lifetimes = NAMESPACES.iter().map(|namespace| NamespaceLife {
            namespace: namespace.name,
            life: *changed.get(namespace.name).unwrap_or(&namespace.life),
            set_by: sources.deciding(namespace.name),
        });
        Self { settings, lifetimes: lifetimes.collect(), warnings: config.warnings.clone() }
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

    fn deciding(&self, namespace: &str) -> Vec<(String, Origin)> {
        let is_set = |name: &str| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
        let names = lifetimes::deciding(namespace, is_set).into_iter();
        names.map(|name| (name.clone(), self.origin(&name))).collect()
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
