//! What admins do to the cache: every deed is in the audit log, in the transaction that does it.

use super::accounts::ADMINS_ONLY;
use super::{Learning, Result};
use crate::config::Namespace;
use crate::model::{CacheRule, CacheRuleEdit, LoggedAction, Principal, Refusal, Window};
use crate::reads::Ending;
use crate::store::Tx;

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Somebody signed in, who must be an admin by now.
    Admin(Principal),
    /// Whoever runs commands at the machine, and has the installation's secret.
    CommandLine,
}

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
    pub async fn clear_cache(&self, by: Operator, what: &Clearing) -> Result<()> {
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
        by: Operator,
        namespace: Namespace,
        edit: CacheRuleEdit,
    ) -> Result<()> {
        let tx = self.store.begin().await?;
        let target = format!("{} {edit}", namespace.name);
        self.logged(&tx, by, "cache.define", &target).await?;
        let before = tx.cache_rule_to_edit(namespace.name, self.clock.now()).await?;
        let rule: CacheRule = before.edited(edit, self.reads.configured_hard(namespace))?;
        if rule == before {
            return Ok(());
        }
        tx.save_cache_rule(namespace.name, rule, self.clock.now()).await?;
        self.reads.commit(tx, Ending::rules_changed()).await?;
        self.reads.apply_rules().await?;
        Ok(())
    }

    /// What operators have done, the newest first, and how much of it is kept.
    pub async fn logged_actions(&self, window: Window) -> Result<(Vec<LoggedAction>, i64)> {
        Ok(self.store.logged_actions(window).await?)
    }

    /// Lets only who is an admin now do this, and writes down that they did. For what changes
    /// nothing in the database there is nothing else to commit.
    pub async fn log_operation(&self, by: Operator, action: &str, target: &str) -> Result<()> {
        let tx = self.store.begin().await?;
        self.logged(&tx, by, action, target).await?;
        Ok(tx.commit().await?)
    }

    async fn logged(&self, tx: &Tx, by: Operator, action: &str, target: &str) -> Result<()> {
        let admin = match by {
            Operator::Admin(by) => {
                let by = self.actor(tx, by).await?;
                if !by.is_admin() {
                    return Err(ADMINS_ONLY.into());
                }
                Some(by.id)
            }
            Operator::CommandLine => None,
        };
        tx.log_action(admin, action, target, self.clock.now()).await?;
        tracing::info!(admin, action, target, "an operator changes the cache");
        Ok(())
    }
}
