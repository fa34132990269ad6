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
