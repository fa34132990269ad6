//! What a person sees of their own learning.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Certificate, User};
use crate::model::{self, EnrollmentStatus, Role, Timestamp};

#[derive(Debug, Serialize, ToSchema)]
pub struct Dashboard {
    pub user: User,
    /// Active and completed ones, the newest first.
    pub enrollments: Vec<DashboardEnrollment>,
    pub totals: DashboardTotals,
    pub certificates: Vec<Certificate>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DashboardEnrollment {
    pub course: DashboardCourse,
    pub progress_percent: f64,
    pub last_lesson_id: Option<i64>,
    pub last_accessed_at: Option<Timestamp>,
    pub status: EnrollmentStatus,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DashboardCourse {
    pub id: i64,
    pub title: String,
    pub slug: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DashboardTotals {
    pub active: i64,
    pub completed: i64,
    pub time_spent_minutes: i64,
}

impl From<&model::Learner> for Dashboard {
    fn from(learner: &model::Learner) -> Self {
        let enrollments = || learner.places.iter().map(|place| &place.detail.enrollment);
        let count =
            |status| enrollments().filter(|enrollment| enrollment.status == status).count() as i64;
        Self {
            user: User::from(&learner.user),
            enrollments: learner.places.iter().map(DashboardEnrollment::from).collect(),
            totals: DashboardTotals {
                active: count(EnrollmentStatus::Active),
                completed: count(EnrollmentStatus::Completed),
                time_spent_minutes: enrollments().map(|e| e.time_spent_minutes).sum(),
            },
            certificates: learner.certificates.iter().map(Certificate::from).collect(),
        }
    }
}

impl From<&model::Place> for DashboardEnrollment {
    fn from(place: &model::Place) -> Self {
        let enrollment = &place.detail.enrollment;
        Self {
            course: DashboardCourse {
                id: enrollment.course_id,
                title: place.course_title.clone(),
                slug: place.course_slug.clone(),
            },
            progress_percent: place.detail.completion_percentage(),
            last_lesson_id: enrollment.last_lesson_id,
            last_accessed_at: enrollment.last_accessed_at,
            status: enrollment.status,
        }
    }
}

/// Where a person is enrolled and how far they are there. No sign-in state: that is in tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    pub user_id: i64,
    pub role: Role,
    /// The courses, ascending.
    pub enrolled: Vec<i64>,
    /// Percent by course.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub progress: BTreeMap<i64, f64>,
}

impl From<&model::Learner> for Session {
    fn from(learner: &model::Learner) -> Self {
        let percent = |place: &model::Place| {
            (place.detail.enrollment.course_id, place.detail.completion_percentage())
        };
        let progress: BTreeMap<i64, f64> = learner.places.iter().map(percent).collect();
        Self {
            user_id: learner.user.id,
            role: learner.user.role,
            enrolled: progress.keys().copied().collect(),
            progress,
        }
    }
}
