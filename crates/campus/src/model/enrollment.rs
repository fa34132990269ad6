//! A student's place in a course.

use std::collections::HashSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Certificate, Money, Outline, Timestamp, User};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnrollmentStatus {
    Active,
    Completed,
    Dropped,
}

impl EnrollmentStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Dropped => "dropped",
        }
    }
}

impl FromStr for EnrollmentStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "active" => Ok(Self::Active),
            "completed" => Ok(Self::Completed),
            "dropped" => Ok(Self::Dropped),
            other => Err(format!("'{other}' is not an enrollment status")),
        }
    }
}

/// A request for a place.
#[derive(Debug, Clone)]
pub struct EnrollmentDraft {
    pub course_id: i64,
    pub student_id: i64,
    pub payment_amount: Option<Money>,
    pub source: String,
}

#[derive(Debug, Clone)]
pub struct Enrollment {
    pub id: i64,
    pub course_id: i64,
    pub student_id: i64,
    pub status: EnrollmentStatus,
    pub payment_amount: Option<Money>,
    pub payment_status: Option<String>,
    pub source: String,
    pub enrolled_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    pub dropped_at: Option<Timestamp>,
    pub last_accessed_at: Option<Timestamp>,
    pub last_lesson_id: Option<i64>,
    pub time_spent_minutes: i64,
    pub version: i64,
}

/// An enrollment with what its progress is computed from.
#[derive(Debug, Clone)]
pub struct EnrollmentDetail {
    pub enrollment: Enrollment,
    /// Completed lessons that still exist in the content, ascending.
    pub completed_lessons: Vec<i64>,
    pub completed_modules: Vec<i64>,
    pub total_lessons: i64,
}

impl EnrollmentDetail {
    /// Lessons that an edit removed from the content no longer count.
    pub fn new(enrollment: Enrollment, done: &[i64], outline: &Outline) -> Self {
        let done: HashSet<i64> = done.iter().copied().collect();
        let mut completed_lessons: Vec<i64> =
            outline.lessons().filter(|id| done.contains(id)).collect();
        completed_lessons.sort_unstable();
        let whole = |ids: &[i64]| !ids.is_empty() && ids.iter().all(|id| done.contains(id));
        let completed_modules = outline
            .0
            .iter()
            .filter(|(_, lessons)| whole(lessons))
            .map(|(module, _)| *module)
            .collect();
        Self {
            enrollment,
            completed_lessons,
            completed_modules,
            total_lessons: outline.lessons().count() as i64,
        }
    }

    /// Every lesson that there is; a course without lessons is never done.
    pub fn is_whole(&self) -> bool {
        self.total_lessons > 0 && self.completed_lessons.len() as i64 == self.total_lessons
    }

    pub fn completion_percentage(&self) -> f64 {
        percent(self.completed_lessons.len() as i64, self.total_lessons)
    }
}

/// What a student reports of a visit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Visit {
    /// Where to go on next time; where it was before when absent.
    pub lesson_id: Option<i64>,
    pub minutes: i64,
}

/// A place in a course, with what a dashboard shows of the course.
#[derive(Debug, Clone)]
pub struct Place {
    pub detail: EnrollmentDetail,
    pub course_title: String,
    pub course_slug: String,
}

/// A place in a course, with whose it is.
#[derive(Debug, Clone)]
pub struct RosterEntry {
    pub detail: EnrollmentDetail,
    pub student_name: String,
}

/// A person with everything that they learn and have learned.
#[derive(Debug, Clone)]
pub struct Learner {
    pub user: User,
    /// Active and completed ones, the newest first.
    pub places: Vec<Place>,
    pub certificates: Vec<Certificate>,
}

/// A share in percent with two decimals; integer arithmetic until the last step.
pub fn percent(part: i64, whole: i64) -> f64 {
    if whole <= 0 {
        return 0.0;
    }
    let hundredths = (part * 20_000 + whole) / (2 * whole);
    hundredths as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn percentages_are_rounded_to_two_decimals() {
        assert_eq!(percent(1, 3), 33.33);
        assert_eq!(percent(2, 3), 66.67);
        assert_eq!(percent(3, 3), 100.0);
        assert_eq!(percent(0, 0), 0.0);
    }
}
