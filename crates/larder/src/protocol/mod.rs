//! The protocol without I/O: stamps, the freshness window and what extends it, the reading of
//! replies and messages, the steps of a flight and who may join it, the steps of a write, the list
//! of unapplied invalidations, the breaker. Nothing here waits, asks for the time or draws
//! randomness: the async code feeds events in and carries the answers out, and so does the model.

mod atomic;
pub(crate) mod backlog;
pub(crate) mod breaker;
pub(crate) mod bugs;
pub(crate) mod feed;
pub(crate) mod fetch;
pub(crate) mod join;
pub(crate) mod message;
pub(crate) mod sight;
pub(crate) mod stamps;
pub(crate) mod window;
pub(crate) mod write;
