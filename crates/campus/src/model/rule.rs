//! What an operator changes about a part of the cache while it runs.

use std::fmt;

use super::{Fields, Patch, Refusal, Timestamp};

/// Thirty days, as for the variables.
const LONGEST: i64 = 2_592_000;

/// A change of one namespace, in seconds; what is absent is as configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheRule {
    pub enabled: Option<bool>,
    pub soft: Option<i64>,
    pub hard: Option<i64>,
    pub l1: Option<i64>,
}

/// What an operator has done to the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedAction {
    pub id: i64,
    pub at: Timestamp,
    /// Nobody for what came from the command line.
    pub admin_id: Option<i64>,
    pub action: String,
    pub target: String,
}

/// A partial change of a rule: `null` takes a change back.
#[derive(Debug, Clone, Default)]
pub struct CacheRuleEdit {
    pub enabled: Patch<bool>,
    pub soft: Patch<i64>,
    pub hard: Patch<i64>,
    pub l1: Patch<i64>,
}

/// As it is written into the log: `soft=60 hard=configured`.
impl fmt::Display for CacheRuleEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = [("soft", &self.soft), ("hard", &self.hard), ("l1", &self.l1)];
        let numbers = numbers.map(|(name, patch)| (name, said(patch)));
        let fields = [("enabled", said(&self.enabled))].into_iter().chain(numbers);
        let fields = fields.filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        f.write_str(&fields.collect::<Vec<String>>().join(" "))
    }
}

fn said<T: fmt::Display>(patch: &Patch<T>) -> Option<String> {
    match patch {
        Patch::Keep => None,
        Patch::Clear => Some("configured".to_owned()),
        Patch::Set(value) => Some(value.to_string()),
    }
}

impl CacheRule {
    /// # Errors
    /// A TTL that nobody can mean, or a soft one beyond the hard one, which is `configured` where
    /// it is not changed.
    pub fn edited(self, edit: CacheRuleEdit, configured: i64) -> Result<Self, Refusal> {
        let rule = Self {
            enabled: edit.enabled.over(self.enabled),
            soft: edit.soft.over(self.soft),
            hard: edit.hard.over(self.hard),
            l1: edit.l1.over(self.l1),
        };
        let mut fields = Fields::default();
        for (field, least, seconds) in
            [("soft", 1, rule.soft), ("hard", 1, rule.hard), ("l1", 0, rule.l1)]
        {
            if let Some(seconds) = seconds {
                fields.range(field, seconds, least, LONGEST);
            }
        }
        let hard = rule.hard.unwrap_or(configured);
        if rule.soft.is_some_and(|soft| soft > hard) {
            fields.refuse("soft", format!("must not be longer than the hard TTL, {hard}"));
        }
        fields.finish().map(|()| rule)
    }
}

#[cfg(test)]
mod tests {
    use super::{CacheRule, CacheRuleEdit};
    use crate::model::Patch;

    #[test]
    fn null_takes_a_change_back_and_absent_keeps_it() {
        let rule = CacheRule { soft: Some(5), hard: Some(9), ..CacheRule::default() };
        let edit = CacheRuleEdit { hard: Patch::Clear, ..CacheRuleEdit::default() };
        let edited = rule.edited(edit, 300).unwrap();
        assert_eq!((edited.soft, edited.hard), (Some(5), None));
    }

    #[test]
    fn an_edit_says_what_it_changes_and_nothing_else() {
        let edit = CacheRuleEdit {
            enabled: Patch::Set(false),
            soft: Patch::Set(60),
            hard: Patch::Clear,
            l1: Patch::Keep,
        };
        assert_eq!(edit.to_string(), "enabled=false soft=60 hard=configured");
        assert_eq!(CacheRuleEdit::default().to_string(), "");
    }

    #[test]
    fn a_soft_ttl_beyond_the_hard_one_is_refused() {
        let soft = |seconds| CacheRuleEdit { soft: Patch::Set(seconds), ..Default::default() };
        assert!(CacheRule::default().edited(soft(300), 300).is_ok());
        for seconds in [301, 0, -1, i64::MAX] {
            assert!(CacheRule::default().edited(soft(seconds), 300).is_err(), "{seconds}");
        }
    }
}
