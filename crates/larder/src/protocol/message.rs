//! What processes tell each other: `<sequence> <sender> <name hash>…`, hashes and sender in hex.
//!
//! The sequence is written by the invalidation script, the rest by the sender. Anybody who may
//! publish on the channel can write anything, so reading trusts nothing; the worst that a message
//! can do is a miss.

use std::fmt::Write as _;

use crate::{entry::Nonce, key::NameHash};

/// An invalidation names this many at most ([`crate::Names`] that are more become everything).
pub(crate) const MOST_NAMES: usize = 10_000;

/// One invalidation as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// 0 if Redis could not count: then the next heartbeat finds no sequence.
    pub(crate) sequence: u64,
    pub(crate) sender: Nonce,
    pub(crate) names: Vec<NameHash>,
}

impl Message {
    /// `None` for anything that no sender writes.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        let sequence = words.next()?;
        let is_decimal = !sequence.is_empty() && sequence.bytes().all(|b| b.is_ascii_digit());
        let sequence = sequence.parse().ok().filter(|_| is_decimal)?;
        let sender = hash(words.next()?)?.to_be_bytes();
        let mut names = Vec::new();
        for word in words {
            if names.len() == MOST_NAMES {
                return None;
            }
            names.push(NameHash(hash(word)?));
        }
        (!names.is_empty()).then_some(Self { sequence, sender, names })
    }

    /// The part that the sender writes.
    pub(crate) fn body(sender: Nonce, names: &[NameHash]) -> String {
        let mut text = String::with_capacity(33 * (names.len() + 1));
        let _ = write!(text, "{:032x}", u128::from_be_bytes(sender));
        for name in names {
            let _ = write!(text, " {:032x}", name.0);
        }
        text
    }
}

fn hash(word: &str) -> Option<u128> {
    let is_hash = word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    u128::from_str_radix(word, 16).ok().filter(|_| is_hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_read(
            sequence: u64, sender: [u8; 16], names in prop::collection::vec(any::<u128>(), 1..20)
        ) {
            let names: Vec<_> = names.into_iter().map(NameHash).collect();
            let sent = format!("{sequence} {}", Message::body(sender, &names));
            prop_assert_eq!(
                Message::read(sent.as_bytes()),
                Some(Message { sequence, sender, names })
            );
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::read(&bytes);
        }
    }

    #[test]
    fn whatever_no_sender_writes_is_foreign() {
        let sender = "00000000000000000000000000000001";
        for foreign in [
            String::new(),
            "7".into(),
            format!("7 {sender}"),
            format!("7 {sender} "),
            format!("+7 {sender} {sender}"),
            format!("-7 {sender} {sender}"),
            format!("99999999999999999999 {sender} {sender}"),
            format!("7 {sender} {}", &sender[1..]),
            format!("7 {sender} +{}", &sender[1..]),
            format!("7 {sender} {sender}\n"),
            format!("7 {sender}{}", format!(" {sender}").repeat(MOST_NAMES + 1)),
        ] {
            assert_eq!(Message::read(foreign.as_bytes()), None, "{foreign:.80}");
        }
    }
}
