//! What writers do.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use fastrand::Rng;
use larder::{Ack, Names, Outcome};
use sea_orm::{DatabaseTransaction, DbErr};
use tokio::sync::oneshot;

use super::{Bug, Worker, pause, read::impatient};
use crate::{
    Failure,
    check::POISON,
    clock,
    item::Target,
    record::{Event, Record, Unacked},
    table::{self, Changes},
};

const LONGEST_PAUSE: Duration = Duration::from_millis(40);
const LONGEST_TRANSACTION: Duration = Duration::from_millis(5);
/// How long the answer to a COMMIT is missing.
const LONGEST_DOUBT: Duration = Duration::from_millis(300);
/// How late a faulty writer invalidates.
const LATE: Duration = Duration::from_millis(20);

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Acked,
    RolledBack,
    Skipped,
    Abandoned,
    InDoubt,
}

impl Fate {
    fn random(rng: &mut Rng) -> Self {
        match rng.u8(..100) {
            0..5 => Self::RolledBack,
            5..9 => Self::Skipped,
            9..12 => Self::Abandoned,
            12..14 => Self::InDoubt,
            _ => Self::Acked,
        }
    }
}

impl Worker {
    /// Writes until the end.
    pub(super) async fn write(self: Arc<Self>, mut rng: Rng) -> Result<(), Failure> {
        while !self.is_stopping() {
            let target = self.target(&mut rng);
            // A database that is busy or finds a deadlock has rolled the write back.
            if let Err(Unwritten::Log(error)) = self.write_once(&mut rng, target).await {
                return Err(error.into());
            }
            self.begins("nothing");
            pause(&mut rng, LONGEST_PAUSE).await;
        }
        self.begins("the end");
        Ok(())
    }

    /// Cold keys are seldom written: a lost invalidation must not be hidden by the next one.
    fn target(&self, rng: &mut Rng) -> Target {
        let (hot, cold) = (self.hot_key(rng), rng.u32(..self.keys));
        match rng.u16(..1_000) {
            0..700 => Target::Item(hot),
            700..880 => Target::Key(hot),
            880..935 => Target::Item(cold),
            935..980 => Target::Key(cold),
            980..996 => Target::Group(cold),
            996..999 => Target::Namespace(cold),
            _ => Target::Everything(cold),
        }
    }

    async fn write_once(&self, rng: &mut Rng, target: Target) -> Result<(), Unwritten> {
        let (fate, rows) = (Fate::random(rng), target.rows(self.keys));
        self.begins("BEGIN");
        let tx = self.table.begin().await?;
        self.begins("its statements");
        if fate == Fate::RolledBack {
            table::poison(&tx, rows).await?;
            pause(rng, LONGEST_TRANSACTION).await;
            tx.rollback().await?;
            return self.note(Event::RolledBack, &[(rows.0, POISON)]);
        }
        let changes = table::advance(&tx, rows).await?;
        let row = table::leave(&tx, &target.names()).await?;
        if rng.u8(..100) < 20 {
            pause(rng, LONGEST_TRANSACTION).await;
        }
        let names = target.names().row(row);
        if fate == Fate::InDoubt {
            return self.doubt(rng, tx, &changes, names).await;
        }
        self.commit(tx, &changes).await?;
        self.begins("the invalidation");
        if self.must_abort.load(Relaxed) {
            std::process::abort();
        }
        match fate {
            Fate::Skipped => self.note(Event::Unacked(Unacked::Skipped), &changes),
            Fate::Abandoned => match impatient(self.cache.invalidate(names), rng.u32(..2)).await {
                Some(ack) => self.note(Event::Acked(ack), &changes),
                None => self.note(Event::Unacked(Unacked::Abandoned), &changes),
            },
            _ => self.invalidate(rng, names, &changes).await,
        }
    }

    async fn commit(&self, tx: DatabaseTransaction, changes: &Changes) -> Result<(), Unwritten> {
        self.begins("COMMIT");
        self.note(Event::Committing, changes)?;
        tx.commit().await?;
        self.note(Event::Committed, changes)
    }

    async fn invalidate(
        &self,
        rng: &mut Rng,
        names: Names,
        changes: &Changes,
    ) -> Result<(), Unwritten> {
        match self.bug {
            Some(Bug::NoInvalidate) => self.note(Event::Acked(Ack::Applied), changes),
            Some(Bug::Late) => {
                self.note(Event::Acked(Ack::Applied), changes)?;
                pause(rng, LATE).await;
                self.cache.invalidate(names).await;
                Ok(())
            }
            _ => {
                let ack = self.cache.invalidate(names).await;
                self.note(Event::Acked(ack), changes)
            }
        }
    }

    /// A COMMIT whose answer is lost, and known later.
    async fn doubt(
        &self,
        rng: &mut Rng,
        tx: DatabaseTransaction,
        changes: &Changes,
        names: Names,
    ) -> Result<(), Unwritten> {
        let (known, outcome) = oneshot::channel();
        // Nobody answers if this process ends first.
        let outcome = async { outcome.await.unwrap_or(Outcome::Aborted) };
        self.cache.invalidate_in_doubt(names, outcome);
        pause(rng, LONGEST_DOUBT / 10).await;
        if rng.bool() {
            self.commit(tx, changes).await?;
            self.note(Event::Unacked(Unacked::InDoubt), changes)?;
            pause(rng, LONGEST_DOUBT).await;
            let _ = known.send(Outcome::Committed);
        } else {
            tx.rollback().await?;
            let _ = known.send(Outcome::Aborted);
            self.note(Event::RolledBack, changes)?;
        }
        Ok(())
    }

    fn note(&self, event: Event, changes: &[(u32, u64)]) -> Result<(), Unwritten> {
        let at = clock::now();
        let records: Vec<Record> =
            changes.iter().map(|(key, version)| Record::step(event, *key, *version, at)).collect();
        self.journal.note_safely(&records).map_err(Unwritten::Log)
    }
}

/// Why a write came to nothing.
enum Unwritten {
    Database,
    Log(std::io::Error),
}

impl From<DbErr> for Unwritten {
    fn from(_: DbErr) -> Self {
        Self::Database
    }
}
