//! What happened: what a write tells those who listen, by ids only.

use serde::{Deserialize, Serialize};

use super::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    CourseUpdated,
    CoursePublished,
    CourseArchived,
    CourseDeleted,
    ContentUpdated,
    Enrolled,
    LessonCompleted,
    CertificateIssued,
    Dropped,
    /// The platform's figures have moved.
    PlatformUpdate,
    CacheCleared,
    DefinitionsChanged,
}

impl EventKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CourseUpdated => "course_updated",
            Self::CoursePublished => "course_published",
            Self::CourseArchived => "course_archived",
            Self::CourseDeleted => "course_deleted",
            Self::ContentUpdated => "content_updated",
            Self::Enrolled => "enrolled",
            Self::LessonCompleted => "lesson_completed",
            Self::CertificateIssued => "certificate_issued",
            Self::Dropped => "dropped",
            Self::PlatformUpdate => "platform_update",
            Self::CacheCleared => "cache_cleared",
            Self::DefinitionsChanged => "definitions_changed",
        }
    }

    /// Whether it is about the course itself, and not about anybody in it.
    pub const fn is_of_the_course(self) -> bool {
        matches!(
            self,
            Self::CourseUpdated
                | Self::CoursePublished
                | Self::CourseArchived
                | Self::CourseDeleted
                | Self::ContentUpdated
        )
    }

    pub const fn is_of_the_platform(self) -> bool {
        matches!(self, Self::PlatformUpdate | Self::CacheCleared | Self::DefinitionsChanged)
    }
}

/// An event as a write leaves it in the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    #[serde(rename = "event")]
    pub kind: EventKind,
    pub course_id: Option<i64>,
    pub user_id: Option<i64>,
    pub lesson_id: Option<i64>,
    pub progress_percent: Option<f64>,
}

impl Event {
    pub const fn new(kind: EventKind) -> Self {
        Self { kind, course_id: None, user_id: None, lesson_id: None, progress_percent: None }
    }

    pub const fn of_course(kind: EventKind, course_id: i64) -> Self {
        Self { course_id: Some(course_id), ..Self::new(kind) }
    }

    pub const fn of_student(kind: EventKind, student_id: i64, course_id: i64) -> Self {
        Self { user_id: Some(student_id), ..Self::of_course(kind, course_id) }
    }
}

/// An event that is committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    pub id: i64,
    /// By the database's clock.
    pub at: Timestamp,
    pub event: Event,
}

/// What somebody can listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Course(i64),
    /// One's own learning.
    Me,
    Platform,
}

impl Topic {
    /// Reads `course:42`, `me` or `platform`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "me" => Some(Self::Me),
            "platform" => Some(Self::Platform),
            _ => text.strip_prefix("course:")?.parse().ok().map(Self::Course),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, EventKind, Topic};

    #[test]
    fn a_topic_is_read_as_it_is_written() {
        assert_eq!(Topic::parse("course:42"), Some(Topic::Course(42)));
        assert_eq!(Topic::parse("me"), Some(Topic::Me));
        assert_eq!(Topic::parse("platform"), Some(Topic::Platform));
        for unknown in ["", "Me", "course", "course:", "course:x", "course:1:2", "user:1", "*"] {
            assert_eq!(Topic::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_kind_has_one_name_in_the_table_and_on_the_wire() {
        for kind in [EventKind::CourseUpdated, EventKind::PlatformUpdate, EventKind::CacheCleared] {
            let event = serde_json::to_value(Event::new(kind)).unwrap();
            assert_eq!(event["event"], kind.as_str());
        }
    }
}
