//! Listening: who may hear of what, from when on, and until when.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::courses::NO_COURSE;
use super::lessons::NOT_ENROLLED;
use super::throttle::Name;
use super::{Error, GONE, Learning, Result};
use crate::model::{CourseStatus, Event, EventKind, Happened, Principal, Refusal, Topic};
use crate::reads::{REPLAY, Reads, Via};
use crate::store::Store;
use crate::token::Access;

const NOT_ADMIN: Refusal = Refusal::Forbidden("Only an admin may listen to the platform");

/// How long somebody goes on to hear of what was theirs when the stream began.
const BETWEEN_CHECKS: Duration = Duration::from_secs(5);
/// And then to hear of why: of a course it may be the last event.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// At the same time, in this process.
const MOST_OF_ONE: usize = 8;
/// A school may be behind one address; whoever signs up again and again must not take all places.
const MOST_OF_ADDRESS: usize = 200;
const MOST: usize = 2_000;

/// Missed events read at a time.
const PAGE: u64 = 200;

/// A request for a stream.
pub struct ListenRequest {
    pub topics: Vec<Topic>,
    /// The last event that the client has got, as it says.
    pub last_id: Option<String>,
    /// Where the request comes from.
    pub from: IpAddr,
}

/// One thing to tell a listener.
#[derive(Debug)]
pub enum Told {
    /// From here on. Whoever comes again with this id has missed nothing.
    Begin {
        id: Option<i64>,
    },
    Event(Arc<Happened>),
    /// Events are missing: whatever was learned from earlier ones has to be read again.
    Reset {
        id: Option<i64>,
    },
}

/// The streams that are open.
#[derive(Default)]
pub(super) struct Listeners {
    open: Arc<Mutex<Open>>,
    closing: CancellationToken,
}

/// How many there are, in all and under each name: a person's, an address'.
#[derive(Default)]
struct Open {
    all: usize,
    by_name: HashMap<Name, usize>,
}

/// One open stream, until it is dropped.
struct Place {
    open: Arc<Mutex<Open>>,
    names: [Name; 2],
}

impl Listeners {
    fn place(&self, listener: i64, from: IpAddr) -> Result<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closing.is_cancelled() || open.all >= MOST {
            return Err(Refusal::Busy.into());
        }
        let names = [Name::person(listener), Name::address(from)];
        let of = |name| open.by_name.get(&name).copied().unwrap_or(0);
        if of(names[0]) >= MOST_OF_ONE {
            return Err(Refusal::TooManyStreams { most: MOST_OF_ONE }.into());
        }
        if of(names[1]) >= MOST_OF_ADDRESS {
            return Err(Refusal::TooManyStreamsFrom { most: MOST_OF_ADDRESS }.into());
        }
        open.all += 1;
        names.into_iter().for_each(|name| *open.by_name.entry(name).or_default() += 1);
        Ok(Place { open: Arc::clone(&self.open), names })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        for name in self.names {
            if let Some(count) = open.by_name.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    open.by_name.remove(&name);
                }
            }
        }
    }
}

impl Learning {
    /// Begins to listen. The stream ends with the access.
    pub async fn listen(&self, access: Access, request: ListenRequest) -> Result<Subscription> {
        let listener = access.principal.id;
        let place = self.listeners.place(listener, request.from)?;
        let gate = Gate {
            store: Arc::clone(&self.store),
            reads: self.reads.clone(),
            listener,
            topics: request.topics,
        };
        let grants = gate.grants().await?;
        // Before anything is read: what is committed meanwhile comes through here.
        let live = self.reads.feed().listen().await?;
        let (first, missed) = self.beginning(request.last_id).await?;
        let left = access.expires_at.0.saturating_sub(self.clock.now().0);
        let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        let now = Instant::now();
        let mut checks = interval_at(now + BETWEEN_CHECKS, BETWEEN_CHECKS);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Subscription {
            gate,
            grants,
            live,
            missed,
            ready: VecDeque::from([first]),
            checks,
            ends: now + left,
            closing: self.listeners.closing.clone(),
            _place: place,
        })
    }

    /// What to tell first, and after which row to read what the client has missed.
    async fn beginning(&self, last_id: Option<String>) -> Result<(Told, Option<i64>)> {
        let newest = self.store.newest_row().await?;
        let Some(last_id) = last_id else {
            return Ok((Told::Begin { id: newest }, None));
        };
        let missed = match last_id.parse() {
            Ok(id) => self.store.replay_after(id, REPLAY).await?,
            Err(_) => None,
        };
        let first = match missed {
            Some(_) => Told::Begin { id: None },
            None => Told::Reset { id: newest },
        };
        Ok((first, missed))
    }

    /// Ends all streams, and begins no more: the server stops.
    pub fn end_streams(&self) {
        self.listeners.closing.cancel();
    }
}

/// What somebody may hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    /// All of a course: who teaches it.
    Whole(i64),
    /// What concerns everybody in a course.
    Common(i64),
    Own(i64),
    Platform,
}

impl Grant {
    fn covers(self, event: &Event) -> bool {
        match self {
            Self::Whole(course) => {
                event.course_id == Some(course) && event.kind != EventKind::PlatformUpdate
            }
            Self::Common(course) => {
                event.course_id == Some(course) && event.kind.is_of_the_course()
            }
            Self::Own(user) => event.user_id == Some(user) && !event.kind.is_of_the_platform(),
            Self::Platform => event.kind.is_of_the_platform(),
        }
    }
}

/// Decides what somebody may hear, again and again.
struct Gate {
    store: Arc<Store>,
    reads: Reads,
    listener: i64,
    topics: Vec<Topic>,
}

impl Gate {
    /// By the role that the database has now, not by the token's.
    async fn grants(&self) -> Result<Vec<Grant>> {
        let user = self.store.user(self.listener).await?.ok_or(GONE)?;
        let by = Principal { id: user.id, role: user.role };
        let mut grants = Vec::with_capacity(self.topics.len());
        for topic in &self.topics {
            grants.push(match *topic {
                Topic::Me => Grant::Own(by.id),
                Topic::Platform if by.is_admin() => Grant::Platform,
                Topic::Platform => return Err(NOT_ADMIN.into()),
                Topic::Course(id) => self.course(by, id).await?,
            });
        }
        Ok(grants)
    }

    async fn course(&self, by: Principal, id: i64) -> Result<Grant> {
        let course = self.reads.course(Via::Cache, id).await?.value.ok_or(NO_COURSE)?;
        if by.governs(course.instructor_id) {
            return Ok(Grant::Whole(id));
        }
        if course.status != CourseStatus::Draft && self.reads.is_enrolled(by.id, id).await? {
            return Ok(Grant::Common(id));
        }
        Err(if course.status == CourseStatus::Published { NOT_ENROLLED } else { NO_COURSE }.into())
    }
}

/// What one listener is told, in turn.
pub struct Subscription {
    gate: Gate,
    grants: Vec<Grant>,
    live: broadcast::Receiver<Arc<Happened>>,
    /// After which row what was missed goes on.
    missed: Option<i64>,
    ready: VecDeque<Told>,
    checks: Interval,
    ends: Instant,
    closing: CancellationToken,
    _place: Place,
}

impl Subscription {
    /// The next thing to tell; `None` when the stream ends: the token has expired, the listener
    /// may no longer hear one of the topics, or the server stops. May be dropped at any time.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(told);
            }
            let store = &self.gate.store;
            let missed = self.missed;
            let page = async move {
                match missed {
                    Some(after) => store.events_after(after, PAGE).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return None,
                () = sleep_until(self.ends) => return None,
                _ = self.checks.tick() => self.check().await,
                page = page => match page {
                    Ok(page) => {
                        self.missed = page.next;
                        page.events.into_iter().for_each(|event| self.hear(Arc::new(event)));
                    }
                    // The client comes again, with the id of what it has got.
                    Err(_) => return None,
                },
                heard = self.live.recv(), if missed.is_none() => match heard {
                    Ok(event) => {
                        let is_own_end = event.event.kind == EventKind::Dropped
                            && event.event.user_id == Some(self.gate.listener);
                        self.hear(event);
                        if is_own_end {
                            self.check().await;
                        }
                    }
                    Err(RecvError::Lagged(_)) => self.ready.push_back(Told::Reset { id: None }),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    fn hear(&mut self, happened: Arc<Happened>) {
        if self.grants.iter().any(|grant| grant.covers(&happened.event)) {
            self.ready.push_back(Told::Event(happened));
        }
    }

    /// Whether all topics may still be heard. If nobody can say it now, the next check does.
    async fn check(&mut self) {
        match self.gate.grants().await {
            Ok(grants) => self.grants = grants,
            Err(Error::Refused(_) | Error::Absent(..)) => {
                self.ends = self.ends.min(Instant::now() + LAST_WORDS);
            }
            Err(Error::Store(error)) => tracing::debug!(%error, "a listener is not checked"),
            Err(Error::Read(error)) => tracing::debug!(%error, "a listener is not checked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Listeners, MOST_OF_ADDRESS, MOST_OF_ONE};
    use crate::learning::Error;
    use crate::model::Refusal;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn many_accounts_behind_one_address_leave_places_for_other_addresses() {
        let listeners = Listeners::default();
        let (crowd, other) = (address("2001:db8::1"), address("2001:db8:0:1::1"));
        let place = |id: usize, from| listeners.place(id as i64, from);
        let places: Vec<_> =
            (0..MOST_OF_ADDRESS).map(|id| place(id, crowd).ok().unwrap()).collect();
        let next = address("2001:db8::2");
        let refused = place(MOST_OF_ADDRESS, next).err().unwrap();
        let of_address = Refusal::TooManyStreamsFrom { most: MOST_OF_ADDRESS };
        assert_eq!(refused.to_string(), of_address.to_string(), "the same customer's");
        assert!(place(MOST_OF_ADDRESS, other).is_ok());
        drop(places);
        assert!(place(MOST_OF_ADDRESS, crowd).is_ok());
        assert_eq!(listeners.open.lock().unwrap().all, 0);
    }

    #[test]
    fn a_place_is_free_again_when_its_stream_is_dropped() {
        let (listeners, here) = (Listeners::default(), address("192.0.2.1"));
        let place = |id| listeners.place(id, here);
        let mut places: Vec<_> = (0..MOST_OF_ONE).map(|_| place(7).ok().unwrap()).collect();
        let refused = place(7).err().unwrap();
        assert!(matches!(refused, Error::Refused(Refusal::TooManyStreams { .. })), "{refused}");
        assert!(place(8).is_ok(), "somebody else's");
        places.pop();
        places.push(place(7).ok().unwrap());
        places.clear();
        assert!(listeners.open.lock().unwrap().by_name.is_empty());
    }
}
