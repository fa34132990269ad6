//! The outbox as those who listen read it: what happened, in the order of ids.

use std::time::Duration;

use sea_orm::sea_query::SimpleExpr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};

use super::outbox::{CHANNEL, before_now, now_of};
use super::tables::outbox::{Column, Entity};
use super::{Error, Result, Store, Tx};
use crate::model::{Event, Happened, Timestamp};

/// Some events, the lowest id first.
#[derive(Debug)]
pub struct EventPage {
    pub events: Vec<Happened>,
    /// After which id the next page begins, if there may be one.
    pub next: Option<i64>,
}

impl Tx {
    /// Puts events into the outbox that end no cached read. Each has a row of its own, so that
    /// no two events have one id; the row is done from the beginning.
    pub async fn tell(&self, events: &[Event]) -> Result<()> {
        let backend = self.0.get_database_backend();
        let now = now_of(backend);
        let woken = match backend {
            DbBackend::Postgres => format!(" RETURNING pg_notify('{CHANNEL}', '')"),
            _ => String::new(),
        };
        let insert = format!(
            "INSERT INTO outbox (at, names, event, done_at) VALUES ({now}, '', $1, {now}){woken}"
        );
        for event in events {
            let event = [text(event)?.into()];
            let insert = Statement::from_sql_and_values(backend, &insert, event);
            self.0.execute_raw(insert).await?;
        }
        Ok(())
    }
}

impl Store {
    /// Events with a higher id than this, at most `most`.
    pub async fn events_after(&self, id: i64, most: u64) -> Result<EventPage> {
        let rows: Vec<(i64, i64, String)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::At, Column::Event])
            .filter(Column::Id.gt(id))
            .filter(Column::Event.is_not_null())
            .order_by_asc(Column::Id)
            .limit(most)
            .into_tuple()
            .all(&self.reader)
            .await?;
        let is_full = rows.len() as u64 >= most;
        let next = rows.last().filter(|_| is_full).map(|(id, ..)| *id);
        Ok(EventPage { events: rows.into_iter().filter_map(happened).collect(), next })
    }

    /// The newest row of the outbox, whatever is in it.
    pub async fn newest_row(&self) -> Result<Option<i64>> {
        let newest = Entity::find().select_only().column(Column::Id);
        Ok(newest.order_by_desc(Column::Id).limit(1).into_tuple().one(&self.reader).await?)
    }

    /// The newest row that is older than this, or 0: rows after it may still become visible.
    pub async fn row_before(&self, ago: Duration) -> Result<i64> {
        let at = before_now(&self.reader, ago);
        self.newest_below(i64::MAX, at).await
    }

    /// After which row to begin for somebody who has heard of everything up to `id`, and of some
    /// of what became visible later. `None` if what is missing is no longer there, or too much.
    pub async fn replay_after(&self, id: i64, replay: Replay) -> Result<Option<i64>> {
        let known = Entity::find().select_only().column(Column::At).filter(Column::Id.eq(id));
        let kept = Column::At.into_expr().gt(before_now(&self.reader, replay.kept));
        let known: Option<i64> = known.filter(kept).into_tuple().one(&self.reader).await?;
        let Some(at) = known else {
            return Ok(None);
        };
        let overlap = i64::try_from(replay.overlap.as_micros()).unwrap_or(i64::MAX);
        let after = self.newest_below(id, at.saturating_sub(overlap).into()).await?;
        let beyond = Entity::find().select_only().column(Column::Id).filter(Column::Id.gt(after));
        let beyond = beyond.filter(Column::Event.is_not_null()).order_by_asc(Column::Id);
        let beyond: Option<i64> =
            beyond.offset(replay.most).limit(1).into_tuple().one(&self.reader).await?;
        Ok(beyond.is_none().then_some(after))
    }

    async fn newest_below(&self, id: i64, at: SimpleExpr) -> Result<i64> {
        let older = Entity::find().select_only().column(Column::Id).filter(Column::Id.lt(id));
        let older = older.filter(Column::At.into_expr().lt(at)).order_by_desc(Column::Id);
        let newest: Option<i64> = older.limit(1).into_tuple().one(&self.reader).await?;
        Ok(newest.unwrap_or(0))
    }
}

/// How far back a replay goes.
#[derive(Debug, Clone, Copy)]
pub struct Replay {
    /// How long rows are kept.
    pub kept: Duration,
    /// How much of what was heard is repeated, for what became visible late.
    pub overlap: Duration,
    /// The most events.
    pub most: u64,
}

pub(super) fn text(event: &Event) -> Result<String> {
    serde_json::to_string(event).map_err(|e| Error::corrupt(e.to_string()))
}

/// A newer version may tell of what this one does not know.
fn happened((id, at, text): (i64, i64, String)) -> Option<Happened> {
    let event = serde_json::from_str(&text);
    event.map(|event| Happened { id, at: Timestamp(at), event }).ok()
}
