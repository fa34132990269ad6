//! What an importer hands over: rows that name each other by their source's own ids.

use std::sync::Arc;

use serde::Serialize;

use super::{CourseStatus, EnrollmentStatus, Level, Money, Role, Timestamp};

/// Where an imported row comes from. `(source, external_id)` is unique per table,
/// so a second import of the same source updates instead of duplicating.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The data set, for example `mslearn` or `demo`.
    pub source: String,
    /// The row's id inside that data set.
    pub external_id: String,
    /// The licence notice to keep with the row.
    pub attribution: Option<String>,
}

/// A person. Imported people have no e-mail and no password: they cannot log in.
#[derive(Debug, Clone, Serialize)]
pub struct PersonImport {
    pub origin: Origin,
    /// A wish: a taken name gets a numeric suffix.
    pub username: String,
    pub full_name: String,
    pub role: Role,
    pub headline: Option<String>,
    pub bio: Option<String>,
    pub expertise: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct CourseImport {
    pub origin: Origin,
    /// A wish: a taken slug gets a numeric suffix.
    pub slug: String,
    pub title: String,
    pub description: String,
    pub category: String,
    pub level: Level,
    pub price: Money,
    pub max_students: Option<i64>,
    pub status: CourseStatus,
    /// Absent for a published course: the time of the first import.
    pub published_at: Option<Timestamp>,
    pub tags: Vec<String>,
    /// The origin's `external_id` of a person of the same source.
    pub instructor: String,
    pub modules: Vec<ModuleImport>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ModuleImport {
    /// Unique inside the course; keeps the module's id over re-imports.
    pub external_id: String,
    pub title: String,
    pub lessons: Vec<LessonImport>,
}

#[derive(Debug, Clone, Serialize)]
pub struct LessonImport {
    /// Unique inside the course; keeps the lesson's id over re-imports.
    pub external_id: String,
    pub title: String,
    pub kind: String,
    pub duration_minutes: i64,
    pub body: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct ArticleImport {
    pub origin: Origin,
    /// A wish: a taken slug gets a numeric suffix.
    pub slug: String,
    pub title: String,
    pub body: String,
    /// The origin's `external_id` of a person of the same source.
    pub author: Option<String>,
    pub tags: Vec<String>,
    pub published: bool,
    pub created_at: Option<Timestamp>,
}

/// A person's place in a course; both named by their `external_id` in the catalogue's source.
#[derive(Debug, Clone, Serialize)]
pub struct EnrollmentImport {
    pub student: String,
    pub course: String,
    pub status: EnrollmentStatus,
    pub enrolled_at: Timestamp,
    /// When the student was last here; never before `enrolled_at`.
    pub last_accessed_at: Timestamp,
    /// What is done, oldest first. Taken over when the row is new: afterwards progress
    /// belongs to the student.
    pub completions: Vec<CompletionImport>,
    pub time_spent_minutes: i64,
}

#[derive(Debug, Clone, Serialize)]
pub struct CompletionImport {
    /// The lesson's `external_id`; shared, because a lesson has thousands of these.
    pub lesson: Arc<str>,
    pub at: Timestamp,
}

/// A person's stars for a course; both named by their `external_id` in the catalogue's source.
#[derive(Debug, Clone, Serialize)]
pub struct RatingImport {
    pub student: String,
    pub course: String,
    /// 1 to 5.
    pub stars: i16,
}

/// Everything one import brings, applied in one transaction or, when it is large, in
/// several ([`Catalogue::into_steps`]).
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// The `Origin::source` of every row; enrollments and ratings look people and courses up in it.
    pub source: String,
    pub people: Vec<PersonImport>,
    pub courses: Vec<CourseImport>,
    pub articles: Vec<ArticleImport>,
    pub enrollments: Vec<EnrollmentImport>,
    pub ratings: Vec<RatingImport>,
}

impl Catalogue {
    /// How many rows an import has to look at: the end of its progress bar.
    pub fn rows(&self) -> usize {
        self.people.len()
            + self.courses.len()
            + self.articles.len()
            + self.enrollments.len()
            + self.ratings.len()
    }

    /// The same as several catalogues, to be applied one after the other: people, courses and
    /// articles, then the enrollments, at most `most` in each, then the ratings. Each is good
    /// by itself, so an import that was cut short goes on where it was when it is repeated.
    pub fn into_steps(mut self, most: usize) -> Vec<Self> {
        let part = || Self { source: self.source.clone(), ..Self::default() };
        let rows = std::mem::take(&mut self.enrollments);
        let ratings = Self { ratings: std::mem::take(&mut self.ratings), ..part() };
        let mut steps = Vec::with_capacity(rows.len().div_ceil(most.max(1)) + 2);
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let enrollments = rows.by_ref().take(most.max(1)).collect();
            steps.push(Self { enrollments, ..part() });
        }
        if !ratings.ratings.is_empty() {
            steps.push(ratings);
        }
        steps.insert(0, self);
        steps
    }

    /// Puts the steps together again.
    pub fn of_steps(steps: Vec<Self>) -> Self {
        let mut steps = steps.into_iter();
        let mut whole = steps.next().unwrap_or_default();
        for step in steps {
            whole.enrollments.extend(step.enrollments);
            whole.ratings.extend(step.ratings);
        }
        whole
    }
}
