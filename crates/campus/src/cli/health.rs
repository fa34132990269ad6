//! `campus health`: asks the server at the configured address; for container health checks.

use std::process::ExitCode;

use super::client::{PATIENCE, Question, ask};
use super::{Failure, Output};
use crate::config::Config;

/// Exit code 0 for healthy and degraded, 1 for unhealthy or no answer.
pub(super) async fn run(config: &Config, out: &mut Output) -> Result<ExitCode, Failure> {
    let question = Question { method: "GET", path: "/health", header: None, patience: PATIENCE };
    let reply = ask(config, question).await?;
    out.line(&reply.body)?;
    Ok(if reply.status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
