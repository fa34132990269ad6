//! The web layer: every route in one table, every middleware in one function.

mod analytics;
mod answer;
mod articles;
mod audit;
mod auth;
mod cache;
mod certificates;
mod clearing;
mod content;
mod cors;
mod courses;
mod csv;
mod definitions;
mod edge;
mod enrollments;
mod entries;
mod error;
mod events;
mod extract;
mod health;
mod metrics;
mod page;
mod progress;
mod protection;
mod roster;
mod server;
mod sessions;
mod site;
mod system;
#[cfg(feature = "otel")]
mod traced;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;

pub use edge::Edge;
pub(crate) use health::{CHALLENGE, PROOF};
pub use metrics::metrics_service;
pub use server::{Draining, serve};

use crate::app::App;
use crate::config::Service;
use crate::meters::Meters;
use cors::Origins;
use error::Problem;

/// Everything clients can ask a service for, and its description.
fn routes(service: Service) -> (Router<Arc<App>>, OpenApi) {
    let mut described = OpenApiRouter::with_openapi(Description::openapi());
    if service.has_users() {
        described = described.merge(user_routes());
    }
    if service.has_courses() {
        described = described.merge(course_routes());
    }
    let (router, api) = described.merge(operator_routes()).split_for_parts();
    let router = elsewhere(router, service);
    (router.merge(site::routes(&api, service)).merge(metrics::routes()), api)
}

/// Accounts and people.
fn user_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().merge(sessions::routes()).merge(users::routes())
}

/// Courses and all that is done with them.
fn course_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .merge(courses::routes())
        .merge(content::routes())
        .merge(enrollments::routes())
        .merge(progress::routes())
        .merge(roster::routes())
        .merge(certificates::routes())
        .merge(analytics::routes())
        .merge(events::routes())
        .merge(articles::routes())
}

/// What every service has: how it is, and what it caches.
fn operator_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .merge(health::routes())
        .merge(audit::routes())
        .merge(cache::routes())
        .merge(clearing::routes())
        .merge(definitions::routes())
        .merge(entries::routes())
        .merge(system::routes())
}

/// Says of the paths of the other service that they are there.
fn elsewhere(router: Router<Arc<App>>, service: Service) -> Router<Arc<App>> {
    let (other, theirs) = match service {
        Service::All => return router,
        Service::User => (Service::Course, course_routes()),
        Service::Course => (Service::User, user_routes()),
    };
    let (name, other) = (service.name(), other.name());
    let detail = format!(
        "This is the {name} service; the {other} service of this installation has that path"
    );
    let problem = Problem::new(StatusCode::NOT_FOUND, detail);
    theirs.get_openapi().paths.paths.keys().fold(router, |router, path| {
        let problem = problem.clone();
        router.route(path, any(move || async move { problem }))
    })
}

/// The whole service, as the server and the tests run it.
pub fn service(app: Arc<App>) -> Edge {
    let meters = Arc::clone(&app.meters);
    let origins = Origins::new(&app.cors_origins);
    let leaving = app.leaving.clone();
    middleware(router(app), meters).open_to(origins).until(leaving)
}

/// Every route, without what surrounds them all.
pub fn router(app: Arc<App>) -> Router {
    routes(app.service).0.with_state(app)
}

/// What every request passes, from the outside in. The rest (body limits, signing
/// in) is asked for by the handlers that need it.
pub fn middleware(router: Router, meters: Arc<Meters>) -> Edge {
    let router = router
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "There is no such path") })
        .method_not_allowed_fallback(|| async {
            let detail = "This path does not have that method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        })
        .layer(metrics::Timing(meters));
    Edge::new(router)
}

/// The description of a service's API.
pub fn openapi(service: Service) -> OpenApi {
    routes(service).1
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Campus",
        description = "An e-learning backend whose reads go through a two-tier cache. \
            Cached answers carry X-Cache, Cache-Status and an entity tag; \
            errors are application/problem+json.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/")),
    tags(
        (name = "accounts", description = "Signing up, in and out"),
        (name = "users", description = "People and instructors"),
        (name = "courses", description = "The catalogue"),
        (name = "content", description = "Modules and lessons"),
        (name = "enrollments", description = "Places in courses"),
        (name = "learning", description = "Progress and certificates"),
        (name = "analytics", description = "Figures of courses, students and the platform"),
        (name = "events", description = "What happens, as it happens"),
        (name = "articles", description = "What instructors write, and its tags"),
        (name = "operations", description = "Health and cache"),
    ),
    components(schemas(error::ProblemBody, error::FieldProblem)),
    modifiers(&Bearer)
)]
struct Description;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut OpenApi) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("JWT".to_owned());
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}
