//! Stamps and window under every schedule of two or three threads, with the reorderings that their
//! memory orderings allow. The database and Redis are a mutex each: what they answer is in order.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::{
    model::Builder,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize as Flag, Ordering},
    },
    thread,
};

use crate::{
    key::NameHash,
    protocol::{
        stamps::{Slots, Stamps},
        window::Window,
    },
};

const KEY: NameHash = NameHash(1);
const TAG: NameHash = NameHash(2);
const SEED: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// Tries every schedule in which threads are interrupted at most twice.
fn all_schedules(name: &str, test: impl Fn() + Sync + Send + 'static) {
    let tried = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&tried);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        test();
    });
    #[expect(clippy::print_stdout, reason = "`make schedules` says how many they were")]
    {
        println!("{name}: {} schedules, all up to two interruptions", tried.load(Relaxed));
    }
}

/// One process: a version in the database, what Redis has of it, an entry in L1.
struct Process {
    stamps: Stamps,
    window: Window,
    database: Mutex<u64>,
    /// `None`: the value was removed.
    redis: Mutex<Option<u64>>,
    /// Birth and version.
    l1: Mutex<Option<(u64, u64)>>,
    /// How many invalidations were acknowledged.
    acknowledged: Flag,
}

impl Process {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            stamps: Stamps::new(SEED),
            window: Window::closed(),
            database: Mutex::new(0),
            redis: Mutex::new(Some(0)),
            l1: Mutex::new(None),
            acknowledged: Flag::new(0),
        })
    }

    /// The names of the only entry: one key, one tag.
    fn slots(&self) -> Slots {
        self.stamps.slots(&[KEY, TAG], &[]).expect("few names")
    }

    fn write(&self) {
        *self.database.lock().expect("no panic") += 1;
    }

    fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::AcqRel);
    }

    /// A flight without Redis: born, loaded, kept.
    fn load(&self) {
        let born = self.stamps.now();
        let version = *self.database.lock().expect("no panic");
        *self.l1.lock().expect("no panic") = Some((born, version));
    }

    /// A hit, with the acknowledged writes that it must not be older than.
    fn hit(&self) -> Option<(u64, u64)> {
        let least = self.acknowledged.load(Ordering::Acquire) as u64;
        let (born, version) = (*self.l1.lock().expect("no panic"))?;
        let is_valid = self.stamps.is_valid(born, self.slots().counting(false));
        is_valid.then_some((version, least))
    }

    fn assert_current(&self) {
        if let Some((version, least)) = self.hit() {
            assert!(version >= least, "{version} after {least} was acknowledged");
        }
    }
}

fn in_parallel<const N: usize>(process: &Arc<Process>, parts: [fn(&Process); N]) {
    let threads = parts.map(|part| {
        let process = Arc::clone(process);
        thread::spawn(move || part(&process))
    });
    for thread in threads {
        thread.join().expect("no panic");
    }
}

fn write_and_bump(process: &Process) {
    process.write();
    process.stamps.bump(&[TAG]);
    process.acknowledge();
}

#[test]
fn what_is_valid_after_an_acknowledged_bump_was_born_after_it() {
    all_schedules("bump", || {
        let process = Process::new();
        in_parallel(&process, [write_and_bump, Process::load, Process::assert_current]);
        process.load();
        assert_eq!(process.hit(), Some((1, 1)), "what is born later is served");
    });
}

#[test]
fn what_is_valid_after_an_acknowledged_flush_was_born_after_it() {
    all_schedules("flush", || {
        let process = Process::new();
        let flush = |process: &Process| {
            process.write();
            process.stamps.flush();
            process.acknowledge();
        };
        in_parallel(&process, [flush, Process::load, Process::assert_current]);
        process.load();
        assert_eq!(process.hit(), Some((1, 1)), "what is born later is served");
    });
}

#[test]
fn of_two_writers_neither_hides_the_others_bump() {
    all_schedules("two writers", || {
        let process = Process::new();
        process.load();
        let key_and_tag = |process: &Process| {
            process.write();
            process.stamps.bump(&[KEY, TAG]);
            process.acknowledge();
        };
        in_parallel(
            &process,
            [write_and_bump, key_and_tag, |process| {
                process.assert_current();
            }],
        );
        assert_eq!(process.hit(), None, "its birth is before both");
    });
}

/// A write that Redis could not be told of.
fn write_and_queue(process: &Process) {
    process.write();
    process.stamps.soil(&[TAG]);
    process.stamps.bump(&[TAG]);
    process.acknowledge();
}

/// The queued invalidation is applied after all.
fn apply_queued(process: &Process) {
    *process.redis.lock().expect("no panic") = None;
    process.stamps.bump(&[TAG]);
    process.stamps.clean(&[TAG]);
}

/// A read past L1: a dirty name keeps it from asking Redis.
fn read_through_redis(process: &Process) {
    let least = process.acknowledged.load(Ordering::Acquire) as u64;
    let is_dirty = process.stamps.is_dirty(process.slots().counting(true));
    let found = if is_dirty { None } else { *process.redis.lock().expect("no panic") };
    let version = found.unwrap_or_else(|| *process.database.lock().expect("no panic"));
    assert!(version >= least, "{version} after {least} was acknowledged");
}

#[test]
fn a_dirty_name_is_not_asked_of_redis_before_its_invalidation_is_applied_there() {
    all_schedules("soil, clean", || {
        let process = Process::new();
        process.load();
        let write_then_apply = |process: &Process| {
            write_and_queue(process);
            apply_queued(process);
        };
        let hit_and_read = |process: &Process| {
            process.assert_current();
            read_through_redis(process);
        };
        in_parallel(&process, [write_then_apply, hit_and_read]);
        assert!(!process.stamps.is_dirty(process.slots().counting(true)));
    });
}

#[test]
fn another_writers_clean_does_not_end_our_dirt() {
    all_schedules("two rows", || {
        let process = Process::new();
        process.stamps.soil(&[KEY, TAG]);
        let cleans = |process: &Process| process.stamps.clean(&[KEY, TAG]);
        in_parallel(&process, [write_and_queue, cleans, read_through_redis]);
        assert!(process.stamps.is_dirty(process.slots().counting(true)));
    });
}

#[test]
fn whoever_sees_the_window_extended_sees_what_was_applied_before() {
    all_schedules("window", || {
        let process = Process::new();
        process.window.prove(0);
        process.load();
        let hear_and_beat = |process: &Process| {
            process.stamps.bump(&[TAG]);
            process.window.prove(500);
            process.stamps.flush();
            process.window.prove(1_500);
        };
        // The order of a hit: the entry, the window, the stamps.
        let hit = |process: &Process| {
            // Past the first proof's window and the second's: a later proof was seen.
            for later in [1_000, 1_500] {
                let is_open = process.window.is_open(later);
                assert!(!(is_open && process.hit().is_some()), "at {later}");
            }
        };
        in_parallel(&process, [hear_and_beat, hit]);
    });
}

// The holes that these tests are for: each must be found.

#[test]
#[should_panic(expected = "after 1 was acknowledged")]
fn a_bump_before_the_write_is_found_out() {
    all_schedules("early bump", || {
        let early = |process: &Process| {
            process.stamps.bump(&[TAG]);
            process.write();
            process.acknowledge();
        };
        in_parallel(&Process::new(), [early, Process::load, Process::assert_current]);
    });
}

#[test]
#[should_panic(expected = "after 1 was acknowledged")]
fn a_birth_after_the_load_is_found_out() {
    all_schedules("late birth", || {
        let late = |process: &Process| {
            let version = *process.database.lock().expect("no panic");
            *process.l1.lock().expect("no panic") = Some((process.stamps.now(), version));
        };
        in_parallel(&Process::new(), [write_and_bump, late, Process::assert_current]);
    });
}

#[test]
#[should_panic(expected = "after 1 was acknowledged")]
fn a_name_cleaned_before_redis_has_it_is_found_out() {
    all_schedules("early clean", || {
        let early = |process: &Process| {
            write_and_queue(process);
            process.stamps.clean(&[TAG]);
        };
        in_parallel(&Process::new(), [early, read_through_redis]);
    });
}
