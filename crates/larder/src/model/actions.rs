//! What can happen next: steps of the code, and faults for as long as there are any left.

use super::{
    flights::Outcome,
    server::{NAMES, Redis},
    stored::{SOFT_MS, Stored},
    world::{Item, Line, Process, Reader, Reading, TICK_MS, World},
    writers::{Sending, Writing},
};
use crate::protocol::{
    bugs::{Bug, is_seeded},
    write::Act,
};

/// One step; numbers are of readers, flights, writers or processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Read(usize),
    Board(usize),
    Land(usize),
    LoadAlone(usize),
    Fly(usize, Outcome),
    Commit(usize),
    CommitUnanswered(usize),
    LandsLate(usize),
    Write(usize, Outcome),
    ApplyOldest(usize, Outcome),
    Relay(usize, Outcome),
    Connect(usize),
    Subscribe(usize),
    SendHeartbeat(usize),
    AnswerHeartbeat(usize),
    Hear(usize, usize),
    Number(usize),
    // Faults from here on.
    Cancel(usize),
    Crash(usize),
    Lose(usize),
    CutLink(usize),
    CutLine(usize),
    EvictGeneration(usize),
    EvictValue(usize),
    EvictClaim(usize),
    EvictSequence,
    /// A reader of another key gives a name a generation.
    OtherCreates(usize),
    Save,
    FallBack,
    FlushAll,
    Expire,
    Tick,
    ExtendElsewhere(usize),
}

impl Action {
    fn is_fault(self) -> bool {
        !matches!(
            self,
            Self::Read(_)
                | Self::Board(_)
                | Self::Land(_)
                | Self::LoadAlone(_)
                | Self::Fly(..)
                | Self::Commit(_)
                | Self::Write(..)
                | Self::ApplyOldest(..)
                | Self::Relay(..)
        )
    }
}

impl World {
    pub(super) fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        (0..self.readers.len()).for_each(|at| self.of_reader(at, &mut actions));
        (0..self.writers.len()).for_each(|at| self.of_writer(at, &mut actions));
        (0..self.processes.len()).for_each(|at| self.of_process(at, &mut actions));
        self.faults(&mut actions);
        actions
    }

    /// A reader that waits for ever.
    pub(super) fn stuck(&self, actions: &[Action]) -> Option<String> {
        if actions.iter().any(|action| !action.is_fault()) {
            return None;
        }
        let waits = |reading: Reading| !matches!(reading, Reading::Done | Reading::Idle);
        let at = self.readers.iter().position(|reader| waits(reader.reading))?;
        Some(format!("I7: reader {at} waits for ever"))
    }

    fn of_reader(&self, at: usize, actions: &mut Vec<Action>) {
        let has_landed =
            |flight: usize| self.flights[flight].as_ref().is_none_or(|f| f.landing.is_some());
        match self.readers[at].reading {
            Reading::Idle if self.is_next(at) => actions.push(Action::Read(at)),
            Reading::Missed { .. } => actions.push(Action::Board(at)),
            Reading::Joined { flight, .. } if has_landed(flight) => actions.push(Action::Land(at)),
            Reading::Alone => actions.push(Action::LoadAlone(at)),
            _ => {}
        }
        let Some(flight) = self.flights[at].as_ref().filter(|flight| !flight.is_over()) else {
            return;
        };
        actions.push(Action::Fly(at, Outcome::Answered));
        if flight.asks_redis() && self.left.lost_replies > 0 {
            actions.push(Action::Fly(at, Outcome::Unanswered));
        }
        if flight.is_loading() && self.left.failures > 0 {
            actions.push(Action::Fly(at, Outcome::Failed));
        }
        let leads = self.readers[at].reading == Reading::Leads;
        if leads && flight.may_be_cancelled() && self.left.cancels > 0 {
            actions.push(Action::Cancel(at));
        }
    }

    /// The readers of a process are alike: they begin in their order.
    fn is_next(&self, at: usize) -> bool {
        let is_earlier = |reader: &&Reader| reader.process == self.readers[at].process;
        let mut earlier = self.readers[..at].iter().filter(is_earlier);
        earlier.all(|reader| reader.reading != Reading::Idle)
    }

    fn of_writer(&self, at: usize, actions: &mut Vec<Action>) {
        let writer = &self.writers[at];
        match writer.writing {
            Writing::Idle => {
                actions.push(Action::Commit(at));
                if self.left.doubts > 0 {
                    actions.push(Action::CommitUnanswered(at));
                }
                return;
            }
            Writing::Done | Writing::Crashed => return,
            Writing::Acts(_, Act::Send) => {
                if self.left.lost_replies > 0 && self.processes[writer.process].link.is_some() {
                    actions.push(Action::Write(at, Outcome::Unanswered));
                }
                if self.left.crashes > 0 {
                    actions.push(Action::Crash(at));
                }
            }
            Writing::Unknown | Writing::Soiled | Writing::InDoubt if writer.version == 0 => {
                actions.push(Action::LandsLate(at));
            }
            _ => {}
        }
        actions.push(Action::Write(at, Outcome::Answered));
    }

    fn of_process(&self, at: usize, actions: &mut Vec<Action>) {
        if self.processes[at].is_gone {
            return;
        }
        let Process { sender, relay, backlog, link, line, .. } = &self.processes[at];
        let is_linked = link.is_some();
        match sender {
            Sending::Idle if backlog.len() == 0 || !is_linked => {}
            _ => actions.push(Action::ApplyOldest(at, Outcome::Answered)),
        }
        let is_barrier = link.is_some_and(|link| !link.is_open);
        match relay {
            Sending::Idle if self.open_rows() == 0 && !is_barrier => {}
            Sending::Idle if !is_linked => {}
            _ => actions.push(Action::Relay(at, Outcome::Answered)),
        }
        if self.left.lost_replies > 0 && is_linked {
            if *sender == Sending::Idle && backlog.len() > 0 {
                actions.push(Action::ApplyOldest(at, Outcome::Unanswered));
            }
            if matches!(relay, Sending::Chosen { .. }) {
                actions.push(Action::Relay(at, Outcome::Unanswered));
            }
        }
        if !is_linked {
            actions.push(Action::Connect(at));
        }
        match line {
            None if !self.setting.has_backplane || self.is_deserted(at) => {}
            None => actions.push(Action::Subscribe(at)),
            Some(line) => self.of_line(at, line, actions),
        }
    }

    fn of_line(&self, at: usize, line: &Line, actions: &mut Vec<Action>) {
        if line.is_numbering {
            actions.push(Action::Number(at));
            return;
        }
        if line.asked.is_none() && self.left.beats > 0 {
            actions.push(Action::SendHeartbeat(at));
        }
        if line.is_asking {
            actions.push(Action::AnswerHeartbeat(at));
        }
        if let Some(first) = line.inbox.first() {
            actions.push(Action::Hear(at, 0));
            if matches!(first, Item::Answer(_)) && line.inbox.len() > 1 {
                actions.push(Action::Hear(at, 1));
            }
            if matches!(first, Item::Message { .. }) && self.left.lost_messages > 0 {
                actions.push(Action::Lose(at));
            }
        }
    }

    fn faults(&self, actions: &mut Vec<Action>) {
        let left = &self.left;
        let data = &self.redis.data;
        if left.evictions > 0 {
            // Namespace and root are as the first tag.
            let there = |name: &usize| data.generations[*name].is_some();
            actions.extend([0, 3, 4].into_iter().filter(there).map(Action::EvictGeneration));
            let values = (0..2).filter(|at| data.values[*at] != Stored::Nothing);
            actions.extend(values.map(Action::EvictValue));
            let claims = (0..2).filter(|at| data.claims[*at].is_some());
            actions.extend(claims.map(Action::EvictClaim));
            let sequence = data.sequence.filter(|_| self.setting.has_backplane);
            actions.extend(sequence.map(|_| Action::EvictSequence));
        }
        if left.others > 0 {
            let missing = (3..NAMES).filter(|name| data.generations[*name].is_none());
            actions.extend(missing.map(Action::OtherCreates));
        }
        for (at, process) in self.processes.iter().enumerate() {
            if left.cut_links > 0 && process.link.is_some() {
                actions.push(Action::CutLink(at));
            }
            if left.cut_lines > 0 && process.line.is_some() {
                actions.push(Action::CutLine(at));
            }
            if is_seeded(Bug::WindowElsewhere) && left.beats > 0 {
                actions.push(Action::ExtendElsewhere(at));
            }
        }
        let rest = [
            (left.saves > 0, Action::Save),
            (left.falls > 0 && self.redis.saved.is_some(), Action::FallBack),
            (left.flushes > 0, Action::FlushAll),
            (left.expiries > 0, Action::Expire),
            (left.ticks > 0, Action::Tick),
        ];
        actions.extend(rest.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
    }

    pub(super) fn apply(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Read(at) => return self.read(at),
            Action::Board(at) => {
                if let Reading::Missed { loads_only, was_overtaken } = self.readers[at].reading {
                    self.board(at, loads_only, was_overtaken);
                }
            }
            Action::Land(at) => return self.land(at),
            Action::LoadAlone(at) => return self.load_alone(at),
            Action::Fly(at, outcome) => {
                if outcome == Outcome::Failed {
                    self.left.failures -= 1;
                }
                self.fly(at, outcome)?;
                if self.lands_its_leader(at) {
                    return self.land(at);
                }
            }
            Action::Commit(at) => self.commit(at),
            Action::CommitUnanswered(at) => self.commit_unanswered(at),
            Action::LandsLate(at) => self.lands_late(at),
            Action::Write(at, outcome) => self.write(at, outcome),
            Action::ApplyOldest(at, outcome) => self.apply_oldest(at, outcome),
            Action::Relay(at, outcome) => self.relay(at, outcome),
            Action::Connect(at) => self.connect(at),
            Action::Subscribe(at) => self.subscribe(at),
            Action::SendHeartbeat(at) => self.send_heartbeat(at),
            Action::AnswerHeartbeat(at) => self.answer_heartbeat(at),
            Action::Hear(at, index) => self.hear(at, index),
            Action::Number(at) => self.number(at),
            fault => self.suffer(fault),
        }
        Ok(())
    }

    fn suffer(&mut self, fault: Action) {
        let left = &mut self.left;
        match fault {
            Action::Cancel(at) => {
                left.cancels -= 1;
                self.cancel(at);
            }
            Action::Crash(at) => self.crash(at),
            Action::Lose(at) => {
                left.lost_messages -= 1;
                let line = self.processes[at].line.as_mut();
                line.expect("a message came over it").inbox.remove(0);
            }
            Action::CutLink(at) => {
                left.cut_links -= 1;
                self.processes[at].link = None;
            }
            Action::CutLine(at) => {
                left.cut_lines -= 1;
                self.processes[at].line = None;
            }
            Action::Save => {
                left.saves -= 1;
                self.redis.saved = Some(self.redis.data);
            }
            Action::Expire => {
                left.expiries -= 1;
                self.unix += SOFT_MS;
                self.forget_leases();
            }
            Action::Tick => {
                left.ticks -= 1;
                self.now += TICK_MS;
            }
            Action::ExtendElsewhere(at) => self.extend_elsewhere(at),
            loss => self.lose(loss),
        }
    }

    /// Redis loses something.
    fn lose(&mut self, loss: Action) {
        let (left, data) = (&mut self.left, &mut self.redis.data);
        match loss {
            Action::OtherCreates(name) => {
                left.others -= 1;
                data.create(name, self.next_id);
                self.next_id += 1;
                return;
            }
            Action::FallBack => {
                left.falls -= 1;
                let saved = self.redis.saved.take().unwrap_or_else(Redis::empty);
                self.redis.fall_back(saved);
                for process in &mut self.processes {
                    (process.link, process.line) = (None, None);
                }
            }
            Action::FlushAll => {
                left.flushes -= 1;
                *data = Redis::empty();
            }
            eviction => {
                left.evictions -= 1;
                match eviction {
                    Action::EvictGeneration(name) => data.generations[name] = None,
                    Action::EvictValue(at) => data.values[at] = Stored::Nothing,
                    Action::EvictClaim(at) => data.claims[at] = None,
                    _ => data.sequence = None,
                }
            }
        }
        self.forget_leases();
    }
}
