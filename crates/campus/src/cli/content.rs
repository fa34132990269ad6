//! `campus content`: what MongoDB has of courses against what the database says, and the way back.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::seed::progress;
use super::{Failure, Output, beside, company};
use crate::app;
use crate::config::Config;
use crate::store::{Brought, Comparison, ContentStore, Difference, How, Lost, Store};

#[derive(Args)]
pub(super) struct ContentArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Compare every course with its document in MongoDB; exit code 1 if any differ. Servers may run
    Check(CheckArgs),
    /// Put all documents back into the database, to go on with CONTENT_STORE=sql; stop the servers
    /// first. What MongoDB has stays there
    ToSql {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct CheckArgs {
    /// Carry the documents to MongoDB that are still in the database, as servers do
    #[arg(long)]
    carry: bool,
    /// Remove documents from MongoDB that no course has, or that keep a course's own of the same
    /// version out. Not if another installation uses this MONGODB_DB_NAME: they may be its
    /// documents. Nor if the database may be an older backup: they may be of newer courses
    #[arg(long)]
    remove_strangers: bool,
    /// Remove documents from MongoDB that are newer than the database's own. If the database is an
    /// older backup, they are the last work of their authors: restore a newer one instead
    #[arg(long)]
    remove_newer: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What a check has found, and done before.
struct Checked {
    comparison: Comparison,
    removed: u64,
    /// Why documents could not be carried.
    problem: Option<String>,
}

/// Exit code 1 when something differs, or could not be brought back.
pub(super) async fn run(
    args: &ContentArgs,
    config: &Config,
    out: &mut Output,
) -> Result<ExitCode, Failure> {
    let is_good = match &args.what {
        What::Check(args) => {
            let store = open(config).await?;
            let checked = check(&store, args).await?;
            store.close().await?;
            if args.json {
                out.line(&format!("{:#}", checked.json()))?;
            } else {
                checked.show(out)?;
            }
            checked.comparison.differences.is_empty() && checked.problem.is_none()
        }
        What::ToSql { json } => {
            let _lock = beside::lock(config, "campus content to-sql")?;
            let store = open(config).await?;
            let brought = to_sql(&store).await?;
            store.close().await?;
            if *json {
                out.line(&format!("{:#}", brought_as_json(&brought)))?;
            } else {
                show_brought(&brought, out)?;
            }
            brought.lost.is_empty()
        }
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn open(config: &Config) -> Result<Store, Failure> {
    let store = app::open_store(config).await?;
    if matches!(store.content_store(), ContentStore::Sql) {
        return Err("course content is in the database alone: CONTENT_STORE is not mongo".into());
    }
    Ok(store)
}

async fn check(store: &Store, args: &CheckArgs) -> Result<Checked, Failure> {
    let mut removed = 0;
    if args.remove_strangers || args.remove_newer {
        for difference in compare(store).await?.differences {
            if args.is_to_remove(difference.how) {
                removed += u64::from(store.remove_document(&difference).await?);
            }
        }
    }
    let carried = if args.carry { store.carry_all_content().await } else { Ok(()) };
    let problem = carried.err().map(|error| error.to_string());
    Ok(Checked { comparison: compare(store).await?, removed, problem })
}

async fn compare(store: &Store) -> Result<Comparison, Failure> {
    let bar = progress(store.content_rows().await? as usize);
    let compared = store.compare_content(&mut |done| bar.set_position(done)).await;
    bar.finish_and_clear();
    Ok(compared?)
}

async fn to_sql(store: &Store) -> Result<Brought, Failure> {
    company::nobody_runs(store).await?;
    let bar = progress(store.content_rows().await? as usize);
    let brought = store.bring_content_back(&mut |done| bar.set_position(done)).await;
    bar.finish_and_clear();
    Ok(brought?)
}

impl CheckArgs {
    fn is_to_remove(&self, how: How) -> bool {
        match how {
            How::KeptOut | How::WithoutRow => self.remove_strangers,
            How::NewerInMongodb => self.remove_newer,
            How::Missing | How::OtherVersion | How::Unreadable => false,
        }
    }
}

impl Checked {
    fn show(&self, out: &mut Output) -> std::io::Result<()> {
        let Comparison { rows, waiting, differences } = &self.comparison;
        if let Some(problem) = &self.problem {
            out.remark(&format!("not everything could be carried to MongoDB: {problem}"));
        }
        if !differences.is_empty() {
            let rows = differences.iter().map(|one| {
                let Difference { course_id, how, in_sql, in_mongodb } = one;
                [course_id.to_string(), version(*in_sql), version(*in_mongodb), told(*how)]
            });
            out.table(["COURSE", "DATABASE", "MONGODB", "WHAT IS WRONG"], rows.collect())?;
            out.line("")?;
        }
        out.line(&format!(
            "{rows} courses with content compared: {} differ, {waiting} wait to be carried to \
             MongoDB, {} documents removed",
            differences.len(),
            self.removed
        ))
    }

    fn json(&self) -> Value {
        let Comparison { rows, waiting, differences } = &self.comparison;
        let differences = differences.iter().map(|one| {
            let Difference { course_id, how, in_sql, in_mongodb } = one;
            json!({
                "course_id": course_id,
                "difference": how.name(),
                "database_version": in_sql,
                "mongodb_version": in_mongodb,
            })
        });
        json!({
            "rows": rows,
            "waiting": waiting,
            "removed": self.removed,
            "problem": self.problem,
            "differences": differences.collect::<Vec<Value>>(),
        })
    }
}

fn version(version: Option<i64>) -> String {
    version.map_or_else(|| "-".to_owned(), |version| version.to_string())
}

fn told(how: How) -> String {
    let told = match how {
        How::Missing => {
            "MongoDB has no document: replace the content, delete it, or restore MongoDB"
        }
        How::OtherVersion => {
            "not the version of the database: replace the content, delete it, or restore either"
        }
        How::KeptOut => {
            "keeps out another one of its version, which the database has: --remove-strangers \
             --carry"
        }
        How::NewerInMongodb => {
            "MongoDB has a newer one: if the database is an older backup, restore a newer one; if \
             another installation wrote it, --remove-newer --carry"
        }
        How::Unreadable => {
            "MongoDB has one that cannot be read: replace the content, delete it, or restore MongoDB"
        }
        How::WithoutRow => {
            "no course has it: if the database is an older backup, restore a newer one; if not, \
             --remove-strangers"
        }
    };
    told.to_owned()
}

fn show_brought(brought: &Brought, out: &mut Output) -> std::io::Result<()> {
    for lost in &brought.lost {
        out.remark(&lost.to_string());
    }
    out.line(&format!("{} documents are back in the database", brought.documents))?;
    if brought.ids_alone > 0 {
        out.line(&format!(
            "of {} that were lost, and deleted or in a deleted course, the ids are",
            brought.ids_alone
        ))?;
    }
    if brought.lost.is_empty() {
        return out.line("go on with CONTENT_STORE=sql");
    }
    out.line(&format!(
        "{} could not be brought back; CONTENT_STORE=sql is refused until they are",
        brought.lost.len()
    ))
}

fn brought_as_json(brought: &Brought) -> Value {
    let lost = brought.lost.iter().map(|lost| {
        let Lost { course_id, version, found, is_unreadable } = lost;
        json!({
            "course_id": course_id,
            "database_version": version,
            "mongodb_version": found,
            "unreadable": is_unreadable,
        })
    });
    json!({
        "documents": brought.documents,
        "ids_alone": brought.ids_alone,
        "lost": lost.collect::<Vec<Value>>(),
    })
}
