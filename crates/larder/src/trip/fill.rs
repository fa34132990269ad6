//! The end of a trip: how long a loaded value lives, and its way into Redis or out of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use super::{GENERATION_LIVES, LONGEST_LIFE_MS, RETRY_FAILED, Trip, ask, life};
use crate::{
    CacheKey, Loaded,
    clock::millis,
    entry::{Envelope, Head, Lifetime, Origin as Written, Payload},
    l2::{Ask, Budget},
    load::Keep,
    packing::packed,
    plan::Plan,
    protocol::fetch::Lease,
    stats::Count,
};

/// The moment a load began, on both clocks.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) unix: u64,
    pub(super) local: u64,
}

/// Why a value cannot be stored.
pub(super) enum Unstorable {
    TooLarge,
    /// Its `Serialize` failed or panicked.
    Unencodable,
}

/// A loaded value on its way into the tiers.
pub(super) struct Cargo<V> {
    pub(super) value: Option<Arc<V>>,
    pub(super) began: Moment,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

impl<K: CacheKey> Trip<K> {
    /// How long a loaded value lives, with jitter; `false` if it is not to be kept.
    pub(super) fn stow(
        &self,
        loaded: Option<Loaded<K::Value>>,
        began: Moment,
    ) -> (Cargo<K::Value>, bool) {
        let policy = &self.policy;
        let (soft, hard) = match loaded.as_ref().map(|loaded| loaded.keep) {
            Some(Keep::AsPolicy) => (policy.soft, policy.hard),
            Some(Keep::For { soft, hard }) => (soft, hard),
            Some(Keep::No) => (Duration::ZERO, Duration::ZERO),
            None => (policy.negative, policy.negative),
        };
        let (soft, hard) = policy.capped(soft, hard);
        let spread = f64::from(policy.jitter()) / 100.0;
        let factor = 1.0 + spread * (2.0 * fastrand::f64() - 1.0);
        let stretched = |life: Duration| (millis(life).min(LONGEST_LIFE_MS) as f64 * factor) as u64;
        let value = loaded.map(|loaded| Arc::new(loaded.value));
        let cargo = Cargo { value, began, soft: stretched(soft), hard: stretched(hard) };
        let is_kept = cargo.hard > 0;
        (cargo, is_kept)
    }

    pub(super) fn refuse(&self, why: &Unstorable) {
        self.inner.namespaces.count(self.plan.namespace, Count::FillRefused);
        match why {
            Unstorable::TooLarge => tracing::warn!(
                limit = self.inner.max_entry_bytes,
                "a value is over the size cap and is not cached"
            ),
            Unstorable::Unencodable => tracing::warn!(
                namespace = K::NAMESPACE,
                "a value cannot be encoded and is not stored in Redis"
            ),
        }
    }

    /// Stores the value in Redis; `false` if it is not there, and our lease may be.
    pub(super) async fn fill(&self, lease: Lease, cargo: &Cargo<K::Value>) -> bool {
        let Some((l2, ask)) = self.id.and_then(|id| ask(&self.inner, &self.plan, &self.policy, id))
        else {
            return false;
        };
        let expected = match lease {
            Lease::None => return false,
            Lease::Marker => Head::lease(ask.id),
            Lease::Over(head) => head,
        };
        // Invalidated while Redis was away: the lease may still stand although the value is old.
        if self.inner.stamps.is_dirty(self.plan.slots.counting(true)) {
            return false;
        }
        let envelope = match self.pack(&ask, cargo) {
            Ok(envelope) => envelope,
            Err(why) => {
                self.refuse(&why);
                return false;
            }
        };
        let ask = Ask {
            generation_ttl: ask.generation_ttl.max(life(cargo.hard) * GENERATION_LIVES),
            ..ask
        };
        let mut budget = Budget::new(self.inner.op_timeout);
        match l2.fill(&ask, expected, &envelope, life(cargo.hard), &mut budget).await {
            Ok(true) => true,
            Ok(false) => {
                self.inner.namespaces.count(self.plan.namespace, Count::FillRefused);
                false
            }
            Err(fault) => {
                self.unavailable(&fault);
                false
            }
        }
    }

    fn pack(&self, ask: &Ask<'_>, cargo: &Cargo<K::Value>) -> Result<Vec<u8>, Unstorable> {
        let payload = match &cargo.value {
            Some(value) => {
                // A `Serialize` that panics must not leave the lease behind.
                let encode = || rmp_serde::to_vec_named(&**value).ok();
                let encoded = catch_unwind(AssertUnwindSafe(encode)).ok().flatten();
                Some(encoded.ok_or(Unstorable::Unencodable)?)
            }
            None => None,
        };
        if payload.as_ref().is_some_and(|payload| payload.len() > self.inner.max_entry_bytes) {
            return Err(Unstorable::TooLarge);
        }
        let packed =
            payload.as_deref().and_then(|payload| packed(payload, self.inner.compress_above));
        let stored = packed.as_deref().map(Payload::Packed);
        let written = cargo.began.unix;
        let envelope = Envelope {
            life: Lifetime { written, soft: written + cargo.soft, hard: written + cargo.hard },
            cost_ms: (self.inner.clock.now() - cargo.began.local) as u32,
            nonces: self.plan.recorded(&self.generations).ok_or(Unstorable::Unencodable)?,
            payload: stored.or(payload.as_deref().map(Payload::Plain)),
        };
        let origin =
            Written { epoch: self.epoch, schema: Plan::<K>::SCHEMA, key: &ask.place.value };
        envelope.encode(ask.id, origin).ok_or(Unstorable::TooLarge)
    }

    /// Takes away what stood here before: the loader has just said that it is not to be kept.
    pub(super) async fn forget(&self, lease: Lease) {
        let key = self.plan.key.as_bytes();
        if let Some(l1) = self.inner.l1.as_ref().filter(|l1| self.is_ours(l1.get(key).as_ref())) {
            l1.remove(key);
        }
        let asked = self.id.and_then(|id| ask(&self.inner, &self.plan, &self.policy, id));
        if let (Some((l2, ask)), Lease::Over(head)) = (asked, lease) {
            let mut budget = Budget::new(self.inner.op_timeout);
            if let Err(fault) = l2.remove_value(&ask, head, &mut budget).await {
                tracing::debug!(%fault, "a value that is not to be kept stays until its TTL");
            }
        }
        self.release(lease).await;
    }

    /// Takes back a lease or claim that was asked for, granted or not: an answer that came too
    /// late may have left it behind.
    pub(super) async fn release(&self, lease: Lease) {
        let Some((l2, ask)) = self.id.and_then(|id| ask(&self.inner, &self.plan, &self.policy, id))
        else {
            return;
        };
        let mut budget = Budget::new(self.inner.op_timeout);
        let released = match lease {
            Lease::Over(_) => l2.retire_claim(&ask, RETRY_FAILED, &mut budget).await,
            Lease::None | Lease::Marker => l2.release(&ask, &mut budget).await,
        };
        if let Err(fault) = released {
            tracing::debug!(%fault, "a lease could not be released and will expire");
        }
    }
}
