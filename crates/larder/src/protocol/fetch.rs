//! One flight past L1, as a state machine: what to do next, given what Redis answered.
//!
//! ```text
//! Look ── fresh, stale ──▶ Serve          Acquire ── granted ──▶ Load(lease)
//!   ├─ absent, dead ────▶ Acquire           ├─ lost ───▶ Look
//!   ├─ leased ──────────▶ Wait ─▶ Look      └─ refused ▶ Load(no lease)
//!   └─ unavailable ─────▶ Load(no lease)
//! ```

use super::bugs::{Bug, is_seeded};
use crate::entry::Head;

/// Why the flight flies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Somebody waits for a value.
    Read,
    /// A stale value was served; a younger one is wanted.
    Refresh,
}

/// What may be stored after the load, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lease {
    /// Nothing: no lease was granted before the load began, so its result may be old by now (I1).
    None,
    /// Our marker stands under the key.
    Marker,
    /// The soft-expired value with this head still stands under the key.
    Over(Head),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Read the value, then the generations of its names.
    Look,
    /// Put our marker in place of this head (an empty one: of nothing).
    Acquire(Head),
    /// Ask to be the only one that refreshes the value with this head.
    Claim(Head),
    /// Somebody else loads: look again after this many milliseconds, before jitter.
    Wait(u64),
    /// Serve what the last look saw.
    Serve,
    /// Load, then fill under this lease.
    Load(Lease),
    /// Somebody else refreshes.
    GiveUp,
}

/// What Redis answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Fresh,
    Stale(Head),
    /// Somebody else has had the lease for this long, as far as this flight has seen.
    Leased {
        waited_ms: u64,
    },
    Dead(Head),
    Absent,
    /// The marker stands, or the claim is ours.
    Granted,
    /// Somebody else was faster.
    Lost,
    /// Redis cannot store now, or cannot say which generations hold.
    Refused,
    /// No answer within the budget.
    Unavailable,
    /// The wait is over.
    Waited,
}

/// Looks lost to faster processes before the load goes ahead without a lease.
const MOST_LOST: u8 = 16;
const FIRST_WAIT_MS: u64 = 10;
const LONGEST_WAIT_MS: u64 = 40;

/// The state between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fetch {
    purpose: Purpose,
    wait_max_ms: u64,
    next_wait_ms: u64,
    lost: u8,
    last: Step,
}

impl Fetch {
    pub(crate) fn new(purpose: Purpose, wait_max_ms: u64) -> Self {
        Self { purpose, wait_max_ms, next_wait_ms: FIRST_WAIT_MS, lost: 0, last: Step::Look }
    }

    /// The first step: with neither tier to ask there is only the load.
    pub(crate) fn first(&self, l2_usable: bool) -> Step {
        if l2_usable { Step::Look } else { Step::Load(Lease::None) }
    }

    /// The step that follows `event`.
    pub(crate) fn next(&mut self, event: Event) -> Step {
        self.last = match event {
            Event::Fresh => Step::Serve,
            Event::Stale(head) => match self.purpose {
                Purpose::Read => Step::Serve,
                Purpose::Refresh => Step::Claim(head),
            },
            Event::Leased { waited_ms } => self.wait(waited_ms),
            Event::Dead(_) if is_seeded(Bug::X5b) => Step::Acquire(Head::default()),
            Event::Dead(head) => Step::Acquire(head),
            Event::Absent => Step::Acquire(Head::default()),
            Event::Granted => match self.last {
                Step::Claim(head) => Step::Load(Lease::Over(head)),
                _ => Step::Load(Lease::Marker),
            },
            Event::Lost => match self.last {
                Step::Claim(_) => Step::GiveUp,
                _ => self.look_again(),
            },
            Event::Refused | Event::Unavailable => Step::Load(Lease::None),
            Event::Waited => Step::Look,
        };
        self.last
    }

    fn wait(&mut self, waited_ms: u64) -> Step {
        if waited_ms >= self.wait_max_ms {
            return Step::Load(Lease::None);
        }
        let pause = self.next_wait_ms.min(self.wait_max_ms - waited_ms);
        self.next_wait_ms = (self.next_wait_ms * 2).min(LONGEST_WAIT_MS);
        Step::Wait(pause)
    }

    fn look_again(&mut self) -> Step {
        self.lost += 1;
        if self.lost > MOST_LOST { Step::Load(Lease::None) } else { Step::Look }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head::of(b"seen")
    }

    #[test]
    fn a_load_without_a_granted_lease_never_fills() {
        let mut fetch = Fetch::new(Purpose::Read, 100);
        assert_eq!(fetch.next(Event::Absent), Step::Acquire(Head::default()));
        assert_eq!(fetch.next(Event::Unavailable), Step::Load(Lease::None));
    }

    #[test]
    fn a_dead_value_is_replaced_through_its_head() {
        let mut fetch = Fetch::new(Purpose::Read, 100);
        assert_eq!(fetch.next(Event::Dead(head())), Step::Acquire(head()));
        assert_eq!(fetch.next(Event::Granted), Step::Load(Lease::Marker));
    }

    #[test]
    fn waiting_for_another_process_ends_with_a_load_of_our_own() {
        let mut fetch = Fetch::new(Purpose::Read, 100);
        let (mut pauses, mut waited_ms) = (vec![], 0);
        while let Step::Wait(pause) = fetch.next(Event::Leased { waited_ms }) {
            pauses.push(pause);
            waited_ms += pause;
            assert_eq!(fetch.next(Event::Waited), Step::Look);
        }
        assert_eq!(pauses, [10, 20, 40, 30]);
        assert_eq!(fetch.last, Step::Load(Lease::None));
    }

    #[test]
    fn losing_every_race_ends_with_a_load_of_our_own() {
        let mut fetch = Fetch::new(Purpose::Read, 100);
        let lost = (0..).take_while(|_| {
            fetch.next(Event::Absent);
            fetch.next(Event::Lost) == Step::Look
        });
        assert_eq!(lost.count(), usize::from(MOST_LOST));
    }

    #[test]
    fn a_refresh_claims_the_stale_value_and_gives_up_when_another_has() {
        let mut fetch = Fetch::new(Purpose::Refresh, 100);
        assert_eq!(fetch.next(Event::Stale(head())), Step::Claim(head()));
        assert_eq!(fetch.next(Event::Lost), Step::GiveUp);
        fetch.next(Event::Stale(head()));
        assert_eq!(fetch.next(Event::Granted), Step::Load(Lease::Over(head())));
    }

    #[test]
    fn a_read_serves_a_stale_value_at_once() {
        assert_eq!(Fetch::new(Purpose::Read, 100).next(Event::Stale(head())), Step::Serve);
    }
}
