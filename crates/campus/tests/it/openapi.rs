//! The description of the API, its reader, and the catalogue page.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, run};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// `(method, path, description)` of every operation.
fn operations(api: &Value) -> Vec<(String, String, &Value)> {
    let paths = api["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
        methods.map(move |method| (method.to_uppercase(), path.clone(), &item[*method]))
    });
    operations.collect()
}

#[tokio::test]
async fn the_document_describes_every_operation_once() {
    let app = TestApp::start().await;
    let answer = app.get("/openapi.json").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    let api = answer.json();
    assert!(api["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{api}");
    let operations = operations(&api);
    let mut names = HashSet::new();
    for (method, path, operation) in &operations {
        let name = operation["operationId"].as_str().unwrap_or("");
        assert!(names.insert(name) && !name.is_empty(), "{method} {path}: '{name}'");
        let summary = operation["summary"].as_str().unwrap_or("");
        assert!(!summary.is_empty(), "{method} {path} has no summary");
        assert!(operation["responses"].as_object().is_some_and(|r| !r.is_empty()), "{path}");
    }
    let listed: BTreeSet<String> =
        operations.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(listed, in_the_source());
}

/// The operations as their handlers' attributes name them. A handler that is not
/// in the table of routes is dead code, which the compiler would have told.
fn in_the_source() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("the source") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        for attribute in text.split("#[utoipa::path(").skip(1) {
            let (method, rest) = attribute.split_once(',').expect("a method");
            let path = rest.split('"').nth(1).expect("a path");
            found.insert(format!("{} {path}", method.trim().to_uppercase()));
        }
    }
    assert!(found.len() > 25, "{found:?}");
    found
}

#[tokio::test]
async fn every_described_operation_is_there() {
    let app = TestApp::start().await;
    let api = app.get("/openapi.json").await.expect(200).json();
    for (method, path, _) in operations(&api) {
        let path = path.replace("{slug}", "no-such-slug");
        let filled: Vec<&str> = path
            .split('/')
            .map(|part| if part.starts_with('{') { "424242" } else { part })
            .collect();
        let method: Method = method.parse().expect("a method");
        let answer = app.ask(method.clone(), &filled.join("/")).await;
        assert_ne!(answer.status, 405, "{method} {path}");
        let no_path = answer.status == 404 && answer.text().contains("There is no such path");
        assert!(!no_path, "{method} {path}");
    }
}

#[tokio::test]
async fn the_program_prints_the_same_document() {
    let app = TestApp::start().await;
    let served = app.get("/openapi.json").await.expect(200).json();
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let printed = run(folder.path(), &[], &["openapi"]);
    assert!(printed.status.success(), "{printed:?}");
    let printed: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert_eq!(printed, served);
}

#[tokio::test]
async fn the_pages_are_served_with_their_types() {
    let app = TestApp::start().await;
    for (path, kind, part) in [
        ("/", "text/html; charset=utf-8", "<html"),
        ("/app.js", "text/javascript; charset=utf-8", "fetch"),
        ("/style.css", "text/css; charset=utf-8", "{"),
        ("/docs/", "text/html", "swagger"),
    ] {
        let page = app.get(path).await.expect(200);
        assert!(page.header("content-type").starts_with(kind), "{path}: {:?}", page.headers);
        assert!(page.text().contains(part), "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
    }
    let page = app.get("/").await.expect(200);
    assert!(page.header("content-security-policy").contains("default-src 'self'"));
    assert!(!page.header("content-security-policy").contains("unsafe"));
    let again = app.get("/").header("if-none-match", page.etag()).await.expect(304);
    assert!(again.body.is_empty());
    let gzip = app.get("/app.js").header("accept-encoding", "gzip").await.expect(200);
    assert_eq!(gzip.header("content-encoding"), "gzip");
    let docs = app.get("/docs").await;
    assert!((200..400).contains(&docs.status), "/docs: {}", docs.status);
}

#[tokio::test]
async fn the_document_says_what_is_refused() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    let modules = format!("/courses/{}/content/modules", app.published(&ada, "Rust").await);
    let schemas = &app.get("/openapi.json").await.expect(200).json()["components"]["schemas"];
    let course = json!({"title": "T", "description": "", "category": "C", "level": "beginner",
        "price": "1"});
    let article = json!({"title": "T", "body": ""});
    let module = json!({"title": "T"});
    for (path, shape, valid, field, keyword, wrong) in [
        ("/courses", "CourseCreate", &course, "title", "pattern", json!(" ")),
        ("/courses", "CourseCreate", &course, "slug", "pattern", json!("-a")),
        ("/courses", "CourseCreate", &course, "category", "pattern", json!("\n")),
        ("/courses", "CourseCreate", &course, "max_students", "minimum", json!(0)),
        ("/articles", "ArticleCreate", &article, "title", "pattern", json!("")),
        ("/articles", "ArticleCreate", &article, "slug", "pattern", json!("A")),
        (modules.as_str(), "ModuleDraft", &module, "id", "minimum", json!(0)),
        (modules.as_str(), "ModuleDraft", &module, "title", "maxLength", long()),
    ] {
        let said = &schemas[shape]["properties"][field][keyword];
        assert!(!said.is_null(), "{shape}.{field} has no {keyword}");
        let mut body = valid.clone();
        body[field] = wrong;
        let refused = app.post(path).by(&ada).json(body).await.refused(422);
        assert!(refused.starts_with(field), "{refused}");
    }
    let price = &schemas["Money"]["pattern"];
    assert!(price.as_str().is_some_and(|pattern| pattern.contains("1000000000")), "{price}");
}

fn long() -> Value {
    "x".repeat(301).into()
}

#[tokio::test]
async fn the_courses_of_a_session_are_described_as_the_names_they_are_in_json() {
    let app = TestApp::start().await;
    let api = app.get("/openapi.json").await.expect(200).json();
    let progress = &api["components"]["schemas"]["Session"]["properties"]["progress"];
    assert_eq!(progress["additionalProperties"]["type"], "number", "{progress}");
    assert_ne!(progress["propertyNames"]["type"], "integer", "{progress}");
}
