//! How long something took, on a machine that others use as well.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// Time as this process has had it: what the machine has taken for others does not count.
pub struct Stopwatch {
    began: Instant,
    lost: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        let lost = Pauses::seen().lost();
        Self { began: Instant::now(), lost }
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed().saturating_sub(Pauses::seen().lost().saturating_sub(self.lost))
    }
}

/// A thread that wants to wake up every few milliseconds, and how much later it did.
struct Pauses {
    origin: Instant,
    lost_us: AtomicU64,
    due_us: AtomicU64,
}

impl Pauses {
    const TICK: Duration = Duration::from_millis(2);

    fn seen() -> &'static Self {
        static PAUSES: OnceLock<Pauses> = OnceLock::new();
        let mut is_new = false;
        let pauses = PAUSES.get_or_init(|| {
            is_new = true;
            Self { origin: Instant::now(), lost_us: AtomicU64::new(0), due_us: AtomicU64::new(0) }
        });
        if is_new {
            pauses.expect_next();
            std::thread::spawn(|| pauses.watch());
        }
        pauses
    }

    fn watch(&self) {
        loop {
            std::thread::sleep(Self::TICK);
            let late = self.late();
            self.expect_next();
            self.lost_us.fetch_add(late, SeqCst);
        }
    }

    fn expect_next(&self) {
        let due = self.origin.elapsed() + Self::TICK;
        self.due_us.store(due.as_micros() as u64, SeqCst);
    }

    fn late(&self) -> u64 {
        (self.origin.elapsed().as_micros() as u64).saturating_sub(self.due_us.load(SeqCst))
    }

    /// A pause that has just ended counts before the thread has noticed it.
    fn lost(&self) -> Duration {
        Duration::from_micros(self.lost_us.load(SeqCst) + self.late())
    }
}
