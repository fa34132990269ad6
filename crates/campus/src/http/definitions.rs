//! How each namespace is cached, and changing that while the servers run.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::personal;
use super::auth::{Admin, OperatedBy};
use super::clearing::NO_NAMESPACE;
use super::error::{Problem, ReadProblems, WriteProblems};
use super::extract::{Json, Path};
use crate::app::App;
use crate::config::Namespace;
use crate::model::{CacheRuleEdit, Patch};
use crate::reads;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(definitions)).routes(routes!(change_definition))
}

/// How a namespace is cached; times in seconds.
#[derive(Serialize, ToSchema)]
struct Definition {
    #[schema(example = "courses")]
    ns: &'static str,
    enabled: bool,
    /// Age from which an entry is refreshed in the background.
    soft: u64,
    /// Age from which it is not served any more.
    hard: u64,
    /// The longest life in L1; absent: half of the hard TTL at most.
    l1: Option<u64>,
    /// Which of these an operator has changed.
    changed: Vec<&'static str>,
}

impl From<reads::Definition> for Definition {
    fn from(definition: reads::Definition) -> Self {
        let rule = definition.rule;
        let changed = [
            ("enabled", rule.enabled.is_some()),
            ("soft", rule.soft.is_some()),
            ("hard", rule.hard.is_some()),
            ("l1", rule.l1.is_some()),
        ];
        Self {
            ns: definition.namespace,
            enabled: definition.is_enabled,
            soft: definition.life.soft.as_secs(),
            hard: definition.life.hard.as_secs(),
            l1: definition.l1.map(|l1| l1.as_secs()),
            changed: changed.into_iter().filter_map(|(name, is)| is.then_some(name)).collect(),
        }
    }
}

/// How every namespace is cached by this server (admin)
#[utoipa::path(get, path = "/cache/definitions", tag = "operations",
    operation_id = "cacheDefinitions", security(("bearer" = [])),
    responses((status = 200, description = "Every namespace", body = Vec<Definition>), ReadProblems))]
async fn definitions(_: Admin, State(app): State<Arc<App>>) -> Response {
    let definitions = app.reads.definitions().await.into_iter();
    personal(StatusCode::OK, &definitions.map(Definition::from).collect::<Vec<_>>())
}

/// Seconds; `null` takes a change back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DefinitionEdit {
    /// `false`: every read of the namespace loads.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    enabled: Patch<bool>,
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 2_592_000)]
    soft: Patch<i64>,
    /// A smaller one counts for entries that are stored already, too.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 2_592_000)]
    hard: Patch<i64>,
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 2_592_000)]
    l1: Patch<i64>,
}

/// Change how a namespace is cached, on every server, from its next read on (admin)
#[utoipa::path(patch, path = "/cache/definitions/{ns}", tag = "operations",
    operation_id = "changeCacheDefinition", params(("ns" = String, Path)),
    security(("bearer" = [])), request_body = DefinitionEdit,
    responses((status = 200, description = "The namespace", body = Definition), WriteProblems))]
async fn change_definition(
    State(app): State<Arc<App>>,
    OperatedBy(by): OperatedBy,
    Path(ns): Path<String>,
    Json(edit): Json<DefinitionEdit>,
) -> Result<Response, Problem> {
    let namespace = Namespace::named(&ns).ok_or(NO_NAMESPACE)?;
    let DefinitionEdit { enabled, soft, hard, l1 } = edit;
    let edit = CacheRuleEdit { enabled, soft, hard, l1 };
    app.learning.change_cache_rule(by, namespace, edit).await?;
    let definitions = app.reads.definitions().await;
    let changed = definitions.into_iter().find(|definition| definition.namespace == ns);
    let changed = changed.ok_or(NO_NAMESPACE)?;
    Ok(personal(StatusCode::OK, &Definition::from(changed)))
}
