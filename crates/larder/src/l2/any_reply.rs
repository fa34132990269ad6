//! Replies that no Redis gives: a proxy, another program or another version may.

use redis::Value;

use super::reply;
use crate::protocol::{
    feed::{Feed, Verdict},
    fetch::Event,
};

/// Reads one reply in every way there is: each reads only what it says it reads.
pub(crate) fn read_in_every_way(wire: &[u8]) {
    let Ok(value) = redis::parse_redis_value(wire) else { return };
    let text = match &value {
        Value::BulkString(bytes) => Some(&**bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    };
    let is_outage = reply::outage(&value).is_some();
    assert!(!is_outage || matches!(value, Value::ServerError(_)));
    assert!(!(is_outage && (reply::is_no_script(&value) || reply::is_wrong_type(&value))));
    if let Value::ServerError(error) = &value {
        let _ = reply::fault(&error.clone().into());
    }

    if let Ok(epoch) = reply::epoch(&value) {
        let hex = text.map(|text| text.to_ascii_lowercase());
        assert_eq!(hex, Some(format!("{epoch:016x}").into_bytes()), "sixteen digits");
    }
    if let Some(sequence) = reply::sequence(&value) {
        assert!(text.is_some_and(|text| text.iter().all(u8::is_ascii_digit)));
        hear_around(sequence);
    }

    assert_eq!(reply::put(&value) == Event::Granted, value == Value::Int(1));
    assert_eq!(reply::claim(&value) == Event::Granted, value == Value::Nil);
    let generation = reply::generation(&value);
    assert_eq!(generation.as_ref().map(|g| &g[..]), text.filter(|text| text.len() == 16));
    let ours = [7; 16];
    let left = if value == Value::Nil { Some(ours) } else { generation };
    assert_eq!(reply::created(&value, ours), left);
    assert!(generation.is_none() || !reply::is_foreign_generation(&value));
    for names in [0, 1, 3] {
        assert_eq!(reply::generations(&value, names).len(), names, "one for each name");
    }

    if let Value::Array(values) | Value::Push { data: values, .. } = &value {
        let _ = reply::message(values);
    }
    let bytes = if let Value::BulkString(bytes) = &value { bytes.clone() } else { Vec::new() };
    assert_eq!(reply::stored(value), bytes);
}

/// A sequence that anybody may have set: what follows it is in step, nothing else.
fn hear_around(sequence: u64) {
    let mut feed = Feed::default();
    feed.subscribed(1);
    for _ in 0..2 {
        feed.asking();
        assert_eq!(feed.beat(Some(sequence)), Verdict::Missed, "nothing was known");
        assert_eq!(feed.heard(0), Verdict::Missed, "not counted");
    }
    feed.asking();
    feed.beat(Some(sequence));
    let next = sequence.checked_add(1);
    let expected = if next.is_some() { Verdict::InStep } else { Verdict::Missed };
    assert_eq!(feed.heard(next.unwrap_or(0)), expected);
}
