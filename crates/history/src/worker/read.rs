//! What readers do.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use fastrand::Rng;
use larder::{Cached, LoadError, Loaded};
use sea_orm::DbErr;
use tokio::time;

use super::{Bug, Worker, pause};
use crate::{
    Failure, clock,
    item::{Item, ItemKey, loaded},
    record::{Event, Mode, Record},
    table::Table,
};

/// Reads in a row before a reader pauses.
const LONGEST_RUN: u32 = 32;
const LONGEST_PAUSE: Duration = Duration::from_millis(8);
/// Waits after which an impatient reader goes away.
const MOST_WAITS: u32 = 4;

/// How slow a loader is before and after it asks the database.
#[derive(Clone, Copy)]
struct Delays {
    before: Duration,
    after: Duration,
}

impl Delays {
    fn random(rng: &mut Rng) -> Self {
        let before = if rng.u8(..100) < 5 { rng.u64(..20) } else { 0 };
        let after = match rng.u16(..1_000) {
            0..3 => rng.u64(..400),
            3..100 => rng.u64(..30),
            _ => 0,
        };
        Self { before: Duration::from_millis(before), after: Duration::from_millis(after) }
    }
}

impl Worker {
    /// Reads until the end.
    pub(super) async fn read(self: Arc<Self>, mut rng: Rng) -> Result<(), Failure> {
        while !self.is_stopping() {
            for _ in 0..rng.u32(1..=LONGEST_RUN) {
                let key = self.any_key(&mut rng);
                let mode = match rng.u8(..100) {
                    0..80 => Mode::Default,
                    80..90 => Mode::Fresh,
                    90..97 => Mode::MaxAge,
                    _ => Mode::Glance,
                };
                let waits = if rng.u8(..100) < 4 { rng.u32(..MOST_WAITS) } else { u32::MAX };
                self.begins(mode.name());
                self.read_once(&mut rng, key, mode, waits).await?;
            }
            self.begins("nothing");
            pause(&mut rng, LONGEST_PAUSE).await;
        }
        self.begins("the end");
        Ok(())
    }

    /// After writes and faults: every key from every tier.
    pub(super) async fn settled(&self) -> Result<(), Failure> {
        self.recovered().await;
        let mut rng = Rng::with_seed(0);
        for key in 0..self.keys {
            let asked = clock::now();
            let found = [self.cache.get(&ItemKey(key)).await, self.fresh.get(&ItemKey(key)).await];
            for found in found.into_iter().flatten() {
                self.journal.note(&read(key, Mode::Settled, asked, &found))?;
            }
            for cache in [&self.cache, &self.cache, &self.fresh] {
                let load = self.loader(key, Delays::random(&mut rng));
                let answer = cache.get_or_load(&ItemKey(key), load).await;
                self.journal.note(&answered(key, Mode::Settled, asked, &answer))?;
            }
        }
        Ok(())
    }

    async fn read_once(&self, rng: &mut Rng, key: u32, mode: Mode, waits: u32) -> io::Result<()> {
        let load = self.loader(key, Delays::random(rng));
        let item = ItemKey(key);
        let asked = clock::now();
        let record = match mode {
            Mode::Glance => match impatient(self.cache.get(&item), waits).await {
                Some(Some(found)) => read(key, mode, asked, &found),
                Some(None) => return Ok(()),
                None => gone(key, mode, asked),
            },
            _ => {
                let cache = match mode {
                    Mode::Fresh => &self.fresh,
                    Mode::MaxAge => &self.aged,
                    _ => &self.cache,
                };
                match impatient(cache.get_or_load(&item, load), waits).await {
                    Some(answer) => answered(key, mode, asked, &answer),
                    None => gone(key, mode, asked),
                }
            }
        };
        self.journal.note(&record)
    }

    fn loader(
        &self,
        key: u32,
        delays: Delays,
    ) -> impl FnOnce() -> Loading + Send + 'static + use<> {
        let (table, bug, keys) = (self.table.clone(), self.bug, self.keys);
        move || Box::pin(load(table, bug, keys, key, delays))
    }
}

type Loading = larder::BoxFuture<'static, Result<Loaded<Item>, DbErr>>;

async fn load(
    table: Table,
    bug: Option<Bug>,
    keys: u32,
    key: u32,
    delays: Delays,
) -> Result<Loaded<Item>, DbErr> {
    wait(delays.before).await;
    let version = table.version(key).await?;
    wait(delays.after).await;
    Ok(match bug {
        Some(Bug::Ahead) => loaded(key, version + 1),
        Some(Bug::Mixed) => loaded((key + 1) % keys, version),
        _ => loaded(key, version),
    })
}

async fn wait(delay: Duration) {
    if !delay.is_zero() {
        time::sleep(delay).await;
    }
}

fn read(key: u32, mode: Mode, asked: u64, found: &Cached<Arc<Item>>) -> Record {
    Record {
        event: Event::Read(mode, found.source),
        key,
        version: found.value.version,
        from: asked,
        till: clock::now(),
        is_foreign: found.value.key != key,
    }
}

fn gone(key: u32, mode: Mode, asked: u64) -> Record {
    Record { till: clock::now(), ..Record::step(Event::Cancelled(mode), key, 0, asked) }
}

fn answered<E: fmt::Debug>(
    key: u32,
    mode: Mode,
    asked: u64,
    answer: &Result<Cached<Arc<Item>>, LoadError<E>>,
) -> Record {
    let event = match answer {
        Ok(found) => return read(key, mode, asked, found),
        Err(error) if error.is_panic() || error.is_shut_down() => Event::ReadFailed(mode),
        Err(_) => Event::LoadFailed(mode),
    };
    Record { till: clock::now(), ..Record::step(event, key, 0, asked) }
}

/// Drops a future that has to wait more often than `waits` times.
pub(super) async fn impatient<F: Future>(future: F, mut waits: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if waits == 0 => Poll::Ready(None),
        Poll::Pending => {
            waits -= 1;
            Poll::Pending
        }
    })
    .await
}
