//! What a look at Redis means: the stored bytes judged against the generations read after them.

use super::bugs::{Bug, is_seeded};
use crate::{
    entry::{Envelope, Head, Nonce, Origin, Stored},
    key::NameHash,
};

/// The names of an entry in the order in which their generations are asked for: hard, then lazy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) hard: &'a [NameHash],
    pub(crate) lazy: &'a [NameHash],
}

/// One look: the value key, then (in this order) the generations of all its names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    /// Empty if there is nothing, or something that is no string.
    pub(crate) stored: &'a [u8],
    /// Hard names first, then lazy ones; `None` where a generation is missing or unreadable.
    pub(crate) generations: &'a [Option<Nonce>],
}

/// What a look amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sight<'a> {
    /// May be served; a stale one is due for a refresh, which replaces exactly this head.
    Servable {
        envelope: Envelope<'a>,
        head: Head,
        is_stale: bool,
        /// A lazy name was invalidated: nothing may be served of it past its soft TTL.
        is_outdated: bool,
    },
    /// Somebody holds the lease.
    Leased,
    /// Ours, but expired, invalidated or of another epoch; the next fill replaces exactly this head.
    Dead(Head),
    /// Not ours: corrupt, of another key, schema or format. Replaced like a dead one.
    Foreign(Head),
    Absent,
}

impl<'a> Sight<'a> {
    /// Judges a look at `now` (ms since 1970).
    ///
    /// Every hard name must be recorded in the envelope with the generation that Redis has now: a
    /// lost generation makes a miss, never a stale hit (I2, I6).
    pub(crate) fn judge(look: Look<'a>, origin: Origin<'_>, names: Names<'_>, now: u64) -> Self {
        let head = Head::of(look.stored);
        let envelope = match Stored::read(look.stored, origin) {
            Stored::Absent => return Self::Absent,
            // A lease is taken after its generations exist. Where one is missing, the names were
            // invalidated since: that load can fill nothing servable, so nobody waits for it.
            Stored::Lease if hard_generations(look, names).all(|known| known.is_some()) => {
                return Self::Leased;
            }
            Stored::Lease => return Self::Dead(head),
            Stored::OtherEpoch => return Self::Dead(head),
            Stored::Foreign => return Self::Foreign(head),
            Stored::Value(envelope) => envelope,
        };
        let is_stale = now >= envelope.life.soft;
        let mut generations = look.generations.iter();
        let mut is_recorded = |name: &NameHash| {
            let generation = generations.next().copied().flatten();
            generation.is_some_and(|generation| envelope.nonces.contains(&(*name, generation)))
        };
        let is_naive = is_seeded(Bug::A) || is_seeded(Bug::B);
        let only = if is_seeded(Bug::FirstName) { 1 } else { names.hard.len() };
        let hard = names.hard.get(..only).unwrap_or_default();
        let is_current = hard.iter().all(&mut is_recorded) || is_naive;
        let is_outdated =
            !(is_current && (is_seeded(Bug::LazyNever) || names.lazy.iter().all(&mut is_recorded)));
        if now >= envelope.life.hard || !is_current || (is_stale && is_outdated) {
            return Self::Dead(head);
        }
        Self::Servable { envelope, head, is_stale, is_outdated }
    }
}

fn hard_generations<'a>(
    look: Look<'a>,
    names: Names<'_>,
) -> impl Iterator<Item = Option<&'a Nonce>> {
    (0..names.hard.len()).map(move |at| look.generations.get(at)?.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Lifetime, Payload};

    const ORIGIN: Origin<'static> = Origin { epoch: 1, schema: 2, key: "k@1" };
    const HARD: NameHash = NameHash(10);
    const LAZY: NameHash = NameHash(20);
    const NAMES: Names<'static> = Names { hard: &[HARD], lazy: &[LAZY] };

    fn stored() -> Vec<u8> {
        Envelope {
            life: Lifetime { written: 0, soft: 100, hard: 200 },
            cost_ms: 0,
            nonces: vec![(HARD, [1; 16]), (LAZY, [2; 16])],
            payload: Some(Payload::Plain(b"v")),
        }
        .encode([9; 16], ORIGIN)
        .expect("fits")
    }

    fn judged(generations: &[Option<Nonce>], now: u64) -> &'static str {
        match Sight::judge(Look { stored: &stored(), generations }, ORIGIN, NAMES, now) {
            Sight::Servable { is_stale: false, .. } => "fresh",
            Sight::Servable { is_stale: true, .. } => "stale",
            Sight::Dead(_) => "dead",
            Sight::Leased | Sight::Absent | Sight::Foreign(_) => "other",
        }
    }

    #[test]
    fn an_entry_is_fresh_then_stale_then_dead() {
        let generations = [Some([1; 16]), Some([2; 16])];
        assert_eq!(judged(&generations, 99), "fresh");
        assert_eq!(judged(&generations, 100), "stale");
        assert_eq!(judged(&generations, 200), "dead");
    }

    #[test]
    fn a_changed_or_lost_generation_is_a_miss() {
        assert_eq!(judged(&[Some([3; 16]), Some([2; 16])], 0), "dead");
        assert_eq!(judged(&[None, Some([2; 16])], 0), "dead");
        assert_eq!(judged(&[], 0), "dead");
    }

    #[test]
    fn a_lazy_generation_counts_only_after_the_soft_ttl() {
        assert_eq!(judged(&[Some([1; 16]), None], 99), "fresh");
        assert_eq!(judged(&[Some([1; 16]), None], 100), "dead");
    }

    #[test]
    fn the_lease_of_an_invalidated_load_is_not_waited_for() {
        let head = Head::lease([7; 16]);
        let judged = |generations: &[Option<Nonce>]| {
            let look = Look { stored: head.as_bytes(), generations };
            Sight::judge(look, ORIGIN, NAMES, 0) == Sight::Leased
        };
        assert!(judged(&[Some([1; 16]), None]), "a lazy generation does not count");
        assert!(!judged(&[None, Some([2; 16])]));
    }

    #[test]
    fn a_tag_that_the_entry_was_stored_without_is_a_miss() {
        let names = Names { hard: &[HARD, NameHash(30)], lazy: &[] };
        let look = Look { stored: &stored(), generations: &[Some([1; 16]), Some([1; 16])] };
        assert!(matches!(Sight::judge(look, ORIGIN, names, 0), Sight::Dead(_)));
    }
}
