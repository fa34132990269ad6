//! The program as it is started: what it prints, what it refuses, and how it ends.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Postgres, Redis, Server, free_port, run, until, until_some};

const NO_DEMO: (&str, &str) = ("CAMPUS_SEED", "none");

fn folder() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `campus serve`, which must refuse and say all of this.
#[track_caller]
fn refuses(folder: &Path, variables: &[(&str, &str)], parts: &[&str]) {
    let mut variables = variables.to_vec();
    if !variables.iter().any(|(name, _)| *name == "CAMPUS_ADDR") {
        variables.push(("CAMPUS_ADDR", "127.0.0.1:0"));
    }
    let output = run(folder, &variables, &["serve"]);
    let text = err(&output);
    assert!(!output.status.success(), "{variables:?}: {}", out(&output));
    for part in parts {
        assert!(text.contains(part), "{variables:?}: {part} in {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[tokio::test]
async fn the_first_start_serves_the_demo_and_shows_a_password_that_works_and_the_second_does_not() {
    let folder = folder();
    let first = Server::start(folder.path(), &[]).await;
    let address = first.address.clone();
    let list = first.api.get("/courses/?limit=5").await.expect(200);
    assert!(list.json()["total"].as_i64() >= Some(60), "{}", list.text());
    assert_eq!(first.api.get("/courses/?limit=5").await.cache(), "HIT");
    let api = first.api.clone();
    // The greeting is complete before the first answer, but its reader may still be behind.
    let printed = until_some("the password is shown", || password(&first)).await;
    let login = json!({"email": "admin@campus.local", "password": printed});
    let session = api.post("/auth/login").json(login).await.expect(200).json();
    let token = session["access_token"].as_str().expect("a token");
    api.get("/cache/stats").bearer(token).await.expect(200);
    let first = first.stop();
    let text = out(&first);
    assert!(first.status.success(), "{}", err(&first));
    assert!(text.contains(&format!("Campus    http://{address}")), "{text}");
    assert!(text.contains("Database  sqlite://data/campus.db"), "{text}");
    assert!(text.contains("Cache     L1 256 MB only (in-process)"), "{text}");
    assert!(folder.path().join("data/campus.db").is_file());
    let secret = std::fs::metadata(folder.path().join("data/secret")).expect("a secret");
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);

    let second = Server::start(folder.path(), &[]).await;
    assert_eq!(second.api.get("/courses/?limit=5").await.expect(200).json(), list.json());
    // The secret was kept, so was the session.
    second.api.get("/cache/stats").bearer(token).await.expect(200);
    let second = second.stop();
    assert!(second.status.success(), "{}", err(&second));
    assert!(!out(&second).contains("password"), "{}", out(&second));
    assert!(!err(&second).contains("imported"), "{}", err(&second));
}

fn password(server: &Server) -> Option<String> {
    let printed = server.printed();
    let line = printed.lines().find_map(|line| line.trim().strip_prefix("password "))?;
    Some(line.trim().to_owned())
}

#[tokio::test]
async fn a_password_that_was_given_is_used_and_not_shown() {
    let folder = folder();
    let given = ("CAMPUS_ADMIN_PASSWORD", "given by the operator");
    let server = Server::start(folder.path(), &[NO_DEMO, given]).await;
    let login = json!({"email": "admin@campus.local", "password": given.1});
    server.api.post("/auth/login").json(login).await.expect(200);
    assert_eq!(server.api.get("/courses").await.expect(200).json()["total"], 0);
    let ended = server.stop();
    assert!(!(out(&ended) + &err(&ended)).contains(given.1), "{ended:?}");
}

#[tokio::test]
async fn the_greeting_names_the_tiers_without_their_passwords() {
    let redis = Redis::start().await;
    let folder = folder();
    let url = redis.url().replace("redis://", "redis://:s3cret@");
    let both = Server::start(folder.path(), &[NO_DEMO, ("REDIS_URL", &redis.url())]).await.stop();
    assert!(out(&both).contains("Cache     L1 256 MB + Redis redis://127.0.0.1"), "{both:?}");
    for (variable, shown) in [
        (("CACHE_L1_ENABLED", "false"), "Cache     Redis redis://:***@127.0.0.1"),
        (("CACHE_ENABLED", "false"), "Cache     off (CACHE_ENABLED=false)"),
    ] {
        let variables = [NO_DEMO, ("REDIS_URL", url.as_str()), variable];
        let ended = Server::start(folder.path(), &variables).await.stop();
        let text = out(&ended) + &err(&ended);
        assert!(text.contains(shown), "{shown} in {text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn a_stop_lets_go_of_everything() {
    let folder = folder();
    let server = Server::start(folder.path(), &[NO_DEMO]).await;
    let address = server.address.clone();
    let ended = server.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", err(&ended));
    assert!(err(&ended).contains("stopped"), "{}", err(&ended));
    TcpListener::bind(&address).expect("the port is free again");
    assert!(!folder.path().join("data/campus.db-wal").exists(), "the log is folded into the file");
    Server::start(folder.path(), &[NO_DEMO]).await.stop();
}

#[test]
fn a_port_in_use_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket").to_string();
    let parts = [address.as_str(), "in use", "CAMPUS_ADDR"];
    refuses(folder().path(), &[("CAMPUS_ADDR", &address)], &parts);
}

#[test]
fn a_database_that_cannot_be_written_is_named_with_its_variable() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), "not a folder").expect("a file");
    for url in ["sqlite://file/campus.db", "sqlite:///proc/campus.db", "sqlite:///dev/null/x.db"] {
        let file = url.trim_start_matches("sqlite://");
        let database = format!("database {file}:");
        refuses(folder.path(), &[("DATABASE_URL", url)], &["DATABASE_URL", &database]);
    }
    std::fs::write(folder.path().join("text.db"), "this is no database at all".repeat(100))
        .expect("a file");
    refuses(folder.path(), &[("DATABASE_URL", "sqlite://text.db")], &["text.db", "DATABASE_URL"]);
    refuses(folder.path(), &[("DATABASE_URL", "mysql://db")], &["DATABASE_URL", "postgres://"]);
}

#[test]
fn an_unknown_variable_is_refused_and_the_nearest_one_named_if_it_is_near() {
    let folder = folder();
    for (name, nearest) in [
        ("CAMPUS_ADRESS", "CAMPUS_ADDR"),
        ("CAMPUS_SEEED", "CAMPUS_SEED"),
        ("CACHE_MAX_MEMROY_MB", "CACHE_MAX_MEMORY_MB"),
        ("CACHE_TTL_COURSE", "CACHE_TTL_COURSES"),
    ] {
        refuses(folder.path(), &[(name, "1")], &[name, "did you mean", nearest]);
    }
    for name in
        ["CACHE_DIR", "CAMPUS_PORT", "CACHE_REDIS_TIMEOUT", "CAMPUS_MAX_MEMORY_MB", "CACHE_"]
    {
        let check = run(folder.path(), &[(name, "1")], &["config", "check"]);
        let text = err(&check);
        assert!(!check.status.success() && text.contains(name), "{text}");
        assert!(!text.contains("did you mean"), "{text}");
    }
    assert!(!folder.path().join("data").exists(), "nothing is made before all is checked");
}

#[test]
fn a_bad_value_is_refused_with_the_name_of_its_variable() {
    let folder = folder();
    for (name, value) in [
        ("CAMPUS_ADDR", "nowhere"),
        ("CAMPUS_SEED", "some"),
        ("CAMPUS_ADMIN_PASSWORD", "short"),
        ("CACHE_ENABLED", "maybe"),
        ("CACHE_L1_ENABLED", "2"),
        ("CACHE_MAX_MEMORY_MB", "0"),
        ("CACHE_MAX_ENTRY_KB", "-1"),
        ("CACHE_TTL_COURSES", "soon"),
        ("CACHE_DEFAULT_TTL", "0"),
        ("REDIS_URL", "http://redis"),
        ("REDIS_URL", "redis://host:notaport"),
        ("REDIS_URL", "redis://host:99999"),
        ("REDIS_URL", "redis://host/notadatabase"),
        ("REDIS_URL", "redis://host?protocol=seven"),
        ("DATABASE_URL", "postgres://host:notaport/campus"),
        ("REDIS_OP_TIMEOUT_MS", "fast"),
        ("REDIS_SOCKET_TIMEOUT", "soon"),
        ("REDIS_MAX_CONNECTIONS", "many"),
        ("REDIS_MAX_CONNECTIONS", "1"),
        ("LOG_FORMAT", "xml"),
        ("LOG_FILTER", "campus=loud"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "600"),
        ("TRUSTED_PROXIES", "everybody"),
        ("CONTENT_STORE", "mongo"),
        ("CONTENT_STORE", "paper"),
        ("JWT_SECRET", "too short"),
        ("JWT_SECRET", "your-super-secret-jwt-key-change-in-production"),
    ] {
        refuses(folder.path(), &[(name, value)], &[name]);
        let check = run(folder.path(), &[(name, value)], &["config", "check"]);
        assert!(!check.status.success() && err(&check).contains(name), "{name}={value}: {check:?}");
        assert_eq!(out(&check), "", "{name}={value}");
        let check = run(folder.path(), &[(name, value)], &["config", "check", "--json"]);
        let told: Value = serde_json::from_slice(&check.stdout).expect("JSON");
        assert!(told["problems"][0].as_str().is_some_and(|p| p.contains(name)), "{told}");
        assert!(!check.status.success());
    }
    let postgres = ("DATABASE_URL", "postgres://127.0.0.1:1/campus");
    refuses(folder.path(), &[postgres], &["JWT_SECRET"]);
    let two = [("CACHE_ENABLED", "maybe"), ("LOG_FORMAT", "xml")];
    refuses(folder.path(), &two, &["CACHE_ENABLED", "LOG_FORMAT"]);
    let dotenv = folder.path().join(".env");
    std::fs::write(dotenv, "CACHE_MAX_MEMORY_MB=lots\n").expect("a file");
    refuses(folder.path(), &[], &["CACHE_MAX_MEMORY_MB"]);
}

#[test]
fn the_configuration_can_be_checked_without_a_start_and_without_its_secrets() {
    let folder = folder();
    let secrets = [
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("REDIS_URL", "redis://:hunter2hunter2@redis.invalid:6379/1"),
        ("CAMPUS_ADMIN_PASSWORD", "hunter3hunter3"),
        ("METRICS_TOKEN", "hunter4hunter4hunter4"),
    ];
    let check = run(folder.path(), &secrets, &["config", "check"]);
    let text = out(&check) + &err(&check);
    assert!(check.status.success() && text.contains("the configuration is valid"), "{text}");
    let help = run(folder.path(), &secrets, &["serve", "--help"]);
    let json = run(folder.path(), &secrets, &["config", "check", "--json"]);
    for text in [text, out(&json) + &err(&json), out(&help) + &err(&help)] {
        for (_, secret) in secrets {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_checked_configuration_shows_each_value_where_it_is_from_and_each_warning_once() {
    let folder = folder();
    let dotenv = "LOG_FILTER=debug\nCACHE_TTL_USERS=5\nCACHE_MAX_ENTRY_KB=7\n";
    std::fs::write(folder.path().join(".env"), dotenv).expect("a file");
    let variables = [
        ("POSTGRES_USER", "app"),
        ("POSTGRES_PASSWORD", "hunter2hunter2"),
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("REDIS_URL", "redis://:hunter2@cache/1"),
        ("REDIS_SOCKET_TIMEOUT", "0.25"),
        ("CACHE_MAX_ENTRY_KB", "9"),
        ("CACHE_HARD_TTL_COURSES", "400"),
        ("REDIS_DEFAULT_TTL", "77"),
        ("CACHE_STRICT_WRITES", "off"),
        ("CACHE_COMPRESS_ABOVE_KB", "3"),
    ];
    let check = |more: &[&str]| {
        let flags = ["--addr", "127.0.0.1:1", "--redis-course-ttl", "88"];
        let arguments = [&["config", "check"], &flags[..], more].concat();
        let output = run(folder.path(), &variables, &arguments);
        assert!(output.status.success(), "{}", err(&output));
        out(&output)
    };
    let text = check(&[]);
    let lines: Vec<String> =
        text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "CAMPUS_ADDR 127.0.0.1:1 flag",
        "LOG_FILTER debug .env",
        "CACHE_MAX_ENTRY_KB 9 environment",
        "DATABASE_URL postgres://app:***@localhost:5432/app environment",
        "REDIS_URL redis://:***@cache/1 environment",
        "REDIS_OP_TIMEOUT_MS 250 environment",
        "REDIS_KEY_PREFIX skillup: default",
        "REDIS_PASSWORD - default",
        "users 5 / 5 CACHE_TTL_USERS (.env)",
        "courses 88 / 400 REDIS_COURSE_TTL (flag), CACHE_HARD_TTL_COURSES (environment)",
        "tags 77 / 77 REDIS_DEFAULT_TTL (environment)",
        "CACHE_COMPRESS_ABOVE_KB 3 environment",
        "warning: CACHE_STRICT_WRITES has no effect yet",
    ] {
        assert_eq!(lines.iter().filter(|l| *l == line).count(), 1, "{line} in {text}");
    }
    let json: Value = serde_json::from_str(&check(&["--json"])).expect("JSON");
    let address = json!({"name": "CAMPUS_ADDR", "value": "127.0.0.1:1", "from": "flag"});
    assert!(json["settings"].as_array().is_some_and(|all| all.contains(&address)), "{json}");
    let users = json!({"namespace": "users", "soft_seconds": 5, "hard_seconds": 5,
        "set_by": [{"name": "CACHE_TTL_USERS", "from": ".env"}]});
    assert!(json["ttls"].as_array().is_some_and(|all| all.contains(&users)), "{json}");
    assert_eq!(json["warnings"], json!(["CACHE_STRICT_WRITES has no effect yet"]));
}

#[tokio::test]
async fn a_bad_row_is_told_with_file_line_and_reason_and_nothing_is_imported() {
    let folder = folder();
    let csv = "slug,title,level\nrust,Rust,beginner\ngo,Go,wizard\n";
    std::fs::write(folder.path().join("own.csv"), csv).expect("a file");
    let seed = run(folder.path(), &[], &["seed", "catalogue", "own.csv"]);
    let text = err(&seed);
    assert!(!seed.status.success(), "{}", out(&seed));
    for part in ["own.csv:3", "level", "wizard", "nothing was imported"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let server = Server::start(folder.path(), &[NO_DEMO]).await;
    assert_eq!(server.api.get("/courses").await.expect(200).json()["total"], 0);
}

#[tokio::test]
async fn health_asks_the_server_and_answers_with_its_exit_code() {
    let folder = folder();
    let server = Server::start(folder.path(), &[NO_DEMO]).await;
    let well = run(folder.path(), &[("CAMPUS_ADDR", &server.address)], &["health"]);
    assert!(well.status.success() && out(&well).contains("healthy"), "{well:?}");
    let nobody = format!("127.0.0.1:{}", free_port());
    let gone = run(folder.path(), &[("CAMPUS_ADDR", &nobody)], &["health"]);
    assert!(!gone.status.success() && err(&gone).contains(&nobody), "{gone:?}");
}

#[test]
fn migrating_says_what_it_did() {
    let folder = folder();
    let first = run(folder.path(), &[], &["migrate"]);
    assert!(first.status.success() && out(&first).contains("applied"), "{first:?}");
    let second = run(folder.path(), &[], &["migrate"]);
    assert!(second.status.success() && out(&second).contains("is up to date"), "{second:?}");
}

#[test]
fn a_command_that_does_not_exist_is_refused_with_the_usage() {
    let output = run(folder().path(), &[], &["server"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("serve"), "{}", err(&output));
}

#[tokio::test]
async fn a_write_that_was_under_way_is_finished_before_the_end() {
    let folder = folder();
    let server = Server::start(folder.path(), &[NO_DEMO]).await;
    let body = json!({"username": "nina", "email": "nina@example.org",
        "password": "correct horse battery", "full_name": "Nina"})
    .to_string();
    let mut client = TcpStream::connect(&server.address).await.expect("a connection");
    let head = format!(
        "POST /auth/register HTTP/1.1\r\nHost: campus\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await.expect("the server reads");
    // It asks for the body once the request is in its handler.
    let mut heard = [0; 12];
    client.read_exact(&mut heard).await.expect("the server answers");
    assert_eq!(&heard, b"HTTP/1.1 100");
    server.terminate();
    until("it is stopping", async || server.complaints().contains("stopping")).await;
    client.write_all(body.as_bytes()).await.expect("the server still reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("the server answers");
    assert!(answer.contains("HTTP/1.1 201 Created"), "{answer}");
    let ended = server.ended();
    assert_eq!(ended.status.code(), Some(0), "{}", err(&ended));
}

#[tokio::test]
async fn a_postgresql_that_does_not_answer_is_named_with_the_reason_and_without_the_password() {
    let folder = folder();
    let secret = ("JWT_SECRET", "0123456789abcdef0123456789abcdef");
    let nobody = format!("127.0.0.1:{}", free_port());
    let url = format!("postgres://app:hunter2@{nobody}/campus");
    let database = ("DATABASE_URL", url.as_str());
    let parts = ["cannot reach the database at", &nobody, "refused", "DATABASE_URL"];
    refuses(folder.path(), &[database, secret], &parts);
    let migrate = run(folder.path(), &[database, secret], &["migrate"]);
    assert!(!err(&migrate).contains("hunter2"), "{}", err(&migrate));
    let cluster = Postgres::start();
    let url = cluster.url().replace("/postgres", "/nothing");
    let parts = ["cannot reach the database at 127.0.0.1", "\"nothing\" does not exist"];
    refuses(folder.path(), &[("DATABASE_URL", &url), secret], &parts);
}
