//! Single flight: one load a key at a time, and who may wait for it.

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
};

use tokio::sync::watch;

#[cfg(not(all(test, shuttle)))]
use parking_lot::Mutex;

#[cfg(all(test, shuttle))]
use crate::schedules::lock::Mutex;
use crate::{
    cache::Mode,
    error::Failure,
    l1::Entry,
    protocol::{
        join::{Birth, Moment},
        stamps::Slots,
    },
};

/// Where a landed value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    L2,
    Loader,
}

/// How a flight ended, for all who waited.
#[derive(Clone)]
pub(crate) enum Landing {
    Arrived(Entry, Origin),
    Failed(Failure),
    /// A refresh that another process makes.
    GaveUp,
    /// The leader went away before there was anything to land: whoever joined boards again.
    Abandoned,
}

/// A load under way.
#[derive(Clone)]
pub(crate) struct Flight {
    id: u64,
    pub(crate) birth: Birth,
    /// Everybody waits for themselves: with a future that one polls for all, the others hang if that
    /// one goes away as the flight lands.
    landing: watch::Receiver<Option<Landing>>,
}

impl Flight {
    /// Waits for the end. Dropping this future leaves the flight to the others.
    pub(crate) async fn land(mut self) -> Landing {
        let landed = self.landing.wait_for(Option::is_some).await;
        landed.ok().and_then(|landing| landing.clone()).unwrap_or(Landing::Abandoned)
    }
}

impl Landing {
    /// Whether it answers a reader who takes only this.
    pub(crate) fn is_for(&self, mode: Mode, now: u64) -> bool {
        match self {
            Self::Arrived(entry, _) => mode.takes(entry.age(now), now >= entry.soft),
            Self::Failed(_) | Self::GaveUp | Self::Abandoned => true,
        }
    }
}

/// Whom a reader flies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    /// Whoever has begun already.
    Any,
    /// Nobody who has; later ones may join.
    Alone,
}

/// The flights of one cache.
#[derive(Default)]
pub(crate) struct Flights(Mutex<InTheAir>);

#[derive(Default)]
struct InTheAir {
    by_key: HashMap<Arc<str>, Flight>,
    flown: u64,
}

/// A place on a flight.
pub(crate) enum Boarding {
    Joined(Flight),
    /// Nobody loads this key: the caller must, and lands the flight through the [`Pilot`].
    Leads(Flight, Pilot),
}

impl Flights {
    /// Joins the flight for `key` if that is allowed, else begins one.
    pub(crate) fn board(
        self: &Arc<Self>,
        key: &Arc<str>,
        slots: Slots,
        loads_only: bool,
        company: Company,
        at: Moment<'_>,
    ) -> Boarding {
        let mut air = self.0.lock();
        let InTheAir { by_key, flown } = &mut *air;
        let seat = by_key.entry(Arc::clone(key));
        if let hash_map::Entry::Occupied(flying) = &seat
            && company == Company::Any
            && flying.get().birth.is_joinable(at)
        {
            return Boarding::Joined(flying.get().clone());
        }
        let (landing, landed) = watch::channel(None);
        *flown += 1;
        let id = *flown;
        let birth = Birth { born: at.stamps.now(), began: at.now, slots, loads_only };
        let flight = Flight { id, birth, landing: landed };
        seat.insert_entry(flight.clone());
        let pilot = Pilot {
            flights: Arc::clone(self),
            key: Arc::clone(key),
            id,
            has_left: false,
            landing: Some(landing),
        };
        Boarding::Leads(flight, pilot)
    }

    #[cfg(all(test, shuttle))]
    pub(crate) fn in_the_air(&self) -> usize {
        self.0.lock().by_key.len()
    }
}

/// Ends one flight, and takes it off the map when dropped, whatever happened to the task.
pub(crate) struct Pilot {
    flights: Arc<Flights>,
    key: Arc<str>,
    id: u64,
    has_left: bool,
    landing: Option<watch::Sender<Option<Landing>>>,
}

impl Pilot {
    /// Tells everybody who waits, and everybody who comes before the pilot is dropped: for a value
    /// that is cached, so that nobody has to wait for its fill.
    pub(crate) fn announce(&mut self, landing: Landing) {
        if let Some(waiting) = self.landing.take() {
            // Nobody waiting is fine: the value is cached all the same.
            let _ = waiting.send(Some(landing));
        }
    }

    /// Tells everybody who waits; whoever comes later begins a flight of their own.
    pub(crate) fn land(&mut self, landing: Landing) {
        self.leave();
        self.announce(landing);
    }

    fn leave(&mut self) {
        if std::mem::replace(&mut self.has_left, true) {
            return;
        }
        let mut air = self.flights.0.lock();
        // A younger flight may have taken the place of an invalidated one.
        if let hash_map::Entry::Occupied(flight) = air.by_key.entry(Arc::clone(&self.key))
            && flight.get().id == self.id
        {
            flight.remove();
        }
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::*;
    use crate::protocol::{stamps::Stamps, window::Window};

    /// No waiting reader may depend on another one's being polled again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_reader_who_leaves_as_the_flight_lands_takes_nobody_elses_wake_up() {
        let (flights, key) = (Arc::new(Flights::default()), Arc::from("key"));
        let (stamps, window) = (Stamps::new(1), Window::closed());
        for _ in 0..20_000 {
            let at = Moment { now: 0, window: &window, stamps: &stamps };
            let boarded = flights.board(&key, Slots::default(), false, Company::Alone, at);
            let Boarding::Leads(flight, mut pilot) = boarded else { panic!("nobody else flies") };
            let patient: Vec<_> = (0..2).map(|_| tokio::spawn(flight.clone().land())).collect();
            for _ in 0..4 {
                let flight = flight.clone();
                tokio::spawn(async move { flight.land().now_or_never().is_some() });
            }
            tokio::spawn(async move { pilot.land(Landing::GaveUp) });
            for reader in patient {
                let landing = timeout(Duration::from_secs(10), reader).await;
                assert!(matches!(landing, Ok(Ok(Landing::GaveUp))), "a reader waits for ever");
            }
        }
    }
}
