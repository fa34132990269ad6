//! The fault matrix: each way in which Redis, the network or a process can break, under traffic,
//! on private servers. `make faults` runs it and writes what it measured to `docs/faults.md`.

mod contents;
mod databases;
mod drill;
mod flushes;
#[path = "../it/logged.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod logged;
mod memory;
mod network;
#[path = "../it/outbox_table.rs"]
mod outbox_table;
mod processes;
mod refusals;
mod report;
mod restarts;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod support;
mod truth;
