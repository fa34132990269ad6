//! The outbox: what each write made old, in a row that its transaction commits with it.
//!
//! The texts are the cache library's. Every moment in this table is the database's own, so that
//! servers whose clocks differ agree on how old a row is.

use std::time::Duration;

use sea_orm::sea_query::{Expr, Query, SimpleExpr};
use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait, ExprTrait,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
};

use super::tables::outbox::{Column, Entity};
use super::{Error, Result, Store, Tx};

const SQLITE_NOW: &str = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)";
const POSTGRES_NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)";

/// On PostgreSQL servers that listen are woken by the commit, and not before.
const CHANNEL: &str = "outbox";

/// How many of the oldest rows one look at what can be forgotten takes in.
const LOOK: u64 = 1000;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A row of a transaction that is still open.
#[derive(Debug, Clone)]
pub struct Noted {
    pub id: i64,
    /// PostgreSQL's name of the transaction.
    transaction: Option<String>,
}

/// A committed row that nobody has marked done.
#[derive(Debug)]
pub struct UndoneRow {
    pub id: i64,
    pub names: String,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Committed,
    RolledBack,
}

/// A moment of the past by the database's clock.
pub(super) fn before_now<C: ConnectionTrait>(db: &C, ago: Duration) -> SimpleExpr {
    let now = match db.get_database_backend() {
        DbBackend::Postgres => POSTGRES_NOW,
        _ => SQLITE_NOW,
    };
    Expr::cust(now).sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX))
}

impl Tx {
    /// Puts a row into the outbox, which is there if this transaction commits.
    pub async fn note(&self, names: String) -> Result<Noted> {
        let backend = self.0.get_database_backend();
        let insert = match backend {
            DbBackend::Postgres => format!(
                "INSERT INTO outbox (at, names) VALUES ({POSTGRES_NOW}, $1) \
                 RETURNING id, CAST(pg_current_xact_id() AS TEXT) AS transaction, \
                 pg_notify('{CHANNEL}', '')"
            ),
            _ => format!("INSERT INTO outbox (at, names) VALUES ({SQLITE_NOW}, $1) RETURNING id"),
        };
        let insert = Statement::from_sql_and_values(backend, insert, [names.into()]);
        let row = self.0.query_one_raw(insert).await?.ok_or(DbErr::RecordNotInserted)?;
        let transaction = match backend {
            DbBackend::Postgres => Some(row.try_get("", "transaction")?),
            _ => None,
        };
        Ok(Noted { id: row.try_get("", "id")?, transaction })
    }
}

impl Store {
    /// Committed rows that are not done, due, and at least this old, the oldest ids first.
    /// It locks nothing and skips nothing: ids appear in the order of commits, not of inserts.
    /// A row of the future is old: the clock was set back, and nobody knows by how much.
    pub async fn undone_rows(&self, older_than: Duration, most: usize) -> Result<Vec<UndoneRow>> {
        let at = |ago| before_now(&self.reader, ago);
        let is_due = Condition::any()
            .add(Column::NotBefore.is_null())
            .add(Column::NotBefore.into_expr().lte(at(Duration::ZERO)));
        let is_old = Condition::any()
            .add(Column::At.into_expr().lte(at(older_than)))
            .add(Column::At.into_expr().gt(at(Duration::ZERO)));
        let rows: Vec<(i64, String)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::Names])
            .filter(Column::DoneAt.is_null())
            .filter(is_old)
            .filter(is_due)
            .order_by_asc(Column::Id)
            .limit(most as u64)
            .into_tuple()
            .all(&self.reader)
            .await?;
        Ok(rows.into_iter().map(|(id, names)| UndoneRow { id, names }).collect())
    }

    /// How many committed rows nobody has marked done.
    pub async fn outbox_depth(&self) -> Result<u64> {
        Ok(Entity::find().filter(Column::DoneAt.is_null()).count(&self.reader).await?)
    }

    /// Marks rows done; those that are done or gone already are left alone.
    pub async fn mark_rows_done(&self, ids: Vec<i64>) -> Result<()> {
        self.done(&self.writer, Column::Id.is_in(ids)).await?;
        Ok(())
    }

    /// Marks everything undone as done and puts one row in its place, which names all of it.
    /// For a server without Redis: it has nobody to tell, and leaves word for one who has.
    pub async fn fold_outbox(&self, everything: String) -> Result<()> {
        let tx = self.begin().await?;
        let one = tx.note(everything).await?;
        let folded = self.done(&tx.0, Column::Id.lt(one.id)).await?;
        if folded > 1 {
            tx.commit().await?;
        }
        Ok(())
    }

    async fn done<C: ConnectionTrait>(&self, db: &C, which: SimpleExpr) -> Result<u64> {
        let done = Entity::update_many()
            .col_expr(Column::DoneAt, before_now(db, Duration::ZERO))
            .filter(which)
            .filter(Column::DoneAt.is_null())
            .exec(db)
            .await?;
        Ok(done.rows_affected)
    }

    /// Deletes rows that have been done for so long, in small steps: SQLite has one writer.
    pub async fn forget_rows(&self, done_for: Duration) -> Result<()> {
        loop {
            let oldest = Query::select()
                .column(Column::Id)
                .from(Entity)
                .order_by(Column::Id, sea_orm::Order::Asc)
                .limit(LOOK)
                .take();
            let forgotten = Entity::delete_many()
                .filter(Column::Id.in_subquery(oldest))
                .filter(Column::DoneAt.into_expr().lt(before_now(&self.writer, done_for)))
                .exec(&self.writer)
                .await?;
            if forgotten.rows_affected == 0 {
                return Ok(());
            }
        }
    }

    /// What became of a transaction whose COMMIT had no answer. Asks until the database says it.
    pub async fn fate_of(&self, noted: Noted) -> Fate {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.status_of(&noted).await.as_ref().map(Option::as_deref) {
                Ok(Some("aborted")) => return Fate::RolledBack,
                Ok(Some("in progress")) => {}
                // So long ago that the database has forgotten: its effects are safe to assume.
                Ok(_) => return Fate::Committed,
                Err(error) => tracing::debug!(%error, "a commit is still in doubt"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn status_of(&self, noted: &Noted) -> Result<Option<String>> {
        let ask = "SELECT pg_xact_status(CAST($1 AS xid8)) AS status";
        let transaction = [noted.transaction.clone().into()];
        let ask = Statement::from_sql_and_values(DbBackend::Postgres, ask, transaction);
        let row = self.reader.query_one_raw(ask).await?;
        Ok(row.map(|row| row.try_get("", "status")).transpose()?.flatten())
    }

    /// Hears of commits that put rows into the outbox; `None` where the database tells nobody.
    pub async fn wake_ups(&self) -> Result<Option<WakeUps>> {
        if self.reader.get_database_backend() != DbBackend::Postgres {
            return Ok(None);
        }
        let pool = self.reader.get_postgres_connection_pool();
        let listening = async {
            let mut listener = PgListener::connect_with(pool).await?;
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        Ok(Some(WakeUps(listening.await.map_err(not_listening)?)))
    }
}

/// A connection of its own that listens.
pub struct WakeUps(PgListener);

impl WakeUps {
    /// Waits for a commit that put a row into the outbox, or for a lost connection to be back:
    /// meanwhile some may have been missed.
    pub async fn next(&mut self) -> Result<()> {
        self.0.try_recv().await.map(drop).map_err(not_listening)
    }

    /// Forgets those that have come meanwhile.
    pub fn skip_waiting(&mut self) {
        while self.0.next_buffered().is_some() {}
    }
}

fn not_listening(error: sea_orm::sqlx::Error) -> Error {
    DbErr::Conn(sea_orm::RuntimeErr::SqlxError(std::sync::Arc::new(error))).into()
}
