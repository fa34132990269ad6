//! What handlers are given: bodies, parameters and conditions, refused as problems.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::Problem;

/// Body limits: ordinary writes, logins, whole documents.
pub(super) const DEFAULT_LIMIT: usize = 64 * 1024;
pub(super) const AUTH_LIMIT: usize = 4 * 1024;
pub(super) const CONTENT_LIMIT: usize = crate::model::MAX_CONTENT_BYTES;

/// A body larger than this is not even read to its end.
const DRAIN_LIMIT: usize = 32 * 1024 * 1024;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);

/// A JSON body of at most `LIMIT` bytes.
pub(super) struct Json<T, const LIMIT: usize = DEFAULT_LIMIT>(pub(super) T);

impl<S: Sync, T: DeserializeOwned, const LIMIT: usize> FromRequest<S> for Json<T, LIMIT> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body must be application/json",
            ));
        }
        let body = read_body(request, LIMIT, BODY_TIME).await?;
        parse(&body).map(Self)
    }
}

/// Reads at most `limit` bytes. What is over the limit is read and thrown away, up
/// to a point: a client that is still sending would not hear the answer otherwise.
async fn read_body(request: Request, limit: usize, within: Duration) -> Result<Vec<u8>, Problem> {
    let read = tokio::time::timeout(within, read_to_end(request, limit));
    read.await.unwrap_or_else(|_| {
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time"))
    })
}

async fn read_to_end(request: Request, limit: usize) -> Result<Vec<u8>, Problem> {
    let declared = declared_length(request.headers()).unwrap_or(0);
    let mut body = request.into_body();
    let mut kept = Vec::with_capacity(declared.min(limit));
    let mut seen = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "The body could not be read"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        if seen <= limit {
            kept.extend_from_slice(&data);
        } else if seen > DRAIN_LIMIT {
            break;
        }
    }
    if seen > limit { Err(too_large(limit)) } else { Ok(kept) }
}

/// Malformed JSON is 400; JSON that is not what was asked for is 422 and names the field.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        // A wrong field may come before the place where the text stops being JSON at all.
        if cause.is_data() {
            if let Err(cause) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
                return malformed(&cause);
            }
            wrong_field(&path, &without_position(&cause))
        } else {
            malformed(&cause)
        }
    })?;
    json.end().map_err(|e| malformed(&e))?;
    Ok(value)
}

/// An entry of a list of short texts.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, example = "caching", max_length = 100, pattern = r"\S")]
#[expect(dead_code, reason = "only describes the shape in the OpenAPI document")]
pub(super) struct Label(String);

/// A struct that is read from a JSON object only. By itself serde takes an array as well,
/// field by field, which nobody means.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// The same for a list of them, as `deserialize_with` wants it.
pub(super) fn objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(value)| value).collect())
}

/// The same for one that may be absent.
pub(super) fn object_or_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let object = Option::<Object<T>>::deserialize(deserializer)?;
    Ok(object.map(|Object(value)| value))
}

/// A field that is missing has no place of its own: it is named inside the object it belongs to.
fn wrong_field(path: &str, message: &str) -> Problem {
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    match (path, missing) {
        (".", None) => Problem::unprocessable("body", message),
        (path, None) => Problem::unprocessable(path, message),
        (".", Some(field)) => Problem::unprocessable(field, "is missing"),
        (path, Some(field)) => Problem::unprocessable(format!("{path}.{field}"), "is missing"),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    let detail = format!("The body is not valid JSON: {error}");
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let kind = kind.to_str().unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("The body has more than {} KiB", limit / 1024);
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// Path parameters; an id that is no 64-bit integer is 422, and so is a text that is no UTF-8.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(|rejection| match rejection {
            PathRejection::FailedToDeserializePathParams(error) => match error.into_kind() {
                ErrorKind::InvalidUtf8InPathParam { key } => {
                    Problem::unprocessable(key, "is not UTF-8 when its %XX are decoded")
                }
                _ => Problem::unprocessable("path", "an id must be a 64-bit integer"),
            },
            _ => Problem::internal(),
        })
    }
}

/// Query parameters; a value of the wrong kind is 422.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query.map(|axum::extract::Query(value)| Self(value)).map_err(|e| {
            let text =
                std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
            let (field, message) = text.split_once(": ").unwrap_or(("query", &text));
            Problem::unprocessable(field, in_plain_words(message))
        })
    }
}

/// What the parsers of the standard library say, for people who do not know them.
fn in_plain_words(message: &str) -> &str {
    match message {
        "invalid float literal" | "cannot parse float from empty string" => "must be a number",
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "must be a whole number"
        }
        "number too large to fit in target type" => "is too large",
        "number too small to fit in target type" => "is too small",
        other => other,
    }
}

/// What the client says about caches and encodings.
pub(super) struct Conditions {
    if_none_match: Option<HeaderValue>,
    pub(super) accepts_gzip: bool,
    /// `Cache-Control: no-cache`; only admins are heard.
    pub(super) no_cache: bool,
}

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.headers))
    }
}

impl Conditions {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mentions = |name, word: &str| {
            let value = headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
            value.is_some_and(|value| value.contains(word))
        };
        Self {
            if_none_match: headers.get(header::IF_NONE_MATCH).cloned(),
            accepts_gzip: accepts_gzip(headers),
            no_cache: mentions(header::CACHE_CONTROL, "no-cache"),
        }
    }

    /// Whether the client has the body with this tag already. Comparison is weak, as for any GET.
    pub(super) fn has(&self, etag: &[u8]) -> bool {
        self.if_none_match.as_ref().is_some_and(|given| {
            let tags = given.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii);
            let mut tags = tags.map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag));
            tags.any(|tag| tag == b"*" || tag == etag)
        })
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::ACCEPT_ENCODING) else {
        return false;
    };
    let codings = value.to_str().unwrap_or("").split(',');
    codings.map(str::trim).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        name.trim().eq_ignore_ascii_case("gzip") && weight.parse().unwrap_or(0.0) > 0.0
    })
}

/// The header as the OpenAPI document describes it.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only describes the header in the OpenAPI document")]
pub(super) struct IfMatchParam {
    /// Only this version.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
}

/// The versions that `If-Match` allows; `None` when there is no such condition.
pub(super) struct IfMatch(pub(super) Option<Vec<i64>>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else {
            return Ok(Self(None));
        };
        let value = value.to_str().unwrap_or("");
        if value.trim() == "*" {
            return Ok(Self(None));
        }
        // Only the version counts: counts embedded in the body may have moved since.
        let version = |tag: &str| {
            let tag = tag.trim().strip_prefix('"')?.strip_suffix('"')?;
            tag.split('-').next()?.parse().ok()
        };
        Ok(Self(Some(value.split(',').filter_map(version).collect())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, Bytes};
    use axum::extract::Request;
    use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
    use axum::response::IntoResponse;
    use futures_util::stream::{self, StreamExt};

    use super::{Conditions, accepts_gzip, read_body};

    #[tokio::test]
    async fn a_body_that_stops_arriving_is_408() {
        let some = stream::iter([Ok::<Bytes, std::io::Error>(Bytes::from_static(b"{"))]);
        let request = Request::new(Body::from_stream(some.chain(stream::pending())));
        let refused = read_body(request, 10, Duration::from_millis(20)).await.err().unwrap();
        assert_eq!(refused.into_response().status(), StatusCode::REQUEST_TIMEOUT);
    }

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn gzip_is_used_only_for_clients_that_take_it() {
        assert!(accepts_gzip(&headers(header::ACCEPT_ENCODING, "br, gzip;q=0.5")));
        assert!(!accepts_gzip(&headers(header::ACCEPT_ENCODING, "gzip;q=0, br")));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_tag_matches_in_a_list_and_when_weak() {
        let conditions = Conditions::of(&headers(header::IF_NONE_MATCH, "\"a\", W/\"b\""));
        assert!(conditions.has(b"\"b\""));
        assert!(!conditions.has(b"\"c\""));
    }
}
