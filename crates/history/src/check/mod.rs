//! The checker: every read of a history against what the writes before it oblige it to.
//!
//! Each write makes a version newer under the row's lock, so the order of a key's versions is
//! known and a read is judged by one look into a sorted list: O(n log n) for the whole history.

mod timeline;
mod writes;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use larder::Source;

use crate::{
    clock::nanos,
    record::{Event, Mode, Record},
};
use timeline::Timeline;
use writes::Demands;
pub(crate) use writes::{Circumstances, Reconnect, Writes};

/// Δ: how long another process's L1 may answer with what was invalidated.
pub(crate) const DELTA: u64 = nanos(Duration::from_secs(1));
/// How long until the outbox has healed a write that nobody applied: grace, poll and application.
const OUTBOX: u64 = nanos(Duration::from_millis(400));
/// What is allowed on top where all processes share few cores: reconnecting, a busy database.
const ALLOWANCE: u64 = nanos(Duration::from_millis(600));
/// Both together.
pub(crate) const HEALED: u64 = OUTBOX + ALLOWANCE;
/// What readers ask `max_age` for.
pub(crate) const MAX_AGE: Duration = Duration::from_millis(250);
/// Ages are whole milliseconds of a clock that may lag by a kernel tick.
const AGE_LAG: u64 = nanos(Duration::from_millis(15));
/// Versions of writes that are rolled back begin here.
pub(crate) const POISON: u64 = 1 << 40;

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// The process's own acknowledged writes, applied or queued (I17).
    Own,
    /// Writes acknowledged as applied elsewhere (I5).
    Elsewhere,
    /// Writes that were queued, or whose writer died before it could invalidate (P7).
    Healed,
    /// What was committed while a process had no connection is known to it before it looks into
    /// Redis again (the drain barrier).
    Drained,
    /// A loader that ran for this read sees all that was committed.
    Loaded,
    /// `max_age`, whatever was acknowledged.
    Age,
    /// Never from the future, never rolled back (I11).
    Committed,
    /// The value is that of its key (I12).
    Key,
    /// Redis fails no read (I7).
    Answered,
    /// In the end all tiers of all processes and the database are equal.
    Settled,
}

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) promise: Promise,
    pub(crate) process: u32,
    pub(crate) read: Record,
    /// The version that it had to see at least.
    pub(crate) newer: Option<u64>,
    pub(crate) stale: u64,
    pub(crate) bound: u64,
}

/// The worst that one kind of read saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Worst {
    pub(crate) stale: u64,
    pub(crate) bound: u64,
}

/// The verdict on a history.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) violations: Vec<Violation>,
    pub(crate) most_stale: BTreeMap<(Promise, Mode, usize), Worst>,
}

pub(crate) struct Checker {
    demands: Vec<Demands>,
    reconnects: BTreeMap<u32, Timeline>,
    findings: Findings,
}

impl Checker {
    pub(crate) fn new(writes: &Writes, around: &Circumstances) -> Self {
        let mut by_process: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        for reconnect in &around.reconnects {
            let times = (reconnect.over, reconnect.begun);
            by_process.entry(reconnect.process).or_default().push(times);
        }
        let reconnects = by_process.into_iter().map(|(by, times)| (by, Timeline::new(times)));
        Self {
            demands: writes.demands(around),
            reconnects: reconnects.collect(),
            findings: Findings::default(),
        }
    }

    /// Judges one record of a process.
    pub(crate) fn check(&mut self, process: u32, record: &Record) {
        match record.event {
            Event::Read(mode, source) => self.check_read(process, record, mode, source),
            Event::ReadFailed(_) => self.blame(Promise::Answered, process, record),
            _ => {}
        }
    }

    pub(crate) fn findings(self) -> Findings {
        self.findings
    }

    fn check_read(&mut self, process: u32, read: &Record, mode: Mode, source: Source) {
        let Some(demands) = self.demands.get(read.key as usize) else {
            return self.blame(Promise::Key, process, read);
        };
        let was_sent = match read.version {
            0 => true,
            version => demands.sent.get(&version).is_some_and(|sent| *sent <= read.till),
        };
        let is_last = read.version == demands.last;
        let mut broken = Vec::new();
        for (promise, line, bound) in promises(demands, process, mode, source) {
            let Some((stale, newer)) = line.staleness(read.version, read.from) else { continue };
            let place = (promise, mode, source as usize);
            let worst = self.findings.most_stale.entry(place).or_insert(Worst { stale: 0, bound });
            worst.stale = worst.stale.max(stale);
            if stale > bound {
                let newer = Some(newer);
                broken.push(Violation { promise, process, read: *read, newer, stale, bound });
            }
        }
        let drained = self.reconnects.get(&process).and_then(|line| line.newest(read.from));
        if let Some(drained) = drained.filter(|_| looks_itself(mode, source))
            && let Some((_, newer)) = demands.committed.staleness(read.version, drained)
        {
            let (promise, newer, stale) = (Promise::Drained, Some(newer), read.from - drained);
            broken.push(Violation { promise, process, read: *read, newer, stale, bound: 0 });
        }
        self.findings.violations.append(&mut broken);
        if read.is_foreign {
            self.blame(Promise::Key, process, read);
        }
        if !was_sent {
            self.blame(Promise::Committed, process, read);
        }
        if mode == Mode::Settled && !is_last {
            self.blame(Promise::Settled, process, read);
        }
    }

    fn blame(&mut self, promise: Promise, process: u32, read: &Record) {
        let read = *read;
        let violation = Violation { promise, process, read, newer: None, stale: 0, bound: 0 };
        self.findings.violations.push(violation);
    }
}

/// What this kind of read by this process must know, and how late it may learn of it.
///
/// Staleness is measured when the read was asked for. So it does not matter if the process is
/// frozen between the check of an L1 entry and its use: the entry was good when it was asked for.
fn promises(
    demands: &Demands,
    process: u32,
    mode: Mode,
    source: Source,
) -> impl Iterator<Item = (Promise, &Timeline, u64)> {
    let lag = if looks_itself(mode, source) { 0 } else { DELTA };
    let own = demands.own.get(&process).map(|line| (Promise::Own, line, 0));
    let loaded = (source == Source::Loader).then_some((Promise::Loaded, &demands.committed, 0));
    let age = nanos(MAX_AGE) + AGE_LAG;
    let aged = (mode == Mode::MaxAge).then_some((Promise::Age, &demands.committed, age));
    let always = [
        (Promise::Elsewhere, &demands.applied, lag),
        (Promise::Healed, &demands.left, HEALED + lag),
    ];
    always.into_iter().chain(own).chain(loaded).chain(aged)
}

/// Whether it looked into Redis or the database itself, after it was asked.
fn looks_itself(mode: Mode, source: Source) -> bool {
    let is_own_glance = mode == Mode::Glance && source == Source::L2;
    is_own_glance || mode == Mode::Fresh || source == Source::Loader
}
