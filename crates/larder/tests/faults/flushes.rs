//! How often L1 was given up during a fault, and whether a pause of the machine can be the reason.

use std::{future::Future, pin::pin, time::Duration};

use larder::Cache;
use tokio::time::sleep;

use crate::report::Line;

/// Heartbeats go out every 250 ms and are given up after 500 ms, so no proof is as old as this
/// while they are answered.
const SILENCE: Duration = Duration::from_millis(600);

/// What became of L1 during a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flushes {
    pub(crate) count: u64,
    /// The age that the last proof of having missed nothing reached.
    oldest_proof: Duration,
}

impl Flushes {
    pub(crate) async fn during(fault: impl Future<Output = ()>, cache: &Cache) -> Self {
        let backplane = || cache.stats().backplane;
        let before = backplane().flushes;
        let (mut fault, mut oldest_proof) = (pin!(fault), Duration::ZERO);
        loop {
            oldest_proof = oldest_proof.max(backplane().lag.unwrap_or(Duration::MAX));
            tokio::select! {
                () = &mut fault => break,
                () = sleep(Duration::from_millis(2)) => {}
            }
        }
        oldest_proof = oldest_proof.max(backplane().lag.unwrap_or(Duration::MAX));
        Self { count: backplane().flushes - before, oldest_proof }
    }
}

/// What came of a fault that must not flush L1. A pause of the machine in which a heartbeat is given
/// up may cost a flush, as it should; only then is the fault made again.
pub(crate) async fn without_flushes(mut play: impl AsyncFnMut() -> (Flushes, Line)) -> Line {
    for _ in 0..5 {
        let (flushes, line) = play().await;
        if flushes.count == 0 {
            return line;
        }
        assert!(flushes.oldest_proof >= SILENCE, "although heartbeats were answered: {flushes:?}");
    }
    panic!("the machine pauses all the time");
}
