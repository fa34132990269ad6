//! Messages on their way to a subscriber, lost, doubled or swapped.

/// How a Pub/Sub message begins on the wire; two bulk strings follow, channel and payload.
const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n";

/// What becomes of the messages on the backplane.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Pushes {
    #[default]
    Pass,
    Lost,
    Doubled,
    /// Each second one comes before the first.
    Swapped,
}

/// Redis sends a small message in one piece.
pub(crate) fn edited(reply: &[u8], pushes: Pushes, kept: &mut Option<Vec<u8>>) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), reply);
    while let Some(at) = rest.windows(MESSAGE.len()).position(|bytes| bytes == MESSAGE) {
        let end = at + message_bytes(&rest[at..]).unwrap_or(rest.len() - at);
        out.extend(&rest[..at]);
        let message = &rest[at..end];
        match pushes {
            Pushes::Pass => out.extend(message),
            Pushes::Lost => {}
            Pushes::Doubled => out.extend([message, message].concat()),
            Pushes::Swapped => match kept.take() {
                None => *kept = Some(message.to_vec()),
                Some(first) => out.extend([message, &first].concat()),
            },
        }
        rest = &rest[end..];
    }
    out.extend(rest);
    out
}

fn message_bytes(message: &[u8]) -> Option<usize> {
    let mut at = MESSAGE.len();
    for _ in 0..2 {
        let line = message[at..].iter().position(|byte| *byte == b'\r')?;
        let length: usize = std::str::from_utf8(&message[at + 1..at + line]).ok()?.parse().ok()?;
        at += line + 2 + length + 2;
    }
    (at <= message.len()).then_some(at)
}
