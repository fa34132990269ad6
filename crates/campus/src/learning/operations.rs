//! What admins do to the cache: every deed is in the audit log, in the transaction that does it.

use super::accounts::ADMINS_ONLY;
use super::{Learning, Result};
use crate::config::Namespace;
use crate::model::{CacheRule, CacheRuleEdit, Principal, Refusal, Role};
use crate::reads::Ending;
use crate::store::Tx;

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clearing {
    Course(i64),
    Namespace(Namespace),
    Tag(String),
    Everything,
}

impl Clearing {
    fn target(&self) -> String {
        match self {
            Self::Course(id) => format!("course {id}"),
            Self::Namespace(namespace) => format!("namespace {}", namespace.name),
            Self::Tag(tag) => format!("tag {tag}"),
            Self::Everything => "everything".to_owned(),
        }
    }

    fn ending(&self) -> Result<Ending> {
        Ok(match self {
            Self::Course(id) => Ending::course_cleared(*id),
            Self::Namespace(namespace) => Ending::namespace_cleared(*namespace),
            Self::Tag(tag) => Ending::tag_cleared(tag)
                .ok_or_else(|| Refusal::invalid("tag", "is not a tag such as course:42"))?,
            Self::Everything => Ending::everything_cleared(),
        })
    }
}

impl Learning {
    /// Makes every server forget something.
    pub async fn clear_cache(&self, by: Principal, what: &Clearing) -> Result<()> {
        let ending = what.ending()?;
        let tx = self.store.begin().await?;
        self.logged(&tx, by, "cache.clear", &what.target()).await?;
        self.reads.commit(tx, ending).await?;
        Ok(())
    }

    /// Changes how a namespace is cached: here before this returns, and on every other server as
    /// soon as it hears of it.
    pub async fn change_cache_rule(
        &self,
        by: Principal,
        namespace: Namespace,
        edit: CacheRuleEdit,
    ) -> Result<()> {
        let tx = self.store.begin().await?;
        self.logged(&tx, by, "cache.define", namespace.name).await?;
        let before = tx.cache_rule(namespace.name).await?;
        let rule: CacheRule = before.edited(edit, self.reads.configured_hard(namespace))?;
        if rule == before {
            return Ok(());
        }
        tx.save_cache_rule(namespace.name, rule, self.clock.now()).await?;
        self.reads.commit(tx, Ending::rules_changed()).await?;
        self.reads.apply_rules().await?;
        Ok(())
    }

    /// A token for operators at the machine, who could make themselves one: it speaks for the
    /// first admin.
    pub async fn operator_token(&self) -> Result<Option<String>> {
        let id = self.store.first_admin().await?;
        let principal = id.map(|id| Principal { id, role: Role::Admin });
        Ok(principal.map(|principal| self.tokens.sign(principal, self.clock.now())))
    }

    /// Lets only who is an admin now do this, and writes down that they did. For what changes
    /// nothing in the database there is nothing else to commit.
    pub async fn log_operation(&self, by: Principal, action: &str, target: &str) -> Result<()> {
        let tx = self.store.begin().await?;
        self.logged(&tx, by, action, target).await?;
        Ok(tx.commit().await?)
    }

    async fn logged(&self, tx: &Tx, by: Principal, action: &str, target: &str) -> Result<()> {
        let by = self.actor(tx, by).await?;
        if !by.is_admin() {
            return Err(ADMINS_ONLY.into());
        }
        tx.log_action(by.id, action, target, self.clock.now()).await?;
        tracing::info!(by = by.id, action, target, "an admin changes the cache");
        Ok(())
    }
}
