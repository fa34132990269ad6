//! Servers of one test alone: on a port that nobody else gets, without anybody else's data, and gone
//! when they are dropped, also by a panic.
//!
//! Beside them what tests on a busy machine need: a stopwatch that counts no pauses of it.
//!
//! A server that does not start is a panic that ends with what the server itself has said.

mod mongo;
mod port;
mod postgres;
mod process;
mod proxy;
mod pushes;
mod redis;
mod stopwatch;

pub use mongo::Mongo;
pub use port::{Port, free_port};
pub use postgres::Postgres;
pub use proxy::{Faults, Line, Proxy};
pub use pushes::Pushes;
pub use redis::Redis;
pub use stopwatch::Stopwatch;

use std::path::{Path, PathBuf};

/// The first of the folders around this program with something of this name in it. Around a test is
/// what cargo builds.
fn folder_with(name: impl AsRef<Path>) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program.ancestors().find(|folder| folder.join(&name).exists()).map(Path::to_owned)
}

/// Lets other tasks of the caller's runtime go on meanwhile.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
