//! `campus cache`: what admins do through the API, for operators at the machine.
//!
//! The running server is asked, since L1, counters and the reasons of misses are its own. Only
//! `keys` goes to Redis itself. The database is left alone.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Question, Reply, ask, recognise};
use super::{Failure, Output};
use crate::app;
use crate::clock::Clock;
use crate::config::Config;

/// Warming may load everything.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    what: What,
    /// Print the server's answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Hits, misses and latencies by namespace, and the state of both tiers
    Stats,
    /// The keys in Redis, found by a SCAN of at most some 250,000 keys or ten seconds
    Keys {
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// What a read of a key would answer, if everybody may see that
    Get { key: String },
    /// What either tier holds under a key, and why it was loaded last
    Explain { key: String },
    /// Forget something on every server
    Clear {
        #[command(subcommand)]
        what: Clear,
    },
    /// Make the most common reads now
    Warm,
    /// Load, find, invalidate and load a value through the cache
    Test,
    /// What operators have done to the cache, the newest first
    Audit {
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
}

#[derive(Subcommand)]
enum Clear {
    /// Everything about a course
    Course { id: i64 },
    /// A namespace, for example courses_list
    Ns { name: String },
    /// A tag, for example course:42
    Tag { tag: String },
    /// Everything
    All,
}

impl Clear {
    fn path(&self) -> String {
        match self {
            Self::Course { id } => format!("/cache/courses/{id}"),
            Self::Ns { name } => format!("/cache/namespaces/{}", encoded(name)),
            Self::Tag { tag } => format!("/cache/tags/{}", encoded(tag)),
            Self::All => "/cache?confirm=all".to_owned(),
        }
    }
}

pub(super) async fn run(
    args: &CacheArgs,
    config: &Config,
    clock: Clock,
    out: &mut Output,
) -> Result<ExitCode, Failure> {
    let (method, path) = match &args.what {
        What::Keys { limit } => return keys(config, *limit, args.json, out).await,
        What::Stats => ("GET", "/cache/stats".to_owned()),
        What::Get { key } | What::Explain { key } => {
            ("GET", format!("/cache/entries?key={}", encoded(key)))
        }
        What::Clear { what } => ("DELETE", what.path()),
        What::Warm => ("POST", "/cache/warm".to_owned()),
        What::Test => ("POST", "/cache/test".to_owned()),
        What::Audit { limit } => ("GET", format!("/cache/audit?limit={limit}")),
    };
    let key = app::token_key(config)?;
    recognise(config, &key).await?;
    let token = key.sign_request(&format!("{method} {path}"), clock.now());
    let bearer = format!("Bearer {token}");
    let header = Some(("Authorization", bearer.as_str()));
    let question = Question { method, path: &path, header, patience: PATIENCE };
    let Reply { status, body, .. } = ask(config, question).await?;
    let told: Value = serde_json::from_str(&body)?;
    if status != 200 {
        return Err(told["detail"].as_str().unwrap_or("the server refused").into());
    }
    if args.json {
        out.line(&format!("{told:#}"))?;
    } else {
        show(&args.what, &told, out)?;
    }
    let failed = matches!(args.what, What::Test) && told["ok"] != true;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn keys(
    config: &Config,
    limit: usize,
    is_json: bool,
    out: &mut Output,
) -> Result<ExitCode, Failure> {
    let found = app::redis_keys(config, limit).await?;
    if found.is_cut {
        out.remark("there may be more keys: --limit or the limit of the search was reached");
    }
    if is_json {
        out.line(&format!("{:#}", Value::from(found.keys)))?;
    } else {
        let prefix = config.redis.as_ref().map_or("", |redis| redis.prefix.as_str());
        for key in found.keys {
            out.line(&format!("{prefix}{key}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(what: &What, told: &Value, out: &mut Output) -> std::io::Result<()> {
    match what {
        What::Stats => stats(told, out),
        What::Get { .. } => match &told["body"] {
            Value::Null => out.line(&format!("({})", text(&told["shown"]))),
            body => out.line(&format!("{body:#}")),
        },
        What::Explain { .. } => explained(told, out),
        What::Clear { .. } => out.line(&text(&told["message"])),
        What::Warm => fields(told, &["warmed", "loaded", "failed", "took_ms"], out),
        What::Test => steps(told, out),
        What::Audit { .. } => audit(told, out),
        What::Keys { .. } => Ok(()),
    }
}

fn stats(told: &Value, out: &mut Output) -> std::io::Result<()> {
    let counts = ["ns", "l1_hits", "l2_hits", "misses", "stale", "loads", "load_errors"];
    let rows = told["namespaces"].as_array().into_iter().flatten().map(|row| {
        let [ns, l1, l2, misses, stale, loads, errors] = counts.map(|column| text(&row[column]));
        let [p50, p99] = ["p50_us", "p99_us"].map(|column| micros(&row[column]));
        [ns, l1, l2, misses, stale, loads, errors, p50, p99]
    });
    let heads = ["NAMESPACE", "L1", "L2", "MISSES", "STALE", "LOADS", "ERRORS", "P50 us", "P99 us"];
    out.table(heads, rows.collect())?;
    out.line("")?;
    out.line(&format!("hit ratio     {} %", text(&told["totals"]["hit_ratio"])))?;
    let l1 = &told["l1"];
    out.line(&format!(
        "L1            {} of {} bytes, {} entries, {} evicted",
        text(&l1["bytes"]),
        text(&l1["capacity"]),
        text(&l1["entries"]),
        text(&l1["evictions"]),
    ))?;
    out.line(&format!(
        "Redis         {}, {} keys, {}",
        text(&told["redis"]),
        text(&told["redis_keys"]),
        text(&told["redis_memory_used"]),
    ))?;
    out.line(&format!("backplane lag {} ms", text(&told["backplane"]["lag_ms"])))?;
    out.line(&format!("outbox        {}", text(&told["outbox_depth"])))
}

/// A percentile is known to a quarter of itself: more digits would only look exact.
fn micros(percentile: &Value) -> String {
    match percentile.as_f64() {
        Some(us) if us < 10.0 => format!("{us:.1}"),
        Some(us) => format!("{us:.0}"),
        None => text(percentile),
    }
}

fn explained(told: &Value, out: &mut Output) -> std::io::Result<()> {
    let tags = told["tags"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    out.line(&format!(
        "{} ({}), tags: {}",
        text(&told["key"]),
        text(&told["ns"]),
        tags.join(", ")
    ))?;
    let row = |tier: &str| {
        let entry = &told[tier];
        let times = ["age_ms", "soft_left_ms", "hard_left_ms"].map(|time| text(&entry[time]));
        let [age, soft, hard] = times;
        [tier.to_uppercase(), text(&entry["verdict"]), text(&entry["by"]), age, soft, hard]
    };
    let heads = ["TIER", "SAYS", "BY", "AGE ms", "SOFT LEFT ms", "HARD LEFT ms"];
    out.table(heads, vec![row("l1"), row("l2")])?;
    match &told["last_miss"] {
        Value::Null => out.line("this server does not remember loading it"),
        miss => out.line(&format!(
            "loaded {} ms ago: L1 {} {}, L2 {} {}",
            text(&miss["ago_ms"]),
            text(&miss["l1"]),
            text(&miss["l1_by"]),
            text(&miss["l2"]),
            text(&miss["l2_by"]),
        )),
    }
}

fn steps(told: &Value, out: &mut Output) -> std::io::Result<()> {
    let rows = told["steps"].as_array().into_iter().flatten();
    let rows = rows.map(|step| {
        let is_ok = step["ok"] == true;
        let result = if is_ok { text(&step["ms"]) } else { text(&step["error"]) };
        [text(&step["op"]), if is_ok { "ok" } else { "failed" }.to_owned(), result]
    });
    out.table(["STEP", "RESULT", "ms"], rows.collect())
}

fn audit(told: &Value, out: &mut Output) -> std::io::Result<()> {
    let rows = told["items"].as_array().into_iter().flatten();
    let rows = rows.map(|row| ["at", "by", "admin_id", "action", "target"].map(|f| text(&row[f])));
    out.table(["AT", "BY", "ADMIN", "ACTION", "TARGET"], rows.collect())
}

fn fields(told: &Value, names: &[&str], out: &mut Output) -> std::io::Result<()> {
    names.iter().try_for_each(|name| out.line(&format!("{name:8} {}", text(&told[*name]))))
}

/// A value as people read it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `%XX` for whatever means something in a URL.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte);
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}
