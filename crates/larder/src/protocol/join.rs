//! Who may join whose flight.

use super::{
    bugs::{Bug, is_seeded},
    stamps::{Slots, Stamps},
    window::{CLOCK_LAG_MS, DELTA_MS, Window},
};

/// When and of what a flight began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Birth {
    /// The stamps' tick, read before the first look at Redis.
    pub(crate) born: u64,
    /// The same in milliseconds of the real clock.
    pub(crate) began: u64,
    pub(crate) slots: Slots,
    /// It asks neither tier, so it may be joined while a name is dirty.
    pub(crate) loads_only: bool,
}

/// When somebody boards.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    /// Milliseconds of the real clock.
    pub(crate) now: u64,
    pub(crate) window: &'a Window,
    pub(crate) stamps: &'a Stamps,
}

impl Birth {
    /// Whether a call that starts now may get this flight's result: everything that was
    /// invalidated must have been heard, or the flight be too young to matter (I5).
    pub(crate) fn is_joinable(&self, at: Moment<'_>) -> bool {
        let is_young = at.now < self.began.saturating_add(DELTA_MS - CLOCK_LAG_MS);
        (self.is_current(at.stamps) || is_seeded(Bug::G))
            && (at.window.is_open(at.now) || is_young || is_seeded(Bug::J2))
    }

    /// Whether nothing that this flight may have read was invalidated since its birth (I4), as far
    /// as this process has heard.
    pub(crate) fn is_current(&self, stamps: &Stamps) -> bool {
        let slots = self.slots.counting(true);
        stamps.is_current(self.born, slots) && (self.loads_only || !stamps.is_dirty(slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_nothing_is_heard_a_flight_is_joined_for_delta_also_by_a_clock_that_lags() {
        let (stamps, window) = (Stamps::new(1), Window::closed());
        let birth = Birth { born: 0, began: 5_000, slots: Slots::default(), loads_only: false };
        let joins = |now| birth.is_joinable(Moment { now, window: &window, stamps: &stamps });
        let end = 5_000 + DELTA_MS - CLOCK_LAG_MS;
        assert!(joins(end - 1));
        assert!(!joins(end));
    }
}
