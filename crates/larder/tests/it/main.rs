//! Larder through its public interface, on a real Redis that each test starts for itself.

mod backplane;
mod cancellation;
mod faults;
mod foreign_bytes;
mod holes;
mod hostile;
mod invalidation;
mod limits;
mod logged;
mod monitor;
mod operator;
mod outbox;
mod outbox_table;
mod parts;
mod races;
mod reads;
mod spans;
mod staleness;
mod stampede;
mod support;
