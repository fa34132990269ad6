//! Reading Redis replies: what each shape means, and which errors mean "no L2 now".

use redis::{RedisError, Value};

use super::Fault;
use crate::{entry::Nonce, protocol::fetch::Event};

/// Error codes under which Redis serves nobody, or not us: the breaker counts them.
const OUTAGES: [&str; 12] = [
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "READONLY",
    "TRYAGAIN",
    "UNKILLABLE",
    "WRONGPASS",
];

/// The outage that an answer reports, if it does.
pub(super) fn outage(value: &Value) -> Option<Fault> {
    let Value::ServerError(error) = value else { return None };
    let code = OUTAGES.iter().find(|code| **code == error.code())?;
    Some(Fault::Refused(code))
}

/// The class of a client error. Its text is dropped: it may quote what was sent.
pub(super) fn fault(error: &RedisError) -> Fault {
    if let Some(code) = error.code() {
        return Fault::Refused(OUTAGES.iter().find(|known| **known == code).unwrap_or(&"ERR"));
    }
    match error.kind() {
        // The client says so when it has sent a password. Without one Redis says NOAUTH itself.
        redis::ErrorKind::AuthenticationFailed => Fault::Refused("WRONGPASS"),
        _ if error.is_timeout() => Fault::TimedOut,
        _ => Fault::Broken,
    }
}

/// The class of an error while connecting. A server that drops us at once (it has too many clients)
/// is as good as one that refuses us; where nobody listens, there is nobody to be spared.
pub(super) fn fault_on_arrival(error: &RedisError) -> Fault {
    let is_dropped = error.is_connection_dropped() && !error.is_connection_refusal();
    match (refused_on_arrival(error), is_dropped) {
        (Some(command), _) => Fault::Refused(command),
        (None, true) => Fault::Refused("ERR"),
        (None, false) => fault(error),
    }
}

/// Which command of those that open a connection this server will not have. Nothing else of the
/// text is kept: it may quote the password that was sent along.
fn refused_on_arrival(error: &RedisError) -> Option<&'static str> {
    let text = error.detail()?;
    if text.starts_with("unknown command") && text.contains("HELLO") {
        return Some("HELLO");
    }
    text.contains("out of range").then_some("SELECT")
}

pub(super) fn is_no_script(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

pub(super) fn epoch(value: &Value) -> Result<u64, Fault> {
    if let Some(fault) = outage(value) {
        return Err(fault);
    }
    bytes(value)
        .filter(|hex| hex.len() == 16 && hex.iter().all(u8::is_ascii_hexdigit))
        .and_then(|hex| u64::from_str_radix(str::from_utf8(hex).ok()?, 16).ok())
        .ok_or(Fault::Refused("ERR"))
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// A text for people.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::VerbatimString { text, .. } => Some(text.clone()),
        other => Some(String::from_utf8_lossy(bytes(other)?).into_owned()),
    }
}

/// A step of a SCAN: where to go on, and what was found so far.
pub(super) fn scanned(value: Value) -> Option<(Vec<u8>, Vec<String>)> {
    let Value::Array(parts) = value else { return None };
    let [cursor, Value::Array(keys)] = <[Value; 2]>::try_from(parts).ok()? else { return None };
    Some((bytes(&cursor)?.to_vec(), keys.iter().filter_map(text).collect()))
}

/// The sequence of invalidations; `None` if it is missing or no number.
pub(super) fn sequence(value: &Value) -> Option<u64> {
    let digits = bytes(value)?;
    // A sign would be a number to us, but not to the script that counts.
    let is_decimal = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok()?.parse().ok().filter(|_| is_decimal)
}

/// The payload of a Pub/Sub message: channel, payload.
pub(super) fn message(data: &[Value]) -> Option<&[u8]> {
    bytes(data.get(1)?)
}

/// The bytes of a value key; empty for nothing and for a foreign type.
pub(super) fn stored(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        _ => Vec::new(),
    }
}

/// A generation; anything but 16 bytes counts as lost.
pub(super) fn generation(value: &Value) -> Option<Nonce> {
    bytes(value)?.try_into().ok()
}

/// The generations of an MGET, one for each name.
pub(super) fn generations(value: &Value, names: usize) -> Vec<Option<Nonce>> {
    let mut generations: Vec<_> = match value {
        Value::Array(values) => values.iter().take(names).map(generation).collect(),
        _ => Vec::new(),
    };
    generations.resize(names, None);
    generations
}

/// What `SET generation nonce NX GET` leaves there: the one that was there, or ours.
pub(super) fn created(value: &Value, ours: Nonce) -> Option<Nonce> {
    match value {
        Value::Nil => Some(ours),
        other => generation(other),
    }
}

/// The answer of the PUT script.
pub(super) fn put(value: &Value) -> Event {
    match value {
        Value::Int(1) => Event::Granted,
        Value::Int(0) => Event::Lost,
        _ => Event::Refused,
    }
}

/// The answer of `SET key id NX GET`: what was there before.
pub(super) fn claim(value: &Value) -> Event {
    match value {
        Value::Nil => Event::Granted,
        Value::BulkString(_) => Event::Lost,
        other if is_wrong_type(other) => Event::Lost,
        _ => Event::Refused,
    }
}

pub(super) fn is_wrong_type(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == "WRONGTYPE")
}

/// Whether something that is no generation stands under a generation's key.
pub(super) fn is_foreign_generation(value: &Value) -> bool {
    is_wrong_type(value) || matches!(value, Value::BulkString(bytes) if bytes.len() != 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_granted_lost_or_refused() {
        assert_eq!(put(&Value::Int(1)), Event::Granted);
        assert_eq!(put(&Value::Int(0)), Event::Lost);
        for odd in [Value::Int(-1), Value::Nil, Value::Okay, Value::Array(vec![])] {
            assert_eq!(put(&odd), Event::Refused);
        }
    }

    #[test]
    fn a_generation_of_another_length_or_type_counts_as_lost() {
        assert_eq!(generation(&Value::BulkString(vec![1; 16])), Some([1; 16]));
        assert_eq!(generation(&Value::BulkString(vec![1; 15])), None);
        assert_eq!(generation(&Value::Int(1)), None);
        assert_eq!(generations(&Value::Nil, 2), [None, None]);
    }

    #[test]
    fn an_answer_with_too_few_or_too_many_generations_has_one_for_each_name() {
        let one = Value::Array(vec![Value::BulkString(vec![1; 16])]);
        assert_eq!(generations(&one, 2), [Some([1; 16]), None]);
        assert_eq!(generations(&one, 0), []);
    }

    #[test]
    fn a_created_generation_is_ours_unless_one_was_there() {
        assert_eq!(created(&Value::Nil, [1; 16]), Some([1; 16]));
        assert_eq!(created(&Value::BulkString(vec![2; 16]), [1; 16]), Some([2; 16]));
        assert_eq!(created(&Value::Int(3), [1; 16]), None);
    }

    #[test]
    fn an_epoch_is_sixteen_hex_digits() {
        assert_eq!(epoch(&Value::BulkString(b"00000000000000ff".to_vec())), Ok(255));
        assert!(epoch(&Value::Nil).is_err());
        for odd in ["ff", "+0000000000000ff", "000000000000000ff"] {
            assert!(epoch(&Value::SimpleString(odd.into())).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_sequence_is_digits_alone() {
        assert_eq!(sequence(&Value::BulkString(b"7".to_vec())), Some(7));
        for odd in ["", "+7", "-7", " 7", "18446744073709551616"] {
            assert_eq!(sequence(&Value::SimpleString(odd.into())), None, "{odd}");
        }
    }
}
