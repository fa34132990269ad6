//! What must hold for all bytes that others may write, as functions of bytes. The unit tests run
//! them on `fuzz/corpus` and on random changes of it; the targets in `fuzz/` run them under
//! libFuzzer, for which this module is public (`--cfg fuzzing`).

#[cfg(test)]
mod allocation;
#[cfg(test)]
mod runs;

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    CacheKey, KeyWriter, MAX_KEY_BYTES, Names, Policy, Public, Tag,
    entry::{Envelope, Lifetime, Origin, Payload, Stored},
    key::{Name, NameHash, is_rendered, render_key},
    packing::{packed, unpacked},
    protocol::{
        message::{MOST_NAMES, Message},
        sight::{self, Look, Sight},
    },
};

/// A property and its name, which is also that of its folder in `fuzz/corpus`.
pub type Target = (&'static str, fn(&[u8]));

/// All there are.
pub const TARGETS: [Target; 5] = [
    ("envelope", envelope),
    ("message", message),
    ("reply", reply),
    ("key", key),
    ("names", names),
];

/// Where the golden envelope of the unit tests comes from.
const ORIGIN: Origin<'static> = Origin { epoch: 7, schema: 9, key: "course:detail@1:42" };
const CHECKSUM_BYTES: usize = 8;
/// The cap of what a packed payload may declare.
const MOST_PLAIN: usize = 4 << 10;

/// Whatever stands under a value key: nothing is read but what was written, and what was written
/// is read as it was.
pub fn envelope(data: &[u8]) {
    read_only_what_is_written(data);
    // Almost nothing has the right checksum by chance: the rest of the reader is behind it.
    if let Some(len) = data.len().checked_sub(CHECKSUM_BYTES) {
        read_only_what_is_written(&with_checksum(&data[..len]));
    }
    read_what_was_written(data);
}

fn with_checksum(body: &[u8]) -> Vec<u8> {
    [body, &xxh3_64(body).to_le_bytes()].concat()
}

fn read_only_what_is_written(bytes: &[u8]) {
    if let Stored::Value(envelope) = Stored::read(bytes, ORIGIN) {
        let id = bytes[2..18].try_into().expect("it has a head");
        assert_eq!(envelope.encode(id, ORIGIN).as_deref(), Some(bytes));
        if let Some(payload) = envelope.payload {
            let plain = payload.plain(MOST_PLAIN);
            let is_packed = matches!(payload, Payload::Packed(_));
            assert!(!is_packed || plain.is_none_or(|plain| plain.len() <= MOST_PLAIN));
        }
    }
    assert!(unpacked(bytes, MOST_PLAIN).is_none_or(|plain| plain.len() <= MOST_PLAIN));
    // A value whose generations are gone is never served (I2).
    let look = Look { stored: bytes, generations: &[] };
    let names = sight::Names { hard: &[NameHash(5)], lazy: &[NameHash(6)] };
    assert!(!matches!(Sight::judge(look, ORIGIN, names, 0), Sight::Servable { .. }));
}

fn read_what_was_written(data: &[u8]) {
    let mut data = Bytes(data);
    let (id, at, change) = (data.next(), usize::from(u16::from_le_bytes(data.next())), data.byte());
    let [written, soft, hard] = [data.u64(), data.u64(), data.u64()];
    let cost_ms = u32::from_le_bytes(data.next());
    let (names, form) = (data.byte() % 16, data.byte() % 4);
    let nonces = (0..names).map(|_| (NameHash(u128::from_le_bytes(data.next())), data.next()));
    let envelope = Envelope {
        life: Lifetime { written, soft, hard },
        cost_ms,
        nonces: nonces.collect(),
        payload: match form {
            0 => None,
            1 => Some(Payload::Packed(data.0)),
            _ => Some(Payload::Plain(data.0)),
        },
    };
    if let Some(packed) = packed(data.0, 0) {
        assert_eq!(unpacked(&packed, data.0.len()).as_deref(), Some(data.0));
    }
    let mut bytes = envelope.encode(id, ORIGIN).expect("it is short enough");
    assert_eq!(Stored::read(&bytes, ORIGIN), Stored::Value(envelope));
    let at = at % bytes.len();
    let short = Stored::read(&bytes[..at], ORIGIN);
    assert_eq!(short, if at == 0 { Stored::Absent } else { Stored::Foreign });
    bytes[at] ^= change.max(1);
    assert_eq!(Stored::read(&bytes, ORIGIN), Stored::Foreign, "byte {at} was changed");
}

/// Whatever is published on the channel: what is read says the same when it is sent again.
pub fn message(data: &[u8]) {
    if let Some(message) = Message::read(data) {
        assert!((1..=MOST_NAMES).contains(&message.names.len()));
        let body = Message::body(message.sender, &message.names);
        let sent = format!("{} {body}", message.sequence);
        assert!(sent.len() <= data.len());
        assert_eq!(Message::read(sent.as_bytes()), Some(message));
    }
}

/// Whatever Redis answers, as bytes on the wire.
pub fn reply(data: &[u8]) {
    crate::l2::read_in_every_way(data);
}

/// Whatever the segments of a key are: it renders if it may be cached, and never like another one.
pub fn key(data: &[u8]) {
    let key = AnyKey::of(data);
    let bytes = || key.0.iter().flat_map(|segment| segment.bytes());
    let escaped: usize = bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum();
    let len = FAMILY.len() + key.0.len() + escaped;
    let is_cacheable = !bytes().any(|b| b.is_ascii_control()) && len <= MAX_KEY_BYTES;
    match render_key(&key, &Public).as_deref() {
        Some(text) => {
            assert!(is_cacheable && is_rendered(text) && text.len() == len);
            assert_eq!(segments_of(text), key.0, "the rendered key can be read back");
            assert_eq!(Name::key(text).text, text.replacen("@1", "", 1));
        }
        None => assert!(!is_cacheable),
    }
    for (one, other) in key.0.iter().zip(key.0.iter().skip(1)) {
        let (tag, other_tag) = (Tag::new("any", one), Tag::new("any", other));
        assert_eq!(one == other, tag == other_tag, "{tag} of {one:?} and {other:?}");
        assert!(is_rendered(&tag.to_string()) || one.len() > MAX_KEY_BYTES / 4);
    }
}

/// Whatever the outbox holds: any text is refused or read, and what was written is read as it was.
pub fn names(data: &[u8]) {
    if let Some(names) = std::str::from_utf8(data).ok().and_then(|text| Names::parse(text).ok()) {
        let written = names.encode();
        let read = Names::parse(&written).expect("it was written by encode");
        assert_eq!((read.len(), read.encode()), (names.len(), written));
    }
    let (mut keys, mut others) = (Names::new(), Names::new());
    for part in data.split(|&byte| byte == SEPARATOR) {
        let text = String::from_utf8_lossy(part.get(1..).unwrap_or_default()).into_owned();
        match part.first().map(|kind| kind % 4) {
            Some(0) => keys = keys.key(&AnyKey(vec![text])),
            Some(1) => others = others.tag(Tag::parsed(text)),
            Some(2) => others = others.namespace(NAMESPACES[text.len() % NAMESPACES.len()]),
            Some(_) => others = others.and(Names::everything()),
            None => {}
        }
    }
    let names = keys.and(others);
    let text = names.encode();
    assert_eq!(text.lines().count(), names.len(), "one a line");
    assert_eq!(Names::parse(&text), Ok(names));
}

const NAMESPACES: [&str; 5] = ["courses", "", "r", "two\nlines\r\n", "\\n \\"];

/// Between two segments: a byte that is in no text.
const SEPARATOR: u8 = 0xff;
const FAMILY: &str = "any:key@1";

/// A key of whatever segments.
struct AnyKey(Vec<String>);

impl AnyKey {
    fn of(data: &[u8]) -> Self {
        let segments = data.split(|&byte| byte == SEPARATOR);
        let segments = segments.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Self(if data.is_empty() { Vec::new() } else { segments.collect() })
    }
}

impl CacheKey for AnyKey {
    type Value = ();
    type Scope = Public;
    const NAMESPACE: &'static str = "any";
    const NAME: &'static str = "any:key";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        Policy::new(Duration::from_secs(1), Duration::from_secs(1))
    }
    fn segments(&self, key: &mut KeyWriter) {
        for segment in &self.0 {
            match segment.parse::<i128>() {
                Ok(number) if number.to_string() == *segment => key.push(number),
                _ => key.push(segment),
            }
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

/// The inverse of rendering: that there is one is what makes two keys differ.
fn segments_of(rendered: &str) -> Vec<String> {
    let segments = rendered.strip_prefix(FAMILY).expect("it begins with its family");
    segments.split(':').skip(1).map(unescaped).collect()
}

fn unescaped(segment: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), segment.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|b| b.expect("two digits") as char);
                let digit = |at: usize| digits[at].to_digit(16).expect("a hexadecimal digit");
                (digit(0) * 16 + digit(1)) as u8
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).expect("it was text")
}

/// Numbers from the beginning of the data; zeros where it has ended.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let (head, tail) = self.0.split_at(N.min(self.0.len()));
        bytes[..head.len()].copy_from_slice(head);
        self.0 = tail;
        bytes
    }

    fn byte(&mut self) -> u8 {
        self.next::<1>()[0]
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.next())
    }
}
