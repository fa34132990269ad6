//! `campus cache`, as an operator types it, and the files that operators start from.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Redis, Server, free_port, run, until};

/// A server with the demo catalogue, and the variables that it runs with.
struct Machine {
    folder: TempDir,
    server: Server,
    variables: Vec<(&'static str, String)>,
    _redis: Redis,
}

impl Machine {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let redis = Redis::start().await;
        let mut variables =
            vec![("REDIS_URL", redis.url()), ("WARM_INTERVAL_SECS", "0".to_owned())];
        let server = Server::start(folder.path(), &borrowed(&variables)).await;
        variables.push(("CAMPUS_ADDR", server.address.clone()));
        let machine = Self { folder, server, variables, _redis: redis };
        until("Redis is used", async || {
            let health = machine.server.api.get("/health/redis").await.expect(200).json();
            health["status"] == "connected"
        })
        .await;
        machine
    }

    /// What a command that succeeds prints.
    #[track_caller]
    fn does(&self, arguments: &[&str]) -> String {
        let output = run(self.folder.path(), &borrowed(&self.variables), arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str]) -> String {
        let output = run(self.folder.path(), &borrowed(&self.variables), arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.does(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
    }
}

fn borrowed<'a>(variables: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_explains_clears_warms_and_tests_the_cache_of_a_running_server() {
    let machine = Machine::start().await;
    let path = "/courses/1";
    until("the course is in both tiers", async || {
        machine.server.api.get(path).await.expect(200);
        machine.does(&["cache", "keys"]).lines().any(|key| key == "skillup:course:detail@1:1")
    })
    .await;
    let stats = machine.does(&["cache", "stats"]);
    assert!(stats.starts_with("NAMESPACE") && stats.contains("courses"), "{stats}");
    assert!(machine.json(&["cache", "stats"])["totals"]["hits"].is_u64());
    let keys = machine.json(&["cache", "keys"]);
    assert!(keys.as_array().is_some_and(|keys| keys.contains(&json!("course:detail@1:1"))));

    // The import of the demo is told to Redis once more by whoever finds its row first.
    until("it is explained", async || {
        machine.server.api.get(path).await.expect(200);
        let explained = machine.does(&["cache", "explain", "course:detail@1:1"]);
        assert!(explained.contains("tags: course:1"), "{explained}");
        explained.matches("fresh").count() == 2
    })
    .await;
    let body = machine.does(&["cache", "get", "skillup:course:detail@1:1"]);
    let body: Value = serde_json::from_str(&body).expect("the course");
    assert_eq!(body["id"], 1);

    let cleared = machine.does(&["cache", "clear", "tag", "course:1"]);
    assert_eq!(cleared, "Cache cleared for tag course:1\n");
    let explained = machine.does(&["cache", "explain", "course:detail@1:1"]);
    assert!(explained.contains("invalidated") && explained.contains("tag course:1"), "{explained}");
    for clear in [&["course", "1"][..], &["ns", "courses_list"], &["all"]] {
        machine.does(&[&["cache", "clear"], clear].concat());
    }
    assert!(machine.does(&["cache", "warm"]).contains("warmed   25"));
    assert!(machine.does(&["cache", "test"]).contains("reload"));
    assert_eq!(machine.json(&["cache", "test"])["ok"], true);

    let audit = machine.json(&["cache", "audit", "--limit", "100"]);
    let entries = audit["items"].as_array().cloned().unwrap_or_default();
    assert!(entries.iter().all(|entry| entry["by"] == "command line"), "{audit}");
    let first = entries.last().expect("an entry");
    assert_eq!((&first["target"], &first["admin_id"]), (&json!("tag course:1"), &Value::Null));
    assert!(machine.does(&["cache", "audit"]).contains("command line"));

    assert!(machine.refuses(&["cache", "clear", "ns", "coursez"]).contains("no such namespace"));
    assert!(machine.refuses(&["cache", "explain", "a key"]).contains("nothing under such a key"));
    assert!(machine.refuses(&["cache", "clear", "tag", "a b"]).contains("not a tag"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_the_command_says_where_it_looked_for_one() {
    let machine = Machine::start().await;
    let address = machine.server.address.clone();
    let Machine { folder, server, variables, .. } = machine;
    assert!(server.stop().status.success());
    let output = run(folder.path(), &borrowed(&variables), &["cache", "stats"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && errors.contains(&address), "{errors}");
}

/// Answers whatever it is asked with a proof that anybody can make up, and tells what it was sent.
fn stranger() -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket").to_string();
    let heard = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("somebody comes");
        let mut heard = vec![0; 4096];
        let length = connection.read(&mut heard).expect("a request");
        let answer = "HTTP/1.1 200 OK\r\nX-Campus-Proof: Zm9yZ2Vk\r\nContent-Length: 2\r\n\r\n{}";
        connection.write_all(answer.as_bytes()).expect("it reads");
        drop(connection);
        // Nobody may come again with more.
        listener.set_nonblocking(true).expect("a socket");
        std::thread::sleep(Duration::from_millis(300));
        assert!(listener.accept().is_err(), "the command went on");
        String::from_utf8_lossy(&heard[..length]).into_owned()
    });
    (address, heard)
}

#[test]
fn a_program_that_listens_in_place_of_the_server_is_told_no_token() {
    let folder = TempDir::new().expect("a temporary folder");
    let (address, heard) = stranger();
    let secret = "a secret of the tests, long enough for HS256";
    let variables = [("CAMPUS_ADDR", address.as_str()), ("JWT_SECRET", secret)];
    let output = run(folder.path(), &variables, &["cache", "clear", "all"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && errors.contains("does not know the secret"), "{errors}");
    let heard = heard.join().expect("it ends").to_lowercase();
    assert!(heard.starts_with("get /health/live") && !heard.contains("authorization"), "{heard}");
}

#[tokio::test]
async fn asking_about_the_cache_makes_no_database_and_no_secret() {
    let folder = TempDir::new().expect("a temporary folder");
    let redis = Redis::start().await;
    let url = redis.url();
    let address = format!("127.0.0.1:{}", free_port());
    let variables = [("CAMPUS_ADDR", address.as_str()), ("REDIS_URL", url.as_str())];
    let stats = run(folder.path(), &variables, &["cache", "stats"]);
    let errors = String::from_utf8_lossy(&stats.stderr).into_owned();
    assert!(!stats.status.success() && errors.contains("start `campus serve` once"), "{errors}");
    let keys = run(folder.path(), &variables, &["cache", "keys"]);
    let listed = String::from_utf8_lossy(&keys.stdout).into_owned();
    assert!(keys.status.success() && listed.lines().all(|key| key.starts_with("skillup:~")));
    let left = std::fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(left, 0, "a question left files behind");
}

/// Every variable in the example file stands there once, commented out.
fn names_in(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("a file");
    let lines = text.lines().filter_map(|line| line.strip_prefix("# ")?.split_once('='));
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_' || b == b'1')
    };
    lines.map(|(name, _)| name.to_owned()).filter(|name| is_name(name)).collect()
}

#[test]
fn the_example_of_an_environment_lists_every_variable_once_and_no_other() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.env.example");
    let listed = names_in(&file);
    let folder = TempDir::new().expect("a temporary folder");
    let report = run(folder.path(), &[], &["config", "check", "--json"]);
    let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
    let mut known = BTreeSet::new();
    for setting in report["settings"].as_array().expect("settings") {
        known.insert(setting["name"].as_str().expect("a name").to_owned());
    }
    for ttl in report["ttls"].as_array().expect("ttls") {
        let namespace = ttl["namespace"].as_str().expect("a namespace").to_uppercase();
        known.extend([format!("CACHE_TTL_{namespace}"), format!("CACHE_HARD_TTL_{namespace}")]);
    }
    // Of debug builds, for tests.
    known.remove("CAMPUS_ABORT_AFTER_COMMIT");
    assert!(known.len() > 60, "{known:?}");
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), known);
    assert_eq!(listed.len(), known.len(), "one stands there twice: {listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_and_nobodys_address_is_in_the_log_of_a_whole_session() {
    for format in ["pretty", "json"] {
        let folder = TempDir::new().expect("a temporary folder");
        let variables = [
            ("CAMPUS_SEED", "none"),
            ("CAMPUS_ADMIN_PASSWORD", "admins-own-secret"),
            ("METRICS_TOKEN", "metrics-own-secret"),
            ("LOG_FORMAT", format),
            ("LOG_FILTER", "trace"),
        ];
        let server = Server::start(folder.path(), &variables).await;
        let api = &server.api;
        let new = json!({"username": "nina", "email": "nina.private@example.org",
            "password": "ninas-own-secret", "full_name": "Nina"});
        api.post("/auth/register").json(new).await.expect(201);
        let login = |password: &str| {
            api.post("/auth/login")
                .json(json!({"email": "nina.private@example.org", "password": password}))
        };
        login("not-the-secret").await.refused(401);
        let session = login("ninas-own-secret").await.expect(200).json();
        let [access, refresh] = ["access_token", "refresh_token"]
            .map(|name| session[name].as_str().unwrap().to_owned());
        api.get("/auth/me").bearer(&access).header("x-request-id", "seen-1").await.expect(200);
        api.get("/courses?q=nina.private@example.org").await.expect(200);
        api.get("/metrics").bearer("metrics-own-secret").await.expect(200);
        let again = api.post("/auth/refresh").json(json!({"refresh_token": refresh}));
        let again = again.await.expect(200).json();
        let refreshed = again["refresh_token"].as_str().unwrap().to_owned();
        api.post("/auth/logout").json(json!({"refresh_token": refreshed})).await.expect(204);
        let output = server.stop();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(log.contains("seen-1"), "{format}: requests are logged with their ids");
        let secrets = [
            "own-secret",
            "not-the-secret",
            "nina.private",
            &access,
            &refresh,
            &refreshed,
            "argon2id",
        ];
        for secret in secrets {
            let place = log.lines().find(|line| line.contains(secret));
            assert_eq!(place, None, "{format}: {secret}");
        }
        if format == "json" {
            for line in log.lines() {
                serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            }
        }
    }
}
