//! What happened, from the outbox to everybody in this process who listens.
//!
//! The outbox is what all servers of one database share, so it is read also for the writes of
//! this one. One task reads, and only while somebody listens.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, broadcast};
use tokio::time::{Instant, sleep, timeout};

use super::outbox::KEPT;
use crate::model::Happened;
use crate::store::{self, Replay, Store};

/// How often the outbox is looked at when nothing wakes the reader.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// However many commits there are, it is not looked at more often.
const LEAST_PAUSE: Duration = Duration::from_millis(25);

/// Ids become visible in the order of commits. So what was read in the last seconds is read
/// again: between the insert of a row and its commit nothing is done that takes this long.
const OVERLAP: Duration = Duration::from_secs(10);
/// A look that takes this long says that commits may take long, too.
const STALL: Duration = Duration::from_secs(1);
/// A database that takes longer is asked again.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows read at a time.
const PAGE: u64 = 1_000;
/// What a listener may be behind. One who is slower has missed something.
const MOST_WAITING: usize = 1_024;

/// How far back somebody is served who comes again.
pub const REPLAY: Replay = Replay { kept: KEPT, overlap: OVERLAP, most: 10_000 };

/// The events of this database, as they are committed.
#[derive(Debug)]
pub struct Feed {
    store: Arc<Store>,
    listeners: broadcast::Sender<Arc<Happened>>,
    wake: Notify,
    reader: Mutex<Reader>,
}

/// Whether the task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Runs,
    Rests,
}

impl Feed {
    pub fn new(store: Arc<Store>) -> Self {
        let (listeners, _) = broadcast::channel(MOST_WAITING);
        Self { store, listeners, wake: Notify::new(), reader: Mutex::new(Reader::Rests) }
    }

    /// Looks at the outbox soon: there is something in it.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Hears of every event that is committed from now on. A few that were committed in the last
    /// moments may come, too.
    pub async fn listen(self: &Arc<Self>) -> store::Result<broadcast::Receiver<Arc<Happened>>> {
        let mut reader = self.reader.lock().await;
        let live = self.listeners.subscribe();
        if *reader == Reader::Rests {
            let mut window = Window::new(self.store.row_before(OVERLAP).await?);
            self.read(&mut window).await?;
            *reader = Reader::Runs;
            tokio::spawn(Arc::clone(self).run(window));
        }
        Ok(live)
    }

    async fn run(self: Arc<Self>, mut window: Window) {
        let mut was_failing = false;
        while !self.may_rest().await {
            let began = Instant::now();
            let read = timeout(DATABASE_TIMEOUT, self.read(&mut window)).await;
            let failed = match read {
                Ok(Ok(events)) => {
                    // Nobody may listen any more, which the next turn sees.
                    events.into_iter().for_each(|event| drop(self.listeners.send(event)));
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer in time".to_owned()),
            };
            if failed.is_some() || began.elapsed() > STALL {
                window.stalled();
            }
            if let (Some(error), false) = (&failed, was_failing) {
                tracing::warn!(error, "events cannot be read; listeners wait");
            }
            was_failing = failed.is_some();
            sleep(LEAST_PAUSE).await;
            let rest = POLL_EVERY.saturating_sub(began.elapsed());
            tokio::select! {
                () = sleep(rest) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Nobody can begin to listen in between: they wait for the same lock.
    async fn may_rest(&self) -> bool {
        let mut reader = self.reader.lock().await;
        if self.listeners.receiver_count() > 0 {
            return false;
        }
        *reader = Reader::Rests;
        true
    }

    /// What the window has not shown yet, the lowest id first.
    async fn read(&self, window: &mut Window) -> store::Result<Vec<Arc<Happened>>> {
        let (mut fresh, mut after) = (Vec::new(), window.floor);
        loop {
            let page = self.store.events_after(after, PAGE).await?;
            fresh.extend(page.events.into_iter().filter(|event| !window.seen.contains(&event.id)));
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        window.seen.extend(fresh.iter().map(|event| event.id));
        window.looked(Instant::now());
        Ok(fresh.into_iter().map(Arc::new).collect())
    }
}

/// What has been read of the last seconds.
#[derive(Debug)]
struct Window {
    /// Nothing below becomes visible any more.
    floor: i64,
    seen: BTreeSet<i64>,
    /// When which id was the newest.
    looks: VecDeque<(Instant, i64)>,
}

impl Window {
    fn new(floor: i64) -> Self {
        Self { floor, seen: BTreeSet::new(), looks: VecDeque::new() }
    }

    /// A row below an id that was there this long ago is there by now.
    fn looked(&mut self, now: Instant) {
        while let Some((at, newest)) = self.looks.front()
            && now.duration_since(*at) >= OVERLAP
        {
            self.floor = *newest;
            self.looks.pop_front();
        }
        self.seen = self.seen.split_off(&self.floor.saturating_add(1));
        let newest = self.seen.last().copied().unwrap_or(self.floor);
        if self.looks.back().is_none_or(|(_, known)| *known != newest) {
            self.looks.push_back((now, newest));
        }
    }

    /// Commits may have taken as long as the look did: the seconds are counted anew.
    fn stalled(&mut self) {
        self.looks.clear();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{OVERLAP, STALL, Window};

    /// What a look finds: all ids above the floor that are visible.
    fn look(window: &mut Window, visible: &[i64], now: Instant) -> Vec<i64> {
        let above = visible.iter().copied().filter(|id| *id > window.floor);
        let fresh: Vec<i64> = above.filter(|id| !window.seen.contains(id)).collect();
        window.seen.extend(&fresh);
        window.looked(now);
        fresh
    }

    #[test]
    fn an_id_that_becomes_visible_late_is_shown_and_none_is_shown_twice() {
        let (mut window, start) = (Window::new(0), Instant::now());
        assert_eq!(look(&mut window, &[1, 3], start), [1, 3]);
        let late = start + OVERLAP - STALL;
        assert_eq!(look(&mut window, &[1, 2, 3], late), [2]);
        assert!(look(&mut window, &[1, 2, 3], late).is_empty());
    }

    #[test]
    fn what_is_remembered_is_forgotten_when_nothing_below_can_come() {
        let (mut window, mut now) = (Window::new(0), Instant::now());
        for id in 1..=1_000 {
            assert_eq!(look(&mut window, &[id], now), [id]);
            now += STALL;
        }
        assert!(window.seen.len() <= 10 && window.looks.len() <= 10, "{window:?}");
        assert_eq!(window.floor, 990);
    }

    #[test]
    fn after_a_stall_late_ids_have_their_whole_time_again() {
        let (mut window, start) = (Window::new(0), Instant::now());
        look(&mut window, &[2], start);
        window.stalled();
        let back = start + 10 * OVERLAP;
        assert_eq!(look(&mut window, &[1, 2], back), [1]);
    }
}
