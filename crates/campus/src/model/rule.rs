//! What an operator changes about a part of the cache while it runs.

use super::{Fields, Patch, Refusal};

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

/// A partial change of a rule: `null` takes a change back.
#[derive(Debug, Clone, Default)]
pub struct CacheRuleEdit {
    pub enabled: Patch<bool>,
    pub soft: Patch<i64>,
    pub hard: Patch<i64>,
    pub l1: Patch<i64>,
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
    fn a_soft_ttl_beyond_the_hard_one_is_refused() {
        let soft = |seconds| CacheRuleEdit { soft: Patch::Set(seconds), ..Default::default() };
        assert!(CacheRule::default().edited(soft(300), 300).is_ok());
        for seconds in [301, 0, -1, i64::MAX] {
            assert!(CacheRule::default().edited(soft(seconds), 300).is_err(), "{seconds}");
        }
    }
}
