//! Reads: L1, boarding, and the flights, step by step as `read.rs` and `trip/` carry them out.

use super::{
    server::NAMES,
    world::{Held, Judged, Link, Reading, SOFT_MS, World, envelope},
};
use crate::{
    entry::{Head, Nonce},
    protocol::{
        bugs::{Bug, is_seeded},
        fetch::{Event, Fetch, Lease, Purpose, Step},
        join::Moment,
        window::DELTA_MS,
    },
};

/// How long a flight waits for somebody else's lease, in ms: one wait.
const WAIT_MAX_MS: u64 = 10;

/// How a command went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    /// Executed, and the answer was lost.
    Unanswered,
    /// Of a loader: it failed.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    pub(super) process: usize,
    pub(super) born: u64,
    pub(super) began: u64,
    pub(super) loads_only: bool,
    fetch: Fetch,
    stage: Stage,
    /// Whether it is still in its leader's task, with which it dies.
    is_boarding: bool,
    /// How many ids it has drawn.
    ids: u8,
    epoch: u64,
    generations: [Option<Nonce>; NAMES],
    seen: Option<(u8, Head, Held)>,
    waited_ms: u64,
    /// Whether a lease was granted to it that nothing has taken away.
    pub(super) fills: bool,
    pub(super) landing: Option<Landing>,
}

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Do(Step),
    /// The value is read, the generations are not.
    HalfLooked {
        stored: Vec<u8>,
        generations: Option<[Option<Nonce>; NAMES]>,
        link: Link,
    },
    /// The generations exist, the marker is not put.
    HalfAcquired(Head),
    Loaded(Lease, u8),
    Fills(Lease, u8, u64),
    Stores(Lease, u8, u64),
    Releases(Lease),
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Landing {
    Arrived { version: u8, is_from_l2: bool },
    Failed,
    GaveUp,
    Abandoned,
}

impl Flight {
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    pub(super) fn may_be_cancelled(&self) -> bool {
        self.is_boarding
    }

    /// Whether what its lease stands over is not expired: if it is, anybody may replace it.
    fn replaces_life(&self, unix: u64) -> bool {
        let is_refresh = matches!(
            self.stage,
            Stage::Do(Step::Load(Lease::Over(_)))
                | Stage::Loaded(Lease::Over(_), _)
                | Stage::Fills(Lease::Over(_), ..)
                | Stage::Stores(Lease::Over(_), ..)
        );
        let seen = self.seen.filter(|_| is_refresh);
        seen.is_none_or(|(_, _, held)| unix < held.hard)
    }

    /// Whether the next step is a command whose answer may be lost.
    pub(super) fn asks_redis(&self) -> bool {
        matches!(self.stage, Stage::Do(Step::Claim(_)) | Stage::HalfAcquired(_) | Stage::Stores(..))
    }

    pub(super) fn is_loading(&self) -> bool {
        matches!(self.stage, Stage::Do(Step::Load(_)))
    }
}

impl World {
    /// The call: L1, and whether Redis may be asked.
    pub(super) fn read(&mut self, at: usize) -> Result<(), String> {
        let process = &self.processes[self.readers[at].process];
        let newest = self.writers.iter().filter(|w| w.is_applied && !self.counts_late(w));
        let newest = newest.map(|writer| writer.version).max().unwrap_or(0);
        let served = process.l1.filter(|held| self.is_served(process, held));
        let (least, is_dirty) = (process.known, process.is_dirty());
        let reader = &mut self.readers[at];
        (reader.least, reader.least_in_l2, reader.is_dirty) = (least, newest.max(least), is_dirty);
        let Some(held) = served else {
            let loads_only = !self.may_ask_l2(self.readers[at].process);
            self.readers[at].reading = Reading::Missed { loads_only, was_overtaken: false };
            return Ok(());
        };
        if self.unix >= held.soft {
            self.refresh(at);
        }
        self.return_cached(at, held.version, 0)
    }

    fn may_ask_l2(&self, process: usize) -> bool {
        let process = &self.processes[process];
        process.link.is_some_and(|link| link.is_open)
            && !process.stamps().is_dirty(self.setting.slots().counting(true))
    }

    fn refresh(&mut self, at: usize) {
        let loads_only = !self.may_ask_l2(self.readers[at].process);
        if self.joinable(at).is_none() {
            self.take_off(at, loads_only, Purpose::Refresh);
        }
    }

    /// The flight of this process that may be joined now.
    fn joinable(&self, at: usize) -> Option<usize> {
        let process = &self.processes[self.readers[at].process];
        let flight = process.air?;
        let birth = self.birth(self.flights[flight].as_ref()?);
        let (window, stamps) = (process.window(), process.stamps());
        let moment = Moment { now: self.now, window: &window, stamps: &stamps };
        birth.is_joinable(moment).then_some(flight)
    }

    fn take_off(&mut self, at: usize, loads_only: bool, purpose: Purpose) {
        let process = self.readers[at].process;
        self.flights[at] = Some(Flight {
            process,
            born: self.processes[process].stamps().now(),
            began: self.now,
            loads_only,
            fetch: Fetch::new(purpose, WAIT_MAX_MS),
            stage: Stage::Over,
            is_boarding: purpose == Purpose::Read,
            ids: 0,
            epoch: 0,
            generations: [None; NAMES],
            seen: None,
            waited_ms: 0,
            fills: false,
            landing: None,
        });
        self.processes[process].air = Some(at);
        let step = Fetch::new(purpose, WAIT_MAX_MS).first(self.may_ask_l2(process));
        let flight = self.flight(at);
        flight.is_boarding &= step == Step::Look;
        flight.stage = Stage::Do(step);
    }

    pub(super) fn board(&mut self, at: usize, loads_only: bool, was_overtaken: bool) {
        let Some(flight) = self.joinable(at) else {
            self.take_off(at, loads_only, Purpose::Read);
            self.readers[at].reading = Reading::Leads;
            return;
        };
        // I5 for those who join: what was acknowledged a Δ ago.
        let due = self.writers.iter().filter(|writer| {
            writer.acknowledged.is_some_and(|acked| acked + DELTA_MS <= self.now)
                && writer.is_applied
                && !self.counts_late(writer)
        });
        let due = due.map(|writer| writer.version).max().unwrap_or(0);
        let reader = &mut self.readers[at];
        reader.least = reader.least.max(due);
        reader.reading = Reading::Joined { flight, was_overtaken };
    }

    /// A flight that this reader waits for has landed.
    pub(super) fn land(&mut self, at: usize) -> Result<(), String> {
        let (flight, was_overtaken) = match self.readers[at].reading {
            Reading::Joined { flight, was_overtaken } => (flight, Some(was_overtaken)),
            _ => (at, None),
        };
        let Some(landed) = &self.flights[flight] else { return Err("it waits for nobody".into()) };
        let landing = landed.landing;
        let process = &self.processes[self.readers[at].process];
        let is_current = self.birth(landed).is_current(&process.stamps());
        let loads_only = !self.may_ask_l2(self.readers[at].process);
        let again = |was_overtaken| Reading::Missed { loads_only, was_overtaken };
        self.readers[at].reading = match (landing, was_overtaken) {
            (Some(Landing::Abandoned), Some(was_overtaken)) => again(was_overtaken),
            (Some(_), Some(false)) if !is_current => again(true),
            (Some(Landing::Arrived { version, is_from_l2 }), joined) => {
                return self.return_landed(at, version, joined.is_some(), is_from_l2);
            }
            (Some(Landing::Failed), _) => Reading::Done,
            (Some(Landing::GaveUp | Landing::Abandoned) | None, _) => Reading::Alone,
        };
        Ok(())
    }

    fn return_landed(
        &mut self,
        at: usize,
        version: u8,
        is_joined: bool,
        is_from_l2: bool,
    ) -> Result<(), String> {
        let reader = &mut self.readers[at];
        let least = if is_joined { 0 } else { reader.least_in_l2 };
        if is_from_l2 && !is_joined {
            return self.return_cached(at, version, least);
        }
        reader.reading = Reading::Done;
        self.judge_answer(at, version, least)
    }

    /// An answer from a tier: there is none for a name that is dirty (I19).
    fn return_cached(&mut self, at: usize, version: u8, least: u8) -> Result<(), String> {
        let reader = &mut self.readers[at];
        reader.reading = Reading::Done;
        if reader.is_dirty {
            return Err(format!("I19: a tier answered reader {at} for a dirty name"));
        }
        self.judge_answer(at, version, least)
    }

    fn judge_answer(&self, at: usize, version: u8, least: u8) -> Result<(), String> {
        let least = least.max(self.readers[at].least);
        if version > self.committed {
            return Err(format!("I11/I12: reader {at} got {version}, which was never committed"));
        }
        if version < least {
            return Err(format!("I4/I17: reader {at} got {version} after {least}"));
        }
        Ok(())
    }

    /// A load without a flight.
    pub(super) fn load_alone(&mut self, at: usize) -> Result<(), String> {
        self.readers[at].reading = Reading::Done;
        self.judge_answer(at, self.committed, 0)
    }

    /// The leader goes away while it looks for the first time.
    pub(super) fn cancel(&mut self, at: usize) {
        self.readers[at].reading = Reading::Done;
        self.announce(at, Landing::Abandoned);
        self.leave(at);
    }

    /// One step of a flight.
    pub(super) fn fly(&mut self, at: usize, outcome: Outcome) -> Result<(), String> {
        let Some(flight) = self.flights[at].clone() else { return Ok(()) };
        let link = self.processes[flight.process].link.filter(|link| link.is_open);
        match flight.stage {
            Stage::Do(Step::Look) => self.look(at, link),
            Stage::HalfLooked { stored, generations, link } => {
                self.look_on(at, (&stored, generations), link);
            }
            Stage::Do(Step::Acquire(seen)) => self.begin_to_acquire(at, seen, link),
            Stage::HalfAcquired(seen) => return self.acquire(at, seen, link, outcome),
            Stage::Do(Step::Claim(_)) => return self.claim(at, link, outcome),
            Stage::Do(Step::Wait(_)) => {}
            Stage::Do(Step::Serve) => self.serve(at),
            Stage::Do(Step::GiveUp) => {
                self.announce(at, Landing::GaveUp);
                self.leave(at);
            }
            Stage::Do(Step::Load(lease)) if outcome == Outcome::Failed => {
                self.announce(at, Landing::Failed);
                self.flight(at).stage = Stage::Releases(lease);
            }
            Stage::Do(Step::Load(lease)) => {
                let version = self.committed;
                self.flight(at).stage = Stage::Loaded(lease, version);
            }
            Stage::Loaded(lease, version) => self.deliver(at, lease, version),
            Stage::Fills(lease, version, unix) => self.fill(at, lease, version, unix),
            Stage::Stores(lease, version, unix) => {
                return self.store(at, (lease, version, unix), link, outcome);
            }
            Stage::Releases(lease) => self.release(at, lease, link),
            Stage::Over => {}
        }
        Ok(())
    }

    fn flight(&mut self, at: usize) -> &mut Flight {
        self.flights[at].as_mut().expect("it flies")
    }

    /// What the state machine says after an event.
    fn follow(&mut self, at: usize, event: Event) {
        let flight = self.flight(at);
        let mut step = flight.fetch.next(event);
        if let Step::Wait(pause) = step {
            flight.waited_ms += pause;
            step = flight.fetch.next(Event::Waited);
        }
        flight.stage = Stage::Do(step);
        // Past the first look it flies in a task of its own.
        flight.is_boarding &= step == Step::Serve;
    }

    fn value_at(&self, at: usize) -> usize {
        self.setting.schema(self.readers[at].process)
    }

    /// The first half of a look: the value.
    fn look(&mut self, at: usize, link: Option<Link>) {
        let Some(link) = link else { return self.follow(at, Event::Unavailable) };
        let stored = self.redis.data.values[self.value_at(at)].clone();
        let generations = self.redis.data.generations;
        let half = if is_seeded(Bug::X5c) {
            Stage::HalfLooked { stored: Vec::new(), generations: Some(generations), link }
        } else {
            Stage::HalfLooked { stored, generations: None, link }
        };
        self.flight(at).stage = half;
    }

    /// The second half: the generations.
    fn look_on(
        &mut self,
        at: usize,
        (stored, known): (&[u8], Option<[Option<Nonce>; NAMES]>),
        link: Link,
    ) {
        if self.processes[self.readers[at].process].link != Some(link) {
            return self.follow(at, Event::Unavailable);
        }
        let value_at = self.value_at(at);
        let (stored, generations) = match known {
            Some(known) => (self.redis.data.values[value_at].clone(), known),
            None => (stored.to_vec(), self.redis.data.generations),
        };
        let (unix, setting) = (self.unix, self.setting);
        let flight = self.flight(at);
        (flight.epoch, flight.generations) = (link.epoch, generations);
        let event = match setting.judge(&stored, &generations, (value_at, link.epoch, unix)) {
            Judged::Absent => Event::Absent,
            Judged::Leased => Event::Leased { waited_ms: flight.waited_ms },
            Judged::Dead(head) => Event::Dead(head),
            Judged::Servable { version, head, is_stale, soft, hard } => {
                let held = Held { version, born: 0, soft, hard };
                flight.seen = Some((version, head, held));
                if is_stale { Event::Stale(head) } else { Event::Fresh }
            }
        };
        self.follow(at, event);
    }

    /// An id that no other attempt has.
    fn id(&self, at: usize) -> Nonce {
        let mut id = [0; 16];
        id[0] = at as u8 + 1;
        id[1] = self.flights[at].as_ref().map_or(0, |flight| flight.ids);
        id
    }

    fn create_generations(&mut self, at: usize) {
        self.flight(at).ids += 1;
        let id = self.id(at);
        for name in 0..NAMES {
            if self.flight(at).generations[name].is_none() {
                let created = self.redis.data.create(name, id);
                self.flight(at).generations[name] = Some(created);
            }
        }
    }

    fn begin_to_acquire(&mut self, at: usize, seen: Head, link: Option<Link>) {
        let Some(link) = link else { return self.follow(at, Event::Unavailable) };
        self.create_generations(at);
        let value_at = self.value_at(at);
        let flight = self.flight(at);
        flight.epoch = link.epoch;
        flight.stage = Stage::HalfAcquired(seen);
        if is_seeded(Bug::X5) {
            self.redis.data.values[value_at].clear();
        }
    }

    fn acquire(
        &mut self,
        at: usize,
        seen: Head,
        link: Option<Link>,
        outcome: Outcome,
    ) -> Result<(), String> {
        let same = |link: &Link| self.flights[at].as_ref().is_some_and(|f| f.epoch == link.epoch);
        let Some(_) = link.filter(same) else {
            self.follow(at, Event::Unavailable);
            return Ok(());
        };
        let (marker, value_at) = (Head::lease(self.id(at)), self.value_at(at));
        let seen = if is_seeded(Bug::X5) { Head::default() } else { seen };
        let event = self.redis.data.put(value_at, seen, marker.as_bytes());
        self.granted(at, event, outcome)
    }

    fn claim(&mut self, at: usize, link: Option<Link>, outcome: Outcome) -> Result<(), String> {
        if let Some((version, ..)) = self.flight(at).seen {
            self.announce(at, Landing::Arrived { version, is_from_l2: true });
            self.leave_map(at);
        }
        let same = |link: &Link| self.flights[at].as_ref().is_some_and(|f| f.epoch == link.epoch);
        let Some(_) = link.filter(same) else {
            self.follow(at, Event::Unavailable);
            return Ok(());
        };
        self.create_generations(at);
        let (id, value_at) = (self.id(at), self.value_at(at));
        let event = self.redis.data.claim(value_at, id);
        self.granted(at, event, outcome)
    }

    /// I8: there is one filling load for a value at a time, until something takes its lease away.
    fn granted(&mut self, at: usize, event: Event, outcome: Outcome) -> Result<(), String> {
        if outcome == Outcome::Unanswered {
            self.left.lost_replies -= 1;
            self.follow(at, Event::Unavailable);
            return Ok(());
        }
        // A claim to what is gone already, or loses a race against its expiry, fills nothing.
        let is_there = self.claims_what_is_there(at);
        if event == Event::Granted && is_there {
            let value_at = self.value_at(at);
            let mut others =
                (0..self.flights.len()).filter(|other| self.value_at(*other) == value_at);
            // A load whose generations are lost already can fill nothing that is served.
            let (current, now) = (self.redis.data.generations, self.unix);
            let fills = |other: usize| {
                let flight = self.flights[other].as_ref();
                flight.is_some_and(|f| f.fills && f.generations == current && f.replaces_life(now))
            };
            if let Some(other) = others.find(|other| fills(*other)) {
                return Err(format!("I8: {other} and {at} both load to fill"));
            }
            self.flight(at).fills = true;
        }
        self.follow(at, event);
        Ok(())
    }

    fn claims_what_is_there(&self, at: usize) -> bool {
        let stored = Head::of(&self.redis.data.values[self.value_at(at)]);
        match self.flights[at].as_ref().map(|flight| &flight.stage) {
            Some(Stage::Do(Step::Claim(head))) => *head == stored,
            _ => true,
        }
    }

    /// `Trip::serve`.
    fn serve(&mut self, at: usize) {
        let Some((version, head, held)) = self.flight(at).seen else { return };
        self.keep_in_l1(at, held);
        self.announce(at, Landing::Arrived { version, is_from_l2: true });
        self.leave_map(at);
        let is_stale = self.unix >= held.soft;
        let flight = self.flight(at);
        flight.is_boarding = false;
        if is_stale {
            flight.fetch = Fetch::new(Purpose::Refresh, 0);
            self.follow(at, Event::Stale(head));
        } else {
            flight.stage = Stage::Over;
        }
    }

    fn keep_in_l1(&mut self, at: usize, held: Held) {
        let born = self.flight(at).born;
        let slots = self.setting.slots();
        let process = &mut self.processes[self.readers[at].process];
        let stamps = process.stamps();
        if stamps.is_current(born, slots.counting(false)) {
            let born = if is_seeded(Bug::X1) { stamps.now() } else { born };
            process.l1 = Some(Held { born, ..held });
        }
    }

    /// A load is done: L1, then those who wait, then Redis.
    fn deliver(&mut self, at: usize, lease: Lease, version: u8) {
        let unix = self.unix;
        let held = Held { version, born: 0, soft: unix + SOFT_MS, hard: unix + 2 * SOFT_MS };
        self.keep_in_l1(at, held);
        self.announce(at, Landing::Arrived { version, is_from_l2: false });
        self.flight(at).stage = Stage::Fills(lease, version, unix);
        if lease == Lease::None && self.flight(at).ids == 0 {
            self.leave(at);
        }
    }

    fn fill(&mut self, at: usize, lease: Lease, version: u8, unix: u64) {
        let process = &self.processes[self.readers[at].process];
        let is_dirty = process.stamps().is_dirty(self.setting.slots().counting(true));
        let late = self.redis.data.generations;
        let flight = self.flight(at);
        if is_seeded(Bug::T4) {
            flight.generations = late;
        }
        flight.stage = if lease == Lease::None || is_dirty {
            Stage::Releases(lease)
        } else {
            Stage::Stores(lease, version, unix)
        };
    }

    fn store(
        &mut self,
        at: usize,
        (lease, version, unix): (Lease, u8, u64),
        link: Option<Link>,
        outcome: Outcome,
    ) -> Result<(), String> {
        let (id, value_at) = (self.id(at), self.value_at(at));
        let flight = self.flight(at);
        flight.fills = false;
        flight.stage = Stage::Releases(lease);
        let expected = match lease {
            Lease::Over(head) => head,
            Lease::Marker | Lease::None => Head::lease(id),
        };
        let from = (value_at, flight.epoch, id);
        let stored = envelope(from, &flight.generations, version, unix);
        let (Some(_), Some(stored)) = (link, stored) else { return Ok(()) };
        let epoch = flight.epoch;
        let event = self.redis.data.put(value_at, expected, &stored);
        self.redis.data.unclaim(value_at, id);
        if event == Event::Granted {
            self.check_fill(at, version, epoch)?;
            if outcome == Outcome::Answered {
                self.leave(at);
            }
        }
        if outcome == Outcome::Unanswered {
            self.left.lost_replies -= 1;
        }
        Ok(())
    }

    /// I1, word for word: nothing older than the invalidation of its key is ever stored.
    fn check_fill(&self, at: usize, version: u8, epoch: u64) -> Result<(), String> {
        let names_it = |values: &[usize]| values.contains(&self.value_at(at));
        let newest = self.writers.iter().filter(|writer| {
            writer.told.is_some() && names_it(&writer.values(self.setting, writer.process))
        });
        match newest.map(|writer| writer.version).max() {
            Some(newest) if version < newest && epoch == self.redis.epoch => {
                Err(format!("I1: {version} was stored after {newest}"))
            }
            _ => Ok(()),
        }
    }

    fn release(&mut self, at: usize, lease: Lease, link: Option<Link>) {
        let (id, value_at) = (self.id(at), self.value_at(at));
        if link.is_some() && self.flight(at).ids > 0 {
            self.redis.data.unclaim(value_at, id);
            if !matches!(lease, Lease::Over(_)) {
                self.redis.data.put(value_at, Head::lease(id), b"");
            }
        }
        self.leave(at);
    }

    /// Tells everybody who waits.
    fn announce(&mut self, at: usize, landing: Landing) {
        self.flight(at).landing.get_or_insert(landing);
    }

    /// Whether the leader has its answer; nothing that others do can change it, so it takes it at
    /// once.
    pub(super) fn lands_its_leader(&self, at: usize) -> bool {
        let has_landed = |flight: &Flight| flight.landing.is_some();
        self.readers[at].reading == Reading::Leads
            && self.flights[at].as_ref().is_none_or(has_landed)
    }

    /// The pilot leaves; the flight is over.
    fn leave(&mut self, at: usize) {
        self.leave_map(at);
        let flight = self.flight(at);
        (flight.stage, flight.fills, flight.is_boarding) = (Stage::Over, false, false);
    }

    fn leave_map(&mut self, at: usize) {
        let process = &mut self.processes[self.readers[at].process];
        if process.air == Some(at) {
            process.air = None;
        }
    }

    /// Something took leases away: another load may fill now.
    pub(super) fn forget_leases(&mut self) {
        self.flights.iter_mut().flatten().for_each(|flight| flight.fills = false);
    }
}
