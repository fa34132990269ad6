//! Figures of a course and of a student. Those of the platform are shown as they are counted.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DashboardCourse, Rating};
use crate::model::{self, EnrollmentStatus, Risk, Timestamp};

/// What the students of a course have done in it. Percentages have two decimals.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CourseAnalytics {
    pub course_id: i64,
    pub title: String,
    /// Active and completed places.
    pub enrolled: i64,
    /// Those of them that were visited in the last seven days.
    pub active_7d: i64,
    pub completed: i64,
    pub dropped: i64,
    /// Completed places of the enrolled ones, in percent.
    pub completion_rate: f64,
    /// In percent.
    pub average_progress: f64,
    /// Places at 0 %, 1 to 25, 26 to 50, 51 to 75, 76 to 99 and 100 %.
    pub distribution: [i64; 6],
    pub lesson_completions: Vec<LessonCompletions>,
    /// Minutes spent by place.
    pub average_time: f64,
    pub rating: Rating,
    pub generated_at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LessonCompletions {
    pub module_id: i64,
    pub lesson_id: i64,
    pub completions: i64,
}

impl From<&model::CourseFigures> for CourseAnalytics {
    fn from(figures: &model::CourseFigures) -> Self {
        let lesson = |lesson: &model::LessonFigures| LessonCompletions {
            module_id: lesson.module_id,
            lesson_id: lesson.lesson_id,
            completions: lesson.completions,
        };
        Self {
            course_id: figures.course_id,
            title: figures.title.clone(),
            enrolled: figures.enrolled(),
            active_7d: figures.active(),
            completed: figures.completed(),
            dropped: figures.dropped(),
            completion_rate: figures.completion_rate(),
            average_progress: figures.average_progress(),
            distribution: figures.distribution(),
            lesson_completions: figures.lessons.iter().map(lesson).collect(),
            average_time: figures.average_time(),
            rating: Rating::from(figures.rating),
            generated_at: figures.generated_at,
        }
    }
}

/// What a student has done, and how likely it looks that they give up. All times are in UTC.
#[derive(Debug, Serialize, ToSchema)]
pub struct StudentAnalytics {
    pub user_id: i64,
    /// Lessons done on each of the last 30 days, the oldest first.
    pub completions_per_day: Vec<DayCompletions>,
    /// Lessons done in each hour of the day, in the same 30 days.
    pub active_hours: [i64; 24],
    /// The courses with a place, by their id.
    pub courses: Vec<CoursePace>,
    /// Places given up.
    pub dropped: i64,
    pub risk: Risk,
    pub generated_at: Timestamp,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DayCompletions {
    #[schema(format = Date, example = "2026-03-01")]
    pub date: String,
    pub completions: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CoursePace {
    pub course: DashboardCourse,
    pub status: EnrollmentStatus,
    pub progress_percent: f64,
    /// How far somebody would be who needs eight weeks.
    pub expected_percent: f64,
    pub lessons_per_week: f64,
    pub time_spent_minutes: i64,
    pub enrolled_at: Timestamp,
    pub last_accessed_at: Option<Timestamp>,
}

impl From<&model::StudentFigures> for StudentAnalytics {
    fn from(figures: &model::StudentFigures) -> Self {
        let now = figures.generated_at;
        let pace = |(course, pace): (&model::StudentCourse, &model::Pace)| CoursePace {
            course: DashboardCourse {
                id: course.id,
                title: course.title.clone(),
                slug: course.slug.clone(),
            },
            status: pace.status,
            progress_percent: pace.progress_percent(),
            expected_percent: pace.expected_percent(now),
            lessons_per_week: pace.lessons_per_week(now),
            time_spent_minutes: pace.minutes,
            enrolled_at: pace.enrolled_at,
            last_accessed_at: pace.last_accessed_at,
        };
        let day =
            |(day, completions): (Timestamp, i64)| DayCompletions { date: day.date(), completions };
        Self {
            user_id: figures.user_id,
            completions_per_day: figures.completions_per_day().into_iter().map(day).collect(),
            active_hours: figures.active_hours(),
            courses: figures.places().map(pace).collect(),
            dropped: figures.dropped(),
            risk: figures.risk(),
            generated_at: now,
        }
    }
}
