//! Runs Larder in several processes under faults, and checks every read against what was promised.

mod check;
mod clock;
mod crew;
mod database;
mod faults;
mod item;
mod record;
mod report;
mod run;
mod table;
mod worker;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Checks histories of a cache in several processes
#[derive(Parser)]
#[command(name = "history", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Let several processes read and write under faults, then check every read
    Run(run::RunArgs),
    /// One of those processes
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(args).await,
        Command::Worker(args) => worker::run(args).await.map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "history: {error}");
        ExitCode::from(2)
    })
}
