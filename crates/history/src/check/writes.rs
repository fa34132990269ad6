//! What the writes of a history oblige its readers to.

use std::collections::HashMap;

use larder::Ack;

use super::{HEALED, timeline::Timeline};
use crate::record::{Event, Record};

/// A version of one key on its way.
#[derive(Clone, Copy, Debug)]
struct Write {
    process: u32,
    /// When COMMIT was sent.
    sent: u64,
    committed: Option<u64>,
    acked: Option<(Ack, u64)>,
}

/// What the readers of one key must see.
#[derive(Debug, Default)]
pub(super) struct Demands {
    /// When the COMMIT of each version was first sent: before it nobody can have seen it.
    pub(super) sent: HashMap<u64, u64>,
    /// Answered by the database.
    pub(super) committed: Timeline,
    /// Acknowledged as applied.
    pub(super) applied: Timeline,
    /// Committed and not acknowledged as applied: from the commit, or from the end of the faults
    /// that kept the outbox from being read.
    pub(super) left: Timeline,
    /// Acknowledged to this process, applied or queued.
    pub(super) own: HashMap<u32, Timeline>,
    /// What the database held in the end.
    pub(super) last: u64,
}

/// What is known besides the logs.
#[derive(Debug, Default)]
pub(crate) struct Circumstances {
    /// Versions in the database at the end, by key.
    pub(crate) last: Vec<u64>,
    /// When faults kept processes from Redis or from running, until they were over.
    pub(crate) faults: Vec<(u64, u64)>,
    pub(crate) reconnects: Vec<Reconnect>,
}

/// A process lost every connection to Redis, or never had one: none that it used after `over` was
/// opened before `begun`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reconnect {
    pub(crate) process: u32,
    pub(crate) begun: u64,
    pub(crate) over: u64,
}

/// Collects the writes of all processes.
#[derive(Default)]
pub(crate) struct Writes {
    by_key: HashMap<u32, HashMap<u64, Vec<Write>>>,
    deaths: HashMap<u32, u64>,
}

impl Writes {
    /// Adds the steps of one process, in their order. `died` is when it was found dead.
    pub(crate) fn add(
        &mut self,
        process: u32,
        died: Option<u64>,
        records: impl Iterator<Item = Record>,
    ) {
        self.deaths.extend(died.map(|at| (process, at)));
        for record in records {
            match record.event {
                Event::Committing => {
                    let new = Write { process, sent: record.from, committed: None, acked: None };
                    let versions = self.by_key.entry(record.key).or_default();
                    versions.entry(record.version).or_default().push(new);
                }
                Event::Committed => {
                    if let Some(write) = self.write(process, &record) {
                        write.committed = Some(record.till);
                    }
                }
                Event::Acked(ack) => {
                    if let Some(write) = self.write(process, &record) {
                        write.acked = Some((ack, record.till));
                    }
                }
                _ => {}
            }
        }
    }

    fn write(&mut self, process: u32, record: &Record) -> Option<&mut Write> {
        let versions = self.by_key.get_mut(&record.key)?.get_mut(&record.version)?;
        versions.iter_mut().rfind(|write| write.process == process)
    }

    /// What all of this obliges the readers of each key to.
    pub(super) fn demands(&self, around: &Circumstances) -> Vec<Demands> {
        let faults = merged(&around.faults);
        let keys = around.last.iter().enumerate();
        keys.map(|(key, last)| match self.by_key.get(&(key as u32)) {
            Some(versions) => self.of_key(versions, *last, &faults),
            None => Demands { last: *last, ..Demands::default() },
        })
        .collect()
    }

    fn of_key(
        &self,
        versions: &HashMap<u64, Vec<Write>>,
        last: u64,
        faults: &[(u64, u64)],
    ) -> Demands {
        let (mut committed, mut applied, mut left) = (Vec::new(), Vec::new(), Vec::new());
        let mut own: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
        let mut sent = HashMap::new();
        for (version, writes) in versions {
            sent.extend(writes.iter().map(|write| write.sent).min().map(|at| (*version, at)));
            for write in writes {
                if let Some((_, at)) = write.acked {
                    own.entry(write.process).or_default().push((at, *version));
                }
                if let Some((Ack::Applied, at)) = write.acked {
                    applied.push((at, *version));
                } else {
                    // Without an answer to its COMMIT a write counts if the database has its
                    // version and nobody else wrote that one.
                    let is_there = writes.len() == 1 && *version <= last;
                    let died = self.deaths.get(&write.process).copied().filter(|_| is_there);
                    let since = write.committed.or(died);
                    left.extend(since.map(|at| (undisturbed(at, faults), *version)));
                }
                committed.extend(write.committed.map(|at| (at, *version)));
            }
        }
        Demands {
            sent,
            committed: Timeline::new(committed),
            applied: Timeline::new(applied),
            left: Timeline::new(left),
            own: own.into_iter().map(|(by, demands)| (by, Timeline::new(demands))).collect(),
            last,
        }
    }
}

/// Faults that overlap count as one.
fn merged(faults: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut sorted = faults.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from, till) in sorted {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(till),
            _ => merged.push((from, till)),
        }
    }
    merged
}

/// The first moment from `at` on that is followed by as much calm as healing takes.
fn undisturbed(mut at: u64, faults: &[(u64, u64)]) -> u64 {
    let ahead = faults.partition_point(|(_, till)| *till <= at);
    for (from, till) in &faults[ahead..] {
        if *from > at + HEALED {
            break;
        }
        at = at.max(*till);
    }
    at
}
