//! The user service and the course service: two processes, one installation.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Api, Postgres, Redis, Server, course, run, until};

const PASSWORD: &str = "correct horse battery";

type Variables<'a> = Vec<(&'a str, &'a str)>;

/// What both services are started with.
fn shared<'a>(redis: &'a str, database: Option<&'a str>) -> Variables<'a> {
    let mut variables = vec![
        ("CAMPUS_SEED", "none"),
        ("CAMPUS_ADMIN_PASSWORD", PASSWORD),
        ("JWT_SECRET", "one secret for all services, long enough"),
        ("REDIS_URL", redis),
    ];
    variables.extend(database.map(|url| ("DATABASE_URL", url)));
    variables
}

async fn start(folder: &Path, shared: &[(&str, &str)], service: &str) -> Server {
    let mut variables = shared.to_vec();
    variables.push(("CAMPUS_ONLY", service));
    Server::start(folder, &variables).await
}

async fn token(users: &Api, email: &str) -> String {
    let login = json!({"email": email, "password": PASSWORD});
    let session = users.post("/auth/login").json(login).await.expect(200).json();
    session["access_token"].as_str().expect("a token").to_owned()
}

/// Registers an instructor; her id and her token.
async fn instructor(users: &Api) -> (i64, String) {
    let new = json!({"username": "ada", "email": "ada@example.org", "password": PASSWORD,
        "full_name": "Ada Before"});
    let id = users.post("/auth/register").json(new).await.expect(201).id();
    let root = token_of_admin(users).await;
    let role = json!({"role": "instructor"});
    users.patch(&format!("/users/{id}/role")).bearer(&root).json(role).await.expect(200);
    (id, token(users, "ada@example.org").await)
}

async fn token_of_admin(users: &Api) -> String {
    token(users, "admin@campus.local").await
}

/// A profile that is changed at one service is changed in what the other one has cached.
async fn a_change_reaches_the_other(folder: &Path, shared: &[(&str, &str)]) {
    let users = start(folder, shared, "user").await;
    let courses = start(folder, shared, "course").await;
    let (ada, token) = instructor(&users.api).await;
    let new = courses.api.post("/courses").bearer(&token).json(course("Rust")).await;
    let id = new.expect(201).id();
    let (path, published) = (format!("/courses/{id}"), json!({"status": "published"}));
    let change = courses.api.patch(&format!("{path}/status")).bearer(&token).json(published);
    change.await.expect(200);
    let teacher = async || {
        let answer = courses.api.get(&path).await.expect(200);
        let name = answer.json()["instructor"]["full_name"].as_str().map(str::to_owned);
        (name.unwrap_or_default(), answer.cache().to_owned())
    };
    let is_cached = async || teacher().await == ("Ada Before".to_owned(), "HIT".to_owned());
    until("the course is in the cache", is_cached).await;
    let profile = format!("/users/{ada}");
    let edit = json!({"full_name": "Ada After"});
    users.api.put(&profile).bearer(&token).json(edit).await.expect(200);
    until("the other service hears of it", async || teacher().await.0 == "Ada After").await;
    each_has_its_own_paths(&users.api, &courses.api, id).await;
    let root = token_of_admin(&users.api).await;
    for (api, warms) in [(&users.api, false), (&courses.api, true)] {
        let warmed = api.post("/cache/warm").bearer(&root).await.expect(200).json();
        assert_eq!(warmed["warmed"].as_u64() > Some(0), warms, "{warmed}");
    }
    for server in [users, courses] {
        assert!(server.stop().status.success());
    }
}

async fn each_has_its_own_paths(users: &Api, courses: &Api, course: i64) {
    let path = format!("/courses/{course}");
    for theirs in [path.as_str(), "/courses/", "/articles", "/enrollments/1", "/users/me/session"] {
        let detail = users.get(theirs).await.refused(404);
        assert!(detail.contains("the course service of this installation"), "{theirs}: {detail}");
    }
    for theirs in ["/auth/me", "/users/1", "/instructors/1"] {
        let detail = courses.get(theirs).await.refused(404);
        assert!(detail.contains("the user service of this installation"), "{theirs}: {detail}");
    }
    users.post("/courses").json(json!({})).await.refused(404);
    courses.post("/auth/login").json(json!({})).await.refused(404);
    for api in [users, courses] {
        api.get("/health").await.expect(200);
        api.get("/cache/stats").await.refused(401);
        assert_eq!(api.get("/no/such/path").await.refused(404), "There is no such path");
    }
    courses.get("/").await.expect(200);
    users.get("/").await.refused(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_changed_at_one_service_changes_at_the_other_on_sqlite() {
    let (redis, folder) = (Redis::start().await, TempDir::new().expect("a folder"));
    a_change_reaches_the_other(folder.path(), &shared(&redis.url(), None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_changed_at_one_service_changes_at_the_other_on_postgresql() {
    let (redis, folder) = (Redis::start().await, TempDir::new().expect("a folder"));
    let cluster = Postgres::start();
    let (redis, database) = (redis.url(), cluster.url());
    a_change_reaches_the_other(folder.path(), &shared(&redis, Some(&database))).await;
}

/// Runs `campus serve`, which must refuse and name what has to be the same.
#[track_caller]
fn refuses(folder: &Path, variables: &[(&str, &str)]) {
    let mut variables = variables.to_vec();
    variables.push(("CAMPUS_ADDR", "127.0.0.1:0"));
    let output = run(folder, &variables, &["serve"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{variables:?}");
    for part in ["the same REDIS_URL and REDIS_KEY_PREFIX", "other:"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// A service beside one with another prefix, and a whole server beside a service.
async fn another_prefix_is_refused(folder: &Path, shared: &[(&str, &str)]) {
    let users = start(folder, shared, "user").await;
    for service in ["course", "all"] {
        let mut other = shared.to_vec();
        other.extend([("CAMPUS_ONLY", service), ("REDIS_KEY_PREFIX", "other:")]);
        refuses(folder, &other);
    }
    assert!(users.stop().status.success());
    // Nobody is left to disagree with.
    let mut other = shared.to_vec();
    other.push(("REDIS_KEY_PREFIX", "other:"));
    assert!(start(folder, &other, "course").await.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_another_prefix_is_refused_on_sqlite() {
    let (redis, folder) = (Redis::start().await, TempDir::new().expect("a folder"));
    another_prefix_is_refused(folder.path(), &shared(&redis.url(), None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_another_prefix_is_refused_on_postgresql() {
    let (redis, folder) = (Redis::start().await, TempDir::new().expect("a folder"));
    let cluster = Postgres::start();
    let (redis, database) = (redis.url(), cluster.url());
    another_prefix_is_refused(folder.path(), &shared(&redis, Some(&database))).await;
}

/// A service on another database is refused; a whole server ends what the other one has cached,
/// and shows nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn servers_of_another_database_do_not_serve_what_this_one_has_cached() {
    let (redis, cluster) = (Redis::start().await, Postgres::start());
    let (here, elsewhere) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let (redis, database) = (redis.url(), cluster.url());
    let ours = shared(&redis, Some(&database));
    let first = start(here.path(), &ours, "all").await;
    first.api.get("/courses/?limit=5").await.expect(200);
    let mut theirs = shared(&redis, None);
    theirs.push(("CAMPUS_ONLY", "course"));
    let refused = run(elsewhere.path(), &theirs, &["serve"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("answers of another database"), "{text}");
    // The same database by another server is welcome.
    assert!(start(here.path(), &ours, "course").await.stop().status.success());
    let second = start(elsewhere.path(), &shared(&redis, None), "all").await;
    let list = second.api.get("/courses/?limit=5").await.expect(200);
    assert_eq!(list.header("x-cache"), "MISS");
    let log = String::from_utf8_lossy(&second.stop().stderr).into_owned();
    assert!(log.contains("held the answers of another database"), "{log}");
    assert!(first.stop().status.success());
}

#[test]
fn the_documents_of_both_services_are_together_the_whole_one() {
    let folder = TempDir::new().expect("a folder");
    let document = |only: &str| -> Value {
        let printed = run(folder.path(), &[], &["openapi", "--only", only]);
        assert!(printed.status.success(), "{printed:?}");
        serde_json::from_slice(&printed.stdout).expect("JSON")
    };
    let paths = |only: &str| -> BTreeSet<String> {
        document(only)["paths"].as_object().expect("paths").keys().cloned().collect()
    };
    let (users, courses) = (paths("user"), paths("course"));
    assert_eq!(&users | &courses, paths("all"));
    assert!(users.contains("/auth/login") && !courses.contains("/auth/login"));
    assert!(courses.contains("/courses/{id}") && !users.contains("/courses/{id}"));
    assert!(users.contains("/cache/stats") && courses.contains("/cache/stats"));
    let of_users = document("user")["components"]["schemas"].clone();
    assert!(of_users.get("User").is_some() && of_users.get("Course").is_none(), "{of_users}");
}
