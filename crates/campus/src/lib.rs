//! Campus: an e-learning backend whose reads go through Larder.
//!
//! Reads: `http` -> `learning` -> `reads` -> Larder -> `store`.
//! Writes: `http` -> `learning` -> `store` (commit) -> `reads` (invalidate) -> answer.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod http;
pub mod import;
pub mod learning;
pub mod meters;
pub mod model;
pub mod reads;
pub mod store;
pub mod token;
#[cfg(feature = "otel")]
pub mod traces;
pub mod wire;
