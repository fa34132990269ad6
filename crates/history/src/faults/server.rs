//! What happens to Redis.

use std::time::Duration;

use private_servers::Redis;
use tokio::time;

use super::{Course, CutOff, Fault};
use crate::{clock, worker::PREFIX};

const LONGEST_OUTAGE: Duration = Duration::from_millis(1_500);
/// What an old RDB takes back at most.
const LONGEST_LOSS: Duration = Duration::from_secs(3);
const LONGEST_HANG: Duration = Duration::from_secs(3);
const LONGEST_SHORTAGE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
enum Kind {
    KilledAndEmpty,
    KilledAndOld,
    Stopped,
    Flushed,
    ScriptsFlushed,
    BackplanesKilled,
    BackplanesKilledAgainAndAgain,
    ConnectionsKilled,
    SequenceDeleted,
    GenerationsDeleted,
    ValuesDeleted,
    ValuesCorrupted,
    TypesChanged,
    MemoryShort,
    GarbagePublished,
}

const KINDS: [Kind; 15] = [
    Kind::KilledAndEmpty,
    Kind::KilledAndOld,
    Kind::Stopped,
    Kind::Flushed,
    Kind::ScriptsFlushed,
    Kind::BackplanesKilled,
    Kind::BackplanesKilledAgainAndAgain,
    Kind::ConnectionsKilled,
    Kind::SequenceDeleted,
    Kind::GenerationsDeleted,
    Kind::ValuesDeleted,
    Kind::ValuesCorrupted,
    Kind::TypesChanged,
    Kind::MemoryShort,
    Kind::GarbagePublished,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::KilledAndEmpty => "redis killed, came back empty",
            Self::KilledAndOld => "redis killed, came back with an old RDB",
            Self::Stopped => "redis stopped",
            Self::Flushed => "FLUSHALL",
            Self::ScriptsFlushed => "SCRIPT FLUSH",
            Self::BackplanesKilled => "backplanes killed",
            Self::BackplanesKilledAgainAndAgain => "backplanes killed again and again",
            Self::ConnectionsKilled => "connections killed",
            Self::SequenceDeleted => "sequence deleted",
            Self::GenerationsDeleted => "generations deleted",
            Self::ValuesDeleted => "values and markers deleted",
            Self::ValuesCorrupted => "values corrupted",
            Self::TypesChanged => "keys of a foreign type",
            Self::MemoryShort => "memory short, allkeys-lru",
            Self::GarbagePublished => "garbage published",
        }
    }

    fn cuts_everybody_off(self) -> bool {
        matches!(self, Self::KilledAndEmpty | Self::KilledAndOld | Self::ConnectionsKilled)
    }

    /// Whether no process may have reached Redis.
    fn delays_healing(self) -> bool {
        self.cuts_everybody_off() || matches!(self, Self::Stopped)
    }
}

/// Troubles Redis until the course ends.
pub(super) async fn trouble(redis: &mut Redis, mut course: Course) -> Vec<Fault> {
    while course.goes_on().await {
        let kind = KINDS[course.rng.usize(..KINDS.len())];
        if matches!(kind, Kind::KilledAndOld) {
            redis.command::<()>(&["SAVE"]).await;
            course.sleep(LONGEST_LOSS).await;
        }
        let from = clock::now();
        happen(redis, kind, &mut course).await;
        let cut_off = kind.cuts_everybody_off().then_some((CutOff::Everybody, from));
        let fault = Fault::over(kind.name(), kind.delays_healing(), from);
        course.faults.push(Fault { cut_off, ..fault });
    }
    course.faults
}

async fn happen(redis: &mut Redis, kind: Kind, course: &mut Course) {
    let sequence = format!("{PREFIX}~seq");
    match kind {
        Kind::KilledAndEmpty | Kind::KilledAndOld => {
            redis.kill();
            course.sleep(LONGEST_OUTAGE).await;
            if matches!(kind, Kind::KilledAndEmpty) {
                redis.forget_what_was_saved();
            }
            redis.restart().await;
        }
        Kind::Stopped => {
            redis.hang();
            course.sleep(LONGEST_HANG).await;
            redis.resume();
        }
        Kind::Flushed => redis.command(&["FLUSHALL"]).await,
        Kind::ScriptsFlushed => redis.command(&["SCRIPT", "FLUSH"]).await,
        Kind::BackplanesKilled => kill_clients(redis, "pubsub").await,
        Kind::BackplanesKilledAgainAndAgain => {
            for _ in 0..course.rng.u32(2..20) {
                kill_clients(redis, "pubsub").await;
                course.sleep(Duration::from_millis(200)).await;
            }
        }
        Kind::ConnectionsKilled => kill_clients(redis, "normal").await,
        Kind::SequenceDeleted => redis.command(&["DEL", &sequence]).await,
        Kind::GenerationsDeleted => some_keys(redis, course, "~g:*", &[&["DEL"]]).await,
        Kind::ValuesDeleted => some_keys(redis, course, "[^~]*", &[&["DEL"]]).await,
        Kind::ValuesCorrupted => {
            let offset = course.rng.u32(..300).to_string();
            some_keys(redis, course, "[^~]*", &[&["SETRANGE", "", &offset, "?"]]).await
        }
        Kind::TypesChanged => some_keys(redis, course, "*", &[&["DEL"], &["LPUSH", "", "x"]]).await,
        Kind::MemoryShort => run_short(redis, course).await,
        Kind::GarbagePublished => publish_garbage(redis, course).await,
    }
}

async fn kill_clients(redis: &Redis, kind: &str) {
    redis.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await
}

/// Sends commands for every second of the keys with this pattern. The key stands second.
async fn some_keys(redis: &Redis, course: &mut Course, pattern: &str, commands: &[&[&str]]) {
    let keys: Vec<String> = redis.command(&["KEYS", &format!("{PREFIX}{pattern}")]).await;
    for key in keys.iter().filter(|_| course.rng.bool()) {
        for command in commands {
            let rest = command.get(2..).unwrap_or_default();
            let command: Vec<&str> = [&command[..1], &[key.as_str()], rest].concat();
            // A key that is gone meanwhile, or is a list already.
            let _ = redis.try_command(&command).await;
        }
    }
}

async fn run_short(redis: &Redis, course: &mut Course) {
    let info: String = redis.command(&["INFO", "memory"]).await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.parse::<u64>().ok());
    let limit = used.unwrap_or(1 << 20) * course.rng.u64(90..105) / 100;
    redis.command::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    redis.command::<()>(&["CONFIG", "SET", "maxmemory", &limit.to_string()]).await;
    course.sleep(LONGEST_SHORTAGE).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await
}

async fn publish_garbage(redis: &Redis, course: &mut Course) {
    let channel = format!("{PREFIX}~inv:0");
    for _ in 0..course.rng.u32(1..50) {
        let length = course.rng.usize(..60);
        let mut text: String = (0..length).map(|_| course.rng.alphanumeric()).collect();
        if course.rng.bool() {
            text = format!("{} {text}", course.rng.u64(..));
        }
        redis.command::<()>(&["PUBLISH", &channel, &text]).await;
        time::sleep(Duration::from_millis(1)).await;
    }
}
