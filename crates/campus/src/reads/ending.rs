//! What ends cached reads: one [`Ending`] per write.

use larder::{Names, Tag};

use crate::config::Namespace;
use crate::model::{CourseStatus, Event, EventKind};
use crate::store::{Ended, Imported};

/// An import that makes more names old ends everything: that is one name, in the row and in Redis.
const MOST_IMPORTED: usize = 1_000;

/// The cached reads that a write makes old, and what it tells those who listen.
#[derive(Debug)]
pub struct Ending {
    pub(super) names: Names,
    pub(super) events: Vec<Event>,
}

/// Whether a course is in the public lists, before or after the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    Yes,
    No,
}

/// What somebody did in a course.
#[derive(Debug)]
pub struct Learned {
    pub student_id: i64,
    pub course_id: i64,
    /// Not of a whole module.
    pub lesson_id: Option<i64>,
    pub progress_percent: f64,
    pub milestone: Milestone,
}

/// What was reached by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Milestone {
    /// Another lesson was looked at that had been done before: nobody has to hear of it.
    Visit,
    Nothing,
    /// Something was done that had not been.
    Lesson,
    /// And with it the course.
    Course,
}

impl Milestone {
    /// By how many lessons are done that were not before.
    pub fn of(fresh: u64) -> Self {
        if fresh > 0 { Self::Lesson } else { Self::Nothing }
    }
}

/// Whether an edit of an article changes how many published articles carry each tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagCounts {
    Changed,
    Same,
}

impl Ending {
    fn of(names: Names) -> Self {
        Self { names, events: Vec::new() }
    }

    fn telling(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Ends a remembered "there is no such user".
    pub fn user_registered(id: i64) -> Self {
        Self::of(Names::new().tag(user(id)).tag(platform()))
    }

    /// The name is shown by the person's courses and articles; list pages lag by their TTL.
    pub fn user_changed(id: i64, courses: &[i64], articles: &[i64]) -> Self {
        let names = Names::new().tag(user(id));
        Self::of(tagged(tagged(names, course, courses), article, articles))
    }

    pub fn user_deleted(id: i64, ended: &Ended, courses: &[i64], articles: &[i64]) -> Self {
        let names = Names::new().tag(user(id)).tag(member(id)).tag(learner(id)).tag(platform());
        let names = tagged(names, seats, &ended.course_ids);
        let mut names = tagged(names, course_figures, &ended.course_ids);
        if !courses.is_empty() {
            names = tagged(names, course, courses).tag(Tag::named("courses"));
        }
        if !articles.is_empty() {
            names = article_lists(tagged(names, article, articles));
        }
        Self::of(names)
    }

    pub fn instructor_changed(id: i64) -> Self {
        Self::of(Names::new().tag(user(id)))
    }

    /// Ends a remembered "there is no such course"; a draft is in no list.
    pub fn course_created(id: i64) -> Self {
        Self::of(Names::new().tag(course(id)))
    }

    pub fn course_edited(id: i64, listed: Listed) -> Self {
        let names = Names::new().tag(course(id));
        let names = match listed {
            Listed::Yes => names.tag(Tag::named("courses")),
            Listed::No => names,
        };
        Self::of(names).telling(Event::of_course(EventKind::CourseUpdated, id))
    }

    pub fn course_status_changed(id: i64, status: CourseStatus) -> Self {
        let kind = match status {
            CourseStatus::Published => EventKind::CoursePublished,
            CourseStatus::Archived => EventKind::CourseArchived,
            // There is no event of its own for it: who listens reads the course again.
            CourseStatus::Draft => EventKind::CourseUpdated,
        };
        let names = Names::new().tag(course(id)).tag(Tag::named("courses")).tag(platform());
        Self::of(names).telling(Event::of_course(kind, id))
    }

    /// Enrolled flags stay: whoever asks for content is asked for the course's status first.
    pub fn course_deleted(id: i64) -> Self {
        let names = Names::new().tag(course(id)).tag(content(id)).tag(seats(id));
        let names = names.tag(Tag::named("courses"));
        Self::of(names.tag(course_figures(id)).tag(platform()))
            .telling(Event::of_course(EventKind::CourseDeleted, id))
    }

    /// Lists lag by their TTL: one vote must not empty the catalogue.
    pub fn course_rated(id: i64) -> Self {
        Self::of(Names::new().tag(course(id)))
    }

    pub fn content_changed(course_id: i64) -> Self {
        Self::of(Names::new().tag(content(course_id)).tag(course_figures(course_id)))
            .telling(Event::of_course(EventKind::ContentUpdated, course_id))
    }

    pub fn enrolled(student_id: i64, course_id: i64) -> Self {
        let names = Names::new().tag(member(student_id)).tag(seats(course_id));
        Self::of(names.tag(course_figures(course_id)).tag(platform())).telling(Event::of_student(
            EventKind::Enrolled,
            student_id,
            course_id,
        ))
    }

    /// A lesson done or undone, or time spent.
    pub fn learned(learned: &Learned) -> Self {
        let Learned { student_id, course_id, lesson_id, progress_percent, .. } = *learned;
        let names = figures(Names::new().tag(learner(student_id)), student_id, course_id);
        let tell = |kind| Event {
            lesson_id,
            progress_percent: Some(progress_percent),
            ..Event::of_student(kind, student_id, course_id)
        };
        let mut ending = Self::of(names);
        if learned.milestone >= Milestone::Lesson {
            ending = ending.telling(tell(EventKind::LessonCompleted));
        }
        if learned.milestone > Milestone::Visit {
            ending = ending.telling(tell(EventKind::PlatformUpdate));
        }
        if learned.milestone == Milestone::Course {
            let issued = Event::of_student(EventKind::CertificateIssued, student_id, course_id);
            ending = ending.telling(issued);
        }
        ending
    }

    pub fn dropped(student_id: i64, course_id: i64) -> Self {
        let names =
            Names::new().tag(member(student_id)).tag(learner(student_id)).tag(seats(course_id));
        Self::of(figures(names, student_id, course_id)).telling(Event::of_student(
            EventKind::Dropped,
            student_id,
            course_id,
        ))
    }

    /// Ends a remembered "there is no such article".
    pub fn article_created(id: i64, listed: Listed) -> Self {
        let names = Names::new().tag(article(id));
        Self::of(match listed {
            Listed::Yes => article_lists(names),
            Listed::No => names,
        })
    }

    pub fn article_edited(id: i64, counts: TagCounts) -> Self {
        let names = Names::new().tag(article(id));
        Self::of(match counts {
            TagCounts::Changed => article_lists(names),
            TagCounts::Same => names.tag(Tag::named("articles")),
        })
    }

    pub fn article_deleted(id: i64) -> Self {
        Self::of(article_lists(Names::new().tag(article(id))))
    }

    /// What an admin clears by hand.
    pub fn course_cleared(id: i64) -> Self {
        let names = Names::new().tag(course(id)).tag(content(id)).tag(seats(id));
        Self::of(names.tag(Tag::named("courses")).tag(course_figures(id)))
            .telling(Event::of_course(EventKind::CacheCleared, id))
    }

    pub fn namespace_cleared(namespace: Namespace) -> Self {
        Self::cleared(Names::new().namespace(namespace.name))
    }

    /// `None` for what no tag looks like.
    pub fn tag_cleared(tag: &str) -> Option<Self> {
        Some(Self::cleared(Names::new().tag(Tag::parse(tag)?)))
    }

    pub fn everything_cleared() -> Self {
        Self::cleared(Names::everything())
    }

    fn cleared(names: Names) -> Self {
        Self::of(names).telling(Event::new(EventKind::CacheCleared))
    }

    /// Makes every server look at what operators have changed.
    pub fn rules_changed() -> Self {
        Self::of(Names::new().tag(rules())).telling(Event::new(EventKind::DefinitionsChanged))
    }

    /// Everything that imports may have changed; nothing if they found every row as it was.
    pub fn imported(imports: &[Imported]) -> Self {
        let names = imports.iter().filter(|imported| imported.has_changes()).fold(
            Names::new(),
            |names, imported| {
                let names = article_lists(names.tag(Tag::named("courses")));
                let names = tagged(names, user, &imported.user_ids);
                let names = tagged(names, member, &imported.student_ids);
                let names = tagged(names, learner, &imported.student_ids);
                let names = tagged(names, course, &imported.course_ids);
                let names = tagged(names, content, &imported.course_ids);
                let names = tagged(names, seats, &imported.course_ids);
                let names = tagged(names, course_figures, &imported.course_ids);
                tagged(names, article, &imported.article_ids).tag(platform())
            },
        );
        Self::of(if names.len() > MOST_IMPORTED { Names::everything() } else { names })
    }
}

/// No entry has it: servers watch it for what operators change.
pub(super) fn rules() -> Tag {
    Tag::named("cache:rules")
}

fn user(id: i64) -> Tag {
    Tag::new("user", id)
}

fn course(id: i64) -> Tag {
    Tag::new("course", id)
}

fn article(id: i64) -> Tag {
    Tag::new("article", id)
}

fn article_lists(names: Names) -> Names {
    names.tag(Tag::named("articles")).tag(Tag::named("tags"))
}

fn seats(course_id: i64) -> Tag {
    Tag::new("enrol", course_id)
}

fn content(course_id: i64) -> Tag {
    Tag::new("content", course_id)
}

/// In which courses a person has a place.
fn member(student_id: i64) -> Tag {
    Tag::new("member", student_id)
}

/// How far a person is in their courses.
fn learner(student_id: i64) -> Tag {
    Tag::new("learner", student_id)
}

/// What is counted over many people or lessons. No answer carries these tags as hard ones:
/// figures that are a minute old are not wrong, and each of these writes would end them.
fn figures(names: Names, student_id: i64, course_id: i64) -> Names {
    let student = Tag::new("an:student", student_id);
    names.tag(course_figures(course_id)).tag(student).tag(platform())
}

fn course_figures(id: i64) -> Tag {
    Tag::new("an:course", id)
}

fn platform() -> Tag {
    Tag::named("an:platform")
}

fn tagged(names: Names, tag: impl Fn(i64) -> Tag, ids: &[i64]) -> Names {
    ids.iter().fold(names, |names, &id| names.tag(tag(id)))
}

#[cfg(test)]
mod tests {
    use super::{Ending, MOST_IMPORTED};
    use crate::store::{Counts, Imported};

    fn ended(students: usize) -> String {
        let enrollments = Counts { inserted: students, ..Counts::default() };
        let student_ids = (1..=students as i64).collect();
        let Ending { names, .. } =
            Ending::imported(&[Imported { enrollments, student_ids, ..Imported::default() }]);
        names.encode()
    }

    #[test]
    fn an_import_ends_what_is_cached_of_its_students_or_when_they_are_many_everything() {
        let few = ended(1);
        for name in ["t member:1", "t learner:1", "t courses"] {
            assert!(few.lines().any(|line| line == name), "{name} is not in {few}");
        }
        assert_eq!(ended(MOST_IMPORTED), "r");
        assert_eq!(ended(0), "");
    }
}
