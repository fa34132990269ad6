//! How much memory this process needs at its worst moment.

use std::fs;

/// The resident memory when counting began.
pub(crate) struct Memory {
    before: u64,
}

impl Memory {
    /// Begins to count: what was needed before is forgotten.
    pub(crate) fn now() -> Self {
        // proc(5): 5 sets the peak to what is resident now.
        fs::write("/proc/self/clear_refs", "5").expect("Linux lets a process forget its own peak");
        Self { before: bytes("VmRSS") }
    }

    /// By how many bytes more was ever needed since.
    pub(crate) fn peak_growth(&self) -> u64 {
        bytes("VmHWM").saturating_sub(self.before)
    }
}

/// A line of `/proc/self/status`, which counts in kB.
fn bytes(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.expect("a number of kB") << 10
}
