//! What ends cached reads: one [`Ending`] per write.

use larder::{Names, Tag};

use crate::store::{Ended, Imported};

/// An import that makes more names old ends everything: that is one name, in the row and in Redis.
const MOST_IMPORTED: usize = 1_000;

/// The cached reads that a write makes old.
#[derive(Debug)]
pub struct Ending(pub(super) Names);

/// Whether a course is in the public lists, before or after the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    Yes,
    No,
}

impl Ending {
    /// Ends a remembered "there is no such user".
    pub fn user_registered(id: i64) -> Self {
        Self(Names::new().tag(user(id)).tag(platform()))
    }

    /// The name is shown by the person's courses and articles; list pages lag by their TTL.
    pub fn user_changed(id: i64, courses: &[i64], articles: &[i64]) -> Self {
        let names = Names::new().tag(user(id));
        Self(tagged(tagged(names, course, courses), article, articles))
    }

    pub fn user_deleted(id: i64, ended: &Ended, courses: &[i64], articles: &[i64]) -> Self {
        let names = Names::new().tag(user(id)).tag(member(id)).tag(learner(id)).tag(platform());
        let mut names = tagged(names, seats, &ended.course_ids);
        if !courses.is_empty() {
            names = tagged(names, course, courses).tag(Tag::named("courses"));
        }
        if !articles.is_empty() {
            names = tagged(names, article, articles)
                .tag(Tag::named("articles"))
                .tag(Tag::named("tags"));
        }
        Self(names)
    }

    pub fn instructor_changed(id: i64) -> Self {
        Self(Names::new().tag(user(id)))
    }

    /// Ends a remembered "there is no such course"; a draft is in no list.
    pub fn course_created(id: i64) -> Self {
        Self(Names::new().tag(course(id)))
    }

    pub fn course_edited(id: i64, listed: Listed) -> Self {
        let names = Names::new().tag(course(id));
        Self(match listed {
            Listed::Yes => names.tag(Tag::named("courses")),
            Listed::No => names,
        })
    }

    pub fn course_status_changed(id: i64) -> Self {
        Self(Names::new().tag(course(id)).tag(Tag::named("courses")).tag(platform()))
    }

    /// Enrolled flags stay: whoever asks for content is asked for the course's status first.
    pub fn course_deleted(id: i64) -> Self {
        let names = Names::new().tag(course(id)).tag(content(id)).tag(seats(id));
        let names = names.tag(Tag::named("courses"));
        Self(names.tag(course_figures(id)).tag(platform()))
    }

    /// Lists lag by their TTL: one vote must not empty the catalogue.
    pub fn course_rated(id: i64) -> Self {
        Self(Names::new().tag(course(id)))
    }

    pub fn content_changed(course_id: i64) -> Self {
        Self(Names::new().tag(content(course_id)).tag(course_figures(course_id)))
    }

    pub fn enrolled(student_id: i64, course_id: i64) -> Self {
        let names = Names::new().tag(member(student_id)).tag(seats(course_id));
        Self(names.tag(course_figures(course_id)).tag(platform()))
    }

    /// A lesson done or undone, or time spent.
    pub fn learned(student_id: i64, course_id: i64) -> Self {
        let names = Names::new().tag(learner(student_id));
        Self(figures(names, student_id, course_id))
    }

    pub fn dropped(student_id: i64, course_id: i64) -> Self {
        let names =
            Names::new().tag(member(student_id)).tag(learner(student_id)).tag(seats(course_id));
        Self(figures(names, student_id, course_id))
    }

    /// Everything that imports may have changed; nothing if they found every row as it was.
    pub fn imported(imports: &[Imported]) -> Self {
        let names = imports.iter().filter(|imported| imported.has_changes()).fold(
            Names::new(),
            |names, imported| {
                let names = names
                    .tag(Tag::named("courses"))
                    .tag(Tag::named("articles"))
                    .tag(Tag::named("tags"));
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
        Self(if names.len() > MOST_IMPORTED { Names::everything() } else { names })
    }
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
        let Ending(names) =
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
