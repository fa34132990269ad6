//! `campus config check`: says what the configuration means, without secrets.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Failure, Output};
use crate::app::App;
use crate::config::{Config, Report, Settings, Sources};

#[derive(Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Check flags, variables and .env, and print the result
    Check {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Refuses whatever `serve` would refuse before it opens anything.
pub(super) fn run(
    args: &ConfigArgs,
    settings: &Settings,
    sources: &Sources<'_>,
    out: &mut Output,
) -> Result<(), Failure> {
    let What::Check { json } = args.what;
    let checked = checked(settings);
    match &checked {
        Ok(config) => {
            let report = Report::new(config, sources);
            if json {
                out.line(&format!("{:#}", as_json(&report)))?;
            } else {
                print(&report, out)?;
            }
        }
        Err((problems, _)) if json => {
            out.line(&format!("{:#}", json!({"valid": false, "problems": problems})))?;
        }
        Err(_) => {}
    }
    checked.map(drop).map_err(|(_, failure)| failure)
}

/// The configuration, or each problem and the failure to end with.
fn checked(settings: &Settings) -> Result<Config, (Vec<String>, Failure)> {
    let config = Config::from_process(settings)
        .map_err(|error| (error.problems().to_vec(), Failure::from(error)))?;
    App::check(&config).map_err(|error| (vec![error.to_string()], Failure::from(error)))?;
    Ok(config)
}

fn print(report: &Report, out: &mut Output) -> std::io::Result<()> {
    let settings = report.settings.iter().map(|setting| {
        let value = setting.value.clone().unwrap_or_else(|| "-".to_owned());
        [setting.name.clone(), value, setting.origin.to_string()]
    });
    out.table(["SETTING", "VALUE", "FROM"], settings.collect())?;
    out.line("")?;
    let lives = report.lifetimes.iter().map(|of| {
        let seconds = format!("{} / {}", of.life.soft.as_secs(), of.life.hard.as_secs());
        let by = of.set_by.iter().map(|(name, origin)| format!("{name} ({origin})"));
        let by = by.collect::<Vec<String>>().join(", ");
        [of.namespace.to_owned(), seconds, if by.is_empty() { "default".to_owned() } else { by }]
    });
    out.table(["CACHED", "SOFT / HARD TTL, s", "FROM"], lives.collect())?;
    out.line("")?;
    for warning in &report.warnings {
        out.line(&format!("warning: {warning}"))?;
    }
    out.line("the configuration is valid")
}

fn as_json(report: &Report) -> Value {
    let settings = report.settings.iter().map(|setting| {
        let (name, value) = (&setting.name, &setting.value);
        json!({"name": name, "value": value, "from": setting.origin.to_string()})
    });
    let lives = report.lifetimes.iter().map(|of| {
        let by = of.set_by.iter();
        let by = by.map(|(name, origin)| json!({"name": name, "from": origin.to_string()}));
        json!({
            "namespace": of.namespace,
            "soft_seconds": of.life.soft.as_secs(),
            "hard_seconds": of.life.hard.as_secs(),
            "set_by": by.collect::<Vec<Value>>(),
        })
    });
    json!({
        "valid": true,
        "settings": settings.collect::<Vec<Value>>(),
        "ttls": lives.collect::<Vec<Value>>(),
        "warnings": report.warnings,
    })
}
