//! A two-tier cache-aside library: L1 in the process, L2 in Redis.
//!
//! - After [`Cache::invalidate`] has returned, no read through this cache that starts then gets an
//!   older value, whatever was being loaded meanwhile.
//! - Redis never fails a read. It can slow one down by the operation timeout (100 ms in all).
//! - Each cold key is loaded once: in the process always, over processes while Redis is up.
//!
//! # Quickstart
//! ```
#![doc = include_str!("../examples/quickstart.rs")]
//! ```
//!
//! # The parts
//! A [`CacheKey`] type names a value, its [`Policy`] and its [`Tag`]s; [`Cache::get_or_load`] reads
//! through both tiers; [`Cache::invalidate`] takes keys and tags. Everything is on by default:
//! coalescing, refill of L1 from L2, finite TTLs with jitter, byte bounds, timeouts, a breaker.
//!
//! # Several processes
//! With Redis, other processes' L1 is told of each invalidation, and stops answering within a
//! second of not being told whether there was one. [`Cache::fresh`] reads are never older than an
//! acknowledged invalidation anywhere. An [`Outbox`] (a table of the application's database) heals
//! what a process that dies or cannot reach Redis leaves undone; without one, an invalidation that
//! Redis could not take ([`Ack::Queued`]) lives in memory and dies with the process.
//!
//! Times are monotonic: on a machine that suspends, `CLOCK_MONOTONIC` stands still meanwhile, and
//! what L1 answers in the instant after waking may be as old as before.
//!
//! # Traces
//! Each `get_or_load` and `find_or_load` is a [`tracing`] span `cache.read` at DEBUG, target
//! `larder::read`, below the caller's: `namespace`, `kind` (of the key: never the key itself, which
//! may name people), `tier` (`l1`, `l2`, `loader`, or `joined` for who waited for another read's
//! load), `hit`, and `graced` (a stale value was served). A loader runs in a span `cache.load` below
//! the read that began it; a refresh in the background is a trace of its own. A read that failed
//! has no `tier`. Where no subscriber wants them they cost nothing worth counting.
//!
//! ```
//! use std::{sync::mpsc, time::Duration};
//! use tracing::{Subscriber, span::{Attributes, Id}, subscriber::set_default};
//! use tracing_subscriber::{Layer, layer::{Context, SubscriberExt as _}};
//!
//! # use larder::*;
//! # struct Answer; impl CacheKey for Answer { type Value = u32; type Scope = Public;
//! # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "answer"; const VERSION: u16 = 1;
//! # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)) }
//! # fn segments(&self, _: &mut KeyWriter) {} }
//! /// In place of `tracing_opentelemetry::layer()`.
//! struct Names(mpsc::Sender<&'static str>);
//!
//! impl<S: Subscriber> Layer<S> for Names {
//!     fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
//!         let _ = self.0.send(span.metadata().name());
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (names, seen) = mpsc::channel();
//! let _guard = set_default(tracing_subscriber::registry().with(Names(names)));
//! let cache = Cache::builder().build()?;
//! for _ in 0..2 {
//!     cache.get_or_load(&Answer, || async { Ok::<_, std::io::Error>(42) }).await?;
//! }
//! let seen: Vec<_> = seen.try_iter().collect();
//! assert_eq!(seen, ["cache.read", "cache.load", "cache.read"]);
//! # Ok(()) }
//! ```

#![deny(missing_docs)]

mod builder;
mod cache;
mod clock;
mod entry;
mod error;
mod explain;
mod flight;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod invalidate;
mod key;
mod l1;
mod l2;
mod load;
#[cfg(test)]
mod model;
mod operator;
mod outbox;
mod packing;
mod plan;
mod policy;
mod protocol;
mod read;
#[cfg(all(test, any(loom, shuttle)))]
mod schedules;
mod span;
mod stats;
mod trip;
mod weigh;

pub use builder::Builder;
pub use cache::{Cache, Scoped};
pub use clock::Clock;
pub use error::{ConfigError, LoadError, RedisUnavailable};
pub use explain::{Explanation, LastMiss, Sighting, Verdict};
pub use invalidate::{Ack, Names, UnreadableNames};
pub use key::{
    CacheKey, KeyWriter, MAX_KEY_BYTES, MAX_TAGS, Public, Scope, Segment, Tag, Tags, Tenant, User,
    render_key,
};
pub use load::{Cached, Loaded, Source};
pub use operator::{RedisInfo, RedisKeys, RedisStep};
pub use outbox::{BoxFuture, Outbox, OutboxError, OutboxRow, Outcome};
pub use policy::{Policy, PolicyOverride};
pub use stats::{BackplaneStats, L1Stats, L2State, NamespaceStats, Stats};
