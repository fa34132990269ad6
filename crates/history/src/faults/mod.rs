//! What happens to Redis, to the lines to it and to the workers while they work. Each of the three
//! has its own sequence of faults, drawn from the seed; they overlap as they fall.

mod around;
mod server;

use std::time::Duration;

use fastrand::Rng;
use private_servers::{Proxy, Redis};
use tokio::time;

use crate::{Failure, clock, crew::Crew};

const LONGEST_GAP: Duration = Duration::from_millis(1_500);
/// Trouble begins for this long, then none does, so that it shows what heals and how fast.
const TROUBLE: Duration = Duration::from_secs(8);
const CALM: Duration = Duration::from_secs(4);

/// A fault that has happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// Whether it may keep every process from healing what a writer left: it stopped Redis or a
    /// process (which may have held the database's lock), or cut all from Redis.
    pub(crate) delays_healing: bool,
    /// Who lost all connections to Redis, and when: none that they use after the fault is older.
    pub(crate) cut_off: Option<(CutOff, u64)>,
    pub(crate) from: u64,
    pub(crate) till: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutOff {
    Everybody,
    Line(usize),
}

impl Fault {
    fn over(name: &'static str, delays_healing: bool, from: u64) -> Self {
        Self { name, delays_healing, cut_off: None, from, till: clock::now() }
    }
}

/// When a sequence of faults ends, and its chances.
struct Course {
    rng: Rng,
    begun: time::Instant,
    end: time::Instant,
    faults: Vec<Fault>,
}

impl Course {
    fn new(seed: u64, lasting: Duration) -> Self {
        let begun = time::Instant::now();
        let rng = Rng::with_seed(seed);
        Self { rng, begun, end: begun + lasting, faults: Vec::new() }
    }

    /// Waits until the next fault is due; `false` if none is.
    async fn goes_on(&mut self) -> bool {
        time::sleep(self.up_to(LONGEST_GAP)).await;
        let cycle = (TROUBLE + CALM).as_secs_f64();
        let into = self.begun.elapsed().as_secs_f64() % cycle;
        if into > TROUBLE.as_secs_f64() {
            time::sleep(Duration::from_secs_f64(cycle - into)).await;
        }
        time::Instant::now() < self.end
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.f64())
    }

    async fn sleep(&mut self, most: Duration) {
        time::sleep(self.up_to(most)).await;
    }
}

/// What faults happen to. They come back repaired.
pub(crate) struct Stage {
    pub(crate) redis: Redis,
    pub(crate) lines: Vec<Proxy>,
    pub(crate) crew: Crew,
}

impl Stage {
    /// Lets faults happen for as long as said.
    pub(crate) async fn suffer(
        mut self,
        seed: u64,
        lasting: Duration,
    ) -> Result<(Self, Vec<Fault>), Failure> {
        let course = |number: u64| Course::new(seed.wrapping_mul(31) + number, lasting);
        let (redis, lines, crew) = tokio::join!(
            server::trouble(&mut self.redis, course(1)),
            around::trouble_lines(&self.lines, course(2)),
            around::trouble_workers(&mut self.crew, course(3)),
        );
        let mut faults = redis;
        faults.extend(lines);
        faults.extend(crew?);
        faults.sort_by_key(|fault| fault.from);
        Ok((self, faults))
    }
}
