//! Reads: L1, boarding and what a landing means, as `read.rs` carries them out.

use super::{
    flights::{Flight, Landing, Stage, WAIT_MAX_MS},
    server::NAMES,
    world::{Reading, World},
};
use crate::protocol::{
    fetch::{Fetch, Purpose, Step},
    join::Moment,
    window::DELTA_MS,
};

impl World {
    /// The call: L1, and whether Redis may be asked.
    pub(super) fn read(&mut self, at: usize) -> Result<(), String> {
        let process = &self.processes[self.readers[at].process];
        let newest = self.writers.iter().filter(|w| w.is_applied && !self.counts_late(w));
        let newest = newest.map(|writer| writer.version).max().unwrap_or(0);
        let served = process.l1.filter(|held| self.is_served(process, held));
        let (least, is_dirty) = (process.known, process.is_dirty());
        let reader = &mut self.readers[at];
        (reader.least, reader.least_in_l2, reader.is_dirty) = (least, newest.max(least), is_dirty);
        let Some(held) = served else {
            let loads_only = !self.may_ask_l2(self.readers[at].process);
            self.readers[at].reading = Reading::Missed { loads_only, was_overtaken: false };
            return Ok(());
        };
        if self.unix >= held.soft {
            self.refresh(at);
        }
        self.return_cached(at, held.version, 0)
    }

    fn may_ask_l2(&self, process: usize) -> bool {
        let process = &self.processes[process];
        process.link.is_some_and(|link| link.is_open)
            && !process.stamps().is_dirty(self.setting.slots().counting(true))
    }

    fn refresh(&mut self, at: usize) {
        let loads_only = !self.may_ask_l2(self.readers[at].process);
        if self.joinable(at).is_none() {
            self.take_off(at, loads_only, Purpose::Refresh);
        }
    }

    /// The flight of this process that may be joined now.
    fn joinable(&self, at: usize) -> Option<usize> {
        let process = &self.processes[self.readers[at].process];
        let flight = process.air?;
        let birth = self.birth(self.flights[flight].as_ref()?);
        let (window, stamps) = (process.window(), process.stamps());
        let moment = Moment { now: self.now, window: &window, stamps: &stamps };
        birth.is_joinable(moment).then_some(flight)
    }

    pub(super) fn is_joined(&self, at: usize) -> bool {
        let mut readings = self.readers.iter().map(|reader| reader.reading);
        readings.any(|reading| matches!(reading, Reading::Joined { flight, .. } if flight == at))
    }

    /// Whether somebody has joined this flight, or still can.
    pub(super) fn is_watched(&self, at: usize) -> bool {
        self.processes[self.readers[at].process].air == Some(at) || self.is_joined(at)
    }

    fn take_off(&mut self, at: usize, loads_only: bool, purpose: Purpose) {
        let process = self.readers[at].process;
        let fetch = Fetch::new(purpose, WAIT_MAX_MS);
        let step = fetch.first(self.may_ask_l2(process));
        self.flights[at] = Some(Flight {
            process,
            born: self.processes[process].stamps().now(),
            began: self.now,
            loads_only,
            purpose,
            fetch,
            stage: Stage::Do(step),
            is_boarding: purpose == Purpose::Read && step == Step::Look,
            id: None,
            epoch: 0,
            generations: [None; NAMES],
            seen: None,
            waited_ms: 0,
            fills: false,
            landing: None,
        });
        self.processes[process].air = Some(at);
    }

    pub(super) fn board(&mut self, at: usize, loads_only: bool, was_overtaken: bool) {
        let Some(flight) = self.joinable(at) else {
            self.take_off(at, loads_only, Purpose::Read);
            self.readers[at].reading = Reading::Leads;
            return;
        };
        // I5 for those who join: what was acknowledged a Δ ago.
        let due = self.writers.iter().filter(|writer| {
            writer.acknowledged.is_some_and(|acked| acked + DELTA_MS <= self.now)
                && writer.is_applied
                && !self.counts_late(writer)
        });
        let due = due.map(|writer| writer.version).max().unwrap_or(0);
        let reader = &mut self.readers[at];
        reader.least = reader.least.max(due);
        reader.reading = Reading::Joined { flight, was_overtaken };
    }

    /// A flight that this reader waits for has landed.
    pub(super) fn land(&mut self, at: usize) -> Result<(), String> {
        let (flight, was_overtaken) = match self.readers[at].reading {
            Reading::Joined { flight, was_overtaken } => (flight, Some(was_overtaken)),
            _ => (at, None),
        };
        let Some(landed) = &self.flights[flight] else { return Err("it waits for nobody".into()) };
        let landing = landed.landing;
        let process = &self.processes[self.readers[at].process];
        let is_current = self.birth(landed).is_current(&process.stamps());
        let loads_only = !self.may_ask_l2(self.readers[at].process);
        let again = |was_overtaken| Reading::Missed { loads_only, was_overtaken };
        self.readers[at].reading = match (landing, was_overtaken) {
            (Some(Landing::Abandoned), Some(was_overtaken)) => again(was_overtaken),
            (Some(_), Some(false)) if !is_current => again(true),
            (Some(Landing::Arrived { version, is_from_l2 }), joined) => {
                return self.return_landed(at, version, joined.is_some(), is_from_l2);
            }
            (Some(Landing::Failed), _) => Reading::Done,
            (Some(Landing::GaveUp | Landing::Abandoned) | None, _) => Reading::Alone,
        };
        Ok(())
    }

    fn return_landed(
        &mut self,
        at: usize,
        version: u8,
        is_joined: bool,
        is_from_l2: bool,
    ) -> Result<(), String> {
        let reader = &mut self.readers[at];
        let least = if is_joined { 0 } else { reader.least_in_l2 };
        if is_from_l2 && !is_joined {
            return self.return_cached(at, version, least);
        }
        reader.reading = Reading::Done;
        self.judge_answer(at, version, least)
    }

    /// An answer from a tier: there is none for a name that is dirty (I19).
    fn return_cached(&mut self, at: usize, version: u8, least: u8) -> Result<(), String> {
        let reader = &mut self.readers[at];
        reader.reading = Reading::Done;
        if reader.is_dirty {
            return Err(format!("I19: a tier answered reader {at} for a dirty name"));
        }
        self.judge_answer(at, version, least)
    }

    fn judge_answer(&self, at: usize, version: u8, least: u8) -> Result<(), String> {
        let least = least.max(self.readers[at].least);
        if version > self.committed {
            return Err(format!("I11/I12: reader {at} got {version}, which was never committed"));
        }
        if version < least {
            return Err(format!("I4/I17: reader {at} got {version} after {least}"));
        }
        Ok(())
    }

    /// A load without a flight.
    pub(super) fn load_alone(&mut self, at: usize) -> Result<(), String> {
        self.readers[at].reading = Reading::Done;
        self.judge_answer(at, self.committed, 0)
    }

    /// The leader goes away while it looks for the first time.
    pub(super) fn cancel(&mut self, at: usize) {
        self.readers[at].reading = Reading::Done;
        self.announce(at, Landing::Abandoned);
        self.leave(at);
    }
}
