//! The command line: one file per command.

mod beside;
mod cache;
mod client;
mod company;
mod config;
mod content;
mod health;
mod log;
mod migrate;
mod openapi;
mod output;
mod replay;
pub mod seed;
mod serve;
mod user;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::clock::Clock;
use crate::config::{Config, Settings, Sources};

pub use output::Output;

/// An e-learning backend whose reads go through a two-tier cache
#[derive(Parser)]
#[command(name = "campus", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API and the catalogue page (the default)
    Serve,
    /// Bring the database schema up to date
    Migrate,
    /// Import a catalogue
    Seed(seed::SeedArgs),
    /// Play a log of real learners and say what the cache was good for
    Replay(replay::ReplayArgs),
    /// Manage accounts
    User(user::UserArgs),
    /// Ask a running server how it is
    Health,
    /// Look into the cache of a running server, clear, warm and test it
    Cache(cache::CacheArgs),
    /// Compare course content in MongoDB with the database, and bring it back from there
    Content(content::ContentArgs),
    /// Check the configuration
    Config(config::ConfigArgs),
    /// Print the OpenAPI document
    Openapi,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Parses the arguments and runs the command.
pub fn run() -> ExitCode {
    let mut out = Output::new();
    let dotenv = match Config::load_dotenv() {
        Ok(names) => names,
        Err(error) => {
            out.complain(&error);
            return ExitCode::from(2);
        }
    };
    // Values of variables are secrets as often as not: help never shows them.
    let command = Cli::command().mut_args(|arg| arg.hide_env_values(true));
    let arguments = command.try_get_matches().unwrap_or_else(|error| error.exit());
    let cli = Cli::from_arg_matches(&arguments).unwrap_or_else(|error| error.exit());
    let sources = Sources { arguments: &arguments, dotenv: &dotenv };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(cli, &sources, &mut out));
            // Whoever still asks for the address of a host may ask for long.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            out.complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(cli: Cli, sources: &Sources<'_>, out: &mut Output) -> Result<ExitCode, Failure> {
    let command = cli.command.unwrap_or(Command::Serve);
    match &command {
        Command::Openapi => {
            let service = Config::service(&cli.settings)?;
            return openapi::run(service, out).map(|()| ExitCode::SUCCESS);
        }
        Command::Config(args) => {
            return config::run(args, &cli.settings, sources, out).map(|()| ExitCode::SUCCESS);
        }
        _ => {}
    }
    let config = Config::from_process(&cli.settings)?;
    let clock = Clock::System;
    match command {
        Command::Serve => {
            let log = log::Log::start(&config)?;
            let served = serve::run(&config, clock, out).await;
            log.end().await;
            served?;
        }
        Command::Migrate => migrate::run(&config, out).await?,
        Command::Seed(args) => seed::run(&args, &config, clock, out).await?,
        Command::Replay(args) => replay::run(&args, &config, clock, out).await?,
        Command::User(args) => user::run(&args, &config, clock, out).await?,
        Command::Health => return health::run(&config, out).await,
        Command::Cache(args) => return cache::run(&args, &config, clock, out).await,
        Command::Content(args) => return content::run(&args, &config, out).await,
        Command::Config(_) | Command::Openapi => {}
    }
    Ok(ExitCode::SUCCESS)
}
