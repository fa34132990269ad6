//! Everything about a key that a flight needs, made once when L1 has no answer.

use std::{marker::PhantomData, sync::Arc};

use xxhash_rust::const_xxh3::xxh3_64;

use crate::{
    CacheKey, KeyWriter, Tags,
    cache::Inner,
    entry::Nonce,
    key::{Family, Name, NameHash},
    l2::Place,
    protocol::{sight::Names, stamps::Slots},
    stats::NamespaceId,
};

pub(crate) struct Plan<K> {
    /// The rendered key, without the prefix.
    pub(crate) key: Arc<str>,
    /// Key, namespace and root, the tags, then the lazy tags.
    pub(crate) hashes: Vec<NameHash>,
    hard: usize,
    pub(crate) slots: Slots,
    pub(crate) namespace: NamespaceId,
    /// Where it lives in Redis, if there is one.
    pub(crate) place: Option<Place>,
    of: PhantomData<fn(K)>,
}

impl<K: CacheKey> Plan<K> {
    /// Fails, with where to count it, if the key may not be cached: it cannot be rendered, or has
    /// more tags than an entry may carry.
    pub(crate) fn new(
        inner: &Inner,
        key: &K,
        scope: &K::Scope,
        written: &KeyWriter,
    ) -> Result<Arc<Self>, NamespaceId> {
        let namespace = inner.namespaces.id(K::NAMESPACE);
        let rendered = written.rendered().ok_or(namespace)?;
        let (names, hard) = names_of(key, scope, rendered);
        let hashes: Vec<_> = names.iter().map(|name| name.hash).collect();
        Ok(Arc::new(Self {
            key: rendered.into(),
            slots: inner.stamps.slots(&hashes[..hard], &hashes[hard..]).ok_or(namespace)?,
            hashes,
            hard,
            namespace,
            place: inner.l2.as_ref().map(|l2| l2.place(rendered, names)),
            of: PhantomData,
        }))
    }

    pub(crate) fn names(&self) -> Names<'_> {
        let (hard, lazy) = self.hashes.split_at(self.hard);
        Names { hard, lazy }
    }

    /// The names with the generations that an envelope records for them.
    pub(crate) fn recorded(&self, generations: &[Option<Nonce>]) -> Option<Vec<(NameHash, Nonce)>> {
        self.hashes.iter().zip(generations).map(|(name, nonce)| Some((*name, (*nonce)?))).collect()
    }

    /// What a value's bytes depend on besides the value: its name and version. Another codec would
    /// be another format of the envelope.
    pub(crate) const SCHEMA: u64 = xxh3_64(Family::of::<K>().as_bytes());
}

/// The names of a key: itself, namespace and root, the tags, then the lazy tags; and how many of
/// them come before the lazy ones.
pub(crate) fn names_of<K: CacheKey>(
    key: &K,
    scope: &K::Scope,
    rendered: &str,
) -> (Vec<Name>, usize) {
    let mut tags = Tags::default();
    key.tags(scope, &mut tags);
    let mut names = Vec::with_capacity(3 + tags.hard.len() + tags.lazy.len());
    names.extend([Name::key(rendered), Name::namespace(K::NAMESPACE), Name::root()]);
    names.extend(tags.hard.into_iter().map(Name::tag));
    let hard = names.len();
    names.extend(tags.lazy.into_iter().map(Name::tag));
    (names, hard)
}
