//! Small histories by hand: each kind of broken promise is found, and nothing else is.

use larder::Ack;

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// A history under construction: the records of each process, and what is known besides.
#[derive(Default)]
struct Story {
    logs: BTreeMap<u32, Vec<Record>>,
    deaths: BTreeMap<u32, u64>,
    around: Circumstances,
}

impl Story {
    fn step(mut self, process: u32, event: Event, version: u64, at: u64) -> Self {
        self.logs.entry(process).or_default().push(Record::step(event, 0, version, at));
        self
    }

    /// Committed at `at`, sent a millisecond before.
    fn commit(self, process: u32, version: u64, at: u64) -> Self {
        let sent = self.step(process, Event::Committing, version, at - MS);
        let mut story = sent.step(process, Event::Committed, version, at);
        story.around.last = vec![version];
        story
    }

    fn ack(self, process: u32, version: u64, ack: Ack, at: u64) -> Self {
        self.step(process, Event::Acked(ack), version, at)
    }

    /// Version 1 by process 1: committed at 1 s, applied at 1.002 s.
    fn applied() -> Self {
        Self::default().commit(1, 1, SECOND).ack(1, 1, Ack::Applied, SECOND + 2 * MS)
    }

    fn read(mut self, by: u32, mode: Mode, source: Source, version: u64, at: u64) -> Self {
        let event = Event::Read(mode, source);
        let read = Record { till: at + MS, ..Record::step(event, 0, version, at) };
        self.logs.entry(by).or_default().push(read);
        self
    }

    fn findings(self) -> Findings {
        let mut writes = Writes::default();
        for (process, records) in &self.logs {
            let died = self.deaths.get(process).copied();
            writes.add(*process, died, records.iter().copied());
        }
        let mut checker = Checker::new(&writes, &self.around);
        for (process, records) in &self.logs {
            records.iter().for_each(|record| checker.check(*process, record));
        }
        checker.findings()
    }

    #[track_caller]
    fn breaks(self, promises: &[Promise]) {
        let mut broken: Vec<_> =
            self.findings().violations.into_iter().map(|found| found.promise).collect();
        broken.sort_unstable();
        assert_eq!(broken, promises);
    }
}

#[test]
fn what_is_current_breaks_nothing() {
    let mut story = Story::applied();
    for mode in Mode::ALL {
        for source in crate::record::SOURCES {
            story = story.read(1, mode, source, 1, 2 * SECOND).read(2, mode, source, 1, 9 * SECOND);
        }
    }
    story.breaks(&[]);
}

#[test]
fn another_process_may_be_late_by_delta_unless_it_asks_for_fresh() {
    let acked = SECOND + 2 * MS;
    for source in [Source::L1, Source::L2, Source::Joined] {
        let read = |at| Story::applied().read(2, Mode::Default, source, 0, at);
        read(acked + DELTA).breaks(&[]);
        read(acked + DELTA + 1).breaks(&[Promise::Elsewhere]);
        let fresh = |at| Story::applied().read(2, Mode::Fresh, source, 0, at);
        fresh(acked).breaks(&[]);
        fresh(acked + 1).breaks(&[Promise::Elsewhere]);
    }
}

#[test]
fn a_look_into_redis_without_company_is_not_late() {
    let read = |source| Story::applied().read(2, Mode::Glance, source, 0, 2 * SECOND);
    read(Source::L1).breaks(&[]);
    read(Source::L2).breaks(&[Promise::Elsewhere]);
}

#[test]
fn the_own_process_is_never_late_whatever_the_acknowledgement() {
    for ack in [Ack::Applied, Ack::Queued] {
        let story = || Story::default().commit(1, 1, SECOND).ack(1, 1, ack, SECOND + 5 * MS);
        let read = |at| story().read(1, Mode::Default, Source::L1, 0, at);
        read(SECOND + 5 * MS).breaks(&[]);
        read(SECOND + 5 * MS + 1).breaks(&[Promise::Own]);
    }
}

#[test]
fn an_older_acknowledgement_does_not_excuse_a_younger_one() {
    let story = Story::applied().commit(3, 2, 2 * SECOND).ack(3, 2, Ack::Applied, 2 * SECOND);
    // Version 2 is demanded although version 1 was acknowledged to this reader's own process.
    story.read(1, Mode::Default, Source::L1, 1, 4 * SECOND).breaks(&[Promise::Elsewhere]);
}

#[test]
fn what_nobody_applied_is_healed_in_time() {
    for crashed in [true, false] {
        let story = || {
            let committed = Story::default().commit(1, 1, SECOND);
            if crashed { committed } else { committed.ack(1, 1, Ack::Queued, SECOND + MS) }
        };
        let read = |mode, at| story().read(2, mode, Source::L2, 0, at);
        read(Mode::Fresh, SECOND + HEALED).breaks(&[]);
        read(Mode::Fresh, SECOND + HEALED + 1).breaks(&[Promise::Healed]);
        read(Mode::Default, SECOND + HEALED + DELTA).breaks(&[]);
        read(Mode::Default, SECOND + HEALED + DELTA + 1).breaks(&[Promise::Healed]);
    }
}

#[test]
fn healing_is_counted_from_the_end_of_the_faults_in_its_way() {
    let story = |at| {
        let mut story = Story::default().commit(1, 1, SECOND);
        // The second begins before the calm after the first would have sufficed; the third later.
        story.around.faults =
            vec![(4 * SECOND, 5 * SECOND), (SECOND + MS, 2 * SECOND), (20 * SECOND, 30 * SECOND)];
        story.around.faults.push((2 * SECOND + 500 * MS, 4 * SECOND + MS));
        story.read(2, Mode::Fresh, Source::L2, 0, at)
    };
    story(5 * SECOND + HEALED).breaks(&[]);
    story(5 * SECOND + HEALED + 1).breaks(&[Promise::Healed]);
}

#[test]
fn a_write_whose_process_died_in_its_commit_counts_if_the_database_has_it() {
    let story = |last| {
        let mut story = Story::default().step(1, Event::Committing, 1, SECOND);
        story.deaths.insert(1, 2 * SECOND);
        story.around.last = vec![last];
        story.read(2, Mode::Fresh, Source::L2, 0, 2 * SECOND + HEALED + 1)
    };
    story(0).breaks(&[]);
    story(1).breaks(&[Promise::Healed]);
    let again = story(1).step(3, Event::Committing, 1, 30 * SECOND);
    again.breaks(&[]);
}

#[test]
fn a_process_that_reconnects_knows_what_was_committed_before() {
    let story = |mode, at| {
        let mut story = Story::default().commit(1, 1, SECOND);
        let (begun, over) = (SECOND + 1, SECOND + MS);
        story.around.reconnects.push(Reconnect { process: 2, begun, over });
        story.read(2, mode, Source::L2, 0, at).read(3, mode, Source::L2, 0, at)
    };
    story(Mode::Fresh, SECOND + MS).breaks(&[]);
    story(Mode::Fresh, SECOND + MS + 1).breaks(&[Promise::Drained]);
    story(Mode::Default, SECOND + MS + 1).breaks(&[]);
    let mut later = story(Mode::Fresh, SECOND + 2 * MS);
    later.around.reconnects[0].begun = SECOND;
    later.breaks(&[]);
}

#[test]
fn a_loader_that_runs_for_a_read_sees_what_was_committed() {
    let committed = || Story::default().commit(1, 1, SECOND);
    committed().read(2, Mode::Default, Source::Loader, 0, SECOND).breaks(&[]);
    committed().read(2, Mode::Default, Source::Loader, 0, SECOND + 1).breaks(&[Promise::Loaded]);
}

#[test]
fn an_age_is_kept_whatever_was_acknowledged() {
    let read = |at| Story::default().commit(1, 1, SECOND).read(2, Mode::MaxAge, Source::L1, 0, at);
    let oldest = SECOND + nanos(MAX_AGE) + AGE_LAG;
    read(oldest).breaks(&[]);
    read(oldest + 1).breaks(&[Promise::Age]);
}

#[test]
fn nothing_is_read_from_the_future_and_nothing_that_was_rolled_back() {
    let read = |version, at| {
        let story = Story::applied().step(1, Event::RolledBack, POISON + 1, SECOND);
        story.read(2, Mode::Default, Source::Loader, version, at)
    };
    // A read ends a millisecond after it began, and the COMMIT was sent at 0.999 s.
    read(1, SECOND - 2 * MS).breaks(&[]);
    read(1, SECOND - 2 * MS - 1).breaks(&[Promise::Committed]);
    read(2, 5 * SECOND).breaks(&[Promise::Committed]);
    read(POISON + 1, 5 * SECOND).breaks(&[Promise::Committed]);
}

#[test]
fn a_value_of_another_key_is_found() {
    let mut story = Story::applied().read(2, Mode::Default, Source::L2, 1, 2 * SECOND);
    story.logs.get_mut(&2).expect("just made")[0].is_foreign = true;
    story.breaks(&[Promise::Key]);
    let mut story = Story::applied().read(2, Mode::Default, Source::L2, 1, 2 * SECOND);
    story.logs.get_mut(&2).expect("just made")[0].key = 99;
    story.breaks(&[Promise::Key]);
}

#[test]
fn a_read_that_fails_without_its_loader_is_found() {
    let event = Event::LoadFailed(Mode::Default);
    Story::applied().step(2, event, 0, 2 * SECOND).breaks(&[]);
    let event = Event::ReadFailed(Mode::Default);
    Story::applied().step(2, event, 0, 2 * SECOND).breaks(&[Promise::Answered]);
}

#[test]
fn in_the_end_every_tier_holds_what_the_database_holds() {
    let read = |version, at| Story::applied().read(2, Mode::Settled, Source::L1, version, at);
    read(1, 9 * SECOND).breaks(&[]);
    // So soon that nothing else is broken by it.
    read(0, SECOND).breaks(&[Promise::Settled]);
}

#[test]
fn the_worst_that_was_allowed_is_kept() {
    let acked = SECOND + 2 * MS;
    let story = Story::applied().read(2, Mode::Default, Source::L1, 0, acked + 5 * MS);
    let story = story.read(2, Mode::Default, Source::L1, 0, acked + 7 * MS);
    let place = (Promise::Elsewhere, Mode::Default, Source::L1 as usize);
    let worst = story.findings().most_stale[&place];
    assert_eq!(worst, Worst { stale: 7 * MS, bound: DELTA });
}
