//! A table of invalidations, as a database would hold it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::{BoxFuture, Outbox, OutboxError, OutboxRow};
use parking_lot::Mutex;

/// Clones share their rows.
#[derive(Clone, Default)]
pub(crate) struct Table {
    rows: Arc<Mutex<Vec<Row>>>,
    pub(crate) is_down: Arc<AtomicBool>,
}

struct Row {
    names: String,
    committed: Instant,
    is_done: bool,
}

impl Table {
    /// Commits a row and returns its id.
    pub(crate) fn insert(&self, names: &str) -> i64 {
        let mut rows = self.rows.lock();
        rows.push(Row { names: names.to_owned(), committed: Instant::now(), is_done: false });
        rows.len() as i64 - 1
    }

    pub(crate) fn open(&self) -> usize {
        self.rows.lock().iter().filter(|row| !row.is_done).count()
    }

    fn answer<T>(&self, value: T) -> Result<T, OutboxError> {
        if self.is_down.load(SeqCst) { Err("the database is down".into()) } else { Ok(value) }
    }
}

impl Outbox for Table {
    fn undone(
        &self,
        older_than: Duration,
        most: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxRow>, OutboxError>> {
        let rows = self.rows.lock();
        let undone = rows.iter().enumerate().filter(|(_, row)| !row.is_done);
        let due = undone.filter(|(_, row)| row.committed.elapsed() >= older_than);
        let found = due.map(|(id, row)| OutboxRow { id: id as i64, names: row.names.clone() });
        let found = self.answer(found.take(most).collect());
        Box::pin(async move { found })
    }

    fn mark_done(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<(), OutboxError>> {
        if !self.is_down.load(SeqCst) {
            let mut rows = self.rows.lock();
            ids.iter().for_each(|id| rows[*id as usize].is_done = true);
        }
        let done = self.answer(());
        Box::pin(async move { done })
    }
}
