//! Whether this process has applied every invalidation so far: the sequence of the messages it
//! heard against the sequence that Redis tells with a heartbeat.

use super::bugs::{Bug, is_seeded};

/// What one process has heard. Outlives connections: a connection that comes back to the same
/// sequence has missed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Feed {
    /// Identity of the data set whose sequence this is.
    epoch: Option<u64>,
    /// Everything up to here is applied, or was flushed. `None`: nothing is known.
    applied: Option<u64>,
    /// What was applied when the heartbeat under way was sent.
    asked_at: Option<u64>,
}

/// What to do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is applied. After a heartbeat: the window may be extended.
    InStep,
    /// Something was missed: flush L1; after that all is applied.
    Missed,
    /// Redis has no sequence: flush L1 and give it one. The window is not extended.
    NoSequence,
}

impl Feed {
    /// A connection to this data set is subscribed. Another data set's numbers say nothing about
    /// this one's.
    pub(crate) fn subscribed(&mut self, epoch: u64) {
        if self.epoch != Some(epoch) {
            *self = Self { epoch: Some(epoch), applied: None, asked_at: None };
        }
    }

    /// A message with this sequence was applied. Late and repeated ones are applied too, and
    /// decide nothing.
    pub(crate) fn heard(&mut self, sequence: u64) -> Verdict {
        let Some(applied) = self.applied else { return Verdict::InStep };
        if applied.checked_add(1) == Some(sequence) {
            self.applied = Some(sequence);
        } else if (sequence > applied || sequence == 0) && !is_seeded(Bug::J) {
            // The next heartbeat adopts what Redis says then. Adopting this number here would
            // trust a single message.
            self.applied = None;
            return Verdict::Missed;
        }
        Verdict::InStep
    }

    /// A heartbeat is sent.
    pub(crate) fn asking(&mut self) {
        self.asked_at = self.applied;
    }

    /// The heartbeat was answered with this sequence, and every message before the answer (and
    /// perhaps some after it) was heard.
    pub(crate) fn beat(&mut self, replied: Option<u64>) -> Verdict {
        if is_seeded(Bug::J) && self.applied.is_some() {
            return Verdict::InStep;
        }
        let Some(replied) = replied else {
            if is_seeded(Bug::SequenceMissing) && self.asked_at.is_none() {
                return Verdict::InStep;
            }
            self.applied = None;
            return Verdict::NoSequence;
        };
        // Below what it was when we asked: somebody has set it back.
        let is_known = |known: u64| self.asked_at <= Some(replied) && replied <= known;
        if self.applied.is_some_and(is_known) {
            return Verdict::InStep;
        }
        self.applied = Some(replied);
        Verdict::Missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(feed: &mut Feed, replied: Option<u64>) -> Verdict {
        feed.asking();
        feed.beat(replied)
    }

    fn in_step_at(sequence: u64) -> Feed {
        let mut feed = Feed::default();
        feed.subscribed(1);
        assert_eq!(answered(&mut feed, Some(sequence)), Verdict::Missed, "the past is unknown");
        feed
    }

    #[test]
    fn the_next_number_keeps_in_step() {
        let mut feed = in_step_at(5);
        assert_eq!(feed.heard(6), Verdict::InStep);
        assert_eq!(answered(&mut feed, Some(6)), Verdict::InStep);
    }

    #[test]
    fn a_gap_is_a_miss_whether_a_message_or_a_heartbeat_shows_it() {
        let mut feed = in_step_at(5);
        assert_eq!(feed.heard(7), Verdict::Missed);
        assert_eq!(answered(&mut feed, Some(7)), Verdict::Missed);
        assert_eq!(answered(&mut feed, Some(7)), Verdict::InStep);
        assert_eq!(answered(&mut feed, Some(8)), Verdict::Missed);
    }

    #[test]
    fn a_message_that_overtakes_the_answer_is_no_gap() {
        let mut feed = in_step_at(5);
        feed.asking();
        feed.heard(6);
        assert_eq!(feed.beat(Some(5)), Verdict::InStep);
    }

    #[test]
    fn late_and_repeated_messages_decide_nothing() {
        let mut feed = in_step_at(5);
        feed.heard(6);
        assert_eq!(feed.heard(5), Verdict::InStep);
        assert_eq!(feed.heard(6), Verdict::InStep);
        assert_eq!(answered(&mut feed, Some(6)), Verdict::InStep);
    }

    #[test]
    fn a_sequence_that_went_back_is_a_miss() {
        let mut feed = in_step_at(5);
        assert_eq!(answered(&mut feed, Some(4)), Verdict::Missed);
    }

    #[test]
    fn a_missing_sequence_never_equals_a_missing_one() {
        let mut feed = in_step_at(5);
        assert_eq!(answered(&mut feed, None), Verdict::NoSequence);
        assert_eq!(answered(&mut feed, None), Verdict::NoSequence);
        assert_eq!(answered(&mut feed, Some(9)), Verdict::Missed);
    }

    #[test]
    fn a_message_that_could_not_be_counted_is_a_miss() {
        assert_eq!(in_step_at(5).heard(0), Verdict::Missed);
        assert_eq!(in_step_at(u64::MAX).heard(0), Verdict::Missed, "nothing follows the largest");
    }

    #[test]
    fn reconnecting_to_the_same_sequence_of_the_same_data_set_misses_nothing() {
        let mut feed = in_step_at(5);
        feed.subscribed(1);
        assert_eq!(answered(&mut feed, Some(5)), Verdict::InStep);
        feed.subscribed(2);
        assert_eq!(answered(&mut feed, Some(5)), Verdict::Missed);
    }
}
