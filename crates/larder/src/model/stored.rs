//! What stands under a value key: in the model a small value, encoded whenever the code reads it.

use super::server::{Generations, Id, NAMES};
use crate::{
    entry::{Envelope, Head, Lifetime, Nonce, Origin, Payload},
    key::NameHash,
    protocol::sight::{Look, Names, Sight},
};

/// Milliseconds until a value is soft-expired; twice as many until it is dead.
pub(super) const SOFT_MS: u64 = 10_000;

/// What stands under a value key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stored {
    Nothing,
    Lease(Id),
    Value(Value),
}

/// An envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Value {
    pub(super) id: Id,
    /// Which value key it was written for; its schema as well.
    pub(super) at: usize,
    pub(super) epoch: u64,
    pub(super) written: u64,
    pub(super) version: u8,
    pub(super) generations: Generations,
}

impl Stored {
    pub(super) fn head(&self) -> Head {
        match self {
            Self::Nothing => Head::default(),
            Self::Lease(id) => Head::lease(nonce(*id)),
            Self::Value(_) => Head::of(&self.bytes()),
        }
    }

    /// The bytes that the cache would store.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Lease(_) => self.head().as_bytes().to_vec(),
            Self::Value(value) => value.encode().expect("it fits"),
        }
    }
}

impl Value {
    fn encode(&self) -> Option<Vec<u8>> {
        let recorded = self.generations.iter().enumerate();
        let written = self.written;
        Envelope {
            life: Lifetime { written, soft: written + SOFT_MS, hard: written + 2 * SOFT_MS },
            cost_ms: 0,
            nonces: recorded
                .filter_map(|(name, id)| Some((hash_of(name), nonce((*id)?))))
                .collect(),
            payload: Some(Payload::Plain(&[self.version])),
        }
        .encode(nonce(self.id), origin(self.at, self.epoch))
    }
}

/// A [`Sight`] that borrows nothing.
pub(super) enum Judged {
    Servable { version: u8, head: Head, is_stale: bool, soft: u64, hard: u64 },
    Leased,
    Dead(Head),
    Absent,
}

/// When and for whom a look is judged.
#[derive(Clone, Copy)]
pub(super) struct Glance {
    /// How many of the names count at once.
    pub(super) hard: usize,
    pub(super) at: usize,
    pub(super) epoch: u64,
    pub(super) unix: u64,
}

/// Judges what a look has brought.
pub(super) fn judge(stored: &Stored, generations: &Generations, glance: Glance) -> Judged {
    let Glance { hard, at, epoch, unix } = glance;
    let (stored, generations) = (stored.bytes(), generations.map(|id| id.map(nonce)));
    let hashes = hashes();
    let (hard, lazy) = hashes.split_at(hard);
    let look = Look { stored: &stored, generations: &generations };
    match Sight::judge(look, origin(at, epoch), Names { hard, lazy }, unix) {
        Sight::Servable { envelope, head, is_stale, is_outdated } => {
            let Lifetime { soft, hard, .. } = envelope.life;
            let hard = if is_outdated { soft.min(hard) } else { hard };
            let version = envelope.payload.and_then(|payload| payload.plain(1)?.first().copied());
            Judged::Servable { version: version.unwrap_or(u8::MAX), head, is_stale, soft, hard }
        }
        Sight::Leased => Judged::Leased,
        Sight::Dead(head) | Sight::Foreign(head) => Judged::Dead(head),
        Sight::Absent => Judged::Absent,
    }
}

pub(super) fn nonce(id: Id) -> Nonce {
    [id; 16]
}

pub(super) fn hash_of(name: usize) -> NameHash {
    let wide = if name == 1 || name == 2 { 1 << 127 } else { 0 };
    NameHash((name as u128 + 1) << 64 | wide)
}

pub(super) fn hashes() -> [NameHash; NAMES] {
    std::array::from_fn(hash_of)
}

fn origin(at: usize, epoch: u64) -> Origin<'static> {
    Origin { epoch, schema: at as u64, key: ["~course@1:1", "~course@2:1"][at] }
}
