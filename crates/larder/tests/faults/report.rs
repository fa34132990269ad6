//! What a test has measured: a line of JSON in the file that `LARDER_FAULTS_OUT` names.

use std::{fs::OpenOptions, io::Write as _, time::Duration};

use serde_json::json;

use crate::truth::Staleness;

/// A row of the matrix.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) row: u32,
    pub(crate) what: &'static str,
    pub(crate) expected: &'static str,
}

/// Of latencies.
pub(crate) struct Spread {
    p50: Duration,
    p99: Duration,
    most: Duration,
}

impl Spread {
    pub(crate) fn of(mut all: Vec<Duration>) -> Self {
        assert!(all.len() >= 20, "{} reads make no percentiles", all.len());
        all.sort_unstable();
        let (p50, p99) = (all[all.len() / 2], all[all.len() * 99 / 100]);
        Self { p50, p99, most: all[all.len() - 1] }
    }
}

/// What was measured under one fault.
pub(crate) struct Line {
    pub(crate) fault: Fault,
    pub(crate) reads: usize,
    /// During the fault.
    pub(crate) spread: Option<Spread>,
    /// From first to last.
    pub(crate) longest: Option<Duration>,
    pub(crate) stalest: Option<Staleness>,
    pub(crate) writes: usize,
    pub(crate) queued_writes: usize,
    pub(crate) longest_write: Option<Duration>,
    pub(crate) loads: Option<usize>,
    /// The most that ran at once, and how many may.
    pub(crate) loaders: Option<(usize, usize)>,
    /// By how many bytes the resident memory grew at most.
    pub(crate) grown: Option<u64>,
    pub(crate) l2_back: Option<Duration>,
    pub(crate) l1_back: Option<Duration>,
    pub(crate) notes: Vec<String>,
}

impl Line {
    pub(crate) fn of(fault: Fault) -> Self {
        Self {
            fault,
            reads: 0,
            spread: None,
            longest: None,
            stalest: None,
            writes: 0,
            queued_writes: 0,
            longest_write: None,
            loads: None,
            loaders: None,
            grown: None,
            l2_back: None,
            l1_back: None,
            notes: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Redis took the invalidations; one in ten may have met a pause of the machine.
    pub(crate) fn applies_invalidations(&self) -> bool {
        self.writes > 0 && self.queued_writes * 10 <= self.writes
    }

    /// Called last: a test that has failed leaves no line.
    pub(crate) fn record(self) {
        let Ok(path) = std::env::var("LARDER_FAULTS_OUT") else { return };
        let test = std::env::var("NEXTEST_TEST_NAME").unwrap_or_default();
        let line = json!({
            "row": self.fault.row,
            "fault": self.fault.what,
            "expected": self.fault.expected,
            "test": test,
            "reads": self.reads,
            "p50_ms": self.spread.as_ref().map(|spread| ms(spread.p50)),
            "p99_ms": self.spread.as_ref().map(|spread| ms(spread.p99)),
            "max_ms": self.spread.as_ref().map(|spread| ms(spread.most)),
            "longest_ms": self.longest.map(ms),
            "stale_ms": self.stalest.map(|stale| ms(stale.applied)),
            "queued_stale_ms": self.stalest.map(|stale| ms(stale.queued)),
            "writes": self.writes,
            "queued_writes": self.queued_writes,
            "longest_write_ms": self.longest_write.map(ms),
            "loads": self.loads,
            "loaders": self.loaders.map(|(most, _)| most),
            "loaders_allowed": self.loaders.map(|(_, allowed)| allowed),
            "grown_bytes": self.grown,
            "l2_back_ms": self.l2_back.map(ms),
            "l1_back_ms": self.l1_back.map(ms),
            "notes": self.notes,
        });
        let file = OpenOptions::new().create(true).append(true).open(path);
        writeln!(file.expect("the file can be written"), "{line}").expect("there is room");
    }
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
