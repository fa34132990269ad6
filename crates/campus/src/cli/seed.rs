//! `campus seed catalogue`: reads catalogues from files and stores them, all or nothing.

use std::error::Error as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::app::{App, BuildError};
use crate::clock::Clock;
use crate::config::Config;
use crate::import::{self, ImportError, Part};
use crate::model::Catalogue;
use crate::store::lock::{self, Claim, DatabaseLock, Holder};
use crate::store::{self, Counts, Imported, Location};

/// How long Redis may take to hear of an import.
const REDIS_PATIENCE: Duration = Duration::from_secs(5);

const REDIS_AWAY: &str = "warning: Redis (REDIS_URL) did not answer; what it has cached of the \
changed rows may be served until its TTL ends";

#[derive(Debug, Args)]
pub struct SeedArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Import courses or articles from files; a second import updates what the first one brought
    Catalogue(CatalogueArgs),
}

#[derive(Debug, Args)]
struct CatalogueArgs {
    /// Folders or files: the Microsoft Learn layout, articles, or your own courses as CSV, JSON or
    /// newline-JSON; plain, gzip or zstd
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Check the files and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error(transparent)]
    Read(#[from] ImportError),
    #[error("{0}")]
    Busy(String),
    #[error("the lock file {} cannot be opened", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("the import failed and nothing of it was kept")]
    Store(#[from] store::Error),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("the result cannot be written")]
    Output(#[from] io::Error),
}

/// Runs the command. `out` gets the result; progress goes to the terminal's error stream, if it is one.
pub async fn run(
    args: &SeedArgs,
    config: &Config,
    clock: Clock,
    out: &mut (dyn Write + Send),
) -> Result<(), SeedError> {
    let What::Catalogue(args) = &args.what;
    let outcome = catalogue(args, config, clock).await;
    match &outcome {
        Ok(done) if args.json => writeln!(out, "{:#}", done.json())?,
        Ok(done) => done.table(out)?,
        Err(error) if args.json => writeln!(out, "{:#}", error.json())?,
        Err(_) => {}
    }
    outcome.map(|_| ())
}

async fn catalogue(args: &CatalogueArgs, config: &Config, clock: Clock) -> Result<Done, SeedError> {
    let parts = import::read(&args.paths)?;
    if args.dry_run {
        return Ok(Done::checked(parts));
    }
    let location = Location::parse(&config.database_url.0)?;
    let _lock = location.file().map(|file| claim(file)).transpose()?;
    let app = App::build(config, clock).await?;
    let catalogues: Vec<&Catalogue> = parts.iter().map(|part| &part.catalogue).collect();
    let bar = progress(catalogues.iter().map(|catalogue| catalogue.rows()).sum());
    let mut step = |done: usize| bar.set_position(done as u64);
    let now = app.clock.now();
    let imported = app.store().import_all(&catalogues, now, &mut step).await;
    bar.finish_and_clear();
    let reports = imported?;
    let cache = invalidate(&app, &reports).await;
    app.store().close().await?;
    Ok(Done { parts, reports, database: Some(location.to_string()), cache })
}

/// Ends what Redis still has of the changed rows. This process must not end before Redis has
/// heard of it, because what is queued here dies with it.
async fn invalidate(app: &App, reports: &[Imported]) -> CacheState {
    for report in reports {
        app.reads.imported(report).await;
    }
    let deadline = Instant::now() + REDIS_PATIENCE;
    while app.reads.stats().pending_invalidations > 0 {
        if Instant::now() >= deadline {
            return CacheState::MayBeOld;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    CacheState::Current
}

/// Takes the lock of the database file: a running server would go on serving what it has cached.
fn claim(database: &Path) -> Result<DatabaseLock, SeedError> {
    let failed = |source| SeedError::Lock { path: lock::path(database), source };
    if let Some(folder) = database.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    match lock::claim(database).map_err(failed)? {
        Claim::Granted(mut lock) => {
            lock.announce("none (campus seed is importing)").map_err(failed)?;
            Ok(lock)
        }
        Claim::HeldBy(holder) => Err(SeedError::Busy(busy(database, &holder))),
    }
}

fn busy(database: &Path, holder: &Holder) -> String {
    let pid = holder.pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
    let url = holder.url.as_deref().unwrap_or("unknown");
    format!(
        "a server uses the database {} (pid {pid}, url {url}) and would go on serving what it has \
         cached; stop it, import, and start it again",
        database.display()
    )
}

/// Draws on standard error, and not at all when that is no terminal.
fn progress(rows: usize) -> ProgressBar {
    let bar = ProgressBar::new(rows as u64);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A finished import, or a finished check when there is no database.
struct Done {
    parts: Vec<Part>,
    /// One for each part; none after a dry run.
    reports: Vec<Imported>,
    database: Option<String>,
    cache: CacheState,
}

/// Whether a cached answer can still show what was before the import.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CacheState {
    Current,
    /// Redis did not answer.
    MayBeOld,
}

impl Done {
    fn checked(parts: Vec<Part>) -> Self {
        Self { parts, reports: Vec::new(), database: None, cache: CacheState::Current }
    }

    fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        for (index, part) in self.parts.iter().enumerate() {
            let catalogue = &part.catalogue;
            match self.reports.get(index) {
                Some(report) => stored(out, &catalogue.source, report)?,
                None => checked(out, catalogue)?,
            }
            for note in &part.notes {
                writeln!(out, "  note: {note}")?;
            }
            if let Some(credit) = part.attribution {
                writeln!(out, "  credit: {credit}")?;
            }
        }
        if self.cache == CacheState::MayBeOld {
            writeln!(out, "{REDIS_AWAY}")?;
        }
        match &self.database {
            Some(database) => writeln!(out, "stored in {database}"),
            None => writeln!(out, "dry run: the files are good, nothing was stored"),
        }
    }

    fn json(&self) -> Value {
        let sources: Vec<Value> = self
            .parts
            .iter()
            .enumerate()
            .map(|(index, part)| {
                let (modules, lessons) = sizes(&part.catalogue);
                json!({
                    "source": part.catalogue.source,
                    "rows": part.catalogue.rows(),
                    "modules": modules,
                    "lessons": lessons,
                    "changes": self.reports.get(index).map(changes),
                    "notes": part.notes,
                    "attribution": part.attribution,
                })
            })
            .collect();
        let warning = (self.cache == CacheState::MayBeOld).then_some(REDIS_AWAY);
        json!({
            "dry_run": self.database.is_none(),
            "database": self.database,
            "warning": warning,
            "sources": sources,
        })
    }
}

impl SeedError {
    fn json(&self) -> Value {
        let problems = match self {
            Self::Read(ImportError::BadRows(problems)) => problems.as_slice(),
            _ => &[],
        };
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        json!({"error": text, "problems": problems})
    }
}

/// The kinds of rows that a report counts, with their names.
fn kinds(report: &Imported) -> [(&'static str, Counts); 5] {
    [
        ("people", report.people),
        ("courses", report.courses),
        ("articles", report.articles),
        ("enrollments", report.enrollments),
        ("ratings", report.ratings),
    ]
}

fn changes(report: &Imported) -> Value {
    let counts = kinds(report).map(|(kind, counts)| {
        let Counts { inserted, updated, unchanged } = counts;
        let counts = json!({"inserted": inserted, "updated": updated, "unchanged": unchanged});
        (kind.to_owned(), counts)
    });
    Value::Object(counts.into_iter().collect())
}

fn stored(out: &mut dyn Write, source: &str, report: &Imported) -> io::Result<()> {
    writeln!(out, "{source:<14} {:>9} {:>9} {:>9}", "inserted", "updated", "unchanged")?;
    for (kind, counts) in kinds(report) {
        let Counts { inserted, updated, unchanged } = counts;
        if inserted + updated + unchanged > 0 {
            writeln!(out, "  {kind:<12} {inserted:>9} {updated:>9} {unchanged:>9}")?;
        }
    }
    if report.lessons > 0 {
        writeln!(
            out,
            "  the courses have {} lessons in {} modules",
            report.lessons, report.modules
        )?;
    }
    Ok(())
}

fn checked(out: &mut dyn Write, catalogue: &Catalogue) -> io::Result<()> {
    let (modules, lessons) = sizes(catalogue);
    let (people, courses, articles) =
        (catalogue.people.len(), catalogue.courses.len(), catalogue.articles.len());
    writeln!(
        out,
        "{}: {courses} courses, {modules} modules, {lessons} lessons, {articles} articles, {people} people",
        catalogue.source
    )
}

/// Modules and lessons.
fn sizes(catalogue: &Catalogue) -> (usize, usize) {
    let modules = || catalogue.courses.iter().flat_map(|course| &course.modules);
    (modules().count(), modules().map(|module| module.lessons.len()).sum())
}
