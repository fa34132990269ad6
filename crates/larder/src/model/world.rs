//! One state: database, Redis, processes, and what is under way in them.

use std::sync::OnceLock;

use super::{
    flights::Flight,
    server::{Data, FIRST_FRESH, Generations, Id, NAMES, Redis},
    stored::{Glance, Judged, SOFT_MS, Stored, Value, hashes, judge},
    writers::{Sending, Writer},
};
use crate::protocol::{
    backlog::Backlog,
    feed::Feed,
    join::Birth,
    stamps::{FROZEN_SLOTS, Frozen, Slots, Stamps},
    window::{DELTA_MS, Window},
};

/// One step of time: two of them are Δ.
pub(super) const TICK_MS: u64 = DELTA_MS / 2;
/// No two of the names share a slot with it.
const SEED: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
const WIDE: u64 = 2;

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
    /// No id that is in use is as large.
    pub(super) next_id: Id,
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

impl Setting {
    /// How many of the names count at once.
    pub(super) fn hard(self) -> usize {
        if self.is_lazy { NAMES - 1 } else { NAMES }
    }

    /// Judges what a look at value key `at` has brought.
    pub(super) fn judge(
        self,
        stored: &Stored,
        generations: &Generations,
        (at, epoch, unix): (usize, u64, u64),
    ) -> Judged {
        judge(stored, generations, Glance { hard: self.hard(), at, epoch, unix })
    }

    pub(super) fn slots(self) -> Slots {
        static SLOTS_OF: [OnceLock<Slots>; 2] = [OnceLock::new(), OnceLock::new()];
        let hashes = hashes();
        let (hard, lazy) = hashes.split_at(self.hard());
        let slots =
            || Stamps::sized(SEED, WIDE, FROZEN_SLOTS).slots(hard, lazy).expect("few names");
        *SLOTS_OF[usize::from(self.is_lazy)].get_or_init(slots)
    }

    pub(super) fn schema(self, process: usize) -> usize {
        usize::from(self.is_rolling) * process
    }
}

impl Process {
    fn new(setting: Setting) -> Self {
        let mut feed = Feed::default();
        feed.subscribed(1);
        feed.asking();
        feed.beat(Some(100));
        let held = Held { version: 0, born: 0, soft: SOFT_MS, hard: 2 * SOFT_MS };
        Self {
            stamps: Stamps::sized(SEED, WIDE, FROZEN_SLOTS).freeze(),
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
        let generations = [setting.is_warm.then_some(1); NAMES];
        let warm = |at| match setting.is_warm && (at == 0 || setting.is_rolling) {
            true => Stored::Value(Value {
                id: FIRST_FRESH - 1,
                at,
                epoch: 1,
                written: 0,
                version: 0,
                generations,
            }),
            false => Stored::Nothing,
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
            next_id: FIRST_FRESH,
            redis: Redis { epoch: 1, data, saved: None, time: 1_000 },
            processes: vec![Process::new(setting); 2],
            readers: readers.iter().map(reader).collect(),
            flights: vec![None; readers.len()],
            writers: writers.iter().map(writer).collect(),
        }
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
