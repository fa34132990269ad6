//! The bytes under a value key in Redis: a lease marker or an envelope. Reading them never panics
//! and never trusts them: whatever does not match exactly is a miss.
//!
//! ```text
//! head      kind 'L' | 'V' · format · 16-byte id (random per lease; a value keeps its lease's id)
//! envelope  head · epoch u64 · schema u64 · written, soft, hard u64 (ms since 1970) · cost u32 (ms)
//!           flags u8 · key length u16 + key · name count u8 + (name hash u128, nonce u128)…
//!           payload length u32 + payload · xxh3-64 of everything before
//! flags     1: there is no such thing, and no payload · 2: the payload is packed (`packing.rs`)
//! ```
//! All integers are little-endian.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    key::NameHash,
    packing::unpacked,
    protocol::bugs::{Bug, is_seeded},
};

pub(crate) const HEAD_BYTES: usize = 18;
const FORMAT: u8 = 1;
const MARKER: u8 = b'L';
const VALUE: u8 = b'V';
const NEGATIVE: u8 = 1;
/// A reader from before packing takes this for an unknown flag: a miss, which it overwrites.
const PACKED: u8 = 2;
const CHECKSUM_BYTES: usize = 8;

/// A random 128-bit number that never repeats: a lease id or a generation.
pub(crate) type Nonce = [u8; 16];

/// A fresh nonce from the operating system's generator. Counters and process ids repeat (ABA).
///
/// `None` if the system has no randomness to give: then nothing is filled.
pub(crate) fn nonce() -> Option<Nonce> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// The first bytes of whatever is under a value key; what a PUT compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Head {
    bytes: [u8; HEAD_BYTES],
    len: u8,
}

impl Head {
    pub(crate) fn of(stored: &[u8]) -> Self {
        let len = stored.len().min(HEAD_BYTES);
        let mut bytes = [0; HEAD_BYTES];
        bytes[..len].copy_from_slice(&stored[..len]);
        Self { bytes, len: len as u8 }
    }

    /// The marker of a lease, which is nothing but a head.
    pub(crate) fn lease(id: Nonce) -> Self {
        Self::of(&head(MARKER, if is_seeded(Bug::C) { [0; 16] } else { id }))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

fn head(kind: u8, id: Nonce) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[0] = kind;
    bytes[1] = FORMAT;
    bytes[2..].copy_from_slice(&id);
    bytes
}

/// Which process, key and shape an envelope must have been written for to be readable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    /// Identity of the Redis data set; another one (failover, restart) makes the entry a miss.
    pub(crate) epoch: u64,
    pub(crate) schema: u64,
    pub(crate) key: &'a str,
}

/// When a value was loaded and until when it may be served, in ms since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) written: u64,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// A value's bytes as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Plain(&'a [u8]),
    /// By [`crate::packing::packed`], so that less is sent and stored.
    Packed(&'a [u8]),
}

impl<'a> Payload<'a> {
    /// The value's bytes; `None` if they cannot be unpacked or are more than `most`.
    pub(crate) fn plain(self, most: usize) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Plain(bytes) => (bytes.len() <= most).then_some(Cow::Borrowed(bytes)),
            Self::Packed(bytes) => unpacked(bytes, most).map(Cow::Owned),
        }
    }
}

/// A value and what must still be true for it to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) life: Lifetime,
    pub(crate) cost_ms: u32,
    pub(crate) nonces: Vec<(NameHash, Nonce)>,
    /// `None`: the loader said that there is no such thing.
    pub(crate) payload: Option<Payload<'a>>,
}

impl Envelope<'_> {
    /// `None` if a part is longer than the format can say.
    pub(crate) fn encode(&self, id: Nonce, origin: Origin<'_>) -> Option<Vec<u8>> {
        let (flags, payload) = match self.payload {
            None => (NEGATIVE, &[][..]),
            Some(Payload::Plain(bytes)) => (0, bytes),
            Some(Payload::Packed(bytes)) => (PACKED, bytes),
        };
        let size = 128 + origin.key.len() + self.nonces.len() * 32 + payload.len();
        let mut out = Vec::with_capacity(size);
        out.extend(head(VALUE, id));
        for number in
            [origin.epoch, origin.schema, self.life.written, self.life.soft, self.life.hard]
        {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.cost_ms.to_le_bytes());
        out.push(flags);
        out.extend(u16::try_from(origin.key.len()).ok()?.to_le_bytes());
        out.extend(origin.key.as_bytes());
        out.push(u8::try_from(self.nonces.len()).ok()?);
        for (name, nonce) in &self.nonces {
            out.extend(name.0.to_le_bytes());
            out.extend(nonce);
        }
        out.extend(u32::try_from(payload.len()).ok()?.to_le_bytes());
        out.extend(payload);
        out.extend(xxh3_64(&out).to_le_bytes());
        Some(out)
    }
}

/// What stands under a value key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored<'a> {
    /// Nothing.
    Absent,
    /// Somebody is loading.
    Lease,
    /// A well-formed envelope of this origin. Whether it may be served is decided elsewhere.
    Value(Envelope<'a>),
    /// An envelope from before a restart or failover.
    OtherEpoch,
    /// Anything else: foreign, corrupt, of another format, schema or key.
    Foreign,
}

impl<'a> Stored<'a> {
    pub(crate) fn read(bytes: &'a [u8], origin: Origin<'_>) -> Self {
        match bytes {
            [] => Self::Absent,
            [MARKER, FORMAT, ..] if bytes.len() == HEAD_BYTES => Self::Lease,
            [VALUE, FORMAT, ..] => decode(bytes, origin).unwrap_or(Self::Foreign),
            _ => Self::Foreign,
        }
    }
}

fn decode<'a>(bytes: &'a [u8], origin: Origin<'_>) -> Option<Stored<'a>> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    if xxh3_64(body).to_le_bytes() != checksum {
        return None;
    }
    let mut reader = Reader(body.get(HEAD_BYTES..)?);
    if reader.u64()? != origin.epoch && !is_seeded(Bug::K) {
        return Some(Stored::OtherEpoch);
    }
    if reader.u64()? != origin.schema {
        return None;
    }
    let life = Lifetime { written: reader.u64()?, soft: reader.u64()?, hard: reader.u64()? };
    let cost_ms = reader.u32()?;
    let [flags] = reader.array()?;
    let key_len = u16::from_le_bytes(reader.array()?);
    let key = reader.take(usize::from(key_len))?;
    let is_ours = key == origin.key.as_bytes() || is_seeded(Bug::NoEmbeddedKey);
    if !is_ours {
        return None;
    }
    let [names] = reader.array()?;
    let mut nonces = Vec::with_capacity(usize::from(names));
    for _ in 0..names {
        nonces.push((NameHash(u128::from_le_bytes(reader.array()?)), reader.array()?));
    }
    let payload_len = reader.u32()?;
    let payload = reader.take(usize::try_from(payload_len).ok()?)?;
    let payload = match flags {
        0 => Some(Payload::Plain(payload)),
        PACKED => Some(Payload::Packed(payload)),
        NEGATIVE if payload.is_empty() => None,
        _ => return None,
    };
    let envelope = Envelope { life, cost_ms, nonces, payload };
    reader.0.is_empty().then_some(Stored::Value(envelope))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORIGIN: Origin<'static> = Origin { epoch: 7, schema: 9, key: "course:detail@1:42" };

    fn envelope(payload: Option<&[u8]>) -> Envelope<'_> {
        stored_as(payload.map(Payload::Plain))
    }

    fn stored_as(payload: Option<Payload<'_>>) -> Envelope<'_> {
        Envelope {
            life: Lifetime { written: 1, soft: 2, hard: 3 },
            cost_ms: 4,
            nonces: vec![(NameHash(5), [6; 16]), (NameHash(u128::MAX), [8; 16])],
            payload,
        }
    }

    /// Bytes that an earlier build wrote. If this fails, raise FORMAT: a rolling deploy must not
    /// read the other format.
    #[test]
    fn the_wire_format_is_the_one_released() {
        let bytes = envelope(Some(b"hello")).encode([1; 16], ORIGIN).expect("fits");
        let golden = include_str!("../tests/golden/envelope-1.hex");
        assert_eq!(hex(&bytes), golden.trim());
    }

    /// The same for a packed payload. Another LZ4 encoder may pack it otherwise; it is read alike.
    #[test]
    fn a_packed_envelope_that_was_released_is_read() {
        let golden = include_str!("../tests/golden/envelope-1-packed.hex").trim();
        let bytes =
            (0..golden.len()).step_by(2).map(|at| u8::from_str_radix(&golden[at..at + 2], 16));
        let bytes: Vec<u8> = bytes.map(|byte| byte.expect("hexadecimal")).collect();
        let Stored::Value(envelope) = Stored::read(&bytes, ORIGIN) else {
            panic!("it is readable")
        };
        let plain = envelope.payload.expect("there is one").plain(900);
        assert_eq!(plain.as_deref(), Some(&b"hello ".repeat(150)[..]));
        assert_eq!(envelope.payload.expect("there is one").plain(899), None);
    }

    #[test]
    fn an_envelope_with_a_flag_that_nobody_knows_is_foreign() {
        for flags in [NEGATIVE | PACKED, 4, 0x80] {
            let bytes = with_flags(stored_as(Some(Payload::Packed(b""))), flags);
            assert_eq!(Stored::read(&bytes, ORIGIN), Stored::Foreign, "{flags}");
        }
    }

    fn with_flags(envelope: Envelope<'_>, flags: u8) -> Vec<u8> {
        let mut bytes = envelope.encode([1; 16], ORIGIN).expect("fits");
        let body = bytes.len() - CHECKSUM_BYTES;
        bytes[HEAD_BYTES + 5 * 8 + 4] = flags;
        let checksum = xxh3_64(&bytes[..body]).to_le_bytes();
        bytes[body..].copy_from_slice(&checksum);
        bytes
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_negative_entry_is_not_an_empty_one() {
        for payload in [None, Some(&b""[..])] {
            let bytes = envelope(payload).encode([1; 16], ORIGIN).expect("fits");
            assert_eq!(Stored::read(&bytes, ORIGIN), Stored::Value(envelope(payload)));
        }
    }

    #[test]
    fn a_negative_entry_with_a_payload_is_foreign() {
        let bytes = with_flags(envelope(Some(b"x")), NEGATIVE);
        assert_eq!(Stored::read(&bytes, ORIGIN), Stored::Foreign);
    }

    #[test]
    fn another_key_or_schema_is_foreign_and_another_epoch_merely_gone() {
        let bytes = envelope(Some(b"x")).encode([1; 16], ORIGIN).expect("fits");
        for origin in
            [Origin { schema: 8, ..ORIGIN }, Origin { key: "course:detail@1:43", ..ORIGIN }]
        {
            assert_eq!(Stored::read(&bytes, origin), Stored::Foreign);
        }
        let after_a_restart = Origin { epoch: 8, ..ORIGIN };
        assert_eq!(Stored::read(&bytes, after_a_restart), Stored::OtherEpoch);
    }

    #[test]
    fn a_lease_marker_is_exactly_a_head() {
        let head = Head::lease([3; 16]);
        assert_eq!(Stored::read(head.as_bytes(), ORIGIN), Stored::Lease);
        let longer = [head.as_bytes(), b"x"].concat();
        assert_eq!(Stored::read(&longer, ORIGIN), Stored::Foreign);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(payload: Vec<u8>, id: [u8; 16]) {
            let bytes = envelope(Some(&payload)).encode(id, ORIGIN).expect("fits");
            prop_assert_eq!(Stored::read(&bytes, ORIGIN), Stored::Value(envelope(Some(&payload))));
        }

        #[test]
        fn garbage_never_panics_and_is_never_a_value(bytes: Vec<u8>) {
            prop_assert!(!matches!(Stored::read(&bytes, ORIGIN), Stored::Value(_)));
        }

        #[test]
        fn a_truncated_or_flipped_envelope_is_foreign(at in 0usize..150, bit in 0u8..8) {
            let mut bytes = envelope(Some(b"payload")).encode([1; 16], ORIGIN).expect("fits");
            let at = at % bytes.len();
            prop_assert!(!matches!(Stored::read(&bytes[..at], ORIGIN), Stored::Value(_)));
            bytes[at] ^= 1 << bit;
            // The id is not part of the value; everything else is covered by the checksum.
            prop_assert!(!matches!(Stored::read(&bytes, ORIGIN), Stored::Value(_)));
        }
    }
}
