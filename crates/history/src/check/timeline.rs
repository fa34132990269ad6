//! From when on a reader had to know of which version.

/// Versions of one key, each with the moment from which on nothing older was allowed: both grow.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    points: Vec<(u64, u64)>,
}

impl Timeline {
    /// From (moment, version) in any order. What an earlier moment demands already says nothing.
    pub(super) fn new(mut demands: Vec<(u64, u64)>) -> Self {
        demands.sort_unstable();
        let mut points: Vec<(u64, u64)> = Vec::new();
        for (at, version) in demands {
            if points.last().is_none_or(|last| last.1 < version) {
                points.push((at, version));
            }
        }
        Self { points }
    }

    /// The newest version that `asked` demands.
    pub(super) fn newest(&self, asked: u64) -> Option<u64> {
        let later = self.points.partition_point(|(at, _)| *at < asked);
        Some(self.points.get(later.checked_sub(1)?)?.1)
    }

    /// How long at `asked` this version had been outdated, and by which one.
    pub(super) fn staleness(&self, version: u64, asked: u64) -> Option<(u64, u64)> {
        let next = self.points.partition_point(|(_, known)| *known <= version);
        let (at, newer) = self.points.get(next)?;
        asked.checked_sub(*at).filter(|stale| *stale > 0).map(|stale| (stale, *newer))
    }
}

#[cfg(test)]
mod tests {
    use super::Timeline;

    #[test]
    fn a_version_is_outdated_from_the_first_younger_demand_on() {
        let line = Timeline::new(vec![(30, 2), (10, 1), (20, 4), (40, 3), (50, 5)]);
        assert_eq!(line.staleness(0, 10), None);
        assert_eq!(line.staleness(0, 11), Some((1, 1)));
        assert_eq!(line.staleness(1, 25), Some((5, 4)), "2 and 3 were demanded after 4");
        assert_eq!(line.staleness(4, 49), None);
        assert_eq!(line.staleness(5, 1_000), None);
        assert_eq!((line.newest(10), line.newest(11), line.newest(45)), (None, Some(1), Some(4)));
        assert_eq!(Timeline::default().staleness(0, 1), None);
    }
}
