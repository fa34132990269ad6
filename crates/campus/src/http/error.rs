//! The only place where a refusal becomes a status code.

use std::fmt::Write as _;

use axum::Json as AxumJson;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::absence_headers;
use crate::learning;
use crate::model::{FieldError, Refusal};
use crate::reads::{self, Away, Origin};

/// Not to be repeated blindly, so it names no moment to do that.
const IN_DOUBT: &str = "The database did not confirm the change. It may have been made: read it \
before you try again";

/// To be repaired by somebody, so it names no moment to try again either.
const CONTENT_LOST: &str = "The content of this course is not the version that the database \
names. Its owner can replace it as a whole (PUT) or delete it; operators see such courses with \
`campus content check`";

/// When a stream that was given up may be noticed to be gone, in seconds.
const STREAM_RETRY: u64 = 15;

/// An error answer: RFC 9457, with `detail` as the field every client reads.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<u64>,
    /// How it is known that there is nothing.
    origin: Option<Box<Origin>>,
    /// For the log.
    cause: Option<Cause>,
}

/// Why a request failed, with every cause: an extension of its answer, because only the
/// edge knows which request that is. The client learns none of it.
#[derive(Debug, Clone)]
pub(super) struct Cause(pub(super) String);

/// The body of an error answer, as `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    #[schema(example = "Not Found")]
    title: &'static str,
    #[schema(example = 404)]
    status: u16,
    #[schema(example = "Course not found")]
    detail: String,
    /// Which fields are not valid, for 422.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<FieldProblem>)]
    errors: Vec<FieldError>,
}

/// One field that is not valid.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only describes the shape in the OpenAPI document")]
pub(super) struct FieldProblem {
    #[schema(example = "title")]
    field: String,
    #[schema(example = "must have at least 1 character")]
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            origin: None,
            cause: None,
        }
    }

    pub(super) fn unprocessable(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError::new(field, message)])
    }

    fn fields(errors: Vec<FieldError>) -> Self {
        let mut detail = String::new();
        for error in errors.iter().take(5) {
            let separator = if detail.is_empty() { "" } else { "; " };
            let _ = write!(detail, "{separator}{}: {}", error.field, error.message);
        }
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on the server")
    }

    fn failed(away: Option<Away>, error: &(dyn std::error::Error + 'static)) -> Self {
        let problem = match away {
            Some(Away::Database) => {
                Self::unavailable("The database cannot be reached in time, try again")
            }
            Some(Away::Documents) => Self::unavailable(
                "Course content, which is in MongoDB, cannot be reached in time, try again",
            ),
            Some(Away::Content) => Self::new(StatusCode::SERVICE_UNAVAILABLE, CONTENT_LOST),
            None => Self::internal(),
        };
        Self { cause: Some(Cause::from(error)), ..problem }
    }

    pub(super) fn unavailable(detail: &str) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotFound(_) => Self::new(StatusCode::NOT_FOUND, detail),
            Refusal::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, detail),
            Refusal::Unauthenticated(_) => Self::new(StatusCode::UNAUTHORIZED, detail),
            Refusal::Conflict(_) => Self::new(StatusCode::CONFLICT, detail),
            Refusal::VersionMismatch { .. } => Self::new(StatusCode::PRECONDITION_FAILED, detail),
            Refusal::Invalid(errors) => Self::fields(errors),
            Refusal::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail),
            Refusal::TooManyAttempts { retry_after } => Self {
                retry_after: Some(retry_after.as_secs().max(1)),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
            },
            Refusal::TooManyStreams { .. } | Refusal::TooManyStreamsFrom { .. } => Self {
                retry_after: Some(STREAM_RETRY),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
            },
            Refusal::Busy => Self::unavailable(&detail),
        }
    }
}

impl From<reads::Error> for Problem {
    fn from(error: reads::Error) -> Self {
        Self::failed(error.away(), &error)
    }
}

impl From<learning::Error> for Problem {
    fn from(error: learning::Error) -> Self {
        match error {
            learning::Error::Refused(refusal) => refusal.into(),
            learning::Error::Absent(refusal, origin) => {
                Self { origin: Some(Box::new(origin)), ..refusal.into() }
            }
            learning::Error::Read(error) => error.into(),
            learning::Error::Store(error) if error.is_in_doubt() => Self {
                cause: Some(Cause::from(&error as &dyn std::error::Error)),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, IN_DOUBT)
            },
            learning::Error::Store(error) => Self::failed(error.away(), &error),
        }
    }
}

impl From<&(dyn std::error::Error + 'static)> for Cause {
    fn from(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let _ = write!(chain, ": {cause}");
            source = cause.source();
        }
        Self(chain)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: self.detail,
            errors: self.errors,
        };
        let mut response = (self.status, AxumJson(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(origin) = self.origin {
            absence_headers(headers, *origin);
        }
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}

/// What may go wrong with a list.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only describes the answers in the OpenAPI document")]
pub(super) enum ListProblems {
    #[response(
        status = 401,
        description = "The token is not valid",
        content_type = "application/problem+json"
    )]
    Unauthenticated(ProblemBody),
    #[response(
        status = 422,
        description = "A parameter is not valid",
        content_type = "application/problem+json"
    )]
    Invalid(ProblemBody),
    #[response(status = 503, description = "Try again", content_type = "application/problem+json")]
    Unavailable(ProblemBody),
}

/// What may go wrong with one thing.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only describes the answers in the OpenAPI document")]
pub(super) enum ReadProblems {
    #[response(
        status = 401,
        description = "Not signed in",
        content_type = "application/problem+json"
    )]
    Unauthenticated(ProblemBody),
    #[response(
        status = 403,
        description = "Not allowed",
        content_type = "application/problem+json"
    )]
    Forbidden(ProblemBody),
    #[response(
        status = 404,
        description = "There is no such thing, or not for you",
        content_type = "application/problem+json"
    )]
    NotFound(ProblemBody),
    #[response(
        status = 422,
        description = "A parameter is not valid",
        content_type = "application/problem+json"
    )]
    Invalid(ProblemBody),
    #[response(status = 503, description = "Try again", content_type = "application/problem+json")]
    Unavailable(ProblemBody),
}

/// What may go wrong with a write.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only describes the answers in the OpenAPI document")]
pub(super) enum WriteProblems {
    #[response(status = 400, description = "Not JSON", content_type = "application/problem+json")]
    Malformed(ProblemBody),
    #[response(
        status = 401,
        description = "Not signed in",
        content_type = "application/problem+json"
    )]
    Unauthenticated(ProblemBody),
    #[response(
        status = 403,
        description = "Not allowed",
        content_type = "application/problem+json"
    )]
    Forbidden(ProblemBody),
    #[response(
        status = 404,
        description = "There is no such thing",
        content_type = "application/problem+json"
    )]
    NotFound(ProblemBody),
    #[response(
        status = 409,
        description = "The state does not allow it",
        content_type = "application/problem+json"
    )]
    Conflict(ProblemBody),
    #[response(
        status = 413,
        description = "The body is too large",
        content_type = "application/problem+json"
    )]
    TooLarge(ProblemBody),
    #[response(
        status = 415,
        description = "The body is not declared as JSON",
        content_type = "application/problem+json"
    )]
    NotJson(ProblemBody),
    #[response(
        status = 422,
        description = "A field is not valid",
        content_type = "application/problem+json"
    )]
    Invalid(ProblemBody),
    #[response(status = 503, description = "Try again", content_type = "application/problem+json")]
    Unavailable(ProblemBody),
}

/// What else may go wrong with a stream of events.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only describes the answers in the OpenAPI document")]
pub(super) enum StreamProblems {
    #[response(
        status = 429,
        description = "Too many streams are open, of this account or from this address",
        content_type = "application/problem+json"
    )]
    TooMany(ProblemBody),
}

/// What else may go wrong with a write that has `If-Match`.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "only describes the answers in the OpenAPI document")]
pub(super) enum VersionProblems {
    #[response(
        status = 412,
        description = "It is at another version",
        content_type = "application/problem+json"
    )]
    OtherVersion(ProblemBody),
}
