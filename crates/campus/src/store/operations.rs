//! What operators do: a log of it, and the rules of the cache that they have changed.

use std::time::Duration;

use sea_orm::sea_query::{LockType, OnConflict};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Set,
};

use super::tables::{audit_log, cache_overrides};
use super::{Result, Store, Tx};
use crate::model::{CacheRule, LoggedAction, Timestamp, Window};

/// Stands for no account: ids begin at 1.
const COMMAND_LINE: i64 = 0;

/// How much of the log is kept: a row more costs the oldest one.
const MOST_LOGGED: i64 = 10_000;
const LOGGED_FOR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Store {
    /// The rules that were changed, by namespace.
    pub async fn cache_rules(&self) -> Result<Vec<(String, CacheRule)>> {
        let rows = cache_overrides::Entity::find()
            .order_by_asc(cache_overrides::Column::Namespace)
            .all(&self.reader)
            .await?;
        Ok(rows.into_iter().map(|row| (row.namespace.clone(), rule(&row))).collect())
    }

    /// A page of what operators have done, the newest first, and how much there is.
    pub async fn logged_actions(&self, window: Window) -> Result<(Vec<LoggedAction>, i64)> {
        let total = audit_log::Entity::find().count(&self.reader).await?;
        let rows = audit_log::Entity::find()
            .order_by_desc(audit_log::Column::Id)
            .offset(window.skip as u64)
            .limit(window.limit as u64)
            .all(&self.reader)
            .await?;
        Ok((rows.into_iter().map(logged).collect(), total as i64))
    }
}

impl Tx {
    /// A rule that is about to be changed: two operators take turns. One that nobody has changed
    /// yet gets its row first, since what is not there cannot be held.
    pub async fn cache_rule_to_edit(&self, namespace: &str, now: Timestamp) -> Result<CacheRule> {
        let row = cache_overrides::ActiveModel {
            namespace: Set(namespace.to_owned()),
            updated_at: Set(now.0),
            ..Default::default()
        };
        let once = OnConflict::column(cache_overrides::Column::Namespace).do_nothing().to_owned();
        cache_overrides::Entity::insert(row)
            .on_conflict(once)
            .exec_without_returning(&self.0)
            .await?;
        let held = cache_overrides::Entity::find_by_id(namespace).lock(LockType::NoKeyUpdate);
        Ok(held.one(&self.0).await?.as_ref().map(rule).unwrap_or_default())
    }

    pub async fn save_cache_rule(
        &self,
        namespace: &str,
        rule: CacheRule,
        now: Timestamp,
    ) -> Result<()> {
        use cache_overrides::Column;
        let row = cache_overrides::ActiveModel {
            namespace: Set(namespace.to_owned()),
            enabled: Set(rule.enabled),
            soft: Set(rule.soft),
            hard: Set(rule.hard),
            l1: Set(rule.l1),
            updated_at: Set(now.0),
        };
        let mut replace = OnConflict::column(Column::Namespace);
        replace.update_columns([
            Column::Enabled,
            Column::Soft,
            Column::Hard,
            Column::L1,
            Column::UpdatedAt,
        ]);
        cache_overrides::Entity::insert(row).on_conflict(replace).exec(&self.0).await?;
        Ok(())
    }

    /// Who did what, and to what; nobody stands for the command line. What is too old, or too
    /// much, goes.
    pub async fn log_action(
        &self,
        admin_id: Option<i64>,
        action: &str,
        target: &str,
        now: Timestamp,
    ) -> Result<()> {
        let row = audit_log::ActiveModel {
            at: Set(now.0),
            actor_id: Set(admin_id.unwrap_or(COMMAND_LINE)),
            action: Set(action.to_owned()),
            target: Set(target.to_owned()),
            ..Default::default()
        };
        let newest = row.insert(&self.0).await?.id;
        let before = now.0.saturating_sub(LOGGED_FOR.as_micros() as i64);
        let past = Condition::any()
            .add(audit_log::Column::Id.lte(newest - MOST_LOGGED))
            .add(audit_log::Column::At.lt(before));
        audit_log::Entity::delete_many().filter(past).exec(&self.0).await?;
        Ok(())
    }
}

fn logged(row: audit_log::Model) -> LoggedAction {
    LoggedAction {
        id: row.id,
        at: Timestamp(row.at),
        admin_id: Some(row.actor_id).filter(|id| *id != COMMAND_LINE),
        action: row.action,
        target: row.target,
    }
}

fn rule(row: &cache_overrides::Model) -> CacheRule {
    CacheRule { enabled: row.enabled, soft: row.soft, hard: row.hard, l1: row.l1 }
}
