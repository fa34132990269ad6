//! Writes: COMMIT, the order of [`Write`], the queue and the relay of the outbox, as
//! `invalidate.rs` and `outbox.rs` carry them out.

use super::{
    flights::Outcome,
    server::NAMES,
    stored::hash_of,
    world::{Item, Link, Process, Reading, Setting, World},
};
use crate::{
    Ack,
    key::NameHash,
    protocol::{
        bugs::{Bug, is_seeded},
        write::{Act, Event, Write},
    },
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    pub(super) process: usize,
    pub(super) names: &'static [usize],
    pub(super) writing: Writing,
    /// What it has committed; 0 if nothing.
    pub(super) version: u8,
    /// Its row stands in the outbox, and is not done.
    pub(super) is_open: bool,
    /// When Redis executed its invalidation for the first time.
    pub(super) told: Option<u64>,
    /// When it was answered.
    pub(super) acknowledged: Option<u64>,
    /// Whether the answer was `Applied`.
    pub(super) is_applied: bool,
    /// Its COMMIT got no answer: its names are dirty until it ends.
    pub(super) is_in_doubt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Writing {
    Idle,
    /// COMMIT got no answer; the names are not dirty yet.
    Unknown,
    Soiled,
    /// Both done; it may land yet.
    InDoubt,
    Acts(Write, Act),
    /// Answered, with the dirt of the doubt still there.
    Cleans,
    Done,
    Crashed,
}

/// Somebody who tells Redis of rows in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sending {
    Idle,
    /// Of the queue: the row's id; of the relay: whether it is the drain barrier.
    Chosen {
        rows: u8,
        id: u64,
    },
    Sent {
        rows: u8,
        id: u64,
    },
    Bumped {
        rows: u8,
        id: u64,
    },
}

impl Sending {
    pub(super) fn names(self, writer: usize) -> bool {
        match self {
            Self::Idle | Self::Bumped { .. } => false,
            Self::Chosen { rows, .. } | Self::Sent { rows, .. } => rows & 1 << writer != 0,
        }
    }
}

impl Writer {
    pub(super) fn new(process: usize, names: &'static [usize]) -> Self {
        Self {
            process,
            names,
            writing: Writing::Idle,
            version: 0,
            is_open: false,
            told: None,
            acknowledged: None,
            is_applied: false,
            is_in_doubt: false,
        }
    }

    /// The value keys that its invalidation removes: those of its own schema.
    pub(super) fn values(&self, setting: Setting, by: usize) -> Vec<usize> {
        if self.names.contains(&0) { vec![setting.schema(by)] } else { Vec::new() }
    }
}

impl World {
    pub(super) fn hashes(&self, rows: u8) -> Vec<NameHash> {
        self.names(rows).into_iter().map(hash_of).collect()
    }

    fn names(&self, rows: u8) -> Vec<usize> {
        let named = |name: &usize| {
            let writers = self.writers.iter().enumerate();
            let of_rows = writers.filter(|(at, _)| rows & 1 << at != 0);
            of_rows.into_iter().any(|(_, writer)| writer.names.contains(name))
        };
        (0..NAMES).filter(named).collect()
    }

    pub(super) fn commit(&mut self, at: usize) {
        self.lands(at);
        let (write, first) = Write::begin();
        self.writers[at].writing = Writing::Acts(write, first);
        if is_seeded(Bug::PublishOutside) {
            let sequence = self.redis.data.sequence.unwrap_or(self.redis.time) + 1;
            self.publish(sequence, Some(self.writers[at].process), 1 << at);
        }
    }

    fn publish(&mut self, sequence: u64, sender: Option<usize>, rows: u8) {
        for line in self.processes.iter_mut().filter_map(|process| process.line.as_mut()) {
            line.inbox.push(Item::Message { sequence, sender, rows });
        }
    }

    fn lands(&mut self, at: usize) {
        self.committed += 1;
        self.writers[at].version = self.committed;
        self.writers[at].is_open = self.setting.has_outbox;
    }

    /// COMMIT gets no answer: it may land now, later or never.
    pub(super) fn commit_unanswered(&mut self, at: usize) {
        self.left.doubts -= 1;
        self.writers[at].writing = Writing::Unknown;
        self.writers[at].is_in_doubt = true;
    }

    pub(super) fn lands_late(&mut self, at: usize) {
        self.lands(at);
    }

    pub(super) fn crash(&mut self, at: usize) {
        self.left.crashes -= 1;
        self.writers[at].writing = Writing::Crashed;
        let process = self.writers[at].process;
        self.processes[process].die();
        for (at, reader) in self.readers.iter_mut().enumerate() {
            if reader.process == process {
                reader.reading = Reading::Done;
                self.flights[at] = None;
            }
        }
    }

    /// The next step of a write.
    pub(super) fn write(&mut self, at: usize, outcome: Outcome) {
        let (process, rows) = (self.writers[at].process, 1 << at);
        let hashes = self.hashes(rows);
        self.writers[at].writing = match self.writers[at].writing {
            Writing::Unknown => {
                self.processes[process].stamp(|stamps| stamps.soil(&hashes));
                Writing::Soiled
            }
            Writing::Soiled => {
                self.processes[process].stamp(|stamps| stamps.bump(&hashes));
                Writing::InDoubt
            }
            // The database knows by now.
            Writing::InDoubt if self.writers[at].version == 0 => Writing::Cleans,
            Writing::InDoubt => {
                let (write, first) = Write::begin();
                Writing::Acts(write, first)
            }
            Writing::Acts(write, act) => self.act(at, write, act, outcome),
            Writing::Cleans => {
                self.processes[process].stamp(|stamps| stamps.clean(&hashes));
                self.cleaned(process);
                Writing::Done
            }
            ended @ (Writing::Idle | Writing::Done | Writing::Crashed) => ended,
        };
    }

    fn act(&mut self, at: usize, mut write: Write, act: Act, outcome: Outcome) -> Writing {
        let (process, rows) = (self.writers[at].process, 1 << at);
        let hashes = self.hashes(rows);
        let mut event = Event::Done;
        match act {
            Act::Send => event = self.send(process, rows, Some(process), outcome),
            Act::Reconnect => {}
            Act::Soil => self.processes[process].stamp(|stamps| stamps.soil(&hashes)),
            Act::Bump => self.processes[process].stamp(|stamps| stamps.bump(&hashes)),
            Act::Mark => self.writers[at].is_open = false,
            Act::Queue => {
                let _ = self.processes[process].backlog.push(rows, || u8::MAX);
            }
            Act::Acknowledge(ack) => {
                let version = self.writers[at].version;
                self.know(process, version, rows);
                let writer = &mut self.writers[at];
                writer.acknowledged = Some(self.now);
                writer.is_applied = ack == Ack::Applied;
                return if writer.is_in_doubt { Writing::Cleans } else { Writing::Done };
            }
        }
        match write.next(event) {
            // In one step: what is promised from the answer on is then promised from the stamp on.
            next @ (Act::Reconnect | Act::Mark | Act::Queue | Act::Acknowledge(_)) => {
                self.act(at, write, next, Outcome::Answered)
            }
            next => Writing::Acts(write, next),
        }
    }

    fn know(&mut self, process: usize, version: u8, rows: u8) {
        let counts =
            |(at, writer): (usize, &Writer)| rows & 1 << at != 0 && !self.counts_late(writer);
        if self.writers.iter().enumerate().any(counts) {
            let known = &mut self.processes[process].known;
            *known = version.max(*known);
        }
    }

    /// INVALIDATE with the names of these rows.
    fn send(&mut self, process: usize, rows: u8, sender: Option<usize>, outcome: Outcome) -> Event {
        if self.processes[process].link.is_none() {
            return Event::Down;
        }
        let told = self.writers.iter().enumerate().filter(|(at, _)| rows & 1 << at != 0);
        let values = told.flat_map(|(_, writer)| writer.values(self.setting, process)).collect();
        self.execute(rows, values, sender);
        if outcome == Outcome::Unanswered {
            self.left.lost_replies -= 1;
            return Event::Failed;
        }
        Event::Sent
    }

    fn execute(&mut self, rows: u8, values: Vec<usize>, sender: Option<usize>) {
        let sequence = self.redis.invalidate(&values, &self.names(rows));
        if !is_seeded(Bug::PublishOutside) {
            self.publish(sequence, sender, rows);
        }
        for (at, writer) in self.writers.iter_mut().enumerate() {
            if rows & 1 << at != 0 {
                writer.told.get_or_insert(self.now);
            }
        }
        self.forget_leases();
    }

    /// A message for this process, or its own send, was stamped.
    pub(super) fn stamped(&mut self, process: usize, rows: u8) {
        let hashes = self.hashes(rows);
        self.processes[process].stamp(|stamps| stamps.bump(&hashes));
        for at in 0..self.writers.len() {
            if rows & 1 << at != 0 {
                self.know(process, self.writers[at].version, 1 << at);
            }
        }
    }

    fn cleaned(&mut self, process: usize) {
        let readers = self.readers.iter_mut().filter(|reader| reader.process == process);
        readers.for_each(|reader| reader.is_dirty = false);
    }

    /// The next step of what applies the queue: `Inner::apply_oldest`.
    pub(super) fn apply_oldest(&mut self, at: usize, outcome: Outcome) {
        let Process { sender, backlog, .. } = &self.processes[at];
        let next = match *sender {
            Sending::Idle | Sending::Chosen { .. } => {
                let Some((id, rows)) = backlog.oldest() else { return };
                match self.send(at, rows, Some(at), outcome) {
                    Event::Sent => Sending::Sent { rows, id },
                    _ => Sending::Idle,
                }
            }
            Sending::Sent { rows, id } => {
                self.stamped(at, rows);
                Sending::Bumped { rows, id }
            }
            Sending::Bumped { rows, id } => {
                self.mark(rows);
                if self.processes[at].backlog.applied(id).is_some() {
                    let hashes = self.hashes(rows);
                    self.processes[at].stamp(|stamps| stamps.clean(&hashes));
                    self.cleaned(at);
                }
                Sending::Idle
            }
        };
        self.processes[at].sender = next;
    }

    fn mark(&mut self, rows: u8) {
        for (at, writer) in self.writers.iter_mut().enumerate() {
            writer.is_open &= rows & 1 << at == 0;
        }
    }

    /// The rows of the outbox that are not done.
    pub(super) fn open_rows(&self) -> u8 {
        let open = self.writers.iter().enumerate().filter(|(_, writer)| writer.is_open);
        open.fold(0, |rows, (at, _)| rows | 1 << at)
    }

    /// The next step of the relay: `Runner::turn`, of which the drain barrier is a part.
    pub(super) fn relay(&mut self, at: usize, outcome: Outcome) {
        let next = match self.processes[at].relay {
            Sending::Idle => self.choose_rows(at),
            Sending::Chosen { rows, id } => {
                let sender = if is_seeded(Bug::RelayDeaf) { Some(at) } else { None };
                match self.send(at, rows, sender, outcome) {
                    Event::Sent => Sending::Sent { rows, id },
                    _ => Sending::Idle,
                }
            }
            Sending::Sent { rows, id } => {
                self.stamped(at, rows);
                Sending::Bumped { rows, id }
            }
            Sending::Bumped { rows, .. } => {
                self.mark(rows);
                Sending::Idle
            }
        };
        self.processes[at].relay = next;
    }

    /// SELECT of the undone rows; where there are none a new connection may be read from.
    fn choose_rows(&mut self, at: usize) -> Sending {
        let rows = self.open_rows();
        let is_barrier = self.processes[at].link.is_some_and(|link| !link.is_open);
        let rows = if is_seeded(Bug::BarrierSkips) && is_barrier { 0 } else { rows };
        if rows != 0 {
            return Sending::Chosen { rows, id: 0 };
        }
        if let Some(link) = &mut self.processes[at].link {
            link.is_open = true;
        }
        Sending::Idle
    }

    /// A new data connection.
    pub(super) fn connect(&mut self, at: usize) {
        let has_outbox = self.setting.has_outbox;
        let floor = if has_outbox { self.committed } else { 0 };
        let link = Link { epoch: self.redis.epoch, is_open: !has_outbox, floor };
        self.processes[at].link = Some(link);
    }
}
