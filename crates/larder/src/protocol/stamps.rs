//! Stamps: all of L1's coherence. A tick counts invalidations; each name's slot holds the tick of
//! its last one; whatever was born before is dead.

use super::{
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    bugs::{Bug, is_seeded},
};
use crate::key::{MAX_TAGS, NameHash};

/// A few where schedules are tried: each of them is then an object to watch.
const SLOTS: usize = if cfg!(any(loom, shuttle)) { 8 } else { 1 << 16 };
/// The first slots belong to namespaces and root alone: a tag that shared one would flush them all.
const WIDE_SLOTS: u64 = if cfg!(any(loom, shuttle)) { 2 } else { 1 << 12 };

/// The names of one entry as slot numbers: key, namespace and root, the tags, then the lazy tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    slots: [u16; 3 + MAX_TAGS],
    hard: u8,
    all: u8,
}

impl Slots {
    /// The names whose invalidation counts at once.
    #[inline]
    fn hard(&self) -> &[u16] {
        &self.slots[..usize::from(self.hard)]
    }

    /// Every name, lazy ones too.
    fn all(&self) -> &[u16] {
        &self.slots[..usize::from(self.all)]
    }

    /// The names that count for an entry of this age: lazy ones only once it is soft-expired.
    #[inline]
    pub(crate) fn counting(&self, soft_expired: bool) -> &[u16] {
        if soft_expired && !is_seeded(Bug::LazyNever) { self.all() } else { self.hard() }
    }
}

/// One instance's stamps. Never evicted, never resized.
pub(crate) struct Stamps {
    tick: AtomicU64,
    /// Everything born before it is dead.
    floor: AtomicU64,
    slot: Box<[AtomicU64]>,
    /// Odd and random: nobody outside can tell which names share a slot.
    seed: u128,
    /// How many of the first slots are for namespaces and root.
    wide: u64,
    /// How many unapplied invalidations name a slot.
    dirty: Box<[AtomicU32]>,
    /// Their sum, so that the common "none" is one load.
    dirty_names: AtomicUsize,
}

impl Stamps {
    pub(crate) fn new(seed: u128) -> Self {
        Self::sized(seed, WIDE_SLOTS, SLOTS)
    }

    /// With `slots` slots, of which namespaces and root have the first `wide`.
    pub(crate) fn sized(seed: u128, wide: u64, slots: usize) -> Self {
        Self {
            seed: seed | 1,
            wide,
            tick: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            slot: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            dirty: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            dirty_names: AtomicUsize::new(0),
        }
    }

    /// The slots of an entry's names; `None` if there are more than it may carry.
    pub(crate) fn slots(&self, hard: &[NameHash], lazy: &[NameHash]) -> Option<Slots> {
        let mut slots = [0; 3 + MAX_TAGS];
        let all = hard.len() + lazy.len();
        for (slot, name) in slots.get_mut(..all)?.iter_mut().zip(hard.iter().chain(lazy)) {
            *slot = self.slot(*name);
        }
        Some(Slots { slots, hard: hard.len() as u8, all: all as u8 })
    }

    /// Where a name is stamped. Two names may share a slot: that costs a miss, never a stale hit.
    fn slot(&self, name: NameHash) -> u16 {
        let spread = (name.0.wrapping_mul(self.seed) >> 64) as u64;
        let (first, many) = if name.is_wide() {
            (0, self.wide)
        } else {
            (self.wide, self.slot.len() as u64 - self.wide)
        };
        // The high half of a product is as even as a remainder, and cheaper than a division.
        let nth = (u128::from(spread) * u128::from(many)) >> 64;
        (first + nth as u64) as u16
    }

    /// When a flight is born: read before its first look at Redis or the database.
    pub(crate) fn now(&self) -> u64 {
        self.tick.load(Ordering::Acquire)
    }

    /// Kills everything with these names that was born before this call. Made *after* Redis
    /// acknowledged: a flight born between an earlier bump and the UNLINK would read the old value
    /// and outlive the bump.
    pub(crate) fn bump(&self, names: &[NameHash]) {
        let at = self.tick.fetch_add(1, Ordering::AcqRel) + 1;
        for name in names {
            self.slot[usize::from(self.slot(*name))].fetch_max(at, Ordering::AcqRel);
        }
    }

    /// Kills everything born before this call.
    pub(crate) fn flush(&self) {
        let at = self.tick.fetch_add(1, Ordering::AcqRel) + 1;
        self.floor.fetch_max(at, Ordering::AcqRel);
    }

    /// Marks names as invalidated but not yet applied in Redis.
    pub(crate) fn soil(&self, names: &[NameHash]) {
        self.dirty_names.fetch_add(names.len(), Ordering::AcqRel);
        for name in names {
            self.dirty[usize::from(self.slot(*name))].fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Takes back one earlier [`Self::soil`] of the same names.
    pub(crate) fn clean(&self, names: &[NameHash]) {
        for name in names {
            self.dirty[usize::from(self.slot(*name))].fetch_sub(1, Ordering::AcqRel);
        }
        self.dirty_names.fetch_sub(names.len(), Ordering::AcqRel);
    }

    /// Whether one of these names waits for Redis: then neither tier may answer for it (I19).
    #[inline(always)]
    pub(crate) fn is_dirty(&self, slots: &[u16]) -> bool {
        !is_seeded(Bug::NoDirt)
            && self.dirty_names.load(Ordering::Acquire) != 0
            && slots.iter().any(|&slot| self.dirty[usize::from(slot)].load(Ordering::Acquire) != 0)
    }

    /// Whether nothing with these names was invalidated since `born`.
    #[inline(always)]
    pub(crate) fn is_current(&self, born: u64, slots: &[u16]) -> bool {
        if is_seeded(Bug::F) {
            return true;
        }
        if self.floor.load(Ordering::Acquire) > born {
            return false;
        }
        // A loop, because `Iterator::all` stays a call of its own on the hit path.
        for &slot in slots {
            if self.slot[usize::from(slot)].load(Ordering::Acquire) > born {
                return false;
            }
        }
        true
    }

    /// Which of these names was invalidated since `born`, the first of them; `None` also if all of
    /// L1 was given up since.
    pub(crate) fn overtaken(&self, born: u64, slots: &[u16]) -> Option<usize> {
        slots.iter().position(|&slot| self.slot[usize::from(slot)].load(Ordering::Acquire) > born)
    }

    /// A number that grows with every invalidation of a name, and with others that share its slot.
    pub(crate) fn latest(&self, name: NameHash) -> u64 {
        let slot = self.slot[usize::from(self.slot(name))].load(Ordering::Acquire);
        slot.max(self.floor.load(Ordering::Acquire))
    }

    /// Whether L1 may answer with something of this birth and these names (I3).
    #[inline(always)]
    pub(crate) fn is_valid(&self, born: u64, slots: &[u16]) -> bool {
        self.is_current(born, slots) && !self.is_dirty(slots)
    }
}

/// Stamps as plain numbers: the model clones, compares and hashes them.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Frozen {
    pub(crate) tick: u64,
    pub(crate) floor: u64,
    pub(crate) slot: [u64; FROZEN_SLOTS],
    pub(crate) dirty: [u32; FROZEN_SLOTS],
}

#[cfg(test)]
pub(crate) const FROZEN_SLOTS: usize = 8;

#[cfg(test)]
impl Stamps {
    pub(crate) fn freeze(&self) -> Frozen {
        let relaxed = Ordering::Relaxed;
        Frozen {
            tick: self.tick.load(relaxed),
            floor: self.floor.load(relaxed),
            slot: std::array::from_fn(|at| self.slot[at].load(relaxed)),
            dirty: std::array::from_fn(|at| self.dirty[at].load(relaxed)),
        }
    }

    pub(crate) fn thaw(seed: u128, wide: u64, frozen: &Frozen) -> Self {
        Self {
            seed: seed | 1,
            wide,
            tick: AtomicU64::new(frozen.tick),
            floor: AtomicU64::new(frozen.floor),
            slot: frozen.slot.iter().map(|at| AtomicU64::new(*at)).collect(),
            dirty: frozen.dirty.iter().map(|count| AtomicU32::new(*count)).collect(),
            dirty_names: AtomicUsize::new(frozen.dirty.iter().sum::<u32>() as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(slot: u128) -> NameHash {
        NameHash(slot)
    }

    const SEED: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

    fn slots(stamps: &Stamps, hard: &[u128], lazy: &[u128]) -> Slots {
        let hash = |names: &[u128]| names.iter().map(|&n| name(n)).collect::<Vec<_>>();
        stamps.slots(&hash(hard), &hash(lazy)).expect("few names")
    }

    #[test]
    fn a_bump_kills_what_was_born_before_and_nothing_else() {
        let stamps = Stamps::new(SEED);
        let (mine, other) = (slots(&stamps, &[1, 2], &[]), slots(&stamps, &[3], &[]));
        let born = stamps.now();
        stamps.bump(&[name(2)]);
        assert!(!stamps.is_valid(born, mine.counting(false)));
        assert!(stamps.is_valid(born, other.counting(false)));
        assert!(stamps.is_valid(stamps.now(), mine.counting(false)));
    }

    #[test]
    fn a_flush_kills_everything_born_before() {
        let stamps = Stamps::new(SEED);
        let born = stamps.now();
        stamps.flush();
        assert!(!stamps.is_valid(born, &[]));
        assert!(stamps.is_valid(stamps.now(), &[]));
    }

    #[test]
    fn a_dirty_name_is_invalid_until_every_row_that_names_it_is_applied() {
        let stamps = Stamps::new(SEED);
        stamps.soil(&[name(7)]);
        stamps.soil(&[name(7), name(8)]);
        stamps.clean(&[name(7)]);
        let both = slots(&stamps, &[7, 8], &[]);
        assert!(!stamps.is_valid(stamps.now(), both.counting(false)));
        stamps.clean(&[name(7), name(8)]);
        assert!(stamps.is_valid(stamps.now(), both.counting(false)));
    }

    #[test]
    fn a_lazy_name_counts_only_after_the_soft_ttl() {
        let stamps = Stamps::new(SEED);
        let slots = slots(&stamps, &[1], &[9]);
        let born = stamps.now();
        stamps.bump(&[name(9)]);
        assert!(stamps.is_valid(born, slots.counting(false)));
        assert!(!stamps.is_valid(born, slots.counting(true)));
    }

    #[test]
    fn no_tag_shares_a_slot_with_a_namespace_or_root() {
        let stamps = Stamps::new(SEED);
        for n in 0..20_000 {
            assert!(u64::from(stamps.slot(name(n * 0x1_0000_0001))) >= WIDE_SLOTS);
            assert!(u64::from(stamps.slot(name(n | 1 << 127))) < WIDE_SLOTS);
        }
    }

    #[test]
    fn an_entry_with_too_many_names_has_no_slots() {
        let names: Vec<_> = (0..4 + MAX_TAGS as u128).map(name).collect();
        assert!(Stamps::new(SEED).slots(&names, &[]).is_none());
    }
}
