//! `campus replay`: plays a log of real learners through the domain layer, with the cache and
//! without it, and says what the cache was good for.

mod paced;
mod player;
mod report;
mod script;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, value_parser};
use indicatif::ProgressBar;

use self::player::{Playing, play};
use self::report::Report;
use self::script::Log;
use super::seed::{STEP, in_steps, progress};
use super::{Failure, Output, beside};
use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, Toggle};
use crate::import::oulad::{self, Until};
use crate::import::{Part, edify};
use crate::reads::{Holds, RedisState};

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(subcommand)]
    log: Which,
    /// How many requests are played again without a cache, which takes much longer
    #[arg(long, default_value_t = 20_000, global = true)]
    uncached: usize,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// The Open University's clicks: every first visit of a lesson completes it
    Oulad(OuladArgs),
    /// The log of a Moodle, with the writes of learners and teachers as they were
    Edify {
        /// The folder with events.csv, plain, gzip or zstd
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct OuladArgs {
    /// The folder of the Open University's tables with the log beside them
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The log, which ends in the presentation that it is of
    #[arg(long, default_value = "clicks_2014J")]
    log: String,
    /// Play only so many requests of the log, from its beginning
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    requests: usize,
    /// Play only the learners whose number this divides: a part of them, over the whole time
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    every: u32,
}

/// How long Redis may take to be connected.
const REDIS_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(
    args: &ReplayArgs,
    config: &Config,
    clock: Clock,
    out: &mut Output,
) -> Result<(), Failure> {
    let (part, log) = match &args.log {
        Which::Oulad(args) => oulad_log(args)?,
        Which::Edify { folder } => edify_log(folder)?,
    };
    if log.is_empty() || args.uncached == 0 {
        return Err("there is nothing to play or to compare it with".into());
    }
    let _lock = beside::lock(config, "campus replay")?;
    let app = connected(config, &clock).await?;
    if !app.store().begin().await?.has_no_courses().await? {
        let reason = "a replay needs a database of its own: name an empty one in DATABASE_URL";
        return Err(reason.into());
    }
    let bar = progress(part.catalogue.rows());
    in_steps(&app, &part.catalogue.into_steps(STEP), &bar).await?;
    bar.finish_and_clear();
    beside::redis_told(&app.reads).await;
    let requests = log.requests(app.store()).await?;
    app.store().close().await?;

    let app = connected(config, &clock).await?;
    let bar = progress(requests.len());
    let cached = play(&app, &requests, Playing::Everything, &bar).await?;
    bar.finish_and_clear();
    app.store().close().await?;

    let mut without = config.clone();
    without.cache.enabled = Toggle::Off;
    let app = App::build(&without, clock).await?;
    let again = &requests[..requests.len().min(args.uncached)];
    let bar = progress(again.len());
    let uncached = play(&app, again, Playing::Reads, &bar).await?;
    bar.finish_and_clear();
    app.store().close().await?;

    let paced = paced::compare(&requests);
    let report = Report { requests: &requests, cached, uncached, paced };
    out.write_all(report.to_string().as_bytes())?;
    out.flush()?;
    Ok(())
}

fn oulad_log(args: &OuladArgs) -> Result<(Part, Log), Failure> {
    let presentation = args.log.rsplit('_').next().unwrap_or("").to_owned();
    let mut visits = oulad::visits(&args.folder, &args.log, args.requests)?;
    visits.retain(|visit| visit.student.is_multiple_of(args.every));
    let part = oulad::read(&args.folder, Until::TheStartOf(&presentation))?;
    Ok((part, Log::Clicks { visits, presentation }))
}

fn edify_log(folder: &Path) -> Result<(Part, Log), Failure> {
    let (part, log) = edify::read(folder)?;
    Ok((part, Log::Moodle(log)))
}

/// With Redis, if there is to be one: a replay without it would measure something else.
async fn connected(config: &Config, clock: &Clock) -> Result<App, Failure> {
    let app = App::build(config, clock.clone()).await?;
    let deadline = tokio::time::Instant::now() + REDIS_PATIENCE;
    while app.reads.stats().redis == RedisState::Down {
        if tokio::time::Instant::now() > deadline {
            return Err("Redis (REDIS_URL) does not answer".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ours = app.reads.database_name().await?;
    if app.reads.whose(&ours).await == Holds::Others {
        let reason = "Redis holds the answers of another database, whose servers would serve those \
                      of the replay: name another REDIS_URL or REDIS_KEY_PREFIX";
        return Err(reason.into());
    }
    Ok(app)
}

/// Where the bar is drawn often enough to be seen to move, and no more often.
fn tick(bar: &ProgressBar, done: usize) {
    if done.is_multiple_of(512) {
        bar.set_position(done as u64);
    }
}
