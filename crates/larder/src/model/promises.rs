//! What must be true of every state.

use super::{
    server::Redis,
    stored::{Judged, Stored},
    world::{Held, Process, World},
    writers::{Writer, Writing},
};
use crate::protocol::window::DELTA_MS;

impl World {
    pub(super) fn check(&self) -> Result<(), String> {
        for at in 0..2 {
            self.check_l2(at)?;
        }
        (0..self.processes.len()).try_for_each(|process| self.check_l1(process))
    }

    /// What Redis holds and would be served is no older than any invalidation that it (or the
    /// server before it) has executed: I1, I2, I6, I10; and than what the drain barrier stands for:
    /// I9.
    fn check_l2(&self, at: usize) -> Result<(), String> {
        let Redis { data, epoch, .. } = &self.redis;
        let stored = &data.values[at];
        if !matches!(stored, Stored::Value(_)) {
            return Ok(());
        }
        let sight = self.setting.judge(stored, &data.generations, (at, *epoch, self.unix));
        let Judged::Servable { version, is_stale, .. } = sight else { return Ok(()) };
        for writer in self.writers.iter().filter(|writer| writer.told.is_some()) {
            if version < writer.version && (is_stale || !self.counts_late(writer)) {
                return Err(format!("I1/I6: L2 would serve {version} after {}", writer.version));
            }
        }
        let floors = self.processes.iter().filter_map(|process| process.link);
        match floors.filter(|link| link.is_open).map(|link| link.floor).max() {
            Some(floor) if version < floor => Err(format!("I9: {version} behind the barrier")),
            _ => Ok(()),
        }
    }

    /// What L1 would serve is no older than what the process knows (I3, I17), nor than what Redis
    /// has executed a Δ ago (I5, I16).
    fn check_l1(&self, at: usize) -> Result<(), String> {
        let process = &self.processes[at];
        let old = process.l1.filter(|held| held.version < self.committed);
        let Some(held) = old.filter(|held| self.is_served(process, held)) else {
            return Ok(());
        };
        let is_stale = self.unix >= held.soft;
        if held.version < process.known {
            return Err(format!("I17: L1 of {at} has {} of {}", held.version, process.known));
        }
        for (index, writer) in self.writers.iter().enumerate() {
            let is_due = writer.told.is_some_and(|told| told + DELTA_MS <= self.now);
            let counts = is_stale || !self.counts_late(writer);
            if is_due && counts && held.version < writer.version && !self.is_sending(at, index) {
                return Err(format!("I5: L1 of {at} has {} of {}", held.version, writer.version));
            }
        }
        Ok(())
    }

    /// As `Inner::servable` decides it.
    pub(super) fn is_served(&self, process: &Process, held: &Held) -> bool {
        let slots = self.setting.slots();
        self.unix < held.hard
            && process.window().is_open(self.now)
            && process.stamps().is_valid(held.born, slots.counting(self.unix >= held.soft))
    }

    /// Whether a write names nothing but the lazy tag.
    pub(super) fn counts_late(&self, writer: &Writer) -> bool {
        self.setting.is_lazy && writer.names.iter().all(|name| *name >= self.setting.hard())
    }

    /// Whether a process is just telling Redis of a write: until it is done nothing is promised
    /// there.
    fn is_sending(&self, process: usize, writer: usize) -> bool {
        let Process { sender, relay, .. } = &self.processes[process];
        let Writer { process: own, writing, .. } = &self.writers[writer];
        let is_own = *own == process && !matches!(writing, Writing::Done | Writing::Crashed);
        is_own || sender.names(writer) || relay.names(writer)
    }
}
