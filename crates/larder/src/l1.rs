//! L1: shared pointers in this process, bounded in bytes. The only file that names the storage
//! crate; freshness is judged by the caller, with stamps and clock.

use std::{
    any::Any,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter, sync};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    error::ConfigError,
    protocol::stamps::Slots,
    stats::{L1Stats, NamespaceId},
};

/// What an entry is charged beyond its value and a long key: its place in the map's tables, which
/// grow in steps (212 to 336 bytes were measured from 2,000 to 100,000 entries).
const ENTRY_BYTES: usize = 224;
/// Smallest L1: below it a shard could not hold an entry of useful size.
const LEAST_BYTES: u64 = 64 * 1024;
/// A shard has room for this many of the largest entries.
const LARGEST_PER_SHARD: u64 = 4;
const MOST_SHARDS: u64 = 64;

/// A value of whatever type its key has.
pub(crate) type AnyValue = Arc<dyn Any + Send + Sync>;

/// One entry. Copied out on a hit: the value by reference count, the rest as plain words.
#[derive(Clone)]
pub(crate) struct Entry {
    /// `None`: the loader said that there is no such thing.
    pub(crate) value: Option<AnyValue>,
    /// When its flight was born (see [`crate::protocol::stamps`]).
    pub(crate) born: u64,
    pub(crate) slots: Slots,
    pub(crate) namespace: NamespaceId,
    /// Milliseconds of the cache's monotonic clock; `written` may lie before its origin.
    pub(crate) written: i64,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
    /// No background refresh before this.
    pub(crate) refresh_after: u64,
    pub(crate) weight: u32,
}

impl Entry {
    /// Milliseconds since its load began.
    #[inline(always)]
    pub(crate) fn age(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.written.saturating_neg())
    }
}

/// The rendered key with its hash. A short one lies inline: comparing it on a hit then costs no
/// further cache line.
struct Key {
    hash: u64,
    bytes: KeyBytes,
}

enum KeyBytes {
    Short { len: u8, bytes: [u8; SHORT_KEY] },
    Long(Box<[u8]>),
}

/// As many bytes as fit beside the length without making the key larger than 48 bytes.
const SHORT_KEY: usize = 38;

impl Key {
    fn new(hash: u64, key: &[u8]) -> Self {
        let mut bytes = [0; SHORT_KEY];
        let bytes = match bytes.get_mut(..key.len()) {
            Some(room) => {
                room.copy_from_slice(key);
                KeyBytes::Short { len: key.len() as u8, bytes }
            }
            None => KeyBytes::Long(key.into()),
        };
        Self { hash, bytes }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            KeyBytes::Short { len, bytes } => &bytes[..usize::from(*len)],
            KeyBytes::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A key that is only looked up, and so need not be owned.
struct Lookup<'a> {
    hash: u64,
    key: &'a [u8],
}

impl Hash for Lookup<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Key> for Lookup<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.hash == key.hash && self.key == key.as_bytes()
    }
}

/// Hands the hash through: it is computed once, with a secret seed.
#[derive(Default)]
struct HashedAlready(u64);

impl Hasher for HashedAlready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[derive(Clone)]
struct Charge;

impl Weighter<Key, Entry> for Charge {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        let key = match &key.bytes {
            KeyBytes::Short { .. } => 0,
            KeyBytes::Long(bytes) => bytes.len(),
        };
        (ENTRY_BYTES + key) as u64 + u64::from(entry.weight)
    }
}

/// Counts what has to make room. `on_evict` would also hear of entries that are replaced.
#[derive(Clone, Default)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Entry> for Evictions {
    type RequestState = ();

    fn before_evict(&self, (): &mut (), _: &Key, _: &mut Entry) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Store = sync::Cache<Key, Entry, Charge, BuildHasherDefault<HashedAlready>, Evictions>;

pub(crate) struct L1 {
    store: Store,
    evictions: Evictions,
    seed: u64,
}

impl L1 {
    pub(crate) fn new(bytes: u64, largest_entry: u64) -> Result<Self, ConfigError> {
        if bytes < LEAST_BYTES {
            return Err(ConfigError::new(format!(
                "L1 needs at least {LEAST_BYTES} bytes, got {bytes}"
            )));
        }
        let shards = (bytes / (largest_entry * LARGEST_PER_SHARD).max(1)).clamp(1, MOST_SHARDS);
        // Rounded down: the store rounds up to a power of two, which would shrink the shards.
        let shards = 1 << shards.ilog2();
        let options = OptionsBuilder::new()
            .weight_capacity(bytes)
            .estimated_items_capacity(10_000)
            .shards(shards)
            .build()
            .map_err(|error| ConfigError::new(format!("L1 cannot be built: {error}")))?;
        let evictions = Evictions::default();
        let store = Store::with_options(options, Charge, Default::default(), evictions.clone());
        Ok(Self { store, evictions, seed: fastrand::u64(..) })
    }

    #[inline(always)]
    pub(crate) fn get(&self, key: &[u8]) -> Option<Entry> {
        self.store.get(&Lookup { hash: xxh3_64_with_seed(key, self.seed), key })
    }

    pub(crate) fn insert(&self, key: &[u8], entry: Entry) {
        let hash = xxh3_64_with_seed(key, self.seed);
        self.store.insert(Key::new(hash, key), entry);
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        let hash = xxh3_64_with_seed(key, self.seed);
        self.store.remove(&Lookup { hash, key });
    }

    pub(crate) fn stats(&self) -> L1Stats {
        L1Stats {
            bytes: self.store.weight(),
            capacity: self.store.capacity(),
            entries: self.store.len() as u64,
            evictions: self.evictions.0.load(Ordering::Relaxed),
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn entry(weight: u32) -> Entry {
        Entry {
            value: None,
            born: 0,
            slots: Slots::default(),
            namespace: 0,
            written: 0,
            soft: 0,
            hard: 0,
            refresh_after: 0,
            weight,
        }
    }

    #[test]
    fn an_entry_that_is_replaced_or_removed_is_not_counted_as_evicted() {
        let l1 = L1::new(LEAST_BYTES, 1024).expect("large enough");
        for _ in 0..1000 {
            l1.insert(b"key", entry(100));
        }
        l1.remove(b"key");
        assert_eq!(l1.stats().evictions, 0);
    }

    #[test]
    fn whatever_made_room_is_counted_as_evicted_once() {
        let l1 = L1::new(LEAST_BYTES, 1024).expect("large enough");
        for id in 0..1000_u32 {
            l1.insert(&id.to_le_bytes(), entry(100));
        }
        let stats = l1.stats();
        assert!(stats.entries < 1000);
        assert_eq!(stats.evictions, 1000 - stats.entries);
    }
}
