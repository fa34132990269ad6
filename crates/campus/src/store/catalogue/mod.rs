//! Bulk upsert of imported rows: everything in one transaction, or nothing.
//!
//! Rows are found again by `(source, external_id)`; a digest of what was imported
//! last tells an unchanged row without comparing every column. Ids stay, and so do
//! the ids of modules and lessons, because completions refer to them.

mod articles;
mod completions;
mod courses;
mod members;
mod people;

use std::collections::HashMap;

use sea_orm::DatabaseTransaction;
use serde::Serialize;

use super::{Error, Result, Store};
use crate::model::{Catalogue, Timestamp};

/// What became of the rows of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub inserted: usize,
    pub updated: usize,
    pub unchanged: usize,
}

/// What an import did.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    pub people: Counts,
    pub courses: Counts,
    pub articles: Counts,
    pub enrollments: Counts,
    pub ratings: Counts,
    /// Modules and lessons of the imported courses.
    pub modules: usize,
    pub lessons: usize,
    /// Rows whose cached reads may be old now.
    pub user_ids: Vec<i64>,
    pub course_ids: Vec<i64>,
    pub article_ids: Vec<i64>,
}

/// The rows of one source, by their external ids.
type Ids = HashMap<String, i64>;

/// One running import.
struct Import<'a> {
    tx: &'a DatabaseTransaction,
    catalogue: &'a Catalogue,
    now: Timestamp,
    done: usize,
    progress: &'a mut (dyn FnMut(usize) + Send),
    report: Imported,
}

impl Store {
    /// Applies a catalogue; `progress` hears how many of [`Catalogue::rows`] are done.
    ///
    /// # Errors
    /// As [`Store::import_all`].
    pub async fn import(
        &self,
        catalogue: &Catalogue,
        now: Timestamp,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<Imported> {
        let reports = self.import_all(&[catalogue], now, progress).await?;
        Ok(reports.into_iter().next().unwrap_or_default())
    }

    /// Applies several catalogues together, with one report for each.
    ///
    /// # Errors
    /// A row that refers to a person or course its catalogue does not have
    /// ([`Error::is_import`]) or a database failure; in both cases nothing is kept.
    pub async fn import_all(
        &self,
        catalogues: &[&Catalogue],
        now: Timestamp,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<Vec<Imported>> {
        let tx = self.begin().await?;
        let mut reports = Vec::with_capacity(catalogues.len());
        let mut done = 0;
        for catalogue in catalogues {
            let mut import = Import {
                tx: &tx.0,
                catalogue,
                now,
                done,
                progress: &mut *progress,
                report: Imported::default(),
            };
            let people = import.people().await?;
            let courses = import.courses(&people).await?;
            import.articles(&people).await?;
            import.members(&people, &courses).await?;
            done = import.done;
            reports.push(import.report);
        }
        tx.commit().await?;
        Ok(reports)
    }
}

impl Import<'_> {
    fn step(&mut self) {
        self.done += 1;
        (self.progress)(self.done);
    }
}

impl Counts {
    fn count(&mut self, change: Change) {
        match change {
            Change::Inserted => self.inserted += 1,
            Change::Updated => self.updated += 1,
            Change::Unchanged => self.unchanged += 1,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Inserted,
    Updated,
    Unchanged,
}

/// Fingerprint of an imported row, to tell an unchanged one on the next import.
fn digest(row: &impl Serialize) -> Result<String> {
    let bytes = serde_json::to_vec(row).map_err(|e| Error::import(e.to_string()))?;
    Ok(blake3::hash(&bytes).to_hex()[..32].to_owned())
}

fn look_up(ids: &Ids, external_id: &str, what: &str, for_row: &str) -> Result<i64> {
    ids.get(external_id).copied().ok_or_else(|| {
        Error::import(format!(
            "{for_row} refers to the {what} '{external_id}', which is not in this import"
        ))
    })
}

/// The first of `wish`, `wish-2`, `wish-3` .. for which `taken` says no.
async fn free_name<F, Fut>(wish: &str, taken: F) -> Result<String>
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = Result<bool>>,
{
    let mut name = wish.to_owned();
    let mut suffix = 2;
    while taken(name.clone()).await? {
        name = format!("{wish}-{suffix}");
        suffix += 1;
    }
    Ok(name)
}
