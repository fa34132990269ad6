//! The protocol, searched exhaustively: every interleaving of readers, writers, the backplane and
//! faults, over the code in [`crate::protocol`] and [`crate::entry`] that the cache itself runs.
//!
//! What stands for I/O is written here: Redis ([`redis`]), the order in which a flight
//! ([`flights`]), a write ([`writers`]) and the backplane ([`backplane`]) use it, and a database
//! whose row carries a version. `make model` runs all configurations; docs/model.md says what they
//! cover.

mod actions;
mod alone;
mod backplane;
mod configurations;
mod flights;
mod promises;
mod rank;
mod readers;
mod search;
mod server;
mod settle;
mod stored;
mod world;
mod writers;
