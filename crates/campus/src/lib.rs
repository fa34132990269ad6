//! Campus: an e-learning backend whose reads go through Larder.
//!
//! Reads: `http` -> `learning` -> `reads` -> Larder -> `store`.
//! Writes: `http` -> `learning` -> `store` (commit) -> `reads` (invalidate) -> answer.

pub mod clock;
pub mod import;
pub mod model;
pub mod store;
