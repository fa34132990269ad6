//! The flight map under ten thousand random schedules: readers that are cancelled at any await
//! point, loads that end in every way, writers that invalidate in between.
//!
//! Shuttle decides what happens between any two operations on the map's lock, the stamps and the
//! tests' own state, and at every await point. The channel on which a flight lands is the real one:
//! its inside is one step here. The loop of a reader is that of `read.rs`, with the look into Redis
//! and the load as yields.

use std::sync::Arc;

use shuttle::{
    future::{self, JoinHandle, yield_now},
    rand::{Rng, thread_rng},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use crate::{
    error::Failure,
    flight::{Boarding, Company, Flight, Flights, Landing, Origin, Pilot},
    key::NameHash,
    l1::Entry,
    protocol::{
        join::Moment,
        stamps::{Slots, Stamps},
        window::Window,
    },
};

const SCHEDULES: usize = 10_000;
const KEY: NameHash = NameHash(1);
const SEED: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

struct Process {
    flights: Arc<Flights>,
    stamps: Stamps,
    window: Window,
    all_may_join: bool,
    database: AtomicU64,
    acknowledged: AtomicU64,
    /// The births of the loads that go on.
    loading: Mutex<Vec<u64>>,
    /// Loads go on in tasks of their own.
    trips: Mutex<Vec<JoinHandle<()>>>,
}

/// How a load ends for those who wait.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Announced, then filled: it can be joined until the fill is done.
    Announced,
    Landed,
    Failed,
    /// The task goes away without a word.
    Lost,
}

impl Process {
    fn new(all_may_join: bool) -> Arc<Self> {
        Arc::new(Self {
            flights: Arc::default(),
            stamps: Stamps::new(SEED),
            window: Window::always_open(),
            all_may_join,
            database: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            loading: Mutex::default(),
            trips: Mutex::default(),
        })
    }

    fn slots(&self) -> Slots {
        self.stamps.slots(&[KEY], &[]).expect("few names")
    }

    fn board(&self, company: Company) -> Boarding {
        let at = Moment { now: 0, window: &self.window, stamps: &self.stamps };
        self.flights.board(&"key".into(), self.slots(), false, company, at)
    }

    /// One read; what it returns is no older than what was acknowledged before it began.
    async fn read(self: Arc<Self>, company: Company) {
        let least = self.acknowledged.load(SeqCst);
        let mut was_overtaken = false;
        let landing = loop {
            match self.board(company) {
                Boarding::Leads(flight, pilot) => break self.lead(flight, pilot).await,
                Boarding::Joined(flight) => {
                    let landing = flight.clone().land().await;
                    if matches!(landing, Landing::Abandoned) {
                        continue;
                    }
                    if !was_overtaken && !flight.birth.is_current(&self.stamps) {
                        was_overtaken = true;
                        continue;
                    }
                    break landing;
                }
            }
        };
        if let Landing::Arrived(entry, _) = landing {
            let version = entry.value.expect("a value").downcast::<u64>().expect("a version");
            assert!(*version >= least, "{version} after {least} was acknowledged");
        }
    }

    /// The first look is made here, and leaves nothing if this is dropped; the rest in a task.
    async fn lead(self: &Arc<Self>, flight: Flight, pilot: Pilot) -> Landing {
        yield_now().await;
        if thread_rng().gen_bool(0.25) {
            return self.land_at_once(flight, pilot);
        }
        let (process, born) = (Arc::clone(self), flight.birth.born);
        let trip = future::spawn(async move { process.fly(born, pilot).await });
        self.trips.lock().expect("no panic").push(trip);
        flight.land().await
    }

    /// The first look found an answer: it is handed to those who wait by then, if anybody does.
    fn land_at_once(&self, flight: Flight, mut pilot: Pilot) -> Landing {
        let version = self.database.load(SeqCst);
        let arrived = Landing::Arrived(self.entry(flight.birth.born, version), Origin::L2);
        drop(flight);
        pilot.land(arrived.clone());
        arrived
    }

    async fn fly(&self, born: u64, mut pilot: Pilot) {
        self.begin_load(born);
        yield_now().await;
        let version = self.database.load(SeqCst);
        yield_now().await;
        self.loading.lock().expect("no panic").retain(|loading| *loading != born);
        let arrived = Landing::Arrived(self.entry(born, version), Origin::Loader);
        match [End::Announced, End::Landed, End::Failed, End::Lost][thread_rng().gen_range(0..4)] {
            End::Announced => {
                pilot.announce(arrived);
                yield_now().await;
            }
            End::Landed => pilot.land(arrived),
            End::Failed => pilot.land(Landing::Failed(Failure::Panicked)),
            End::Lost => {}
        }
    }

    /// At most one load at a time, of those that nothing has overtaken, unless somebody asked to fly
    /// alone.
    fn begin_load(&self, born: u64) {
        let mut loading = self.loading.lock().expect("no panic");
        let slots = self.slots();
        let is_current = |born: &u64| self.stamps.is_current(*born, slots.counting(true));
        if self.all_may_join && is_current(&born) {
            assert!(!loading.iter().any(is_current), "two loads at a time");
        }
        loading.push(born);
    }

    fn entry(&self, born: u64, version: u64) -> Entry {
        Entry {
            value: Some(Arc::new(version)),
            born,
            slots: self.slots(),
            namespace: 0,
            written: 0,
            soft: u64::MAX,
            hard: u64::MAX,
            refresh_after: 0,
            weight: 0,
        }
    }

    async fn write(self: Arc<Self>) {
        let version = self.database.fetch_add(1, SeqCst) + 1;
        yield_now().await;
        self.stamps.bump(&[KEY]);
        self.acknowledged.fetch_max(version, SeqCst);
    }

    /// Waits for all tasks, those that tasks have spawned too, and looks for what they left.
    async fn end(&self, tasks: Vec<JoinHandle<()>>) {
        for task in tasks {
            let _ = task.await;
        }
        loop {
            let trip = self.trips.lock().expect("no panic").pop();
            let Some(trip) = trip else { break };
            trip.await.expect("nobody aborts a trip");
        }
        assert_eq!(self.flights.in_the_air(), 0, "a flight is left behind");
    }
}

fn random_schedules(name: &str, test: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(test, SCHEDULES);
    #[expect(clippy::print_stdout, reason = "`make schedules` says how many they were")]
    {
        println!("{name}: {SCHEDULES} schedules");
    }
}

/// Readers, some of whom go away at a random moment, with writers among them.
fn readers_and_writers(readers: &[Company], writers: usize, cancelled: usize) {
    future::block_on(async {
        let process = Process::new(!readers.contains(&Company::Alone));
        let reads =
            readers.iter().map(|company| future::spawn(Arc::clone(&process).read(*company)));
        let mut tasks: Vec<_> = reads.collect();
        let aborts: Vec<_> = tasks[..cancelled].iter().map(JoinHandle::abort_handle).collect();
        tasks.extend((0..writers).map(|_| future::spawn(Arc::clone(&process).write())));
        for abort in aborts {
            tasks.push(future::spawn(async move {
                for _ in 0..thread_rng().gen_range(0..6) {
                    yield_now().await;
                }
                abort.abort();
            }));
        }
        process.end(tasks).await;
    });
}

#[test]
fn whoever_boards_after_an_acknowledged_bump_gets_nothing_older() {
    random_schedules("two writers", || readers_and_writers(&[Company::Any; 4], 2, 0));
}

#[test]
fn a_reader_who_goes_away_leaves_the_others_neither_waiting_nor_with_an_old_value() {
    random_schedules("cancelled", || readers_and_writers(&[Company::Any; 4], 1, 2));
}

#[test]
fn when_all_go_away_no_flight_is_left() {
    random_schedules("all cancelled", || readers_and_writers(&[Company::Any; 3], 1, 3));
}

#[test]
fn those_who_fly_alone_disturb_nobody() {
    use Company::{Alone, Any};
    random_schedules("alone", || readers_and_writers(&[Alone, Any, Alone, Any], 1, 2));
}
