//! What is cached: rows that say which one they are and how old.

use std::time::Duration;

use larder::{CacheKey, KeyWriter, Loaded, Names, Policy, Public, Tag, Tags};
use serde::{Deserialize, Serialize};

/// Rows under one tag.
pub(crate) const GROUP: u32 = 8;
/// Enough bytes that a small Redis must evict.
const FILLER: usize = 200;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) key: u32,
    pub(crate) version: u64,
    filler: String,
}

pub(crate) struct ItemKey(pub(crate) u32);

impl CacheKey for ItemKey {
    type Value = Item;
    type Scope = Public;
    const NAMESPACE: &'static str = "items";
    const NAME: &'static str = "item";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        let long = Duration::from_secs(120);
        Policy::new(Duration::from_secs(60), long).l1(long).load_timeout(Duration::from_secs(5))
    }

    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.0);
    }

    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(item(self.0));
        tags.add(group(self.0));
    }
}

fn item(key: u32) -> Tag {
    Tag::new("item", key)
}

fn group(key: u32) -> Tag {
    Tag::new("group", key / GROUP)
}

/// What a write changes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// One row, told by its key.
    Key(u32),
    /// One row, told by its tag.
    Item(u32),
    /// The rows of one group, told by the tag that they share.
    Group(u32),
    /// The same, told by the namespace.
    Namespace(u32),
    /// The same, told by everything.
    Everything(u32),
}

impl Target {
    pub(crate) fn names(self) -> Names {
        match self {
            Self::Key(key) => Names::new().key(&ItemKey(key)),
            Self::Item(key) => Names::new().tag(item(key)),
            Self::Group(key) => Names::new().tag(group(key)),
            Self::Namespace(_) => Names::new().namespace(ItemKey::NAMESPACE),
            Self::Everything(_) => Names::everything(),
        }
    }

    /// The first row and the one after the last.
    pub(crate) fn rows(self, keys: u32) -> (u32, u32) {
        match self {
            Self::Key(key) | Self::Item(key) => (key, key + 1),
            Self::Group(key) | Self::Namespace(key) | Self::Everything(key) => {
                let first = key / GROUP * GROUP;
                (first, (first + GROUP).min(keys))
            }
        }
    }
}

/// A row as its loader returns it. Half of them live so briefly that both TTLs pass again and
/// again; the other half so long that only an invalidation ends them.
pub(crate) fn loaded(key: u32, version: u64) -> Loaded<Item> {
    let item = Loaded::from(Item { key, version, filler: "x".repeat(FILLER) });
    let millis = Duration::from_millis;
    match key % 4 {
        0 => item.ttl(millis(100), millis(300)),
        1 => item.ttl(millis(1_000), millis(3_000)),
        _ => item,
    }
}
