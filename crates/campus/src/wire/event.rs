//! What listeners are told of an event.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::{self, EventKind, Timestamp};

/// The `data` of one event.
#[derive(Debug, Serialize, ToSchema)]
pub struct Event {
    pub event: EventKind,
    #[schema(example = 42)]
    pub course_id: Option<i64>,
    #[schema(example = 7)]
    pub user_id: Option<i64>,
    #[schema(example = 3)]
    pub lesson_id: Option<i64>,
    #[schema(example = 66.67)]
    pub progress_percent: Option<f64>,
    pub generated_at: Timestamp,
}

impl From<&model::Happened> for Event {
    fn from(happened: &model::Happened) -> Self {
        let model::Event { kind, course_id, user_id, lesson_id, progress_percent } = happened.event;
        let generated_at = happened.at;
        Self { event: kind, course_id, user_id, lesson_id, progress_percent, generated_at }
    }
}
