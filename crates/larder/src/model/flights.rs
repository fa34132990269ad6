//! The flights, step by step as `trip/` carries them out.

use super::{
    server::{Generations, Id, NAMES},
    stored::{Judged, SOFT_MS, Stored, Value, nonce},
    world::{Held, Link, Reading, World},
};
use crate::{
    entry::Head,
    protocol::{
        bugs::{Bug, is_seeded},
        fetch::{Event, Fetch, Lease, Purpose, Step},
    },
};

/// How long a flight waits for somebody else's lease, in ms: one wait.
pub(super) const WAIT_MAX_MS: u64 = 10;

/// How a command went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    /// Executed, and the answer was lost.
    Unanswered,
    /// Of a loader: it failed.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    pub(super) process: usize,
    pub(super) born: u64,
    pub(super) began: u64,
    pub(super) loads_only: bool,
    pub(super) purpose: Purpose,
    pub(super) fetch: Fetch,
    pub(super) stage: Stage,
    /// Whether it is still in its leader's task, with which it dies.
    pub(super) is_boarding: bool,
    /// What it has drawn last, for lease, claim and generations.
    pub(super) id: Option<Id>,
    pub(super) epoch: u64,
    pub(super) generations: Generations,
    /// What the last look found servable, and its head.
    pub(super) seen: Option<(Head, Held)>,
    pub(super) waited_ms: u64,
    /// Whether a lease was granted to it that nothing has taken away.
    pub(super) fills: bool,
    pub(super) landing: Option<Landing>,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Do(Step),
    /// The value is read, the generations are not.
    HalfLooked {
        stored: Stored,
        generations: Option<Generations>,
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
        seen.is_none_or(|(_, held)| unix < held.hard)
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
    /// One step of a flight.
    pub(super) fn fly(&mut self, at: usize, outcome: Outcome) -> Result<(), String> {
        let Some(flight) = self.flights[at] else { return Ok(()) };
        let link = self.processes[flight.process].link.filter(|link| link.is_open);
        match flight.stage {
            Stage::Do(Step::Look) => self.look(at, link),
            Stage::HalfLooked { stored, generations, link } => {
                self.look_on(at, (stored, generations), link);
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

    pub(super) fn value_at(&self, at: usize) -> usize {
        self.setting.schema(self.readers[at].process)
    }

    /// The first half of a look: the value.
    fn look(&mut self, at: usize, link: Option<Link>) {
        let Some(link) = link else { return self.follow(at, Event::Unavailable) };
        let stored = self.redis.data.values[self.value_at(at)];
        let generations = self.redis.data.generations;
        let half = if is_seeded(Bug::X5c) {
            Stage::HalfLooked { stored: Stored::Nothing, generations: Some(generations), link }
        } else {
            Stage::HalfLooked { stored, generations: None, link }
        };
        self.flight(at).stage = half;
    }

    /// The second half: the generations.
    fn look_on(&mut self, at: usize, (stored, known): (Stored, Option<Generations>), link: Link) {
        if self.processes[self.readers[at].process].link != Some(link) {
            return self.follow(at, Event::Unavailable);
        }
        let value_at = self.value_at(at);
        let (stored, generations) = match known {
            Some(known) => (self.redis.data.values[value_at], known),
            None => (stored, self.redis.data.generations),
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
                flight.seen = Some((head, held));
                if is_stale { Event::Stale(head) } else { Event::Fresh }
            }
        };
        self.follow(at, event);
    }

    /// An id that nothing else has.
    fn draw(&mut self, at: usize) -> Id {
        let id = self.next_id;
        self.next_id += 1;
        self.flight(at).id = Some(id);
        id
    }

    fn id(&self, at: usize) -> Id {
        self.own_id(at).unwrap_or_default()
    }

    pub(super) fn own_id(&self, at: usize) -> Option<Id> {
        self.flights[at].and_then(|flight| flight.id)
    }

    fn create_generations(&mut self, at: usize) {
        let id = self.draw(at);
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
            self.redis.data.values[value_at] = Stored::Nothing;
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
        let (marker, value_at) = (Stored::Lease(self.id(at)), self.value_at(at));
        let seen = if is_seeded(Bug::X5) { Head::default() } else { seen };
        let event = self.redis.data.put(value_at, seen, marker);
        self.granted(at, event, outcome)
    }

    fn claim(&mut self, at: usize, link: Option<Link>, outcome: Outcome) -> Result<(), String> {
        if let Some((_, Held { version, .. })) = self.flight(at).seen {
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
                let flight = self.flights[other];
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
        let stored = self.redis.data.values[self.value_at(at)].head();
        match self.flights[at].as_ref().map(|flight| &flight.stage) {
            Some(Stage::Do(Step::Claim(head))) => *head == stored,
            _ => true,
        }
    }

    /// `Trip::serve`.
    fn serve(&mut self, at: usize) {
        let Some((head, held)) = self.flight(at).seen else { return };
        let version = held.version;
        self.keep_in_l1(at, held);
        self.announce(at, Landing::Arrived { version, is_from_l2: true });
        self.leave_map(at);
        let is_stale = self.unix >= held.soft;
        let flight = self.flight(at);
        flight.is_boarding = false;
        if is_stale {
            (flight.purpose, flight.fetch) = (Purpose::Refresh, Fetch::new(Purpose::Refresh, 0));
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
        let is_late = is_seeded(Bug::X1);
        if is_late || stamps.is_current(born, slots.counting(false)) {
            let born = if is_late { stamps.now() } else { born };
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
        if lease == Lease::None && self.flight(at).id.is_none() {
            self.leave(at);
        }
    }

    fn fill(&mut self, at: usize, lease: Lease, version: u8, unix: u64) {
        let process = &self.processes[self.readers[at].process];
        let is_dirty = process.stamps().is_dirty(self.setting.slots().counting(true));
        let flight = self.flight(at);
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
        let late = self.redis.data.generations;
        let flight = self.flight(at);
        if is_seeded(Bug::T4) {
            flight.generations = late;
        }
        flight.fills = false;
        flight.stage = Stage::Releases(lease);
        let expected = match lease {
            Lease::Over(head) => head,
            Lease::Marker | Lease::None => Head::lease(nonce(id)),
        };
        let Flight { epoch, generations, .. } = *flight;
        if link.is_none() || generations.contains(&None) {
            return Ok(());
        }
        let value = Value { id, at: value_at, epoch, written: unix, version, generations };
        let event = self.redis.data.put(value_at, expected, Stored::Value(value));
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
        if link.is_some() && self.flight(at).id.is_some() {
            self.redis.data.unclaim(value_at, id);
            if !matches!(lease, Lease::Over(_)) {
                self.redis.data.put(value_at, Head::lease(nonce(id)), Stored::Nothing);
            }
        }
        self.leave(at);
    }

    /// Tells everybody who waits.
    pub(super) fn announce(&mut self, at: usize, landing: Landing) {
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
    pub(super) fn leave(&mut self, at: usize) {
        self.leave_map(at);
        let flight = self.flight(at);
        (flight.stage, flight.fills, flight.is_boarding) = (Stage::Over, false, false);
    }

    pub(super) fn leave_map(&mut self, at: usize) {
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
