//! What operators ask Redis for. No read waits for any of this.

use std::{collections::BTreeSet, time::Duration};

use redis::{Pipeline, Value};
use tokio::time::Instant;

use super::{Fault, L2, reply};
use crate::{RedisInfo, RedisKeys, entry::nonce, key::joined};

/// How long a key that was not deleted stays.
const TEST_KEY_LIFE_MS: u64 = 10_000;

/// Keys that Redis looks at in one step of a SCAN.
const SCAN_COUNT: u32 = 1_000;
/// Steps of one search: it ends after a quarter of a million keys, whoever's they are.
const MOST_STEPS: u32 = 250;
/// A search ends after this, however few steps it has made.
const LONGEST_SEARCH: Duration = Duration::from_secs(10);

impl L2 {
    /// Round-trip time of a PING.
    pub(crate) async fn ping(&self, within: Duration) -> Result<Duration, Fault> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("PING");
        let asked = Instant::now();
        self.link.ask(&pipeline, within).await?;
        Ok(asked.elapsed())
    }

    pub(crate) async fn info(&self, within: Duration) -> Result<RedisInfo, Fault> {
        let mut ask = redis::pipe();
        ask.cmd("INFO");
        let answers = self.link.ask(&ask, within).await?;
        let text = answers.values.first().and_then(reply::text).ok_or(Fault::Refused("ERR"))?;
        Ok(RedisInfo::read(&text, self.database))
    }

    /// Keys behind the prefix, without it, at most `most`. `within` is for each step of the SCAN.
    pub(crate) async fn keys(&self, most: usize, within: Duration) -> Result<RedisKeys, Fault> {
        let pattern = format!("{}*", literally(&self.prefix));
        let (mut cursor, mut keys) = (b"0".to_vec(), BTreeSet::new());
        let (mut is_whole, began) = (false, Instant::now());
        for _ in 0..MOST_STEPS {
            let mut scan = redis::pipe();
            scan.cmd("SCAN").arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_COUNT);
            let left = LONGEST_SEARCH.saturating_sub(began.elapsed());
            let answers = match self.link.ask(&scan, within.min(left)).await {
                Ok(answers) => answers,
                // The time is over: what was found is an answer.
                Err(_) if left < within && !keys.is_empty() => break,
                Err(fault) => return Err(fault),
            };
            let (next, found) = answers
                .values
                .into_iter()
                .next()
                .and_then(reply::scanned)
                .ok_or(Fault::Refused("ERR"))?;
            let found = found.iter().filter_map(|key| key.strip_prefix(self.prefix.as_str()));
            keys.extend(found.map(str::to_owned));
            is_whole = next == b"0";
            if is_whole || keys.len() > most || began.elapsed() >= LONGEST_SEARCH {
                break;
            }
            cursor = next;
        }
        let is_cut = !is_whole || keys.len() > most;
        Ok(RedisKeys { keys: keys.into_iter().take(most).collect(), is_cut })
    }

    /// SET, GET and DEL of a key of this test, up to the first that fails.
    pub(crate) async fn test(
        &self,
        within: Duration,
    ) -> Vec<(&'static str, Result<Duration, Fault>)> {
        let id = u128::from_be_bytes(nonce().unwrap_or_default());
        let key = joined(&[&self.prefix, "~t:", &format!("{id:032x}")]);
        let [mut set, mut get, mut delete] = [redis::pipe(), redis::pipe(), redis::pipe()];
        set.cmd("SET").arg(&key).arg("test").arg("PX").arg(TEST_KEY_LIFE_MS);
        get.cmd("GET").arg(&key);
        delete.cmd("DEL").arg(&key);
        let stored = Value::BulkString(b"test".to_vec());
        let commands =
            [("set", set, Value::Okay), ("get", get, stored), ("delete", delete, Value::Int(1))];
        let mut steps = Vec::with_capacity(commands.len());
        for (name, command, expected) in commands {
            let step = self.timed(&command, &expected, within).await;
            let is_last = step.is_err();
            steps.push((name, step));
            if is_last {
                break;
            }
        }
        steps
    }

    async fn timed(
        &self,
        command: &Pipeline,
        expected: &Value,
        within: Duration,
    ) -> Result<Duration, Fault> {
        let asked = Instant::now();
        let answers = self.link.ask(command, within).await?;
        match answers.values.first() == Some(expected) {
            true => Ok(asked.elapsed()),
            false => Err(Fault::Refused("ERR")),
        }
    }
}

/// A prefix as SCAN wants it: its own special characters are only characters.
fn literally(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len());
    for char in prefix.chars() {
        if matches!(char, '[' | ']' | '*' | '?' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern
}
