//! What a run found, for people and for programs.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
};

use larder::{Ack, Source};
use serde::Serialize;

use crate::{
    check::{Findings, Promise, Violation, Worst},
    faults::Fault,
    record::{Event, Mode, Record, SOURCES, Unacked},
    run::RunArgs,
};

/// Violations that are shown with what happened around them.
const MOST_SHOWN: usize = 3;
/// How much of the history is shown before and after.
const AROUND: u64 = 50_000_000;
const MOST_LINES: usize = 40;

/// How many operations of each kind there were.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// By what was asked for and by who answered: L1, L2, loader, joined.
    reads: BTreeMap<&'static str, [u64; 4]>,
    cancelled: u64,
    load_failed: u64,
    committed: u64,
    applied: u64,
    queued: u64,
    /// Committed, and the invalidation skipped, or its future dropped, or the COMMIT in doubt.
    skipped: u64,
    abandoned: u64,
    in_doubt: u64,
    rolled_back: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, record: &Record) {
        let counter = match record.event {
            Event::Read(mode, source) => {
                &mut self.reads.entry(mode.name()).or_default()[source as usize]
            }
            Event::Cancelled(_) => &mut self.cancelled,
            Event::LoadFailed(_) => &mut self.load_failed,
            Event::Committed => &mut self.committed,
            Event::Acked(Ack::Applied) => &mut self.applied,
            Event::Acked(Ack::Queued) => &mut self.queued,
            Event::Unacked(Unacked::Skipped) => &mut self.skipped,
            Event::Unacked(Unacked::Abandoned) => &mut self.abandoned,
            Event::Unacked(Unacked::InDoubt) => &mut self.in_doubt,
            Event::RolledBack => &mut self.rolled_back,
            Event::Committing | Event::ReadFailed(_) => return,
        };
        *counter += 1;
    }

    fn all_reads(&self) -> u64 {
        self.reads.values().flatten().sum()
    }

    /// Writers that died between COMMIT and acknowledgement.
    fn died(&self) -> u64 {
        let answered = self.applied + self.queued + self.skipped + self.abandoned + self.in_doubt;
        self.committed.saturating_sub(answered)
    }
}

/// Collects what happened around the first violations.
pub(crate) struct Witness {
    scenes: Vec<(Violation, Vec<(u32, Record)>)>,
}

impl Witness {
    pub(crate) fn of(findings: &Findings) -> Self {
        let shown = findings.violations.iter().take(MOST_SHOWN);
        Self { scenes: shown.map(|violation| (*violation, Vec::new())).collect() }
    }

    pub(crate) fn hear(&mut self, process: u32, record: &Record) {
        for (violation, scene) in &mut self.scenes {
            let read = &violation.read;
            let since = read.from.saturating_sub(violation.stale + AROUND);
            let is_near = record.key == read.key && record.till >= since;
            let is_near = is_near && record.from <= read.till + AROUND;
            let is_write = !matches!(record.event, Event::Read(..) | Event::Cancelled(_));
            let is_close = record.till + AROUND >= read.from || is_write;
            if is_near && is_close && (is_write || scene.len() < 50 * MOST_LINES) {
                scene.push((process, *record));
            }
        }
    }
}

#[derive(Debug, Serialize)]
struct Staleness {
    promise: &'static str,
    read: &'static str,
    by: &'static str,
    /// Milliseconds after the moment from which on a newer version was to be seen.
    worst_ms: f64,
    bound_ms: f64,
}

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    seed: u64,
    seconds: u64,
    processes: u32,
    keys: u32,
    database: &'static str,
    reads: u64,
    /// With 95 % confidence fewer reads than this break a promise, if none of these did.
    upper_bound: f64,
    operations: Tally,
    faults: BTreeMap<&'static str, usize>,
    staleness: Vec<Staleness>,
    outbox_rows_left: u64,
    violations: usize,
    scenes: Vec<String>,
}

impl Report {
    pub(crate) fn new(
        args: &RunArgs,
        faults: &[Fault],
        outbox_rows_left: u64,
        operations: Tally,
        findings: Findings,
        witness: Witness,
    ) -> Self {
        let mut by_name = BTreeMap::new();
        for fault in faults {
            *by_name.entry(fault.name).or_default() += 1;
        }
        let reads = operations.all_reads();
        Self {
            seed: args.seed,
            seconds: args.seconds,
            processes: args.processes,
            keys: args.keys,
            database: args.database.name(),
            reads,
            upper_bound: 3.0 / reads.max(1) as f64,
            operations,
            faults: by_name,
            staleness: findings.most_stale.into_iter().map(staleness).collect(),
            outbox_rows_left,
            violations: findings.violations.len(),
            scenes: witness
                .scenes
                .into_iter()
                .map(|scene| Scene(scene, faults).to_string())
                .collect(),
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.violations == 0 && self.outbox_rows_left == 0 && self.reads > 0
    }

    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { seed, seconds, processes, keys, database, .. } = self;
        writeln!(
            out,
            "seed {seed}: {seconds} s, {processes} processes, {keys} keys, {database}\n"
        )?;
        self.print_operations(out)?;
        writeln!(out, "\nfaults")?;
        for (name, count) in &self.faults {
            writeln!(out, "  {count:>6}  {name}")?;
        }
        writeln!(out, "\nworst staleness       read       by        observed ms    bound ms")?;
        for row in &self.staleness {
            let Staleness { promise, read, by, worst_ms, bound_ms } = row;
            writeln!(out, "  {promise:<19} {read:<10} {by:<8} {worst_ms:>12.1} {bound_ms:>11.0}")?;
        }
        for scene in &self.scenes {
            writeln!(out, "\n{scene}")?;
        }
        if self.outbox_rows_left > 0 {
            writeln!(out, "\n{} rows of the outbox were left", self.outbox_rows_left)?;
        }
        let (violations, reads) = (self.violations, self.reads);
        writeln!(out, "\n{violations} violations in {reads} reads")?;
        if self.is_clean() {
            writeln!(out, "95 % upper bound of broken reads: 3/N = {:.1e}", self.upper_bound)?;
        }
        Ok(())
    }

    fn print_operations(&self, out: &mut impl Write) -> io::Result<()> {
        let done = &self.operations;
        writeln!(out, "reads              L1          L2      loader      joined")?;
        for (mode, [l1, l2, loader, joined]) in &done.reads {
            writeln!(out, "  {mode:<9} {l1:>11} {l2:>11} {loader:>11} {joined:>11}")?;
        }
        let Tally { cancelled, load_failed, .. } = done;
        writeln!(out, "  and {cancelled} cancelled, {load_failed} failed by the loader")?;
        writeln!(out, "versions written")?;
        let Tally { applied, queued, skipped, abandoned, in_doubt, rolled_back, .. } = done;
        writeln!(out, "  {applied} applied, {queued} queued, {skipped} never invalidated,")?;
        writeln!(out, "  {abandoned} with the invalidation dropped, {in_doubt} in doubt,")?;
        writeln!(out, "  {} by writers who died, {rolled_back} rolled back", done.died())
    }
}

fn staleness(((promise, mode, source), worst): ((Promise, Mode, usize), Worst)) -> Staleness {
    Staleness {
        promise: promise_name(promise),
        read: mode.name(),
        by: SOURCES.get(source).map_or("", |source| source_name(*source)),
        worst_ms: worst.stale as f64 / 1e6,
        bound_ms: worst.bound as f64 / 1e6,
    }
}

fn promise_name(promise: Promise) -> &'static str {
    match promise {
        Promise::Own => "own writes",
        Promise::Elsewhere => "applied elsewhere",
        Promise::Healed => "left to the outbox",
        Promise::Drained => "before a reconnect",
        Promise::Loaded => "seen by the loader",
        Promise::Age => "older than asked",
        Promise::Committed => "never committed",
        Promise::Key => "of another key",
        Promise::Answered => "failed by the cache",
        Promise::Settled => "wrong in the end",
    }
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::L1 => "L1",
        Source::L2 => "L2",
        Source::Loader => "loader",
        Source::Joined => "joined",
    }
}

/// A violation and the operations on its key around it, in the order of their ends.
struct Scene<'a>((Violation, Vec<(u32, Record)>), &'a [Fault]);

impl fmt::Display for Scene<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (violation, records) = &self.0;
        let Violation { promise, process, read, newer, stale, bound } = violation;
        let since = read.from;
        let relative = |at: u64| (at as i128 - i128::from(since)) as f64 / 1e6;
        let (name, key, version) = (promise_name(*promise), read.key, read.version);
        write!(f, "VIOLATION {name}: process {process}, key {key}, version {version}")?;
        if let Some(newer) = newer {
            let (stale, bound) = (*stale as f64 / 1e6, *bound as f64 / 1e6);
            write!(f, " instead of {newer}, {stale:.3} ms late, bound {bound:.0} ms")?;
        }
        writeln!(f, "\n  {:?}; milliseconds from its beginning:", read.event)?;
        let mut records = records.clone();
        records.sort_by_key(|(_, record)| record.till);
        let at = records.partition_point(|(_, record)| record.till < read.till);
        let first = at.saturating_sub(MOST_LINES * 3 / 4);
        for (process, record) in records.iter().skip(first).take(MOST_LINES) {
            let Record { event, version, from, till, .. } = record;
            let (from, till) = (relative(*from), relative(*till));
            writeln!(f, "  {from:>12.3} {till:>12.3}  process {process} {event:?} {version}")?;
        }
        let near = read.from.saturating_sub(stale + 3_000_000_000)..read.till + AROUND;
        for fault in self.1.iter().filter(|fault| fault.till > near.start && fault.from < near.end)
        {
            let (from, till) = (relative(fault.from), relative(fault.till));
            writeln!(f, "  {from:>12.3} {till:>12.3}  {}", fault.name)?;
        }
        Ok(())
    }
}
