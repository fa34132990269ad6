//! One Redis, as far as the protocol uses it. Each method is one atomic command or script.

use super::stored::Stored;
use crate::{
    entry::Head,
    protocol::{
        bugs::{Bug, is_seeded},
        fetch::Event,
    },
};

/// Key, namespace, root and two tags.
pub(super) const NAMES: usize = 5;

/// A nonce is this byte, sixteen times.
pub(super) type Id = u8;

/// No id in use is that large once the state has settled.
pub(super) const FIRST_FRESH: Id = 100;

/// The generations of all names.
pub(super) type Generations = [Option<Id>; NAMES];

/// What is stored, and would be saved or replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Data {
    /// The value key of each schema version.
    pub(super) values: [Stored; 2],
    pub(super) generations: Generations,
    /// Who refreshes, for each value key.
    pub(super) claims: [Option<Id>; 2],
    pub(super) sequence: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Redis {
    pub(super) epoch: u64,
    pub(super) data: Data,
    /// What a snapshot or a replica has.
    pub(super) saved: Option<Data>,
    /// Where the next lost sequence starts anew: TIME, which only grows.
    pub(super) time: u64,
}

impl Data {
    pub(super) fn put(&mut self, at: usize, expected: Head, new: Stored) -> Event {
        let is_naive = is_seeded(Bug::A) || is_seeded(Bug::B);
        if self.values[at].head() != expected && !is_naive {
            return Event::Lost;
        }
        self.values[at] = new;
        Event::Granted
    }

    /// SET NX GET of a generation.
    pub(super) fn create(&mut self, name: usize, id: Id) -> Id {
        let id = if is_seeded(Bug::T2) { 1 } else { id };
        *self.generations[name].get_or_insert(id)
    }

    /// SET NX GET of a claim.
    pub(super) fn claim(&mut self, at: usize, id: Id) -> Event {
        if self.claims[at].is_some() {
            return Event::Lost;
        }
        self.claims[at] = Some(id);
        Event::Granted
    }

    pub(super) fn unclaim(&mut self, at: usize, id: Id) {
        if self.claims[at] == Some(id) {
            self.claims[at] = None;
        }
    }
}

impl Redis {
    /// The script, without its PUBLISH; returns the sequence that it publishes.
    pub(super) fn invalidate(&mut self, values: &[usize], names: &[usize]) -> u64 {
        for at in values {
            if !is_seeded(Bug::D) {
                self.data.values[*at] = Stored::Nothing;
            }
        }
        for name in names {
            self.data.generations[*name] = None;
        }
        match &mut self.data.sequence {
            Some(sequence) => {
                *sequence += 1;
                *sequence
            }
            None => self.number(),
        }
    }

    /// Gives the sequence a number that it never had.
    pub(super) fn number(&mut self) -> u64 {
        let number = *self.data.sequence.get_or_insert(self.time);
        self.time += 100;
        number
    }

    /// Another server, with what was saved, takes over.
    pub(super) fn fall_back(&mut self, data: Data) {
        self.data = data;
        self.epoch += 1;
    }

    pub(super) fn empty() -> Data {
        Data {
            values: [Stored::Nothing; 2],
            generations: [None; NAMES],
            claims: [None; 2],
            sequence: None,
        }
    }
}
