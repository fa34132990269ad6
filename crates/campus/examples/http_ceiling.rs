//! What `bench/http` compares a HIT with: the same bytes, without a cache.
//!
//! `http_ceiling constant ADDR BODY` answers `/constant/{id}` with the bytes of the file BODY and
//! the headers of a HIT, from within Campus' own routes and middleware.
//! `http_ceiling static ADDR BODY` answers the same path with the same bytes from bare axum.

use std::error::Error;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Router, ServiceExt};
use bytes::Bytes;
use campus::app::App;
use campus::clock::Clock;
use campus::config::{Config, Settings};
use campus::http;
use tokio::net::TcpListener;

const PATH: &str = "/constant/{id}";

/// The headers of a HIT on a course, all known before.
fn constant(body: Bytes) -> impl IntoResponse {
    let headers = [
        (header::AGE, "12"),
        (header::HeaderName::from_static("x-cache"), "HIT"),
        (header::HeaderName::from_static("cache-status"), "campus; hit; ttl=288; detail=L1"),
        (header::CACHE_CONTROL, "public, max-age=0, must-revalidate"),
        (header::VARY, "Authorization, Accept-Encoding"),
        (header::ETAG, "\"1-0123456789abcdef\""),
        (header::CONTENT_TYPE, "application/json"),
    ];
    (headers, body)
}

/// Campus itself, on the database of `DATABASE_URL`.
async fn campus() -> Result<Arc<App>, Box<dyn Error>> {
    let settings =
        Settings { database_url: std::env::var("DATABASE_URL").ok(), ..Settings::default() };
    let config = Config::from_process(&settings)?;
    Ok(Arc::new(App::build(&config, Clock::System).await?))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, addr, body] = arguments.as_slice() else {
        return Err("usage: http_ceiling constant|static ADDR BODY".into());
    };
    let body = Bytes::from(std::fs::read(body)?);
    // As `campus serve` listens.
    let listener = TcpListener::bind(addr).await?.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    match mode.as_str() {
        "constant" => {
            let answer = get(|| async move { constant(body.clone()) });
            let app = campus().await?;
            let meters = Arc::clone(&app.meters);
            let service = http::middleware(http::router(app).route(PATH, answer), meters);
            axum::serve(listener, ServiceExt::<Request>::into_make_service(service)).await?;
        }
        "static" => {
            let router = Router::new().route(PATH, get(|| async move { body.clone() }));
            axum::serve(listener, router).await?;
        }
        other => return Err(format!("no such mode: {other}").into()),
    }
    Ok(())
}
