//! Invalidations that Redis has not acknowledged. Bounded: on overflow they become one
//! invalidation of everything, which covers them all.

use std::collections::VecDeque;

/// Most rows before they collapse into one.
pub(crate) const MOST_ROWS: usize = 10_000;

/// Names one row; never reused, so a late answer cannot clear another row's dirt.
pub(crate) type RowId = u64;

/// Unapplied invalidations, oldest first. `N` is what a row names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Backlog<N> {
    rows: VecDeque<(RowId, N)>,
    next: RowId,
    most: usize,
}

impl<N: Clone> Backlog<N> {
    pub(crate) fn new(most: usize) -> Self {
        Self { rows: VecDeque::new(), next: 0, most }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds a row. If it is one too many, all rows give way to `everything` and are returned, so
    /// that the caller swaps their dirt for that of `everything`.
    pub(crate) fn push(&mut self, names: N, everything: impl FnOnce() -> N) -> Overflow<N> {
        if self.rows.len() < self.most {
            self.append(names);
            return Overflow::No;
        }
        let replaced = self.rows.drain(..).map(|(_, names)| names).chain([names]).collect();
        self.append(everything());
        Overflow::Collapsed(replaced)
    }

    fn append(&mut self, names: N) {
        self.rows.push_back((self.next, names));
        self.next += 1;
    }

    /// The row to apply next.
    pub(crate) fn oldest(&self) -> Option<(RowId, N)> {
        self.rows.front().cloned()
    }

    /// Takes out an applied row; `None` if an overflow has swallowed it meanwhile.
    pub(crate) fn applied(&mut self, id: RowId) -> Option<N> {
        let at = self.rows.iter().position(|(row, _)| *row == id)?;
        self.rows.remove(at).map(|(_, names)| names)
    }
}

/// What became of a pushed row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Overflow<N> {
    /// It waits for its turn.
    No,
    /// These rows (the pushed one among them) are now one row that names everything.
    Collapsed(Vec<N>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_applied_oldest_first_and_once() {
        let mut backlog = Backlog::new(10);
        backlog.push("a", || "all");
        backlog.push("b", || "all");
        let (id, names) = backlog.oldest().expect("a row");
        assert_eq!(names, "a");
        assert_eq!(backlog.applied(id), Some("a"));
        assert_eq!(backlog.applied(id), None);
        assert_eq!(backlog.len(), 1);
    }

    #[test]
    fn an_overflow_becomes_one_invalidation_of_everything() {
        let mut backlog = Backlog::new(2);
        backlog.push("a", || "all");
        backlog.push("b", || "all");
        assert_eq!(backlog.push("c", || "all"), Overflow::Collapsed(vec!["a", "b", "c"]));
        assert_eq!(backlog.oldest().map(|(_, names)| names), Some("all"));
        assert_eq!(backlog.len(), 1);
    }
}
