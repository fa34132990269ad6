//! One process under test: a cache, readers and writers, and a file with all they did.

mod read;
mod write;

use std::{
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::{Args, ValueEnum};
use fastrand::Rng;
use larder::{Cache, L2State};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin},
    time,
};

use crate::{Failure, item::GROUP, record::Journal, table::Table};

const READERS: usize = 24;
const WRITERS: usize = 3;
/// No operation may take longer, whatever happens around it.
const LAST_OPERATION: Duration = Duration::from_secs(25);
/// What all processes begin their keys in Redis with.
pub(crate) const PREFIX: &str = "h:";

tokio::task_local! {
    /// Which of the readers and writers a task is.
    static NUMBER: usize;
}

#[derive(Args, Clone, Debug)]
pub(crate) struct WorkerArgs {
    #[arg(long)]
    pub(crate) process: u32,
    #[arg(long)]
    pub(crate) seed: u64,
    #[arg(long)]
    pub(crate) keys: u32,
    #[arg(long)]
    pub(crate) database: String,
    #[arg(long)]
    pub(crate) redis: String,
    #[arg(long)]
    pub(crate) log: PathBuf,
    #[arg(long)]
    pub(crate) bug: Option<Bug>,
}

/// A mistake that the checker must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bug {
    /// Writes are acknowledged and nothing is invalidated.
    NoInvalidate,
    /// Writes are acknowledged before they are invalidated.
    Late,
    /// Loaders read what is not committed yet: one version too many.
    Ahead,
    /// Loaders answer with the row of another key.
    Mixed,
}

struct Worker {
    cache: Cache,
    fresh: Cache,
    aged: Cache,
    table: Table,
    journal: Journal,
    process: u32,
    keys: u32,
    bug: Option<Bug>,
    is_stopping: AtomicBool,
    /// The next write ends this process between its COMMIT and its invalidation.
    must_abort: AtomicBool,
    /// What each task waits for, to say so if it never ends.
    waits_for: Vec<Mutex<&'static str>>,
}

/// Runs until its parent says so or is gone.
pub(crate) async fn run(args: WorkerArgs) -> Result<(), Failure> {
    let table = Table::open(&args.database).await?;
    let builder = Cache::builder().prefix(PREFIX).l1_bytes(16 << 20).outbox(table.clone());
    let cache = builder.redis(&args.redis)?.build()?;
    let worker = Arc::new(Worker {
        fresh: cache.fresh(),
        aged: cache.max_age(crate::check::MAX_AGE),
        cache,
        table,
        journal: Journal::create(&args.log)?,
        process: args.process,
        keys: args.keys,
        bug: args.bug,
        is_stopping: AtomicBool::new(false),
        must_abort: AtomicBool::new(false),
        waits_for: (0..READERS + WRITERS).map(|_| Mutex::new("")).collect(),
    });
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    say("ready")?;
    let mut tasks = Vec::new();
    for number in 0..READERS + WRITERS {
        let seed = args.seed ^ (u64::from(args.process) << 32) ^ ((number as u64) << 16);
        let (worker, rng) = (Arc::clone(&worker), Rng::with_seed(seed));
        tasks.push(tokio::spawn(NUMBER.scope(number, async move {
            if number < READERS { worker.read(rng).await } else { worker.write(rng).await }
        })));
    }
    worker.follow(&mut orders).await?;
    worker.is_stopping.store(true, Relaxed);
    let end = time::Instant::now() + LAST_OPERATION;
    for task in tasks {
        match time::timeout_at(end, task).await {
            Ok(ended) => ended??,
            Err(_) => return Err(worker.at_work().into()),
        }
    }
    worker.journal.note_safely(&[])?;
    say("stopped")?;
    if orders.next_line().await?.is_some() {
        worker.settled().await?;
        worker.journal.note_safely(&[])?;
        say("settled")?;
    }
    Ok(())
}

fn say(word: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{word}")?;
    out.flush()
}

impl Worker {
    /// Does what it is told, until it is told to stop.
    async fn follow(&self, orders: &mut Lines<BufReader<Stdin>>) -> Result<(), Failure> {
        while let Some(order) = orders.next_line().await? {
            match order.as_str() {
                "abort" => self.must_abort.store(true, Relaxed),
                _ => return Ok(()),
            }
        }
        // Nobody is left to check what we do.
        std::process::exit(1)
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Relaxed)
    }

    /// Says what the current task begins to wait for.
    fn begins(&self, what: &'static str) {
        NUMBER.with(|number| *self.waits_for[*number].lock() = what);
    }

    /// What the tasks that have not ended wait for, for a message.
    fn at_work(&self) -> String {
        let at: Vec<&str> = self.waits_for.iter().map(|what| *what.lock()).collect();
        format!(
            "process {}: {LAST_OPERATION:?} after the order to stop a task waits still; all of them: \
             {at:?}; {:?}",
            self.process,
            self.cache.stats()
        )
    }

    /// A key for a reader: every second time one of the hot ones.
    fn any_key(&self, rng: &mut Rng) -> u32 {
        if rng.bool() { self.hot_key(rng) } else { rng.u32(..self.keys) }
    }

    fn hot_key(&self, rng: &mut Rng) -> u32 {
        rng.u32(..GROUP.min(self.keys))
    }

    /// Waits until Redis is in use again, which may take a while after the last fault.
    async fn recovered(&self) {
        for _ in 0..500 {
            let stats = self.cache.stats();
            if stats.l2 == L2State::Up && stats.backplane.is_fresh {
                return;
            }
            time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Sleeps for up to `most`.
async fn pause(rng: &mut Rng, most: Duration) {
    time::sleep(most.mul_f64(rng.f64())).await;
}
