//! `campus config check`: says what the configuration means, without secrets.

use clap::{Args, Subcommand};

use super::{Failure, Output};
use crate::config::Config;

#[derive(Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Check flags, variables and .env, and print the result
    Check,
}

pub(super) fn run(args: &ConfigArgs, config: &Config, out: &mut Output) -> Result<(), Failure> {
    let What::Check = args.what;
    out.line(&format!("{config:#?}"))?;
    for warning in &config.warnings {
        out.line(&format!("warning: {warning}"))?;
    }
    out.line("the configuration is valid")?;
    Ok(())
}
