//! States with the same future are made to look the same, exactly: what nothing can ask for any
//! more is dropped. docs/model.md argues each step. What is dead is asked of the code itself, so that
//! what a seeded bug brings back to life stays.

use super::{
    flights::{Flight, Landing, Stage, WAIT_MAX_MS},
    server::{Generations, NAMES, Redis},
    stored::{Judged, SOFT_MS, Stored, Value, nonce},
    world::{Reading, World},
};
use crate::{
    entry::Head,
    protocol::{
        bugs::{Bug, is_seeded},
        feed::Feed,
        fetch::{Event, Fetch, Lease, Purpose, Step},
    },
};

/// The name of a generation that Redis has.
const CURRENT: u8 = 1;
/// The name of one that only the saved data set has.
const SAVED: u8 = 2;
/// The name of all that are gone: nothing brings one back.
const LOST: u8 = 3;

impl World {
    pub(super) fn settle(&mut self) {
        self.name_generations();
        self.drop_dead_values();
        self.drop_dead_l1();
        self.drop_what_flights_leave();
        self.drop_what_readers_leave();
        (0..self.processes.len()).for_each(|at| self.rank_births(at));
        self.drop_what_nobody_hears();
        self.round_times();
        self.rank_versions();
        self.order_readers();
        self.name_ids();
    }

    /// Generations are only compared with those of the same name that Redis has or is given back.
    fn name_generations(&mut self) {
        if is_seeded(Bug::T2) {
            return;
        }
        let (current, saved) =
            (self.redis.data.generations, self.redis.saved.map(|s| s.generations));
        self.each_generations(|generations| {
            for (name, id) in generations.iter_mut().enumerate().filter(|(_, id)| id.is_some()) {
                *id = if *id == current[name] {
                    Some(CURRENT)
                } else if saved.is_some_and(|saved| *id == saved[name]) {
                    Some(SAVED)
                } else {
                    Some(LOST)
                };
            }
        });
    }

    fn each_generations(&mut self, mut change: impl FnMut(&mut Generations)) {
        self.each_stored(|stored| {
            if let Stored::Value(value) = stored {
                change(&mut value.generations);
            }
        });
        for flight in self.flights.iter_mut().flatten() {
            change(&mut flight.generations);
            if let Stage::HalfLooked { generations: Some(generations), .. } = &mut flight.stage {
                change(generations);
            }
        }
        change(&mut self.redis.data.generations);
        if let Some(saved) = &mut self.redis.saved {
            change(&mut saved.generations);
        }
    }

    /// All that stands, stood or may stand again under a value key.
    pub(super) fn each_stored(&mut self, mut change: impl FnMut(&mut Stored)) {
        let Redis { data, saved, .. } = &mut self.redis;
        data.values.iter_mut().for_each(&mut change);
        saved.iter_mut().flat_map(|saved| &mut saved.values).for_each(&mut change);
        for flight in self.flights.iter_mut().flatten() {
            if let Stage::HalfLooked { stored, .. } = &mut flight.stage {
                change(stored);
            }
        }
    }

    /// A value that is dead and stays so is nothing but its head.
    fn drop_dead_values(&mut self) {
        let (setting, unix, epoch) = (self.setting, self.unix, self.redis.epoch);
        let generations = self.redis.data.generations;
        self.each_stored(|stored| {
            let Stored::Value(value) = stored else { return };
            let for_good = value.generations[..setting.hard()].contains(&Some(LOST))
                || value.written + 2 * SOFT_MS <= unix
                || value.epoch < epoch;
            let glance = (value.at, epoch, unix);
            if for_good && !is_served(setting.judge(stored, &generations, glance)) {
                drop_value(stored);
            }
        });
        // What was saved comes back under another epoch.
        if let Some(saved) = &mut self.redis.saved {
            for (at, stored) in saved.values.iter_mut().enumerate() {
                let glance = (at, epoch + 1, unix);
                if !is_served(setting.judge(stored, &saved.generations, glance)) {
                    drop_value(stored);
                }
            }
        }
    }

    /// What was stamped or has expired is never served again.
    fn drop_dead_l1(&mut self) {
        let (slots, unix) = (self.setting.slots(), self.unix);
        for process in &mut self.processes {
            let stamps = process.stamps();
            let lives = |born| stamps.is_current(born, slots.counting(false));
            process.l1 = process.l1.filter(|held| unix < held.hard && lives(held.born));
        }
    }

    fn drop_what_flights_leave(&mut self) {
        for at in 0..self.flights.len() {
            self.leave_the_map_early(at);
            let (is_joined, is_watched) = (self.is_joined(at), self.is_watched(at));
            let is_led = self.readers[at].reading == Reading::Leads;
            let has_marker = self.has_marker(at);
            let Some(flight) = &mut self.flights[at] else { continue };
            if flight.is_over() && !is_led && !is_joined {
                self.flights[at] = None;
                continue;
            }
            if !has_marker && !flight.fills && !is_naive() {
                flight.forgo_marker();
            }
            flight.drop_leftovers();
            if !is_watched {
                (flight.began, flight.loads_only) = (self.now, false);
                if !is_led {
                    flight.landing = None;
                }
            }
        }
    }

    /// A flight that nobody can join any more need not be on the map.
    fn leave_the_map_early(&mut self, at: usize) {
        let Some(flight) = &self.flights[at] else { return };
        let process = &self.processes[flight.process];
        let may_board = |reading| {
            matches!(reading, Reading::Idle | Reading::Missed { .. } | Reading::Joined { .. })
        };
        let mut of_process = self.readers.iter().filter(|reader| reader.process == flight.process);
        let is_current =
            process.stamps().is_current(flight.born, self.setting.slots().counting(true));
        let is_joinable = is_current || is_seeded(Bug::G);
        if !(is_joinable && of_process.any(|reader| may_board(reader.reading))) {
            self.leave_map(at);
        }
    }

    /// Whether the marker of this flight stands, or may come back.
    pub(super) fn has_marker(&self, at: usize) -> bool {
        let Some(id) = self.own_id(at) else { return false };
        let (marker, value_at) = (Head::lease(nonce(id)), self.value_at(at));
        let Redis { data, saved, .. } = &self.redis;
        data.values[value_at].head() == marker
            || saved.is_some_and(|saved| saved.values[value_at].head() == marker)
    }

    fn drop_what_readers_leave(&mut self) {
        for reader in self.readers.iter_mut().filter(|reader| reader.reading == Reading::Done) {
            (reader.least, reader.least_in_l2, reader.is_dirty) = (0, 0, false);
        }
    }

    /// Where nobody reads any more and L1 has nothing, nobody listens.
    fn drop_what_nobody_hears(&mut self) {
        for at in 0..self.processes.len() {
            if self.is_deserted(at) {
                let process = &mut self.processes[at];
                (process.line, process.feed) = (None, Feed::default());
                (process.proven, process.known) = (None, 0);
            }
        }
        let is_heard =
            self.setting.has_backplane && (0..self.processes.len()).any(|at| !self.is_deserted(at));
        if !is_heard {
            (self.redis.data.sequence, self.redis.time) = (None, 0);
            self.redis.saved.iter_mut().for_each(|saved| saved.sequence = None);
            let left = &mut self.left;
            (left.beats, left.lost_messages, left.cut_lines) = (0, 0, 0);
        }
    }

    /// Whether nothing that this process knows can come to light.
    pub(super) fn is_deserted(&self, at: usize) -> bool {
        let is_done = |reading| reading == Reading::Done;
        let mut readers = self.readers.iter().filter(|reader| reader.process == at);
        let mut flights = self.flights.iter().flatten();
        self.processes[at].l1.is_none()
            && readers.all(|reader| is_done(reader.reading))
            && flights.all(|flight| flight.process != at)
    }

    pub(super) fn each_held_version(&mut self, mut change: impl FnMut(&mut u8)) {
        change(&mut self.committed);
        for process in &mut self.processes {
            process.l1.iter_mut().for_each(|held| change(&mut held.version));
        }
        self.each_stored(|stored| {
            if let Stored::Value(value) = stored
                && value.epoch != DEAD
            {
                change(&mut value.version);
            }
        });
        self.flights.iter_mut().flatten().for_each(|flight| flight.each_version(&mut change));
    }
}

/// The epoch of what is dead whatever its epoch was.
const DEAD: u64 = 0;

fn drop_value(stored: &mut Stored) {
    if let Stored::Value(value) = stored {
        let generations = [Some(LOST); NAMES];
        *value = Value { epoch: DEAD, written: 0, version: 0, generations, ..*value };
    }
}

fn is_served(judged: Judged) -> bool {
    matches!(judged, Judged::Servable { .. })
}

/// Bugs that compare nothing.
fn is_naive() -> bool {
    is_seeded(Bug::A) || is_seeded(Bug::B)
}

impl Flight {
    /// What the state machine of a flight that has come this far knows. It also counts looks that
    /// it has lost, of which sixteen would end it: more than these few rivals can make it lose.
    pub(super) fn fetch_at_stage(&self) -> Fetch {
        let mut fetch = Fetch::new(self.purpose, WAIT_MAX_MS);
        match self.stage {
            Stage::Do(Step::Acquire(head)) | Stage::HalfAcquired(head) => {
                let is_nothing = head == Head::default();
                fetch.next(if is_nothing { Event::Absent } else { Event::Dead(head) });
            }
            Stage::Do(Step::Claim(head)) => {
                fetch.next(Event::Stale(head));
            }
            _ => {}
        }
        fetch
    }

    pub(super) fn each_head(&mut self, mut change: impl FnMut(&mut Head)) {
        match &mut self.stage {
            Stage::Do(Step::Acquire(head) | Step::Claim(head) | Step::Load(Lease::Over(head)))
            | Stage::HalfAcquired(head)
            | Stage::Loaded(Lease::Over(head), ..)
            | Stage::Fills(Lease::Over(head), ..)
            | Stage::Stores(Lease::Over(head), ..)
            | Stage::Releases(Lease::Over(head)) => change(head),
            _ => {}
        }
        self.seen.iter_mut().for_each(|(head, _)| change(head));
    }

    /// Drops what no later stage looks at.
    fn drop_leftovers(&mut self) {
        match self.stage {
            Stage::Do(Step::Look | Step::Wait(_)) | Stage::HalfLooked { .. } => {
                (self.generations, self.seen, self.epoch) = ([None; NAMES], None, 0);
            }
            Stage::Do(Step::Acquire(_)) | Stage::HalfAcquired(_) => self.seen = None,
            Stage::Do(Step::Claim(_) | Step::Serve) => {}
            Stage::Do(Step::GiveUp) => self.drop_all(Lease::None),
            Stage::Do(Step::Load(lease)) | Stage::Loaded(lease, _) => self.drop_all(lease),
            Stage::Fills(Lease::None, ..) => {
                self.stage = Stage::Fills(Lease::None, 0, 0);
                self.drop_all(Lease::None);
            }
            Stage::Stores(Lease::None, ..) => {
                self.stage = Stage::Releases(Lease::None);
                self.drop_all(Lease::None);
            }
            Stage::Fills(lease, ..) | Stage::Stores(lease, ..) => self.drop_all(lease),
            Stage::Releases(_) | Stage::Over => self.drop_all(Lease::None),
        }
    }

    /// From the load on, nothing counts but what the lease stands for.
    fn drop_all(&mut self, lease: Lease) {
        (self.purpose, self.waited_ms) = (Purpose::Read, 0);
        if lease == Lease::None && !self.fills {
            (self.generations, self.epoch) = ([None; NAMES], 0);
        }
        let replaces = matches!(lease, Lease::Over(_));
        self.seen = self.seen.filter(|_| replaces);
        if let Some((head, held)) = &mut self.seen {
            (*head, held.version, held.soft) = (Head::default(), 0, 0);
        }
    }

    /// The marker is gone: the fill will be lost.
    fn forgo_marker(&mut self) {
        match &mut self.stage {
            Stage::Do(Step::Load(lease))
            | Stage::Loaded(lease, _)
            | Stage::Fills(lease, ..)
            | Stage::Stores(lease, ..)
            | Stage::Releases(lease)
                if *lease == Lease::Marker =>
            {
                *lease = Lease::None;
            }
            _ => {}
        }
    }

    /// Whether it may yet put something into L1.
    pub(super) fn may_keep_in_l1(&self) -> bool {
        !matches!(
            self.stage,
            Stage::Do(Step::GiveUp)
                | Stage::Fills(..)
                | Stage::Stores(..)
                | Stage::Releases(_)
                | Stage::Over
        )
    }

    fn each_version(&mut self, mut change: impl FnMut(&mut u8)) {
        match &mut self.stage {
            Stage::Fills(Lease::None, ..) => {}
            Stage::Loaded(_, version)
            | Stage::Fills(_, version, _)
            | Stage::Stores(_, version, _) => {
                change(version);
            }
            Stage::Do(Step::Serve | Step::Claim(_)) => {
                self.seen.iter_mut().for_each(|(_, held)| change(&mut held.version));
            }
            _ => {}
        }
        if let Some(Landing::Arrived { version, .. }) = &mut self.landing {
            change(version);
        }
    }
}
