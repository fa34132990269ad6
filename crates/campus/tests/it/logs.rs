//! What a server writes into its log about the cache, for people and for programs.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Redis, Server};

/// Reads and writes of somebody whose address and password must not be in the log.
async fn busy(server: &Server) -> [String; 3] {
    let api = &server.api;
    let admin = json!({"email": "admin@campus.local", "password": "admins-own-secret"});
    let admin = api.post("/auth/login").json(admin).await.expect(200).json();
    let admin = admin["access_token"].as_str().expect("a token").to_owned();
    let new = json!({"username": "nina", "email": "nina.private@example.org",
        "password": "ninas-own-secret", "full_name": "Nina"});
    let nina = api.post("/auth/register").json(new).await.expect(201).id();
    let login = json!({"email": "nina.private@example.org", "password": "ninas-own-secret"});
    let session = api.post("/auth/login").json(login).await.expect(200).json();
    let [access, refresh] =
        ["access_token", "refresh_token"].map(|name| session[name].as_str().unwrap().to_owned());
    for _ in 0..2 {
        api.get("/courses?q=nina.private@example.org").await.expect(200);
        api.get("/users/me/dashboard").bearer(&access).await.expect(200);
    }
    let edit = json!({"bio": "A bio of her own"});
    api.put(&format!("/users/{nina}")).bearer(&access).json(edit).await.expect(200);
    api.get("/users/me/dashboard").bearer(&access).await.expect(200);
    api.delete("/cache/tags/courses").bearer(&admin).await.expect(200);
    [admin, access, refresh]
}

/// The log of a busy server with Redis, after checking that nothing private is in it.
async fn log(format: &str) -> String {
    let redis = Redis::start().await;
    let folder = TempDir::new().expect("a temporary folder");
    let variables = [
        ("CAMPUS_SEED", "none"),
        ("CAMPUS_ADMIN_PASSWORD", "admins-own-secret"),
        ("REDIS_URL", &redis.url()),
        ("WARM_INTERVAL_SECS", "0"),
        ("LOG_FORMAT", format),
        ("LOG_FILTER", "info,campus=debug,larder=debug"),
    ];
    let server = Server::start(folder.path(), &variables).await;
    let tokens = busy(&server).await;
    let log = String::from_utf8_lossy(&server.stop().stderr).into_owned();
    let private = ["own-secret", "nina.private", "@example.org", "her own", "argon2", "Bearer"];
    for text in private.into_iter().chain(tokens.iter().map(String::as_str)) {
        let place = log.lines().find(|line| line.contains(text));
        assert_eq!(place, None, "{format}: {text}");
    }
    log
}

#[tokio::test]
async fn a_line_for_people_begins_with_the_symbol_of_what_it_is_about() {
    let log = log("pretty").await;
    for (symbol, text) in [
        ("🔌", "is connected"),
        ("✅", "cache hit"),
        ("❌", "cache miss"),
        ("💾", "cache set"),
        ("🗑️", "cache delete"),
        ("📊", "request"),
        ("🔧", "stopped"),
    ] {
        let mut lines = log.lines().filter(|line| line.contains(text));
        let first = lines.next().unwrap_or_else(|| panic!("no '{text}' in {log}"));
        assert!(first.starts_with(symbol), "{symbol}: {first}");
    }
    let dashboard: Vec<&str> =
        log.lines().filter(|line| line.contains("key=\"user:dashboard\"")).collect();
    let told = |text: &str| dashboard.iter().filter(|line| line.contains(text)).count();
    assert_eq!((told("outcome=\"miss\""), told("outcome=\"hit\"")), (2, 1), "{dashboard:#?}");
    for line in &dashboard {
        assert!(line.contains("namespace=\"dashboard\" "), "{line}");
    }
}

#[tokio::test]
async fn a_line_for_programs_has_the_same_fields() {
    let log = log("json").await;
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    let reads: Vec<Value> = lines
        .map(|line| line["fields"].clone())
        .filter(|fields| fields["outcome"].is_string() && fields["namespace"] == "dashboard")
        .collect();
    let told = |outcome: &str, tier: &str| {
        let alike = |fields: &&Value| fields["outcome"] == outcome && fields["tier"] == tier;
        reads.iter().filter(alike).count()
    };
    assert_eq!((told("miss", "loader"), told("hit", "l1")), (2, 1), "{reads:#?}");
    for fields in &reads {
        assert_eq!(fields["key"], "user:dashboard", "{fields}");
        assert!(fields["ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{fields}");
        assert!(fields["ttl_s"].is_u64(), "{fields}");
    }
}
