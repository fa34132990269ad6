//! How long reads take, by namespace and by who answered.
//!
//! Measured here and not in the cache library: a hit there takes less time than it takes to ask
//! what time it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::Source;

use crate::config::NAMESPACES;

/// The first bucket ends at 64 ns, the last one begins at 17 s.
const FIRST: u32 = 6;
const LAST: u32 = 34;
/// Each doubling is cut in four: a percentile is known to 25 %.
const PARTS: u32 = 4;
const BUCKETS: usize = ((LAST - FIRST) * PARTS + 2) as usize;

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    L1,
    L2,
    Loader,
}

impl From<Source> for By {
    fn from(source: Source) -> Self {
        match source {
            Source::L1 => Self::L1,
            Source::L2 => Self::L2,
            Source::Loader | Source::Joined => Self::Loader,
        }
    }
}

impl By {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Loader => "loader",
        }
    }
}

/// Half of the reads, and all but a hundredth, took no longer than this.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Percentiles {
    pub p50_us: f64,
    pub p99_us: f64,
}

/// The latencies of one namespace. Nothing is known of what nobody has asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    pub all: Option<Percentiles>,
    pub l1: Option<Percentiles>,
    pub l2: Option<Percentiles>,
    pub loader: Option<Percentiles>,
}

/// Counts the latencies of every namespace.
pub(super) struct Latencies(Box<[[Histogram; 3]]>);

/// Where a namespace of the registry counts. Of another one it does not compile.
pub(super) const fn place(namespace: &str) -> usize {
    let mut at = 0;
    while at < NAMESPACES.len() {
        if same(NAMESPACES[at].name.as_bytes(), namespace.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("a key type counts under a namespace that is in no registry")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

impl Default for Latencies {
    fn default() -> Self {
        Self(NAMESPACES.iter().map(|_| Default::default()).collect())
    }
}

impl Latencies {
    pub(super) fn record(&self, place: usize, by: By, took: Duration) {
        if let Some(namespace) = self.0.get(place) {
            namespace[by as usize].record(took);
        }
    }

    pub(super) fn of(&self, namespace: &str) -> Latency {
        let at = NAMESPACES.iter().position(|known| known.name == namespace);
        let Some(histograms) = at.and_then(|at| self.0.get(at)) else {
            return Latency::default();
        };
        let [l1, l2, loader] = histograms.each_ref().map(Histogram::counts);
        let mut all = [0; BUCKETS];
        for counts in [&l1, &l2, &loader] {
            all.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        Latency {
            all: percentiles(&all),
            l1: percentiles(&l1),
            l2: percentiles(&l2),
            loader: percentiles(&loader),
        }
    }
}

struct Histogram([AtomicU64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Histogram {
    fn record(&self, took: Duration) {
        self.0[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> [u64; BUCKETS] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

fn bucket(took: Duration) -> usize {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
    let doublings = nanos.ilog2();
    if doublings < FIRST {
        return 0;
    }
    // The two bits after the highest say in which quarter of the doubling.
    let quarter = (nanos >> (doublings - 2)) & 3;
    (((doublings.min(LAST) - FIRST) * PARTS) as usize + quarter as usize + 1).min(BUCKETS - 1)
}

/// Where a bucket ends, in microseconds.
fn end(bucket: usize) -> f64 {
    let (doublings, quarter) = (bucket as u32 / PARTS, bucket as u32 % PARTS);
    let begin = f64::from(1 << FIRST) * f64::from(doublings).exp2();
    begin * (1.0 + f64::from(quarter) / f64::from(PARTS)) / 1000.0
}

fn percentiles(counts: &[u64]) -> Option<Percentiles> {
    let total: u64 = counts.iter().sum();
    let at = |share: f64| {
        let wanted = (total as f64 * share).ceil() as u64;
        let mut sum = 0;
        let found = counts.iter().position(|count| {
            sum += count;
            sum >= wanted
        });
        end(found.unwrap_or(BUCKETS - 1))
    };
    (total > 0).then(|| Percentiles { p50_us: at(0.5), p99_us: at(0.99) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BUCKETS, By, Latencies, bucket, end, place};

    #[test]
    fn a_duration_is_in_the_bucket_that_ends_after_it_within_a_quarter() {
        for nanos in [1, 63, 64, 79, 80, 100, 1_000, 12_345, 1_000_000, 987_654_321] {
            let end = end(bucket(Duration::from_nanos(nanos))) * 1000.0;
            assert!(end > nanos as f64, "{nanos}: {end}");
            assert!(end <= nanos.max(64) as f64 * 1.25, "{nanos}: {end}");
        }
        assert_eq!(bucket(Duration::from_secs(1_000_000)), BUCKETS - 1);
    }

    #[test]
    fn the_median_and_the_slowest_hundredth_are_told_apart() {
        let latencies = Latencies::default();
        for n in 0..100 {
            let micros = if n < 98 { 10 } else { 5_000 };
            latencies.record(place("courses"), By::L1, Duration::from_micros(micros));
        }
        let told = latencies.of("courses");
        let l1 = told.l1.unwrap();
        assert!((10.0..12.6).contains(&l1.p50_us), "{l1:?}");
        assert!((5_000.0..6_300.0).contains(&l1.p99_us), "{l1:?}");
        assert_eq!((told.all, told.l2), (Some(l1), None));
        assert_eq!(latencies.of("users").all, None);
    }
}
