//! One Redis, as far as the protocol uses it. Each method is one atomic command or script.

use crate::{
    entry::{Head, Nonce},
    protocol::{
        bugs::{Bug, is_seeded},
        fetch::Event,
    },
};

/// Key, namespace, root and two tags.
pub(super) const NAMES: usize = 5;

/// What is stored, and would be saved or replicated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Data {
    /// The value key of each schema version.
    pub(super) values: [Vec<u8>; 2],
    pub(super) generations: [Option<Nonce>; NAMES],
    /// Who refreshes, for each value key.
    pub(super) claims: [Option<Nonce>; 2],
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
    pub(super) fn put(&mut self, at: usize, expected: Head, new: &[u8]) -> Event {
        let is_naive = is_seeded(Bug::A) || is_seeded(Bug::B);
        if Head::of(&self.values[at]) != expected && !is_naive {
            return Event::Lost;
        }
        self.values[at] = new.to_vec();
        Event::Granted
    }

    /// SET NX GET of a generation.
    pub(super) fn create(&mut self, name: usize, nonce: Nonce) -> Nonce {
        let nonce = if is_seeded(Bug::T2) { [1; 16] } else { nonce };
        *self.generations[name].get_or_insert(nonce)
    }

    /// SET NX GET of a claim.
    pub(super) fn claim(&mut self, at: usize, id: Nonce) -> Event {
        if self.claims[at].is_some() {
            return Event::Lost;
        }
        self.claims[at] = Some(id);
        Event::Granted
    }

    pub(super) fn unclaim(&mut self, at: usize, id: Nonce) {
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
                self.data.values[*at].clear();
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
            values: Default::default(),
            generations: [None; NAMES],
            claims: [None; 2],
            sequence: None,
        }
    }
}
