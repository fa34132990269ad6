//! The JSON shapes of the answers, as clients see them.
//!
//! Cached answers are rendered from these, so a hit and a miss and the answer
//! of a write cannot differ. Requests are described beside their handlers.

mod article;
mod dashboard;
mod event;
mod figures;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{self, CourseStatus, EnrollmentStatus, Level, Metadata, Money, Role, Timestamp};

pub use article::{Article, TagCount};
pub use dashboard::{Dashboard, DashboardCourse, Session};
pub use event::Event;
pub use figures::{CourseAnalytics, StudentAnalytics};

#[derive(Debug, Serialize, ToSchema)]
pub struct Course {
    #[schema(example = 42)]
    pub id: i64,
    #[schema(example = "rust-for-web-services")]
    pub slug: String,
    #[schema(example = "Rust for Web Services")]
    pub title: String,
    pub description: String,
    #[schema(example = "Programming")]
    pub category: String,
    pub level: Level,
    pub price: Money,
    pub status: CourseStatus,
    pub instructor: InstructorRef,
    /// `null`: no limit.
    pub max_students: Option<i64>,
    pub enrolled_count: i64,
    pub rating: Rating,
    pub published_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct InstructorRef {
    pub id: i64,
    pub full_name: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Rating {
    /// `null` while nobody has voted.
    pub average: Option<f64>,
    pub count: i64,
}

impl From<model::Rating> for Rating {
    fn from(rating: model::Rating) -> Self {
        Self { average: rating.average(), count: rating.count }
    }
}

impl From<&model::Course> for Course {
    fn from(course: &model::Course) -> Self {
        Self {
            id: course.id,
            slug: course.slug.clone(),
            title: course.title.clone(),
            description: course.description.clone(),
            category: course.category.clone(),
            level: course.level,
            price: course.price,
            status: course.status,
            instructor: InstructorRef {
                id: course.instructor.id,
                full_name: course.instructor.full_name.clone(),
            },
            max_students: course.max_students,
            enrolled_count: course.enrolled_count,
            rating: Rating::from(course.rating),
            published_at: course.published_at,
            created_at: course.created_at,
            updated_at: course.updated_at,
            version: course.version,
        }
    }
}

/// A page of courses.
#[derive(Debug, Serialize, ToSchema)]
pub struct CourseList {
    pub items: Vec<Course>,
    pub total: i64,
    pub skip: i64,
    pub limit: i64,
}

/// A category of the public catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub struct Category {
    #[schema(example = "Programming")]
    pub name: String,
    /// How many published courses are in it.
    pub count: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Content {
    pub course_id: i64,
    pub version: i64,
    pub modules: Vec<Module>,
    pub metadata: Metadata,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Module {
    pub id: i64,
    pub title: String,
    pub position: i64,
    pub lessons: Vec<Lesson>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Lesson {
    pub id: i64,
    pub title: String,
    #[schema(example = "text")]
    pub kind: String,
    pub duration_minutes: i64,
    pub body: String,
}

impl Content {
    pub fn new(course_id: i64, content: &model::Content, version: i64) -> Self {
        Self {
            course_id,
            version,
            modules: content.modules.iter().map(Module::from).collect(),
            metadata: content.metadata.clone(),
        }
    }
}

impl From<&model::Module> for Module {
    fn from(module: &model::Module) -> Self {
        Self {
            id: module.id,
            title: module.title.clone(),
            position: module.position,
            lessons: module.lessons.iter().map(Lesson::from).collect(),
        }
    }
}

impl From<&model::Lesson> for Lesson {
    fn from(lesson: &model::Lesson) -> Self {
        Self {
            id: lesson.id,
            title: lesson.title.clone(),
            kind: lesson.kind.clone(),
            duration_minutes: lesson.duration_minutes,
            body: lesson.body.clone(),
        }
    }
}

/// How full a course is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Seats {
    pub enrolled: i64,
    /// `null`: no limit.
    pub max_students: Option<i64>,
}

/// A person as others see them.
#[derive(Debug, Serialize, ToSchema)]
pub struct User {
    pub id: i64,
    #[schema(example = "ada")]
    pub username: String,
    #[schema(example = "Ada Lovelace")]
    pub full_name: String,
    pub role: Role,
    pub bio: Option<String>,
    pub created_at: Timestamp,
}

impl From<&model::User> for User {
    fn from(user: &model::User) -> Self {
        Self {
            id: user.id,
            username: user.username.clone(),
            full_name: user.full_name.clone(),
            role: user.role,
            bio: user.bio.clone(),
            created_at: user.created_at,
        }
    }
}

/// A person as they see themselves.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    pub id: i64,
    pub username: String,
    #[schema(example = "ada@example.org")]
    pub email: Option<String>,
    pub full_name: String,
    pub role: Role,
    pub bio: Option<String>,
    pub created_at: Timestamp,
}

impl From<&model::User> for Me {
    fn from(user: &model::User) -> Self {
        Self {
            id: user.id,
            username: user.username.clone(),
            email: user.email.clone(),
            full_name: user.full_name.clone(),
            role: user.role,
            bio: user.bio.clone(),
            created_at: user.created_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Instructor {
    pub user_id: i64,
    pub full_name: String,
    pub headline: Option<String>,
    pub bio: Option<String>,
    pub expertise: Vec<String>,
}

impl From<&model::InstructorProfile> for Instructor {
    fn from(profile: &model::InstructorProfile) -> Self {
        Self {
            user_id: profile.user_id,
            full_name: profile.full_name.clone(),
            headline: profile.headline.clone(),
            bio: profile.bio.clone(),
            expertise: profile.expertise.clone(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Enrollment {
    pub id: i64,
    pub course_id: i64,
    pub student_id: i64,
    pub status: EnrollmentStatus,
    pub payment_amount: Option<Money>,
    #[schema(example = "completed")]
    pub payment_status: Option<String>,
    pub enrollment_source: String,
    pub enrolled_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    pub dropped_at: Option<Timestamp>,
    pub last_accessed_at: Option<Timestamp>,
    pub last_lesson_id: Option<i64>,
    pub time_spent_minutes: i64,
    pub completion_percentage: f64,
    pub completed_lessons: Vec<i64>,
    pub completed_modules: Vec<i64>,
    pub total_lessons: i64,
    pub version: i64,
}

impl From<model::EnrollmentDetail> for Enrollment {
    fn from(detail: model::EnrollmentDetail) -> Self {
        let completion_percentage = detail.completion_percentage();
        let enrollment = detail.enrollment;
        Self {
            id: enrollment.id,
            course_id: enrollment.course_id,
            student_id: enrollment.student_id,
            status: enrollment.status,
            payment_amount: enrollment.payment_amount,
            payment_status: enrollment.payment_status,
            enrollment_source: enrollment.source,
            enrolled_at: enrollment.enrolled_at,
            started_at: enrollment.started_at,
            completed_at: enrollment.completed_at,
            dropped_at: enrollment.dropped_at,
            last_accessed_at: enrollment.last_accessed_at,
            last_lesson_id: enrollment.last_lesson_id,
            time_spent_minutes: enrollment.time_spent_minutes,
            completion_percentage,
            completed_lessons: detail.completed_lessons,
            completed_modules: detail.completed_modules,
            total_lessons: detail.total_lessons,
            version: enrollment.version,
        }
    }
}

/// A page of one's enrollments.
#[derive(Debug, Serialize, ToSchema)]
pub struct EnrollmentList {
    pub items: Vec<Enrollment>,
    pub total: i64,
    pub skip: i64,
    pub limit: i64,
}

/// A place in a course and whose it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct RosterEntry {
    pub student: PersonRef,
    #[serde(flatten)]
    pub enrollment: Enrollment,
}

impl From<model::RosterEntry> for RosterEntry {
    fn from(entry: model::RosterEntry) -> Self {
        let id = entry.detail.enrollment.student_id;
        Self {
            student: PersonRef { id, full_name: entry.student_name },
            enrollment: Enrollment::from(entry.detail),
        }
    }
}

/// A page of a course's enrollments.
#[derive(Debug, Serialize, ToSchema)]
pub struct Roster {
    pub items: Vec<RosterEntry>,
    pub total: i64,
    pub skip: i64,
    pub limit: i64,
}

/// How far a student is in a course.
#[derive(Debug, Serialize, ToSchema)]
pub struct Progress {
    pub course_id: i64,
    pub user_id: i64,
    #[schema(example = 66.67)]
    pub progress_percent: f64,
    pub completed_lessons: Vec<i64>,
    pub total_lessons: i64,
    /// Where to go on.
    pub last_lesson_id: Option<i64>,
    pub updated_at: Timestamp,
}

impl From<&model::EnrollmentDetail> for Progress {
    fn from(detail: &model::EnrollmentDetail) -> Self {
        let enrollment = &detail.enrollment;
        Self {
            course_id: enrollment.course_id,
            user_id: enrollment.student_id,
            progress_percent: detail.completion_percentage(),
            completed_lessons: detail.completed_lessons.clone(),
            total_lessons: detail.total_lessons,
            last_lesson_id: enrollment.last_lesson_id,
            updated_at: enrollment.last_accessed_at.unwrap_or(enrollment.enrolled_at),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Certificate {
    pub id: i64,
    #[schema(example = "MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U")]
    pub code: String,
    pub course: CertifiedCourse,
    pub student: PersonRef,
    pub issued_at: Timestamp,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CertifiedCourse {
    pub id: i64,
    pub title: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PersonRef {
    pub id: i64,
    pub full_name: String,
}

impl From<&model::Certificate> for Certificate {
    fn from(certificate: &model::Certificate) -> Self {
        let model::Certificate { course_id, course_title, student_id, student_name, .. } =
            certificate;
        Self {
            id: certificate.id,
            code: certificate.code.as_str().to_owned(),
            course: CertifiedCourse { id: *course_id, title: course_title.clone() },
            student: PersonRef { id: *student_id, full_name: student_name.clone() },
            issued_at: certificate.issued_at,
        }
    }
}

/// A page of one's certificates.
#[derive(Debug, Serialize, ToSchema)]
pub struct CertificateList {
    pub items: Vec<Certificate>,
    pub total: i64,
    pub skip: i64,
    pub limit: i64,
}

/// What anybody learns from a code: who completed what, and when; or that it certifies nothing.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verification {
    pub valid: bool,
    /// Only there when the code is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<VerifiedCertificate>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct VerifiedCertificate {
    pub code: String,
    pub course: CertifiedCourse,
    pub student_name: String,
    pub issued_at: Timestamp,
}

impl From<Option<&model::Certificate>> for Verification {
    fn from(certificate: Option<&model::Certificate>) -> Self {
        let verified = |certificate| {
            let Certificate { code, course, student, issued_at, .. } =
                Certificate::from(certificate);
            VerifiedCertificate { code, course, student_name: student.full_name, issued_at }
        };
        Self { valid: certificate.is_some(), certificate: certificate.map(verified) }
    }
}

/// What a login or a refresh gives.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenPair {
    pub access_token: String,
    pub refresh_token: String,
    #[schema(example = "bearer")]
    pub token_type: &'static str,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    pub expires_in: u64,
}
