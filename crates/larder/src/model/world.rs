//! One state: database, Redis, processes, and what is under way in them.

use std::sync::OnceLock;

use super::{
    flights::Flight,
    server::{Data, NAMES, Redis},
    writers::{Sending, Writer, Writing},
};
use crate::{
    entry::{Envelope, HEAD_BYTES, Head, Lifetime, Nonce, Origin},
    key::NameHash,
    protocol::{
        backlog::Backlog,
        feed::Feed,
        join::Birth,
        sight::{Look, Names, Sight},
        stamps::{Frozen, Slots, Stamps},
        window::{DELTA_MS, Window},
    },
};

/// Milliseconds until a value is soft-expired; twice as many until it is dead.
pub(super) const SOFT_MS: u64 = 10_000;
/// One step of time: two of them are Δ.
pub(super) const TICK_MS: u64 = DELTA_MS / 2;
/// No two of the names share a slot with it.
const SEED: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
const WIDE: u64 = 2;
const SLOTS: usize = 8;

/// What differs between configurations and never changes within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Setting {
    /// The second tag counts only after the soft TTL.
    pub(super) is_lazy: bool,
    pub(super) has_outbox: bool,
    /// Whether processes hear of each other's writes; without it, L1 is judged by its own alone.
    pub(super) has_backplane: bool,
    /// The processes read with two schema versions.
    pub(super) is_rolling: bool,
    /// Whether Redis has a value from the beginning, and whether L1 has.
    pub(super) is_warm: bool,
    pub(super) is_l1_warm: bool,
}

/// How often each thing may yet happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) evictions: u8,
    pub(super) lost_messages: u8,
    pub(super) lost_replies: u8,
    pub(super) cut_links: u8,
    pub(super) cut_lines: u8,
    pub(super) saves: u8,
    pub(super) falls: u8,
    pub(super) flushes: u8,
    pub(super) ticks: u8,
    pub(super) beats: u8,
    pub(super) expiries: u8,
    pub(super) crashes: u8,
    pub(super) doubts: u8,
    pub(super) cancels: u8,
    pub(super) failures: u8,
    /// Readers of other keys that give a name a generation.
    pub(super) others: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) setting: Setting,
    pub(super) left: Left,
    /// The real, monotonic clock.
    pub(super) now: u64,
    /// The clock that values age by.
    pub(super) unix: u64,
    /// The version of the row in the database.
    pub(super) committed: u8,
    pub(super) redis: Redis,
    pub(super) processes: Vec<Process>,
    pub(super) readers: Vec<Reader>,
    /// One for each reader that leads.
    pub(super) flights: Vec<Option<Flight>>,
    pub(super) writers: Vec<Writer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) stamps: Frozen,
    pub(super) l1: Option<Held>,
    pub(super) link: Option<Link>,
    pub(super) line: Option<Line>,
    pub(super) feed: Feed,
    /// When the last heartbeat was sent that proved something.
    pub(super) proven: Option<u64>,
    /// Whose flight stands on the map.
    pub(super) air: Option<usize>,
    /// Rows are sets of writers, one bit each.
    pub(super) backlog: Backlog<u8>,
    pub(super) sender: Sending,
    pub(super) relay: Sending,
    /// The newest version that no read which begins now may miss.
    pub(super) known: u8,
    pub(super) is_gone: bool,
}

/// An entry of L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) version: u8,
    pub(super) born: u64,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// A data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Link {
    pub(super) epoch: u64,
    pub(super) is_open: bool,
    /// What was committed before it was made, where the outbox knows.
    pub(super) floor: u8,
}

/// The backplane's connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub(super) inbox: Vec<Item>,
    /// When the heartbeat under way was sent.
    pub(super) asked: Option<u64>,
    /// Whether Redis is yet to execute it.
    pub(super) is_asking: bool,
    pub(super) is_numbering: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    Message { sequence: u64, sender: Option<usize>, rows: u8 },
    Answer(Option<u64>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    pub(super) process: usize,
    pub(super) reading: Reading,
    /// No older version may be returned: what its process knew when it began.
    pub(super) least: u8,
    /// The same for what Redis says: the newest acknowledged anywhere.
    pub(super) least_in_l2: u8,
    /// A name has been dirty ever since it began.
    pub(super) is_dirty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    Idle,
    /// L1 had no answer.
    Missed {
        loads_only: bool,
        was_overtaken: bool,
    },
    Leads,
    Joined {
        flight: usize,
        was_overtaken: bool,
    },
    Alone,
    Done,
}

pub(super) fn hash_of(name: usize) -> NameHash {
    let wide = if name == 1 || name == 2 { 1 << 127 } else { 0 };
    NameHash((name as u128 + 1) << 64 | wide)
}

fn hashes() -> [NameHash; NAMES] {
    std::array::from_fn(hash_of)
}

pub(super) fn value_key(at: usize) -> &'static str {
    ["~course@1:1", "~course@2:1"][at]
}

pub(super) fn version_of(payload: Option<&[u8]>) -> u8 {
    payload.and_then(|bytes| bytes.first().copied()).unwrap_or(u8::MAX)
}

impl Setting {
    /// How many of the names count at once.
    pub(super) fn hard(self) -> usize {
        if self.is_lazy { NAMES - 1 } else { NAMES }
    }

    pub(super) fn slots(self) -> Slots {
        static SLOTS_OF: [OnceLock<Slots>; 2] = [OnceLock::new(), OnceLock::new()];
        let hashes = hashes();
        let (hard, lazy) = hashes.split_at(self.hard());
        let slots = || Stamps::sized(SEED, WIDE, SLOTS).slots(hard, lazy).expect("few names");
        *SLOTS_OF[usize::from(self.is_lazy)].get_or_init(slots)
    }

    pub(super) fn schema(self, process: usize) -> usize {
        usize::from(self.is_rolling) * process
    }

    /// Judges what a look at value key `at` has brought.
    pub(super) fn judge(
        self,
        stored: &[u8],
        generations: &[Option<Nonce>],
        (at, epoch, unix): (usize, u64, u64),
    ) -> Judged {
        let hashes = hashes();
        let (hard, lazy) = hashes.split_at(self.hard());
        let look = Look { stored, generations };
        match Sight::judge(look, origin(at, epoch), Names { hard, lazy }, unix) {
            Sight::Servable { envelope, head, is_stale, is_outdated } => {
                let Lifetime { soft, hard, .. } = envelope.life;
                let hard = if is_outdated { soft.min(hard) } else { hard };
                let version = version_of(envelope.payload);
                Judged::Servable { version, head, is_stale, soft, hard }
            }
            Sight::Leased => Judged::Leased,
            Sight::Dead(head) | Sight::Foreign(head) => Judged::Dead(head),
            Sight::Absent => Judged::Absent,
        }
    }
}

/// A [`Sight`] that borrows nothing.
pub(super) enum Judged {
    Servable { version: u8, head: Head, is_stale: bool, soft: u64, hard: u64 },
    Leased,
    Dead(Head),
    Absent,
}

fn origin(at: usize, epoch: u64) -> Origin<'static> {
    Origin { epoch, schema: at as u64, key: value_key(at) }
}

/// The bytes that a fill stores.
pub(super) fn envelope(
    (at, epoch, id): (usize, u64, Nonce),
    generations: &[Option<Nonce>],
    version: u8,
    unix: u64,
) -> Option<Vec<u8>> {
    let recorded = generations.iter().enumerate();
    Envelope {
        life: Lifetime { written: unix, soft: unix + SOFT_MS, hard: unix + 2 * SOFT_MS },
        cost_ms: 0,
        nonces: recorded
            .map(|(name, nonce)| Some((hash_of(name), (*nonce)?)))
            .collect::<Option<_>>()?,
        payload: Some(&[version][..]),
    }
    .encode(id, origin(at, epoch))
}

impl Process {
    fn new(setting: Setting) -> Self {
        let mut feed = Feed::default();
        feed.subscribed(1);
        feed.asking();
        feed.beat(Some(100));
        let held = Held { version: 0, born: 0, soft: SOFT_MS, hard: 2 * SOFT_MS };
        Self {
            stamps: Stamps::sized(SEED, WIDE, SLOTS).freeze(),
            l1: setting.is_l1_warm.then_some(held),
            link: Some(Link { epoch: 1, is_open: true, floor: 0 }),
            line: setting.has_backplane.then(Line::new),
            feed,
            proven: Some(0),
            air: None,
            backlog: Backlog::new(10),
            sender: Sending::Idle,
            relay: Sending::Idle,
            known: 0,
            is_gone: false,
        }
    }

    /// It ends, and nothing takes its place.
    pub(super) fn die(&mut self) {
        self.is_gone = true;
        (self.l1, self.line, self.link, self.air) = (None, None, None, None);
    }

    pub(super) fn stamps(&self) -> Stamps {
        Stamps::thaw(SEED, WIDE, &self.stamps)
    }

    /// Does something with the stamps, and keeps what became of them.
    pub(super) fn stamp(&mut self, change: impl FnOnce(&Stamps)) {
        let stamps = self.stamps();
        change(&stamps);
        self.stamps = stamps.freeze();
    }

    pub(super) fn window(&self) -> Window {
        let window = Window::closed();
        if let Some(sent) = self.proven {
            window.prove(sent);
        }
        window
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.stamps.dirty.iter().any(|count| *count != 0)
    }
}

impl Line {
    pub(super) fn new() -> Self {
        Self { inbox: Vec::new(), asked: None, is_asking: false, is_numbering: false }
    }
}

impl World {
    /// `readers` are the processes that they read in; `writers` the process and the names of each.
    pub(super) fn new(
        setting: Setting,
        left: Left,
        readers: &[usize],
        writers: &[(usize, &'static [usize])],
    ) -> Self {
        let generations = [setting.is_warm.then_some([255; 16]); NAMES];
        let warm = |at| match setting.is_warm && (at == 0 || setting.is_rolling) {
            true => envelope((at, 1, [255; 16]), &generations, 0, 0).unwrap_or_default(),
            false => Vec::new(),
        };
        let data =
            Data { values: [warm(0), warm(1)], generations, sequence: Some(100), ..Redis::empty() };
        let reader = |process: &usize| Reader {
            process: *process,
            reading: Reading::Idle,
            least: 0,
            least_in_l2: 0,
            is_dirty: false,
        };
        let writer = |(process, names): &(usize, &'static [usize])| Writer::new(*process, names);
        Self {
            setting,
            left,
            now: 0,
            unix: 0,
            committed: 0,
            redis: Redis { epoch: 1, data, saved: None, time: 1_000 },
            processes: vec![Process::new(setting); 2],
            readers: readers.iter().map(reader).collect(),
            flights: vec![None; readers.len()],
            writers: writers.iter().map(writer).collect(),
        }
    }

    /// What must be true of every state.
    pub(super) fn check(&self) -> Result<(), String> {
        for at in 0..2 {
            self.check_l2(at)?;
        }
        (0..self.processes.len()).try_for_each(|process| self.check_l1(process))
    }

    /// What Redis holds and would be served is no older than any invalidation that it (or the
    /// server before it) has executed: I1, I2, I6, I10; and than what the drain barrier stands for:
    /// I9.
    fn check_l2(&self, at: usize) -> Result<(), String> {
        let Redis { data, epoch, .. } = &self.redis;
        if data.values[at].len() <= HEAD_BYTES {
            return Ok(());
        }
        let sight =
            self.setting.judge(&data.values[at], &data.generations, (at, *epoch, self.unix));
        let Judged::Servable { version, is_stale, .. } = sight else { return Ok(()) };
        for writer in self.writers.iter().filter(|writer| writer.told.is_some()) {
            if version < writer.version && (is_stale || !self.counts_late(writer)) {
                return Err(format!("I1/I6: L2 would serve {version} after {}", writer.version));
            }
        }
        let floors = self.processes.iter().filter_map(|process| process.link);
        match floors.filter(|link| link.is_open).map(|link| link.floor).max() {
            Some(floor) if version < floor => Err(format!("I9: {version} behind the barrier")),
            _ => Ok(()),
        }
    }

    /// What L1 would serve is no older than what the process knows (I3, I17), nor than what Redis
    /// has executed a Δ ago (I5, I16).
    fn check_l1(&self, at: usize) -> Result<(), String> {
        let process = &self.processes[at];
        let old = process.l1.filter(|held| held.version < self.committed);
        let Some(held) = old.filter(|held| self.is_served(process, held)) else {
            return Ok(());
        };
        let is_stale = self.unix >= held.soft;
        if held.version < process.known {
            return Err(format!("I17: L1 of {at} has {} of {}", held.version, process.known));
        }
        for (index, writer) in self.writers.iter().enumerate() {
            let is_due = writer.told.is_some_and(|told| told + DELTA_MS <= self.now);
            let counts = is_stale || !self.counts_late(writer);
            if is_due && counts && held.version < writer.version && !self.is_sending(at, index) {
                return Err(format!("I5: L1 of {at} has {} of {}", held.version, writer.version));
            }
        }
        Ok(())
    }

    /// As `Inner::hit` decides it.
    pub(super) fn is_served(&self, process: &Process, held: &Held) -> bool {
        let slots = self.setting.slots();
        self.unix < held.hard
            && process.window().is_open(self.now)
            && process.stamps().is_valid(held.born, slots.counting(self.unix >= held.soft))
    }

    /// Whether a write names nothing but the lazy tag.
    pub(super) fn counts_late(&self, writer: &Writer) -> bool {
        self.setting.is_lazy && writer.names.iter().all(|name| *name >= self.setting.hard())
    }

    /// Whether a process is just telling Redis of a write: until it is done nothing is promised
    /// there.
    fn is_sending(&self, process: usize, writer: usize) -> bool {
        let Process { sender, relay, .. } = &self.processes[process];
        let Writer { process: own, writing, .. } = &self.writers[writer];
        let is_own = *own == process && !matches!(writing, Writing::Done | Writing::Crashed);
        is_own || sender.names(writer) || relay.names(writer)
    }

    /// Numbers that only their order counts of become small, and what has ended is dropped, so that
    /// equal states look equal.
    pub(super) fn forget_what_cannot_matter(&mut self) {
        let awaited: Vec<_> = self.readers.iter().map(|reader| reader.reading).collect();
        for (at, flight) in self.flights.iter_mut().enumerate() {
            let is_awaited = |reading: &Reading| matches!(*reading, Reading::Joined { flight, .. } if flight == at);
            let is_led = awaited[at] == Reading::Leads;
            if flight.as_ref().is_some_and(Flight::is_over)
                && !is_led
                && !awaited.iter().any(is_awaited)
            {
                *flight = None;
            }
        }
        for reader in self.readers.iter_mut().filter(|reader| reader.reading == Reading::Done) {
            (reader.least, reader.least_in_l2, reader.is_dirty) = (0, 0, false);
        }
        for at in 0..self.processes.len() {
            self.renumber(at);
        }
    }

    /// Replaces ticks by their rank among the births that they are compared with.
    fn renumber(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let of_process = |flight: &&mut Flight| flight.process == at;
        let mut births: Vec<&mut u64> =
            self.flights.iter_mut().flatten().filter(of_process).map(|f| &mut f.born).collect();
        births.extend(process.l1.as_mut().map(|held| &mut held.born));
        births.push(&mut process.stamps.tick);
        let mut ranks: Vec<u64> = births.iter().map(|born| **born).collect();
        ranks.sort_unstable();
        ranks.dedup();
        // The first birth that is not younger.
        let rank = |tick: u64| ranks.partition_point(|born| *born < tick) as u64;
        births.into_iter().for_each(|born| *born = rank(*born));
        process.stamps.floor = rank(process.stamps.floor);
        process.stamps.slot.iter_mut().for_each(|slot| *slot = rank(*slot));
    }

    pub(super) fn birth(&self, flight: &Flight) -> Birth {
        Birth {
            born: flight.born,
            began: flight.began,
            slots: self.setting.slots(),
            loads_only: flight.loads_only,
        }
    }
}
