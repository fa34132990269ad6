//! What a replay prints: Markdown, as `docs/replay.md` has it.

use std::fmt;
use std::time::Duration;

use super::paced::{Counted, Fresh, Views};
use super::player::Played;
use crate::import::oulad::Visit;
use crate::reads::{NamespaceReport, RedisState};

pub(super) struct Report<'a> {
    pub(super) visits: &'a [Visit],
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
        let Played { requests, completions, took, ref cache, .. } = self.cached;
        let tiers = if cache.redis == RedisState::Off { "L1 only" } else { "L1 and Redis" };
        let reads: u64 = cache.namespaces.iter().map(reads).sum();
        writeln!(
            f,
            "{requests} requests, {completions} completions, {tiers}: {reads} cached reads in {}\n",
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

    /// The same for each request of both runs: the one without a cache is shorter.
    fn database(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |played: &Played| {
            let loads: u64 = played.cache.namespaces.iter().map(|n| n.loads).sum();
            (loads, loads as f64 / played.requests.max(1) as f64)
        };
        let ((with, with_each), (without, without_each)) =
            (each(&self.cached), each(&self.uncached));
        let saved = 100.0 * (1.0 - with_each / without_each);
        writeln!(f, "| loads from the database | requests | loads | a request |")?;
        writeln!(f, "| --- | ---: | ---: | ---: |")?;
        writeln!(f, "| with the cache | {} | {with} | {with_each:.3} |", self.cached.requests)?;
        let requests = self.uncached.requests;
        writeln!(f, "| `CACHE_ENABLED=false` | {requests} | {without} | {without_each:.3} |")?;
        writeln!(f, "\n{saved:.2} % fewer loads.\n")
    }

    fn latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| step | p50 | p99 | without a cache: p50 | p99 |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: |")?;
        for (cached, uncached) in self.cached.steps.iter().zip(&self.uncached.steps) {
            let (with, without) = (quantiles(&cached.1), quantiles(&uncached.1));
            let [p50, p99] = with.map(|time| time.map_or("-".to_owned(), micros));
            let [off50, off99] = without.map(|time| time.map_or("-".to_owned(), micros));
            writeln!(f, "| {} | {p50} | {p99} | {off50} | {off99} |", cached.0)?;
        }
        writeln!(f)
    }

    fn pace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.visits.chunk_by(|a, b| a.day == b.day).count();
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
