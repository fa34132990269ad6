//! Figures of a course and of the whole platform. Whole numbers until the last step, so that
//! both databases give the same ones.

use serde::Serialize;
use utoipa::ToSchema;

use super::{EnrollmentStatus, Rating, Timestamp, percent};

/// What everybody who has or had a place in a course has done there.
#[derive(Debug, Clone)]
pub struct CourseFigures {
    pub course_id: i64,
    pub title: String,
    pub places: Vec<PlaceGroup>,
    /// The lessons that the course has now, in their order.
    pub lessons: Vec<LessonFigures>,
    pub rating: Rating,
    pub generated_at: Timestamp,
}

/// The places of one course that have the same status and as many lessons done.
#[derive(Debug, Clone)]
pub struct PlaceGroup {
    pub status: EnrollmentStatus,
    pub done: i64,
    pub places: i64,
    /// Those of them that were visited in the last seven days.
    pub active: i64,
    pub minutes: i64,
}

/// How many of the places there are now have a lesson done.
#[derive(Debug, Clone)]
pub struct LessonFigures {
    pub module_id: i64,
    pub lesson_id: i64,
    pub completions: i64,
}

impl CourseFigures {
    fn live(&self) -> impl Iterator<Item = &PlaceGroup> {
        self.places.iter().filter(|group| group.status != EnrollmentStatus::Dropped)
    }

    fn with(&self, status: EnrollmentStatus) -> i64 {
        let groups = self.places.iter().filter(|group| group.status == status);
        groups.map(|group| group.places).sum()
    }

    /// Active and completed places.
    pub fn enrolled(&self) -> i64 {
        self.live().map(|group| group.places).sum()
    }

    pub fn active(&self) -> i64 {
        self.live().map(|group| group.active).sum()
    }

    pub fn completed(&self) -> i64 {
        self.with(EnrollmentStatus::Completed)
    }

    /// Somebody who came back and dropped it again counts twice.
    pub fn dropped(&self) -> i64 {
        self.with(EnrollmentStatus::Dropped)
    }

    pub fn completion_rate(&self) -> f64 {
        percent(self.completed(), self.enrolled())
    }

    pub fn average_progress(&self) -> f64 {
        let lessons = self.lessons.len() as i64;
        let done: i64 = self.live().map(|group| group.done.min(lessons) * group.places).sum();
        percent(done, self.enrolled() * lessons)
    }

    /// The places at 0 %, to 25 %, to 50 %, to 75 %, below 100 % and at 100 %.
    pub fn distribution(&self) -> [i64; 6] {
        let lessons = self.lessons.len() as i64;
        let mut places = [0; 6];
        for group in self.live() {
            places[band(group.done, lessons)] += group.places;
        }
        places
    }

    /// Minutes by place.
    pub fn average_time(&self) -> f64 {
        quotient(self.live().map(|group| group.minutes).sum(), self.enrolled())
    }
}

fn band(done: i64, lessons: i64) -> usize {
    if done <= 0 || lessons == 0 {
        0
    } else if done >= lessons {
        5
    } else {
        1 + [25, 50, 75].iter().filter(|edge| done * 100 > *edge * lessons).count()
    }
}

/// A quotient with two decimals, rounded half up; of nothing it is zero.
pub fn quotient(part: i64, whole: i64) -> f64 {
    if whole <= 0 {
        return 0.0;
    }
    let (part, whole) = (i128::from(part), i128::from(whole));
    ((part * 200 + whole) / (2 * whole)) as f64 / 100.0
}

/// The whole platform at a glance.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PlatformAnalytics)]
pub struct PlatformFigures {
    pub users: RoleCounts,
    pub courses: StatusCounts,
    /// Places taken; dropped ones too.
    pub enrollments: Windows,
    /// Lessons done.
    pub completions: Windows,
    /// The published courses with the most students.
    pub top_courses: Vec<TopCourse>,
    pub generated_at: Timestamp,
}

#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub struct RoleCounts {
    pub student: i64,
    pub instructor: i64,
    pub admin: i64,
}

#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub struct StatusCounts {
    pub draft: i64,
    pub published: i64,
    pub archived: i64,
}

/// How often something happened lately; the longer spans include the shorter ones.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Windows {
    pub last_24h: i64,
    pub last_7d: i64,
    pub last_30d: i64,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TopCourse {
    pub id: i64,
    pub title: String,
    pub slug: String,
    pub enrolled_count: i64,
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = SystemStats)]
pub struct Totals {
    pub users: i64,
    /// Of every status.
    pub courses: i64,
    /// Places taken; dropped ones too.
    pub enrollments: i64,
    /// Lessons done.
    pub completions: i64,
    pub certificates: i64,
    pub articles: i64,
    pub generated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::{CourseFigures, LessonFigures, PlaceGroup, band, quotient};
    use crate::model::EnrollmentStatus::{Active, Completed, Dropped};
    use crate::model::{Rating, Timestamp};

    fn course(lessons: i64, places: Vec<PlaceGroup>) -> CourseFigures {
        let lesson = |lesson_id| LessonFigures { module_id: 1, lesson_id, completions: 0 };
        CourseFigures {
            course_id: 1,
            title: "A course".to_owned(),
            places,
            lessons: (0..lessons).map(lesson).collect(),
            rating: Rating::default(),
            generated_at: Timestamp(0),
        }
    }

    #[test]
    fn a_course_without_students_or_lessons_is_all_zeros() {
        let alone = PlaceGroup { status: Active, done: 0, places: 2, active: 0, minutes: 0 };
        for (figures, enrolled) in
            [(course(3, vec![]), 0), (course(0, vec![]), 0), (course(0, vec![alone]), 2)]
        {
            assert_eq!(figures.enrolled(), enrolled);
            assert_eq!(figures.distribution(), [enrolled, 0, 0, 0, 0, 0]);
            let rates = [figures.completion_rate(), figures.average_progress()];
            assert_eq!((rates, figures.average_time()), ([0.0, 0.0], 0.0));
        }
    }

    #[test]
    fn a_dropped_place_counts_only_as_dropped() {
        let group =
            |status, done, places| PlaceGroup { status, done, places, active: 1, minutes: 7 };
        let figures =
            course(3, vec![group(Active, 1, 2), group(Completed, 3, 1), group(Dropped, 2, 5)]);
        let counts = [figures.enrolled(), figures.active(), figures.completed(), figures.dropped()];
        assert_eq!(counts, [3, 2, 1, 5]);
        assert_eq!(figures.distribution(), [0, 0, 2, 0, 0, 1]);
        // 5 of 9 lessons, 14 minutes in 3 places.
        assert_eq!((figures.average_progress(), figures.average_time()), (55.56, 4.67));
        assert_eq!(figures.completion_rate(), 33.33);
    }

    #[test]
    fn each_share_of_a_course_is_in_one_band() {
        let bands = |lessons| (0..=lessons).map(|done| band(done, lessons)).collect::<Vec<_>>();
        assert_eq!(bands(4), [0, 1, 2, 3, 5]);
        assert_eq!(bands(8), [0, 1, 1, 2, 2, 3, 3, 4, 5]);
        assert_eq!((band(1, 1000), band(999, 1000), band(9, 8)), (1, 4, 5));
    }

    #[test]
    fn quotients_are_rounded_to_two_decimals_and_never_overflow() {
        assert_eq!((quotient(1, 3), quotient(2, 3), quotient(1, 0)), (0.33, 0.67, 0.0));
        assert_eq!(quotient(i64::MAX, i64::MAX), 1.0);
    }
}
