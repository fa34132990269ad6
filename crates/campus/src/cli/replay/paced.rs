//! The log at its own pace, in a model: the replay takes minutes for most of a year, so nothing in
//! it gets old. Here it does, by a clock that is made up: the log has days and no times, so a
//! day's requests are spread evenly over its 24 hours.

use std::collections::{HashMap, HashSet};

use super::player::Player;
use crate::import::oulad::Visit;

/// How long answers live, in seconds: what the documents give these three views.
pub(super) const COURSE: f64 = 600.0;
pub(super) const CONTENT: f64 = 900.0;
pub(super) const PROGRESS: f64 = 600.0;
const DAY: f64 = 86_400.0;

/// How a cache is kept fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fresh {
    /// Only letting answers die.
    Ttl,
    /// That, and what writes end.
    TtlAndWrites,
    /// What writes end: the most a cache can have.
    Writes,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) reads: u64,
    pub(super) hits: u64,
    /// Hits that show a state from before an acknowledged write.
    pub(super) stale: u64,
}

/// The views in the order course page, content, progress.
pub(super) type Views = [Counted; 3];

pub(super) fn compare(visits: &[Visit], player: &Player) -> Vec<(Fresh, Views)> {
    [Fresh::Ttl, Fresh::TtlAndWrites, Fresh::Writes]
        .map(|fresh| (fresh, simulate(visits, player, fresh)))
        .into()
}

/// An answer in the cache: when it was filled, and how many writes it has seen.
#[derive(Clone, Copy)]
struct Entry {
    filled: f64,
    /// Of the answer's own state.
    version: u32,
    /// Of all that ends it.
    ended: u32,
}

/// A cache of one view.
struct View {
    ttl: f64,
    fresh: Fresh,
    entries: HashMap<(u32, i64), Entry>,
    counted: Counted,
}

impl View {
    fn new(ttl: f64, fresh: Fresh) -> Self {
        Self { ttl, fresh, entries: HashMap::new(), counted: Counted::default() }
    }

    fn read(&mut self, key: (u32, i64), now: f64, version: u32, ended: u32) {
        self.counted.reads += 1;
        let lives = |entry: &Entry| match self.fresh {
            Fresh::Ttl => now - entry.filled < self.ttl,
            Fresh::TtlAndWrites => now - entry.filled < self.ttl && entry.ended == ended,
            Fresh::Writes => entry.ended == ended,
        };
        match self.entries.get(&key) {
            Some(entry) if lives(entry) => {
                self.counted.hits += 1;
                self.counted.stale += u64::from(entry.version != version);
            }
            _ => {
                self.entries.insert(key, Entry { filled: now, version, ended });
            }
        }
    }
}

fn simulate(visits: &[Visit], player: &Player, fresh: Fresh) -> Views {
    let mut course = View::new(COURSE, fresh);
    let mut content = View::new(CONTENT, fresh);
    let mut progress = View::new(PROGRESS, fresh);
    let mut seen = HashSet::new();
    let mut done: HashMap<(u32, i64), u32> = HashMap::new();
    let mut ended: HashMap<u32, u32> = HashMap::new();
    for day in visits.chunk_by(|a, b| a.day == b.day) {
        for (place, &visit) in day.iter().enumerate() {
            let Ok(lesson) = player.lesson(visit) else {
                continue;
            };
            let share = (place as f64 + 0.5) / day.len() as f64;
            let now = f64::from(visit.day) * DAY + share * DAY;
            let (student, course_id) = (visit.student, lesson.course_id);
            course.read((0, course_id), now, 0, 0);
            content.read((0, course_id), now, 0, 0);
            let mine = done.entry((student, course_id)).or_default();
            // A completion ends what its learner has in every course.
            let all = ended.entry(student).or_default();
            progress.read((student, course_id), now, *mine, *all);
            if seen.insert((student, visit.site)) {
                *mine += 1;
                *all += 1;
            }
        }
    }
    [course, content, progress].map(|view| view.counted)
}
