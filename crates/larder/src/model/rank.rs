//! What only order or identity counts of becomes small numbers, so that equal states look equal.
//! docs/model.md says why nothing is lost.

use std::hash::{Hash as _, Hasher as _};

use xxhash_rust::xxh3::Xxh3;

use super::{
    flights::{Stage, WAIT_MAX_MS},
    server::{FIRST_FRESH, Id, Redis},
    stored::{Stored, Value},
    world::{Reading, TICK_MS, World},
};
use crate::{
    entry::Head,
    protocol::{fetch::Fetch, window::DELTA_MS},
};

/// Names an id that no flight calls its own.
const FIRST_ORPHAN: Id = 20;

impl World {
    /// All that is asked of a birth is whether something was stamped since: a hard name, a lazy
    /// one, or nothing.
    pub(super) fn rank_births(&mut self, at: usize) {
        let slots = self.setting.slots();
        let stamps = self.processes[at].stamps();
        let rank = |born: &mut u64| {
            let is_current = |soft_expired| stamps.is_current(*born, slots.counting(soft_expired));
            *born = u64::from(is_current(false)) + u64::from(is_current(true));
        };
        for flight_at in 0..self.flights.len() {
            let is_watched = self.is_watched(flight_at);
            match &mut self.flights[flight_at] {
                Some(flight) if flight.process != at => {}
                Some(flight) if is_watched || flight.may_keep_in_l1() => rank(&mut flight.born),
                Some(flight) => flight.born = 0,
                None => {}
            }
        }
        let process = &mut self.processes[at];
        process.l1.iter_mut().for_each(|held| rank(&mut held.born));
        let frozen = &mut process.stamps;
        (frozen.tick, frozen.floor, frozen.slot) = (2, 1, Default::default());
        let (hard, all) = (slots.counting(false).len(), slots.counting(true));
        all[hard..].iter().for_each(|slot| frozen.slot[usize::from(*slot)] = 2);
    }

    /// Times are only compared with Δ ago.
    pub(super) fn round_times(&mut self) {
        let (now, rest) = (self.now, u64::from(self.left.ticks) * TICK_MS);
        // Over already, not over before the end, or in between.
        let round = |time: &mut u64| match now - *time {
            age if age >= DELTA_MS => *time = now.saturating_sub(DELTA_MS),
            age if age + rest < DELTA_MS => *time = now,
            _ => {}
        };
        for process in &mut self.processes {
            process.proven.iter_mut().for_each(round);
        }
        for writer in &mut self.writers {
            writer.told.iter_mut().chain(&mut writer.acknowledged).for_each(round);
        }
        self.flights.iter_mut().flatten().for_each(|flight| round(&mut flight.began));
    }

    /// Versions are only compared with what is held somewhere.
    pub(super) fn rank_versions(&mut self) {
        let mut held = 0_u64;
        self.each_held_version(|version| held |= 1 << *version);
        let rank = |version: &mut u8| {
            *version = (held & ((1 << *version) - 1)).count_ones() as u8 + 1;
        };
        self.each_held_version(rank);
        for process in &mut self.processes {
            rank(&mut process.known);
            process.link.iter_mut().for_each(|link| rank(&mut link.floor));
        }
        for flight in self.flights.iter_mut().flatten() {
            if let Stage::HalfLooked { link, .. } = &mut flight.stage {
                rank(&mut link.floor);
            }
        }
        for reader in &mut self.readers {
            rank(&mut reader.least);
            rank(&mut reader.least_in_l2);
        }
        for writer in self.writers.iter_mut().filter(|writer| writer.version != 0) {
            rank(&mut writer.version);
            // Nobody has anything older.
            if writer.version == 1 {
                (writer.told, writer.acknowledged, writer.is_applied) = (None, None, false);
            }
        }
    }

    /// The readers of a process are alike, so their order is that of their states: whoever is yet
    /// to begin comes last, as `is_next` asks for.
    pub(super) fn order_readers(&mut self) {
        let is_alone = |at: usize| {
            let mut others = self.readers.iter().enumerate();
            others.all(|(other, reader)| other == at || reader.process != self.readers[at].process)
        };
        if (0..self.readers.len()).all(is_alone) {
            return;
        }
        let mut order: Vec<usize> = (0..self.readers.len()).collect();
        order.sort_by_cached_key(|at| self.rank_of_reader(*at));
        let mut became = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, old)| became[*old] = new);
        self.readers = order.iter().map(|at| self.readers[*at].clone()).collect();
        self.flights = order.iter().map(|at| self.flights[*at]).collect();
        for reader in &mut self.readers {
            if let Reading::Joined { flight, .. } = &mut reader.reading {
                *flight = became[*flight];
            }
        }
        for process in &mut self.processes {
            process.air = process.air.map(|at| became[at]);
        }
    }

    /// A number that says nothing of where the reader stands among its like.
    fn rank_of_reader(&self, at: usize) -> (usize, bool, u64) {
        let mut reader = self.readers[at].clone();
        if let Reading::Joined { flight, .. } = &mut reader.reading {
            *flight = 0;
        }
        let mut flight = self.flights[at];
        let value_at = self.value_at(at);
        let stored = self.redis.data.values[value_at].head();
        let mut is_seen = false;
        if let Some(flight) = &mut flight {
            (flight.id, flight.fetch) = (None, Fetch::new(flight.purpose, WAIT_MAX_MS));
            flight.each_head(|head| {
                is_seen |= *head == stored;
                *head = Head::default();
            });
            if let Stage::HalfLooked { stored: looked, .. } = &mut flight.stage {
                is_seen |= looked.head() == stored;
                if let Stored::Lease(id) | Stored::Value(Value { id, .. }) = looked {
                    *id = 0;
                }
            }
        }
        let claim = self.redis.data.claims[value_at].filter(|id| Some(*id) == self.own_id(at));
        let holds = (self.has_marker(at), claim.is_some(), is_seen);
        let is_on_map = self.processes[reader.process].air == Some(at);
        let mut hasher = Xxh3::new();
        (&reader, &flight, is_on_map, holds).hash(&mut hasher);
        (reader.process, reader.reading == Reading::Idle, hasher.finish())
    }

    /// Ids are only compared with each other: each flight's own is named for its place, the others
    /// in the order in which they are found.
    pub(super) fn name_ids(&mut self) {
        let mut names = [0; 256];
        for (at, flight) in self.flights.iter_mut().enumerate() {
            if let Some(id) = flight.as_mut().and_then(|flight| flight.id.as_mut()) {
                names[usize::from(*id)] = at as Id + 1;
                *id = at as Id + 1;
            }
        }
        self.next_id = FIRST_FRESH;
        let mut next = FIRST_ORPHAN;
        let mut rename = |id: &mut Id| {
            let name = &mut names[usize::from(*id)];
            if *name == 0 && *id != 0 {
                *name = next;
                next += 1;
            }
            *id = *name;
        };
        self.each_stored(|stored| match stored {
            Stored::Nothing => {}
            Stored::Lease(id) | Stored::Value(Value { id, .. }) => rename(id),
        });
        let Redis { data, saved, .. } = &mut self.redis;
        let saved = saved.iter_mut().flat_map(|saved| &mut saved.claims);
        data.claims.iter_mut().chain(saved).flatten().for_each(&mut rename);
        for flight in self.flights.iter_mut().flatten() {
            flight.each_head(|head| *head = renamed(*head, &mut rename));
            flight.fetch = flight.fetch_at_stage();
        }
    }
}

/// The same head with another name for its id.
fn renamed(head: Head, mut rename: impl FnMut(&mut Id)) -> Head {
    let mut bytes = head.as_bytes().to_vec();
    if let [_, _, id @ ..] = bytes.as_mut_slice() {
        let mut name = id.first().copied().unwrap_or_default();
        rename(&mut name);
        id.fill(name);
    }
    Head::of(&bytes)
}
