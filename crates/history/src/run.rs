//! One run: servers, workers, faults, quiet, and the verdict.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use private_servers::{Proxy, Redis};
use tempfile::TempDir;
use tokio::time;

use crate::{
    Failure,
    check::{Checker, Circumstances, DELTA, HEALED, Reconnect, Writes},
    crew::{Crew, Log, Orders},
    database::{Database, DatabaseKind},
    faults::{CutOff, Fault, Stage},
    record,
    report::{Report, Tally, Witness},
    table::Table,
    worker::Bug,
};

/// The outbox must be empty this long after the end; how soon it heals is checked by the reads.
const LAST_ROWS: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct RunArgs {
    /// How long readers and writers work
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// What all chances are drawn from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Worker processes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=16))]
    pub(crate) processes: u32,
    /// Keys that all of them read and write
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) keys: u32,
    /// What the loaders read
    #[arg(long, value_enum, default_value = "sqlite")]
    pub(crate) database: DatabaseKind,
    /// Leave everything running
    #[arg(long)]
    pub(crate) no_faults: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the workers' logs in this new folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Make the workers wrong, to see that it is found
    #[arg(long, hide = true)]
    bug: Option<Bug>,
}

/// What a run leaves behind for the checker.
struct History {
    logs: Vec<Log>,
    faults: Vec<Fault>,
    last: Vec<u64>,
    /// Rows of the outbox that nobody has applied.
    waiting: u64,
}

impl History {
    /// What every process began with, and what the faults did to it.
    fn reconnects(&self) -> Vec<Reconnect> {
        let mut reconnects = Vec::new();
        for Log { process, line, born, .. } in &self.logs {
            let (process, begun, over) = (*process, *born, *born);
            reconnects.push(Reconnect { process, begun, over });
            for fault in &self.faults {
                match fault.cut_off {
                    Some((CutOff::Line(cut), _)) if cut != *line => {}
                    Some((_, begun)) => {
                        reconnects.push(Reconnect { process, begun, over: fault.till });
                    }
                    None => {}
                }
            }
        }
        reconnects
    }
}

/// Runs, checks and prints. Fails with 1 if a promise was broken.
pub(crate) async fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    let temporary = TempDir::new()?;
    let folder = match &args.keep {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            folder.clone()
        }
        None => temporary.path().to_owned(),
    };
    let history = tokio::select! {
        history = happen(&args, folder) => history?,
        _ = tokio::signal::ctrl_c() => return Err("interrupted; nothing was checked".into()),
    };
    let report = judge(&args, &history)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        report.print(&mut out)?;
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn happen(args: &RunArgs, folder: PathBuf) -> Result<History, Failure> {
    let (redis, server) = (Redis::start().await, Database::start(args.database)?);
    let table = Table::open(&server.url()).await?;
    table.create(args.keys).await?;
    let mut lines = Vec::new();
    for _ in 0..args.processes {
        lines.push(Proxy::before(redis.port()).await);
    }
    let (seed, keys, database, bug) = (args.seed, args.keys, server.url(), args.bug);
    let crew = Crew::start(Orders { seed, keys, database, folder, bug }, &lines).await?;
    let stage = Stage { redis, lines, crew };
    let lasting = Duration::from_secs(args.seconds);
    let progress = tokio::spawn(show_progress(args.seconds));
    let (mut stage, faults) = if args.no_faults {
        time::sleep(lasting).await;
        (stage, Vec::new())
    } else {
        let working = time::Instant::now();
        let suffered = stage.suffer(seed, lasting).await?;
        time::sleep(lasting.saturating_sub(working.elapsed())).await;
        suffered
    };
    progress.abort();
    stage.crew.all("stop", "stopped").await?;
    time::sleep(Duration::from_nanos(HEALED + DELTA)).await;
    let (last, waiting) = (table.versions().await?, left_after(&table, LAST_ROWS).await?);
    stage.crew.all("settle", "settled").await?;
    Ok(History { logs: stage.crew.logs().to_vec(), faults, last, waiting })
}

/// Rows of the outbox that are still there after `limit`.
async fn left_after(table: &Table, limit: Duration) -> Result<u64, Failure> {
    let deadline = time::Instant::now() + limit;
    loop {
        let waiting = table.waiting().await?;
        if waiting == 0 || time::Instant::now() > deadline {
            return Ok(waiting);
        }
        time::sleep(Duration::from_millis(50)).await;
    }
}

/// On a terminal only; standard output stays for the result.
async fn show_progress(seconds: u64) {
    if !std::io::stdout().is_terminal() {
        return;
    }
    let bar = ProgressBar::new(seconds);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} s") {
        bar.set_style(style);
    }
    let mut ticks = time::interval(Duration::from_secs(1));
    for _ in 0..=seconds {
        ticks.tick().await;
        bar.inc(1);
    }
}

/// Reads all logs twice: first the writes, then every read against them.
fn judge(args: &RunArgs, history: &History) -> Result<Report, Failure> {
    let mut writes = Writes::default();
    for log in &history.logs {
        writes.add(log.process, log.died, record::read(&log.path)?);
    }
    let delays = history.faults.iter().filter(|fault| fault.delays_healing);
    let faults = delays.map(|fault| (fault.from, fault.till)).collect();
    let reconnects = history.reconnects();
    let around = Circumstances { last: history.last.clone(), faults, reconnects };
    let (mut checker, mut tally) = (Checker::new(&writes, &around), Tally::default());
    for log in &history.logs {
        for record in record::read(&log.path)? {
            tally.count(&record);
            checker.check(log.process, &record);
        }
    }
    let findings = checker.findings();
    let mut witness = Witness::of(&findings);
    for log in &history.logs {
        record::read(&log.path)?.for_each(|record| witness.hear(log.process, &record));
    }
    Ok(Report::new(args, &history.faults, history.waiting, tally, findings, witness))
}
