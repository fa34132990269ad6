//! What a replay prints: Markdown, as `docs/replay.md` has it.

use std::fmt;
use std::time::Duration;

use super::paced::{Counted, Fresh, Views};
use super::player::Played;
use super::script::{Act, Request};
use crate::reads::{NamespaceReport, RedisState};

pub(super) struct Report<'a> {
    pub(super) requests: &'a [Request],
    pub(super) cached: Played,
    pub(super) uncached: Played,
    pub(super) paced: Vec<(Fresh, Views)>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.namespaces(f)?;
        self.database(f)?;
        self.latency(f)?;
        self.pace(f)
    }
}

impl Report<'_> {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Played { requests, took, ref cache, .. } = self.cached;
        let writes = self.cached.acts(|act| !act.is_read());
        let tiers = if cache.redis == RedisState::Off { "L1 only" } else { "L1 and Redis" };
        let reads: u64 = cache.namespaces.iter().map(reads).sum();
        writeln!(
            f,
            "{requests} requests, {writes} of them write, {tiers}: {reads} cached reads in {}\n",
            seconds(took)
        )
    }

    fn namespaces(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| namespace | reads | hits | by L1 | by Redis | loads |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: |")?;
        for n in self.cached.cache.namespaces.iter().filter(|n| reads(n) > 0) {
            writeln!(
                f,
                "| `{}` | {} | {} | {} | {} | {} |",
                n.namespace,
                reads(n),
                percent(n.l1_hits + n.l2_hits, reads(n)),
                percent(n.l1_hits, reads(n)),
                percent(n.l2_hits, reads(n)),
                n.loads
            )?;
        }
        writeln!(f)
    }

    /// For each read of both runs: the one without a cache is shorter and has no writes.
    fn database(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |played: &Played| {
            let loads: u64 = played.cache.namespaces.iter().map(|n| n.loads).sum();
            let reads = played.acts(Act::is_read);
            (reads, loads, loads as f64 / reads.max(1) as f64)
        };
        let (reads, loads, with) = each(&self.cached);
        writeln!(f, "| loads from the database | reads | loads | a read |")?;
        writeln!(f, "| --- | ---: | ---: | ---: |")?;
        writeln!(f, "| with the cache | {reads} | {loads} | {with:.3} |")?;
        let (reads, loads, without) = each(&self.uncached);
        writeln!(f, "| `CACHE_ENABLED=false` | {reads} | {loads} | {without:.3} |")?;
        writeln!(f, "\n{:.2} % fewer loads.\n", 100.0 * (1.0 - with / without))
    }

    fn latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| step | times | p50 | p99 | without a cache: p50 | p99 |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: |")?;
        for (act, times) in &self.cached.times {
            let without = self.uncached.times.get(act).map_or(&[][..], Vec::as_slice);
            let shown =
                |times: &[u32]| quantiles(times).map(|time| time.map_or("-".to_owned(), micros));
            let ([p50, p99], [off50, off99]) = (shown(times), shown(without));
            let (name, times) = (act.name(), times.len());
            writeln!(f, "| {name} | {times} | {p50} | {p99} | {off50} | {off99} |")?;
        }
        writeln!(f)
    }

    fn pace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |request: &Request| (request.at / 86_400.0).floor();
        let days = self.requests.chunk_by(|a, b| day(a) == day(b)).count();
        writeln!(f, "At the log's own pace, {days} days (a model):\n")?;
        writeln!(f, "| kept fresh by | course page | lesson | progress | stale answers |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: |")?;
        for (fresh, views) in &self.paced {
            let [course, content, progress] = views.map(|view| percent(view.hits, view.reads));
            let stale: u64 = views.iter().map(|view: &Counted| view.stale).sum();
            let name = match fresh {
                Fresh::Ttl => "TTL alone",
                Fresh::TtlAndWrites => "TTL and what writes end",
                Fresh::Writes => "what writes end, no TTL",
            };
            writeln!(f, "| {name} | {course} | {content} | {progress} | {stale} |")?;
        }
        Ok(())
    }
}

fn reads(n: &NamespaceReport) -> u64 {
    n.l1_hits + n.l2_hits + n.misses
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2} %", 100.0 * part as f64 / whole.max(1) as f64)
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}

fn micros(nanos: u32) -> String {
    format!("{:.1} µs", f64::from(nanos) / 1000.0)
}

/// The median and the 99th percentile.
fn quantiles(times: &[u32]) -> [Option<u32>; 2] {
    let mut times = times.to_vec();
    times.sort_unstable();
    [50, 99].map(|percent| {
        times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied()
    })
}
