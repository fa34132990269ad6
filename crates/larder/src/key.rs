//! Typed keys: what a cached value is called in both tiers, and to whom it belongs.

use std::borrow::Cow;

use arrayvec::ArrayVec;
use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use crate::{Policy, weigh};

/// Longest key in bytes, prefix excluded. A longer key is loaded and delivered, but not cached.
pub const MAX_KEY_BYTES: usize = 256;

/// Most tags (hard and lazy together) that one key may carry. A key with more is not cached.
pub const MAX_TAGS: usize = 12;

/// A key type: it names the value it stands for, where that value is counted, and what
/// invalidates it.
///
/// One type describes one family of entries (`course:detail:*`); an instance is one entry. The key
/// is rendered as `NAME@VERSION:segment:segment…`, so that `redis-cli` shows
/// `skillup:course:detail@1:42`.
///
/// ```
/// use larder::{CacheKey, KeyWriter, Policy, Public, Tag, Tags};
/// use std::time::Duration;
///
/// struct CourseKey { id: i64 }
///
/// impl CacheKey for CourseKey {
///     type Value = String;
///     type Scope = Public;
///     const NAMESPACE: &'static str = "courses";
///     const NAME: &'static str = "course:detail";
///     const VERSION: u16 = 1;
///
///     fn policy() -> Policy {
///         Policy::new(Duration::from_secs(300), Duration::from_secs(600))
///     }
///     fn segments(&self, key: &mut KeyWriter) {
///         key.push(self.id);
///     }
///     fn tags(&self, _: &Public, tags: &mut Tags) {
///         tags.add(Tag::new("course", self.id));
///     }
/// }
///
/// assert_eq!(larder::render_key(&CourseKey { id: 42 }, &Public), Some("course:detail@1:42".into()));
/// ```
pub trait CacheKey: Send + Sync + 'static {
    /// The cached value. L1 holds it as an `Arc`, L2 as MessagePack with named fields.
    type Value: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Who may see the value: [`Public`], [`Tenant`] or [`User`]. A scoped key can only be read
    /// through a handle for that scope ([`crate::Cache::scoped`]), and the scope's id is always
    /// the first segment, so one user's value cannot be stored under another's key.
    type Scope: Scope;

    /// The label under which reads are counted, and the unit of "clear this namespace". Several
    /// key types may share one.
    const NAMESPACE: &'static str;

    /// The static beginning of the key: one or two segments of `a-z`, `0-9`, `_`, `-`, joined by
    /// `:`, 58 bytes at most (checked by the compiler). Two key types must not share a `NAME`.
    const NAME: &'static str;

    /// The schema number of `Value`. Raise it whenever the shape of `Value` changes: old and new
    /// processes then keep their own entries and still hear each other's invalidations.
    const VERSION: u16;

    /// How long entries live. Asked on every miss: return a constant.
    fn policy() -> Policy;

    /// Appends the parameters that make this key unique in its family.
    fn segments(&self, key: &mut KeyWriter);

    /// The tags of the entry. They must be a function of the key and its scope alone.
    fn tags(&self, scope: &Self::Scope, tags: &mut Tags) {
        let _ = (scope, tags);
    }

    /// The bytes a value is charged with in L1. The default walks the value once with serde and
    /// estimates its heap use (strings at their length, sequences at the size of their elements);
    /// a type with large unserialised parts states its own.
    fn weigh(value: &Self::Value) -> usize {
        weigh::estimate(value)
    }
}

/// Who may see a value. Sealed: [`Public`], [`Tenant`] and [`User`] are the scopes there are.
pub trait Scope: Clone + Send + Sync + sealed::Sealed + 'static {
    #[doc(hidden)]
    fn write(&self, key: &mut KeyWriter);
}

/// A value that is the same for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Public;

/// A value that belongs to one tenant (`I`: an integer or a string).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant<I>(pub I);

/// A value that belongs to one user (`I`: an integer or a string).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User<I>(pub I);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Public {}
    impl<I> Sealed for super::Tenant<I> {}
    impl<I> Sealed for super::User<I> {}
}

impl Scope for Public {
    fn write(&self, _: &mut KeyWriter) {}
}

impl<I: Segment + Clone + Send + Sync + 'static> Scope for Tenant<I> {
    fn write(&self, key: &mut KeyWriter) {
        self.0.write(key);
    }
}

impl<I: Segment + Clone + Send + Sync + 'static> Scope for User<I> {
    fn write(&self, key: &mut KeyWriter) {
        self.0.write(key);
    }
}

/// Something that can stand as one segment of a key or tag: integers, `bool` and strings.
pub trait Segment {
    /// Appends `:` and the escaped segment.
    fn write(&self, key: &mut KeyWriter);

    /// Tells apart what cannot be rendered: control characters, and what is too long.
    #[doc(hidden)]
    fn whole(&self) -> u128 {
        let mut writer = KeyWriter::new();
        self.write(&mut writer);
        xxh3_128(&writer.bytes)
    }
}

macro_rules! integer_segments {
    ($($int:ty)*) => {$(
        impl Segment for $int {
            #[inline]
            fn write(&self, key: &mut KeyWriter) {
                key.begin_segment();
                key.append(itoa::Buffer::new().format(*self).as_bytes());
            }
        }
    )*};
}
integer_segments!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

impl Segment for bool {
    fn write(&self, key: &mut KeyWriter) {
        key.begin_segment();
        key.append(if *self { b"true" } else { b"false" });
    }
}

impl Segment for str {
    fn write(&self, key: &mut KeyWriter) {
        key.begin_segment();
        key.escaped(self.as_bytes());
    }

    fn whole(&self) -> u128 {
        xxh3_128(self.as_bytes())
    }
}

impl Segment for String {
    fn write(&self, key: &mut KeyWriter) {
        self.as_str().write(key);
    }

    fn whole(&self) -> u128 {
        self.as_str().whole()
    }
}

impl<S: Segment + ?Sized> Segment for &S {
    fn write(&self, key: &mut KeyWriter) {
        (**self).write(key);
    }

    fn whole(&self) -> u128 {
        (**self).whole()
    }
}

/// Renders a key into a fixed buffer, without allocating.
///
/// Segments are joined by `:`. In a segment, bytes other than `A-Z a-z 0-9 . _ -` are written as
/// `%XX`, so two different lists of segments never render alike. A control character (or a key
/// over [`MAX_KEY_BYTES`]) marks the key as not cacheable: its loader runs, nothing is stored, and
/// `Stats` counts it.
pub struct KeyWriter {
    bytes: ArrayVec<u8, MAX_KEY_BYTES>,
    is_cacheable: bool,
}

impl KeyWriter {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { bytes: ArrayVec::new(), is_cacheable: true }
    }

    /// Renders the versioned key that both tiers use. In place: to return the buffer would be to
    /// copy it.
    #[inline]
    pub(crate) fn write<K: CacheKey>(&mut self, key: &K, scope: &K::Scope) {
        self.append(const { Family::of::<K>() }.as_bytes());
        scope.write(self);
        key.segments(self);
    }

    /// Appends one segment.
    #[inline]
    pub fn push(&mut self, segment: impl Segment) {
        segment.write(self);
    }

    #[inline]
    fn begin_segment(&mut self) {
        self.append_byte(b':');
    }

    #[inline]
    fn append_byte(&mut self, byte: u8) {
        self.is_cacheable &= self.bytes.try_push(byte).is_ok();
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        self.is_cacheable &= self.bytes.try_extend_from_slice(bytes).is_ok();
    }

    fn escaped(&mut self, bytes: &[u8]) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        for &byte in bytes {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                    self.append_byte(byte)
                }
                0..=0x1f | 0x7f => self.is_cacheable = false,
                _ => self.append(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
            }
        }
    }

    /// The rendered key, or `None` if it may not be cached.
    #[inline]
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        self.is_cacheable.then_some(&*self.bytes)
    }

    /// The rendered key as text, or `None` if it may not be cached.
    pub(crate) fn rendered(&self) -> Option<&str> {
        // Only ASCII is ever written, so this cannot fail; `None` would merely not cache.
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// `NAME@VERSION`, rendered by the compiler: a hit only appends the segments.
pub(crate) struct Family {
    bytes: [u8; MOST_FAMILY_BYTES],
    len: usize,
}

const MOST_FAMILY_BYTES: usize = 64;

impl Family {
    pub(crate) const fn of<K: CacheKey>() -> Self {
        assert!(is_valid_name(K::NAME), "CacheKey::NAME: one or two segments of a-z 0-9 _ -");
        assert!(K::NAME.len() <= MOST_FAMILY_BYTES - 6, "CacheKey::NAME: at most 58 bytes");
        let (mut bytes, mut len) = ([0; MOST_FAMILY_BYTES], 0);
        while len < K::NAME.len() {
            bytes[len] = K::NAME.as_bytes()[len];
            len += 1;
        }
        bytes[len] = b'@';
        len += 1;
        let mut place = 10_000;
        while place > 0 {
            if K::VERSION >= place || place == 1 {
                bytes[len] = b'0' + (K::VERSION / place % 10) as u8;
                len += 1;
            }
            place /= 10;
        }
        Self { bytes, len }
    }

    pub(crate) const fn as_bytes(&self) -> &[u8] {
        self.bytes.split_at(self.len).0
    }
}

/// The key as it appears in Redis behind the prefix, or `None` if it is too long or holds control
/// characters and is therefore not cached. For logs, tests and operator tools.
///
/// ```
/// # use larder::*; use std::time::Duration;
/// # struct K; impl CacheKey for K { type Value = u8; type Scope = User<i64>;
/// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "progress"; const VERSION: u16 = 1;
/// # fn policy() -> Policy { Policy::new(Duration::from_secs(1), Duration::from_secs(1)) }
/// # fn segments(&self, key: &mut KeyWriter) { key.push("a:b"); } }
/// assert_eq!(render_key(&K, &User(7)).as_deref(), Some("progress@1:7:a%3Ab"));
/// ```
pub fn render_key<K: CacheKey>(key: &K, scope: &K::Scope) -> Option<String> {
    let mut written = KeyWriter::new();
    written.write(key, scope);
    written.rendered().map(str::to_owned)
}

/// Whether a text may be a rendered key: one that a [`KeyWriter`] can write.
pub(crate) fn is_rendered(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_KEY_BYTES && text.bytes().all(|b| b.is_ascii_graphic())
}

const fn is_valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let (mut at, mut colons, mut previous) = (0, 0, b':');
    while at < bytes.len() {
        match bytes[at] {
            b':' if previous == b':' => return false,
            b':' => colons += 1,
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => {}
            _ => return false,
        }
        previous = bytes[at];
        at += 1;
    }
    previous != b':' && colons <= 1
}

/// A label under which many entries can be invalidated at once, in O(1).
///
/// ```
/// use larder::Tag;
/// assert_eq!(Tag::new("course", 42).to_string(), "course:42");
/// assert_eq!(Tag::named("courses").to_string(), "courses");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag(Cow<'static, str>);

impl Tag {
    /// A tag for one thing of a kind: `course:42`. The id is escaped like a key segment.
    pub fn new(kind: &'static str, id: impl Segment) -> Self {
        let mut writer = KeyWriter::new();
        id.write(&mut writer);
        match writer.rendered() {
            Some(id) => Self(joined(&[kind, id]).into()),
            // An id that cannot stand in a key still needs a tag of its own: name it by its hash.
            None => Self(format!("{kind}:%{:032x}", id.whole()).into()),
        }
    }

    /// Reads a tag as `Display` shows it, for operators who name one by hand; `None` for what is
    /// empty, longer than [`MAX_KEY_BYTES`] or more than printable ASCII without spaces.
    ///
    /// ```
    /// use larder::Tag;
    /// assert_eq!(Tag::parse("course:42"), Some(Tag::new("course", 42)));
    /// assert_eq!(Tag::parse("course 42"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        is_rendered(text).then(|| Self::parsed(text.to_owned()))
    }

    /// A tag as an earlier process wrote it down.
    pub(crate) fn parsed(text: String) -> Self {
        Self(text.into())
    }

    /// A tag for a whole collection: `courses`.
    pub fn named(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One allocation for all parts.
pub(crate) fn joined(parts: &[&str]) -> String {
    let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.push_str(part));
    text
}

/// Collects the tags of one key; see [`CacheKey::tags`].
#[derive(Default)]
pub struct Tags {
    pub(crate) hard: Vec<Tag>,
    pub(crate) lazy: Vec<Tag>,
}

impl Tags {
    /// Adds a tag: invalidating it makes the entry unservable at once.
    pub fn add(&mut self, tag: Tag) {
        self.hard.push(tag);
    }

    /// Adds a lazy tag: invalidating it counts only once the entry is older than its soft TTL.
    /// For summaries that change with every write and may lag by their soft TTL.
    pub fn lazy(&mut self, tag: Tag) {
        self.lazy.push(tag);
    }
}

/// What an invalidation can name: a key, a tag, a namespace or everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) kind: NameKind,
    pub(crate) text: Cow<'static, str>,
    pub(crate) hash: NameHash,
}

/// The kinds of names; names of two kinds are never the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    Key,
    Tag,
    Namespace,
    Root,
}

impl NameKind {
    /// What the generations of this kind are called in Redis, before the name's text.
    pub(crate) const fn generation(self) -> &'static str {
        match self {
            Self::Key => "~g:k:",
            Self::Tag => "~g:t:",
            Self::Namespace => "~g:n:",
            Self::Root => "~g:r",
        }
    }
}

impl Name {
    /// A key without its schema number, `course:detail:42` of `course:detail@1:42`: all versions
    /// hear of its invalidation.
    pub(crate) fn key(rendered: &str) -> Self {
        let (family, rest) = rendered.split_once('@').unwrap_or((rendered, ""));
        let segments = rest.find(':').map_or("", |at| &rest[at..]);
        Self::new(NameKind::Key, joined(&[family, segments]).into())
    }

    pub(crate) fn tag(tag: Tag) -> Self {
        Self::new(NameKind::Tag, tag.0)
    }

    pub(crate) fn namespace(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(NameKind::Namespace, name.into())
    }

    pub(crate) fn root() -> Self {
        Self::new(NameKind::Root, Cow::Borrowed(""))
    }

    /// A fixed hash: every process must find the same nonce for a name.
    fn new(kind: NameKind, text: Cow<'static, str>) -> Self {
        let hash = xxh3_128_with_seed(text.as_bytes(), kind as u64);
        let hash = match kind {
            NameKind::Key | NameKind::Tag => hash & !NameHash::WIDE,
            NameKind::Namespace | NameKind::Root => hash | NameHash::WIDE,
        };
        Self { kind, text, hash: NameHash(hash) }
    }
}

/// The 128-bit identity of a [`Name`] in envelopes, messages and stamps. Its highest bit tells the
/// names that stand for many keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NameHash(pub(crate) u128);

impl NameHash {
    const WIDE: u128 = 1 << 127;

    pub(crate) fn is_wide(self) -> bool {
        self.0 & Self::WIDE != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(segments: &[String]) -> Option<String> {
        let mut writer = KeyWriter::new();
        segments.iter().for_each(|segment| writer.push(segment));
        writer.rendered().map(str::to_owned)
    }

    proptest! {
        #[test]
        fn different_segments_never_render_alike(
            a in prop::collection::vec("\\PC{0,12}", 0..4),
            b in prop::collection::vec("\\PC{0,12}", 0..4),
        ) {
            if let (Some(x), Some(y)) = (rendered(&a), rendered(&b)) {
                prop_assert_eq!(a == b, x == y);
            }
        }

        #[test]
        fn keys_hold_printable_ascii_only(a in prop::collection::vec(".{0,12}", 0..4)) {
            if let Some(key) = rendered(&a) {
                prop_assert!(key.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }

    #[test]
    fn a_control_character_or_an_overlong_key_is_not_cacheable() {
        assert_eq!(rendered(&["a\nb".into()]), None);
        assert_eq!(rendered(&["x".repeat(MAX_KEY_BYTES)]), None);
        assert!(rendered(&["x".repeat(MAX_KEY_BYTES - 1)]).is_some());
    }

    #[test]
    fn ids_that_cannot_be_rendered_still_have_tags_of_their_own() {
        let long = "x".repeat(2 * MAX_KEY_BYTES);
        let ids =
            ["a\n", "a\t", "\na", "a", "", "\n", "\n\n", &long, &long[1..], &(long.clone() + "y")];
        let tags: std::collections::HashSet<_> = ids.iter().map(|id| Tag::new("id", id)).collect();
        assert_eq!(tags.len(), ids.len());
    }

    #[test]
    fn the_schema_number_is_not_part_of_the_name() {
        for (key, text) in [
            ("course:detail@1:42", "course:detail:42"),
            ("progress@12:7:a%40b", "progress:7:a%40b"),
            ("system:stats@1", "system:stats"),
        ] {
            assert_eq!(Name::key(key).text, text);
        }
    }

    #[test]
    fn names_of_two_kinds_are_two_names() {
        let (key, tag) = (Name::key("courses@1"), Name::tag(Tag::named("courses")));
        let namespace = Name::namespace("courses");
        assert!(key.hash != tag.hash && tag.hash != namespace.hash && key.hash != namespace.hash);
    }

    #[test]
    fn names_have_one_or_two_plain_segments() {
        assert!(is_valid_name("progress") && is_valid_name("course:detail"));
        for bad in ["", ":a", "a:", "a::b", "a:b:c", "Course", "a b", "a@b"] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }
}
