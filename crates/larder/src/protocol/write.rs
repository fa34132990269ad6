//! One invalidation from COMMIT to answer, as a state machine: Redis, then this process, then the
//! answer.
//!
//! ```text
//! Send ── sent ──▶ Bump ▶ Mark ▶ Acknowledge(Applied)
//!   ├─ failed ▶ Reconnect ▶ Send
//!   └─ down, or failed too often ▶ Soil ▶ Bump ▶ Queue ▶ Acknowledge(Queued)
//! ```

use super::bugs::{Bug, is_seeded};
use crate::Ack;

/// Attempts before an invalidation is queued.
const ATTEMPTS: u8 = 3;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    /// Tell Redis.
    Send,
    /// Wait for the connection that replaces a broken one: one that was closed while idle shows
    /// only when it is used.
    Reconnect,
    /// From here on neither tier answers for the names.
    Soil,
    /// Stamp the names. Never before Redis has acknowledged or the names are dirty: a flight born
    /// between an earlier bump and the UNLINK would read the old value and outlive the bump.
    Bump,
    /// Have the row in the outbox marked done.
    Mark,
    /// Leave it to the queue.
    Queue,
    /// Answer the writer.
    Acknowledge(Ack),
}

/// How the act went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Redis has acknowledged.
    Sent,
    /// There is no connection.
    Down,
    /// No answer, or not the right one: it may have been executed.
    Failed,
    /// It is done; nothing else can come of it.
    Done,
}

/// The state between two acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    failed: u8,
    is_sent: bool,
    last: Act,
}

impl Write {
    /// A write that has committed, and what it does first.
    pub(crate) fn begin() -> (Self, Act) {
        let first = if is_seeded(Bug::H) { Act::Bump } else { Act::Send };
        (Self { failed: 0, is_sent: false, last: first }, first)
    }

    /// The act that follows `event`.
    pub(crate) fn next(&mut self, event: Event) -> Act {
        self.last = match (self.last, event) {
            (Act::Send, Event::Sent) => {
                self.is_sent = true;
                if is_seeded(Bug::H) { Act::Mark } else { Act::Bump }
            }
            (Act::Send, Event::Down) => Act::Soil,
            (Act::Send, _) => {
                self.failed += 1;
                if self.failed < ATTEMPTS { Act::Reconnect } else { Act::Soil }
            }
            (Act::Reconnect, _) => Act::Send,
            (Act::Soil, _) if is_seeded(Bug::H) => Act::Queue,
            (Act::Soil, _) => Act::Bump,
            (Act::Bump, _) if self.is_sent => Act::Mark,
            (Act::Bump, _) if is_seeded(Bug::H) => Act::Send,
            (Act::Bump, _) => Act::Queue,
            (Act::Mark, _) => Act::Acknowledge(Ack::Applied),
            (Act::Queue, _) => Act::Acknowledge(Ack::Queued),
            (last @ Act::Acknowledge(_), _) => last,
        };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acts(events: &[Event]) -> Vec<Act> {
        let (mut write, first) = Write::begin();
        std::iter::once(first).chain(events.iter().map(|event| write.next(*event))).collect()
    }

    #[test]
    fn redis_is_told_first_then_the_own_stamps_then_the_writer() {
        let acts = acts(&[Event::Sent, Event::Done, Event::Done]);
        assert_eq!(acts, [Act::Send, Act::Bump, Act::Mark, Act::Acknowledge(Ack::Applied)]);
    }

    #[test]
    fn what_redis_did_not_take_is_dirty_before_it_is_stamped_and_answered() {
        let acts = acts(&[Event::Down, Event::Done, Event::Done, Event::Done]);
        let queued = Act::Acknowledge(Ack::Queued);
        assert_eq!(acts, [Act::Send, Act::Soil, Act::Bump, Act::Queue, queued]);
    }

    #[test]
    fn three_failures_are_an_outage() {
        let failed_and_reconnected = [Event::Failed, Event::Done].repeat(3);
        let acts = acts(&failed_and_reconnected[..5]);
        let (send, again) = (Act::Send, Act::Reconnect);
        assert_eq!(acts, [send, again, send, again, send, Act::Soil]);
    }
}
