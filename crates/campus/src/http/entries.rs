//! One key of the cache, explained.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::personal;
use super::auth::Admin;
use super::error::{Problem, ReadProblems};
use super::extract::Query;
use crate::app::App;
use crate::model::Refusal;
use crate::reads::{Explained, InTier, Missed, Says, Shown};

const NO_KEY: Refusal = Refusal::NotFound(
    "Campus reads nothing under such a key; keys look like course:detail@1:42 (campus cache keys)",
);

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(explain_entry))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct KeyParams {
    /// As it stands in Redis, with or without the prefix.
    #[param(example = "course:detail@1:42")]
    key: String,
}

#[derive(Serialize, ToSchema)]
struct Entry {
    key: String,
    ns: &'static str,
    /// Clearing one of these ends the entry.
    tags: Vec<String>,
    /// Clearing one of these ends it once it is past its soft TTL.
    lazy_tags: Vec<String>,
    l1: TierEntry,
    l2: TierEntry,
    /// `body`, `redacted` (not everybody may see it), `no such thing` or `nothing`.
    shown: &'static str,
    /// What a read would answer, if anybody may see that.
    #[schema(value_type = Option<Object>)]
    body: Option<Box<RawValue>>,
    /// Why this server had to load it last; absent if it did not, or long ago.
    last_miss: Option<Miss>,
}

#[derive(Serialize, ToSchema)]
struct TierEntry {
    /// `fresh`, `stale`, `absent`, `expired`, `invalidated`, `given up`, `pending`, `unproven`,
    /// `other epoch`, `foreign`, `loading`, `unreachable` or `off`.
    verdict: &'static str,
    /// What it was invalidated by.
    by: Option<String>,
    age_ms: Option<u64>,
    soft_left_ms: Option<u64>,
    hard_left_ms: Option<u64>,
}

#[derive(Serialize, ToSchema)]
struct Miss {
    ago_ms: u64,
    l1: &'static str,
    l1_by: Option<String>,
    l2: &'static str,
    l2_by: Option<String>,
}

/// What the cache holds under a key, and why it would not answer (admin)
#[utoipa::path(get, path = "/cache/entries", tag = "operations", operation_id = "explainEntry",
    params(KeyParams), security(("bearer" = [])),
    responses((status = 200, description = "What is known of it", body = Entry), ReadProblems))]
async fn explain_entry(
    _: Admin,
    State(app): State<Arc<App>>,
    Query(params): Query<KeyParams>,
) -> Result<Response, Problem> {
    let key = params.key.strip_prefix(&app.key_prefix).unwrap_or(&params.key);
    let explained = app.reads.explain(key).await.ok_or(NO_KEY)?;
    Ok(personal(StatusCode::OK, &Entry::from(explained)))
}

impl From<Explained> for Entry {
    fn from(explained: Explained) -> Self {
        let (shown, body) = match explained.shown {
            Shown::Body(bytes) => ("body", serde_json::from_slice(&bytes).ok()),
            Shown::Redacted => ("redacted", None),
            Shown::NoSuchThing => ("no such thing", None),
            Shown::Nothing => ("nothing", None),
        };
        Self {
            key: explained.key,
            ns: explained.namespace,
            tags: explained.tags,
            lazy_tags: explained.lazy_tags,
            l1: explained.l1.into(),
            l2: explained.l2.into(),
            shown,
            body,
            last_miss: explained.last_miss.map(Miss::from),
        }
    }
}

impl From<InTier> for TierEntry {
    fn from(tier: InTier) -> Self {
        let Says { verdict, by } = tier.says;
        Self {
            verdict,
            by,
            age_ms: tier.age.map(millis),
            soft_left_ms: tier.soft_left.map(millis),
            hard_left_ms: tier.hard_left.map(millis),
        }
    }
}

impl From<Missed> for Miss {
    fn from(missed: Missed) -> Self {
        Self {
            ago_ms: millis(missed.ago),
            l1: missed.l1.verdict,
            l1_by: missed.l1.by,
            l2: missed.l2.verdict,
            l2_by: missed.l2.by,
        }
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}
