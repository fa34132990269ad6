//! The parts that threads share, under all schedules (loom) or very many (shuttle). Only
//! `make schedules` compiles them: it sets the cfg for this crate alone.

#[cfg(shuttle)]
mod flights;
#[cfg(shuttle)]
pub(crate) mod lock;
#[cfg(loom)]
mod stamps;
