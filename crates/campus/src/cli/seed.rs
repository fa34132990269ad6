//! `campus seed`: catalogues from files, all or nothing; learners by the ten thousand, step by step.

use std::error::Error as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::beside::{self, CacheState, LockError, REDIS_AWAY};
use crate::app::{App, BuildError};
use crate::clock::Clock;
use crate::config::Config;
use crate::import::oulad::Until;
use crate::import::synthetic::Size;
use crate::import::{self, ImportError, Part};
use crate::model::Catalogue;
use crate::reads::Ending;
use crate::store::{self, Counts, Imported};

#[derive(Debug, Args)]
pub struct SeedArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Import courses or articles from files; a second import updates what the first one brought
    Catalogue(CatalogueArgs),
    /// Import the Open University's learners: courses, enrollments and what they have done
    Oulad(OuladArgs),
    /// Make up courses and learners, the same for the same numbers
    Synthetic(SyntheticArgs),
}

#[derive(Debug, Args)]
struct CatalogueArgs {
    /// Folders or files: the Microsoft Learn layout, articles, or your own courses as CSV, JSON or
    /// newline-JSON; plain, gzip or zstd
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct OuladArgs {
    /// The folder of the publisher's tables: courses.csv, vle.csv, assessments.csv, studentInfo.csv,
    /// studentRegistration.csv, studentAssessment.csv, and studentVle.csv or clicks_*.csv; plain,
    /// gzip or zstd
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct SyntheticArgs {
    /// How many courses
    #[arg(long, value_parser = value_parser!(u32).range(1..=100_000))]
    courses: u32,
    /// How many learners
    #[arg(long, value_parser = value_parser!(u32).range(0..=1_000_000))]
    users: u32,
    /// Another seed makes others, beside the first ones
    #[arg(long, default_value_t = 1)]
    random_seed: u64,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Check what would be imported and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Enrollments in one transaction: enough to be fast, few enough that nobody waits long for it.
pub(super) const STEP: usize = 2_000;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error(transparent)]
    Read(#[from] ImportError),
    #[error(transparent)]
    Locked(#[from] LockError),
    #[error("the import failed and nothing of it was kept")]
    Store(#[from] store::Error),
    #[error("the import stopped half-way; repeat it, and it goes on from there")]
    Step(#[source] store::Error),
    #[error("the import may have been stored; it can be repeated without harm")]
    InDoubt(#[source] store::Error),
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
    let (how, outcome) = match &args.what {
        What::Catalogue(args) => (&args.how, catalogue(args, config, clock).await),
        What::Oulad(args) => {
            let part = import::oulad::read(&args.folder, Until::TheEnd);
            (&args.how, learners(part, &args.how, config, clock).await)
        }
        What::Synthetic(args) => {
            let size = Size { courses: args.courses, users: args.users, seed: args.random_seed };
            let part = Ok(import::synthetic::make(size));
            (&args.how, learners(part, &args.how, config, clock).await)
        }
    };
    match &outcome {
        Ok(done) if how.json => writeln!(out, "{:#}", done.json())?,
        Ok(done) => done.table(out)?,
        Err(error) if how.json => writeln!(out, "{:#}", error.json())?,
        Err(_) => {}
    }
    outcome.map(|_| ())
}

async fn catalogue(args: &CatalogueArgs, config: &Config, clock: Clock) -> Result<Done, SeedError> {
    let parts = import::read(&args.paths)?;
    if args.how.dry_run {
        return Ok(Done::checked(parts));
    }
    let _lock = beside::lock(config, "campus seed")?;
    let app = App::build(config, clock).await?;
    let catalogues: Vec<&Catalogue> = parts.iter().map(|part| &part.catalogue).collect();
    let bar = progress(catalogues.iter().map(|catalogue| catalogue.rows()).sum());
    let mut step = |done: usize| bar.set_position(done as u64);
    let now = app.clock.now();
    let tx = app.store().begin().await?;
    let imported = tx.import(&catalogues, now, &mut step).await;
    bar.finish_and_clear();
    let reports = imported?;
    app.reads.commit(tx, Ending::imported(&reports)).await.map_err(not_committed)?;
    finish(&app, parts, reports).await
}

/// Stores a part that is too large for one transaction. Every step is good by itself: one that
/// fails leaves those before it, and a repetition goes on from there.
async fn learners(
    part: Result<Part, ImportError>,
    how: &How,
    config: &Config,
    clock: Clock,
) -> Result<Done, SeedError> {
    let mut part = part?;
    if how.dry_run {
        return Ok(Done::checked(vec![part]));
    }
    let _lock = beside::lock(config, "campus seed")?;
    let app = App::build(config, clock).await?;
    let bar = progress(part.catalogue.rows());
    let steps = std::mem::take(&mut part.catalogue).into_steps(STEP);
    let report = in_steps(&app, &steps, &bar).await;
    bar.finish_and_clear();
    let report = report.map_err(SeedError::Step)?;
    part.catalogue = Catalogue::of_steps(steps);
    finish(&app, vec![part], vec![report]).await
}

/// Applies the steps of one import, each in a transaction of its own.
pub(super) async fn in_steps(
    app: &App,
    steps: &[Catalogue],
    bar: &ProgressBar,
) -> store::Result<Imported> {
    let mut all = Imported::default();
    let mut before = 0;
    for step in steps {
        let tx = app.store().begin().await?;
        let mut progress = |done: usize| bar.set_position((before + done) as u64);
        let reports = tx.import(&[step], app.clock.now(), &mut progress).await?;
        app.reads.commit(tx, Ending::imported(&reports)).await?;
        before += step.rows();
        reports.into_iter().for_each(|report| all.append(report));
    }
    Ok(all)
}

async fn finish(app: &App, parts: Vec<Part>, reports: Vec<Imported>) -> Result<Done, SeedError> {
    let cache = beside::redis_told(&app.reads).await;
    let database = Some(app.store().location().to_string());
    app.store().close().await?;
    Ok(Done { parts, reports, database, cache })
}

fn not_committed(error: store::Error) -> SeedError {
    if error.is_in_doubt() { SeedError::InDoubt(error) } else { SeedError::Store(error) }
}

/// Draws on standard error, and not at all when that is no terminal.
pub(super) fn progress(rows: usize) -> ProgressBar {
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
