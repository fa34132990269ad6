//! Courses: their fields, their status machine, how lists are cut and sorted.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Fields, Money, Patch, Refusal, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CourseStatus {
    Draft,
    Published,
    Archived,
}

impl CourseStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Published => "published",
            Self::Archived => "archived",
        }
    }

    /// draft -> published -> archived -> published; back to draft only while nobody is enrolled.
    pub fn may_become(self, next: Self, enrolled: i64) -> Result<(), Refusal> {
        use CourseStatus::{Archived, Draft, Published};
        match (self, next) {
            (Draft | Archived, Published) | (Published, Archived) => Ok(()),
            (Published, Draft) if enrolled == 0 => Ok(()),
            (Published, Draft) => Err(Refusal::conflict(
                "A course with enrolled students cannot become a draft again",
            )),
            (from, to) => Err(Refusal::conflict(format!(
                "A course cannot go from {} to {}",
                from.as_str(),
                to.as_str()
            ))),
        }
    }
}

impl FromStr for CourseStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "draft" => Ok(Self::Draft),
            "published" => Ok(Self::Published),
            "archived" => Ok(Self::Archived),
            other => Err(format!("'{other}' is not a course status")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Beginner,
    Intermediate,
    Advanced,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Beginner => "beginner",
            Self::Intermediate => "intermediate",
            Self::Advanced => "advanced",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginner" => Ok(Self::Beginner),
            "intermediate" => Ok(Self::Intermediate),
            "advanced" => Ok(Self::Advanced),
            other => Err(format!("'{other}' is not a level (beginner, intermediate, advanced)")),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstructorRef {
    pub id: i64,
    pub full_name: String,
}

/// The sum of all stars and how many people gave them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rating {
    pub sum: i64,
    pub count: i64,
}

impl Rating {
    /// The mean with two decimals, or nothing without a vote.
    pub fn average(self) -> Option<f64> {
        (self.count > 0).then(|| {
            let hundredths = (self.sum * 200 + self.count) / (2 * self.count);
            hundredths as f64 / 100.0
        })
    }
}

/// Five votes of 3.5 are mixed in, so that one vote of 5 does not top the list.
/// Scaled to an integer: both databases sort it alike, from an index.
pub fn rating_score(rating: Rating) -> i64 {
    (rating.sum * 2 + 35) * 500_000 / (rating.count + 5)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    pub id: i64,
    pub slug: String,
    pub title: String,
    pub description: String,
    pub category: String,
    pub level: Level,
    pub price: Money,
    pub status: CourseStatus,
    pub instructor: InstructorRef,
    pub max_students: Option<i64>,
    pub enrolled_count: i64,
    pub rating: Rating,
    pub published_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: i64,
}

/// What a new course is made of.
#[derive(Debug, Clone)]
pub struct CourseDraft {
    pub slug: String,
    pub title: String,
    pub description: String,
    pub category: String,
    pub level: Level,
    pub price: Money,
    pub max_students: Option<i64>,
    pub instructor_id: i64,
}

impl CourseDraft {
    pub fn check(&self) -> Result<(), Refusal> {
        let mut fields = Fields::default();
        check_slug(&mut fields, &self.slug);
        check_texts(&mut fields, &self.title, &self.description, &self.category);
        check_seats(&mut fields, self.max_students);
        fields.finish()
    }
}

/// A partial update of a course.
#[derive(Debug, Clone, Default)]
pub struct CourseEdit {
    pub slug: Patch<String>,
    pub title: Patch<String>,
    pub description: Patch<String>,
    pub category: Patch<String>,
    pub level: Patch<Level>,
    pub price: Patch<Money>,
    pub max_students: Patch<i64>,
}

impl CourseEdit {
    /// Puts the edit over a course. Only the seat limit can be cleared: `null` means unlimited.
    pub fn apply(self, course: &mut Course) -> Result<(), Refusal> {
        let mut fields = Fields::default();
        let f = &mut fields;
        set(&mut course.slug, self.slug.required("slug", f));
        set(&mut course.title, self.title.required("title", f));
        let description = self.description.required("description", f);
        set(&mut course.description, description);
        set(&mut course.category, self.category.required("category", f));
        set(&mut course.level, self.level.required("level", f));
        set(&mut course.price, self.price.required("price", f));
        course.max_students = self.max_students.over(course.max_students);
        check_slug(f, &course.slug);
        check_texts(f, &course.title, &course.description, &course.category);
        check_seats(f, course.max_students);
        fields.finish()
    }
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn check_texts(fields: &mut Fields, title: &str, description: &str, category: &str) {
    fields.text("title", title, 1, 200);
    fields.text("description", description, 0, 20_000);
    fields.text("category", category, 1, 100);
}

fn check_seats(fields: &mut Fields, max_students: Option<i64>) {
    if let Some(seats) = max_students {
        fields.range("max_students", seats, 1, 1_000_000);
    }
}

pub(super) fn check_slug(fields: &mut Fields, slug: &str) {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edges = slug.starts_with('-') || slug.ends_with('-');
    if slug.is_empty() || slug.len() > 200 || edges || !slug.bytes().all(allowed) {
        fields.refuse("slug", "must have 1 to 200 lower-case letters, digits or inner hyphens");
    }
}

/// The slug of a title: ASCII letters and digits in lower case, joined by single hyphens.
/// A title without any of them gets `untitled`, with a number made from a title that is written
/// in another alphabet: two of them must not stand in each other's way.
pub fn slugify(title: &str) -> String {
    let mut slug = String::with_capacity(title.len().min(200));
    for c in title.chars() {
        if slug.len() >= 180 {
            break;
        }
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') && c != '\'' {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if !slug.is_empty() {
        return slug.to_owned();
    }
    if !title.chars().any(char::is_alphanumeric) {
        return "untitled".to_owned();
    }
    let hash = blake3::hash(title.trim().to_lowercase().as_bytes()).to_hex();
    format!("untitled-{}", &hash[..8])
}

/// How a course list is ordered; every order ends with the id, so that pages are stable.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CourseSort {
    #[default]
    Recent,
    Popular,
    TopRated,
}

impl CourseSort {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Popular => "popular",
            Self::TopRated => "top_rated",
        }
    }
}

/// What a course list is narrowed to, in canonical form: trimmed and case-folded,
/// so that two spellings of one question share one cache entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct CourseFilter {
    pub q: Option<String>,
    pub category: Option<String>,
    pub level: Option<Level>,
    /// In hundredths of a star.
    pub min_rating: Option<i64>,
}

impl CourseFilter {
    pub fn canonical(
        q: Option<&str>,
        category: Option<&str>,
        level: Option<Level>,
        min_rating: Option<i64>,
    ) -> Self {
        let fold = |text: &str| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let folded = words.join(" ").to_lowercase();
            (!folded.is_empty()).then_some(folded)
        };
        Self {
            q: q.and_then(fold),
            category: category.and_then(fold),
            level,
            min_rating: min_rating.filter(|&stars| stars > 0),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{CourseFilter, CourseStatus, Rating, rating_score, slugify};

    #[test]
    fn a_slug_has_only_lower_case_letters_digits_and_single_hyphens() {
        assert_eq!(slugify("  Rust & Async: Don't Panic!  "), "rust-async-dont-panic");
        assert_eq!(slugify(" ... "), "untitled");
        assert_eq!(slugify("机器学习"), slugify(" 机器学习 "));
        assert_ne!(slugify("机器学习"), slugify("Введение"));
        assert!(slugify("Введение").starts_with("untitled-"));
    }

    #[test]
    fn a_published_course_with_students_cannot_become_a_draft() {
        let published = CourseStatus::Published;
        assert!(published.may_become(CourseStatus::Draft, 0).is_ok());
        assert!(published.may_become(CourseStatus::Draft, 1).is_err());
        assert!(published.may_become(CourseStatus::Published, 0).is_err());
    }

    #[test]
    fn one_perfect_vote_does_not_beat_many_good_ones() {
        let one = rating_score(Rating { sum: 5, count: 1 });
        let many = rating_score(Rating { sum: 94, count: 20 });
        assert!(many > one);
    }

    #[test]
    fn spellings_of_one_question_share_a_canonical_form() {
        let a = CourseFilter::canonical(Some("  Rust   Async "), Some("DATA"), None, Some(0));
        let b = CourseFilter::canonical(Some("rust async"), Some("data "), None, None);
        assert_eq!(a, b);
    }
}
