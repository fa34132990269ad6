//! Steps that are taken at once, since neither can anything that others may yet do change what they
//! do, nor can anybody see whether they are taken now or later. Each of them brings its flight,
//! reader or write further, so that no chain of them is endless.

use super::{
    actions::Action,
    flights::{Flight, Outcome, Stage},
    server::Data,
    world::{Reader, Reading, World},
    writers::{Sending, Writing},
};
use crate::protocol::{
    bugs::{Bug, is_seeded},
    fetch::{Lease, Step},
    write::Act,
};

impl World {
    pub(super) fn step_of_its_own(&self) -> Option<Action> {
        let flights = 0..self.flights.len();
        let writers = 0..self.writers.len();
        let processes = 0..self.processes.len();
        flights
            .clone()
            .find(|at| self.flies_alone(*at))
            .map(|at| Action::Fly(at, Outcome::Answered))
            .or_else(|| flights.clone().find_map(|at| self.reads_alone(at)))
            .or_else(|| {
                let at = writers.clone().find(|at| self.writes_alone(*at))?;
                Some(Action::Write(at, Outcome::Answered))
            })
            .or_else(|| {
                let at = processes.clone().find(|at| self.applies_alone(*at))?;
                Some(Action::ApplyOldest(at, Outcome::Answered))
            })
    }

    fn flies_alone(&self, at: usize) -> bool {
        let Some(flight) = &self.flights[at] else { return false };
        match flight.stage {
            Stage::Do(Step::Acquire(_)) => {
                // All that it would ask Redis for is known.
                let asks = flight.generations.contains(&None) || is_seeded(Bug::X5);
                !asks && self.is_linked_for_good(flight.process)
            }
            Stage::Do(Step::Load(_)) => self.left.failures == 0 && !self.may_commit(),
            Stage::Do(Step::Serve) | Stage::Loaded(..) => {
                let is_cancellable = flight.may_be_cancelled() && self.left.cancels > 0;
                self.processes[flight.process].l1.is_none()
                    && self.left.expiries == 0
                    && !is_cancellable
                    && self.has_to_itself(at)
            }
            Stage::Fills(lease, ..) => lease == Lease::None || self.is_quiet(flight.process),
            Stage::Do(Step::GiveUp) => !self.is_watched(at),
            Stage::Releases(_) => !self.is_watched(at) && self.holds_nothing(at, flight),
            _ => false,
        }
    }

    fn reads_alone(&self, at: usize) -> Option<Action> {
        let process = self.readers[at].process;
        match self.readers[at].reading {
            Reading::Missed { .. } => {
                let is_timeless = self.left.ticks == 0 && self.is_linked_for_good(process);
                (is_timeless && self.has_to_itself(at)).then_some(Action::Board(at))
            }
            Reading::Alone => (!self.may_commit()).then_some(Action::LoadAlone(at)),
            _ => None,
        }
    }

    /// Stamps that nobody reads, and an answer that no later read can be held against. A row that is
    /// marked in the outbox is seen by every relay.
    fn writes_alone(&self, at: usize) -> bool {
        let writer = &self.writers[at];
        let is_seen = || self.setting.has_outbox || self.readers.iter().any(may_begin);
        self.is_deserted(writer.process)
            && match writer.writing {
                Writing::Acts(_, Act::Soil) | Writing::Cleans => true,
                Writing::Acts(_, Act::Bump) => !is_seen() && !is_seeded(Bug::H),
                _ => false,
            }
    }

    /// The same, by what applies the queue.
    fn applies_alone(&self, at: usize) -> bool {
        let is_sent =
            matches!(self.processes[at].sender, Sending::Sent { .. } | Sending::Bumped { .. });
        is_sent && self.is_deserted(at) && !self.setting.has_outbox
    }

    fn may_commit(&self) -> bool {
        let is_over = |writing| matches!(writing, Writing::Done | Writing::Crashed);
        self.writers.iter().any(|writer| writer.version == 0 && !is_over(writer.writing))
    }

    fn is_linked_for_good(&self, process: usize) -> bool {
        let may_be_cut = self.left.cut_links > 0 || self.left.falls > 0;
        !may_be_cut && self.processes[process].link.is_some_and(|link| link.is_open)
    }

    /// Whether nobody can stamp, soil or clean a name in this process.
    fn is_quiet(&self, at: usize) -> bool {
        let process = &self.processes[at];
        let is_over = |writing| matches!(writing, Writing::Done | Writing::Crashed);
        let mut writers = self.writers.iter().filter(|writer| writer.process == at);
        !self.setting.has_backplane
            && !self.setting.has_outbox
            && process.sender == Sending::Idle
            && process.backlog.len() == 0
            && writers.all(|writer| is_over(writer.writing))
    }

    /// Whether nobody but this reader and its flight is at work in its process.
    fn has_to_itself(&self, at: usize) -> bool {
        let process = self.readers[at].process;
        let mut others = (0..self.readers.len()).filter(|other| *other != at);
        self.is_quiet(process)
            && others.all(|other| {
                let is_elsewhere = self.readers[other].process != process;
                let is_over = self.readers[other].reading == Reading::Done;
                is_elsewhere || (is_over && self.flights[other].is_none())
            })
    }

    /// Whether Redis has neither marker nor claim of this flight, nor is given them back.
    fn holds_nothing(&self, at: usize, flight: &Flight) -> bool {
        let value_at = self.value_at(at);
        let claims = |data: &Data| data.claims[value_at] == flight.id;
        let has_claim = flight.id.is_some()
            && (claims(&self.redis.data) || self.redis.saved.as_ref().is_some_and(claims));
        !has_claim && !self.has_marker(at)
    }
}

/// Whether it may yet ask what was acknowledged.
fn may_begin(reader: &Reader) -> bool {
    matches!(reader.reading, Reading::Idle | Reading::Missed { .. } | Reading::Joined { .. })
}
