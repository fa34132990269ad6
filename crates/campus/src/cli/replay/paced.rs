//! The log at its own pace, in a model: the replay takes minutes for years, so nothing in it gets
//! old. Here it does, by the time of each request.

use std::collections::HashMap;

use super::script::{Act, Request};

/// How long answers live, in seconds: what the documents give these three views.
pub(super) const COURSE: f64 = 600.0;
pub(super) const CONTENT: f64 = 900.0;
pub(super) const PROGRESS: f64 = 600.0;

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

pub(super) fn compare(requests: &[Request]) -> Vec<(Fresh, Views)> {
    [Fresh::Ttl, Fresh::TtlAndWrites, Fresh::Writes]
        .map(|fresh| (fresh, simulate(requests, fresh)))
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
    entries: HashMap<(i64, i64), Entry>,
    counted: Counted,
}

impl View {
    fn new(ttl: f64, fresh: Fresh) -> Self {
        Self { ttl, fresh, entries: HashMap::new(), counted: Counted::default() }
    }

    fn read(&mut self, key: (i64, i64), now: f64, version: u32, ended: u32) {
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

/// How often each thing was written, by what it is of.
#[derive(Default)]
struct Writes {
    course: HashMap<i64, u32>,
    content: HashMap<i64, u32>,
    /// Of a learner in a course.
    place: HashMap<(i64, i64), u32>,
    /// Of a learner in any course: what ends all that is cached of their progress.
    learner: HashMap<i64, u32>,
}

impl Writes {
    fn note(&mut self, act: Act, person: i64, course_id: i64) {
        match act {
            Act::OpenCourse | Act::OpenLesson | Act::SeeProgress => {}
            Act::Complete | Act::SpendTime | Act::Reenroll => {
                *self.place.entry((person, course_id)).or_default() += 1;
                *self.learner.entry(person).or_default() += 1;
            }
            Act::EditContent => *self.content.entry(course_id).or_default() += 1,
            Act::EditCourse => *self.course.entry(course_id).or_default() += 1,
        }
    }
}

fn simulate(requests: &[Request], fresh: Fresh) -> Views {
    let mut course = View::new(COURSE, fresh);
    let mut content = View::new(CONTENT, fresh);
    let mut progress = View::new(PROGRESS, fresh);
    let mut writes = Writes::default();
    for &Request { at, person, course_id, acts, .. } in requests {
        for &act in acts {
            let of_course = writes.course.get(&course_id).copied().unwrap_or(0);
            let of_content = writes.content.get(&course_id).copied().unwrap_or(0);
            match act {
                Act::OpenCourse => course.read((0, course_id), at, of_course, of_course),
                // An edit of a course ends its content too, which has not changed by it.
                Act::OpenLesson => {
                    content.read((0, course_id), at, of_content, of_content + of_course);
                }
                Act::SeeProgress => {
                    let mine = writes.place.get(&(person, course_id)).copied().unwrap_or(0);
                    let all = writes.learner.get(&person).copied().unwrap_or(0);
                    let (version, ended) = (mine + of_content, all + of_content);
                    progress.read((person, course_id), at, version, ended);
                }
                _ => writes.note(act, person, course_id),
            }
        }
    }
    [course, content, progress].map(|view| view.counted)
}
