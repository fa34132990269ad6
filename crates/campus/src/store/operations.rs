//! What operators do: a log of it, and the rules of the cache that they have changed.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveModelTrait, EntityTrait, QueryOrder, Set};

use super::tables::{audit_log, cache_overrides};
use super::{Result, Store, Tx};
use crate::model::{CacheRule, Timestamp};

impl Store {
    /// The rules that were changed, by namespace.
    pub async fn cache_rules(&self) -> Result<Vec<(String, CacheRule)>> {
        let rows = cache_overrides::Entity::find()
            .order_by_asc(cache_overrides::Column::Namespace)
            .all(&self.reader)
            .await?;
        Ok(rows.into_iter().map(|row| (row.namespace.clone(), rule(&row))).collect())
    }
}

impl Tx {
    pub async fn cache_rule(&self, namespace: &str) -> Result<CacheRule> {
        let row = cache_overrides::Entity::find_by_id(namespace).one(&self.0).await?;
        Ok(row.as_ref().map(rule).unwrap_or_default())
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

    /// Who did what, and to what.
    pub async fn log_action(
        &self,
        actor_id: i64,
        action: &str,
        target: &str,
        now: Timestamp,
    ) -> Result<()> {
        let row = audit_log::ActiveModel {
            at: Set(now.0),
            actor_id: Set(actor_id),
            action: Set(action.to_owned()),
            target: Set(target.to_owned()),
            ..Default::default()
        };
        row.insert(&self.0).await?;
        Ok(())
    }
}

fn rule(row: &cache_overrides::Model) -> CacheRule {
    CacheRule { enabled: row.enabled, soft: row.soft, hard: row.hard, l1: row.l1 }
}
