//! Who may have an SQLite file open at once: one server, or several that share a Redis.

use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::support::{Redis, Server, run};

const NO_DEMO: (&str, &str) = ("CAMPUS_SEED", "none");

fn folder() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let csv = "slug,title,level\nrust,Rust,beginner\n";
    std::fs::write(folder.path().join("own.csv"), csv).expect("a file");
    folder
}

fn seed(folder: &Path) -> Output {
    run(folder, &[], &["seed", "catalogue", "own.csv"])
}

/// What was said by something that had to fail.
#[track_caller]
fn refusal(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{output:?}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn serve(folder: &Path, variables: &[(&str, &str)]) -> Output {
    let mut variables = variables.to_vec();
    variables.extend([NO_DEMO, ("CAMPUS_ADDR", "127.0.0.1:0")]);
    run(folder, &variables, &["serve"])
}

#[tokio::test]
async fn a_second_server_on_the_same_file_is_refused_and_told_who_has_it() {
    let folder = folder();
    let server = Server::start(folder.path(), &[NO_DEMO]).await;
    let text = refusal(&serve(folder.path(), &[]));
    for part in ["data/campus.db", "already in use", &server.address, "REDIS_URL"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    server.api.get("/courses").await.expect(200);
    assert!(server.stop().status.success());
}

#[tokio::test]
async fn an_import_is_refused_for_as_long_as_any_server_runs_on_the_file() {
    let folder = folder();
    let redis = Redis::start().await;
    let url = redis.url();
    let shared = [NO_DEMO, ("REDIS_URL", url.as_str())];
    let first = Server::start(folder.path(), &shared).await;
    let second = Server::start(folder.path(), &shared).await;
    assert!(second.complaints().contains(&first.address), "{}", second.complaints());
    for server in [&first, &second] {
        assert!(refusal(&seed(folder.path())).contains(&server.address));
    }
    let gone = first.address.clone();
    assert!(first.stop().status.success());
    let text = refusal(&seed(folder.path()));
    for part in ["data/campus.db", "in use", &second.address, "cached", "stop it"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains(&gone), "{text}");
    assert!(second.stop().status.success());
    assert!(seed(folder.path()).status.success());
    let server = Server::start(folder.path(), &[NO_DEMO]).await;
    assert_eq!(server.api.get("/courses").await.expect(200).json()["total"], 1);
}

#[tokio::test]
async fn servers_on_one_file_must_share_the_redis_and_the_prefix() {
    let folder = folder();
    let redis = Redis::start().await;
    let with_secret = redis.url().replace("redis://", "redis://:s3cret@");
    let server = Server::start(folder.path(), &[NO_DEMO, ("REDIS_URL", &redis.url())]).await;
    let other_database = redis.url() + "1";
    for variables in [
        vec![],
        vec![("REDIS_URL", "redis://:s3cret@127.0.0.1:1")],
        vec![("REDIS_URL", other_database.as_str())],
        vec![("REDIS_URL", with_secret.as_str()), ("REDIS_KEY_PREFIX", "other:")],
    ] {
        let text = refusal(&serve(folder.path(), &variables));
        for part in [server.address.as_str(), "REDIS_URL", "REDIS_KEY_PREFIX"] {
            assert!(text.contains(part), "{variables:?}: {part} in {text}");
        }
        assert!(!text.contains("s3cret"), "{text}");
    }
    // Another spelling of the same one.
    let same = redis.url() + "0";
    let second = Server::start(folder.path(), &[NO_DEMO, ("REDIS_URL", &same)]).await;
    let lock = folder.path().join("data/campus.db.lock");
    let lock = std::fs::read_to_string(lock).expect("a lock file");
    assert!(!lock.contains("s3cret") && lock.contains(&second.address), "{lock}");
}

#[tokio::test]
async fn a_server_with_redis_does_not_join_one_without() {
    let folder = folder();
    let redis = Redis::start().await;
    let server = Server::start(folder.path(), &[NO_DEMO]).await;
    let text = refusal(&serve(folder.path(), &[("REDIS_URL", &redis.url())]));
    for part in [server.address.as_str(), "no Redis", "REDIS_URL"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn servers_that_share_a_redis_may_start_at_the_same_time() {
    let folder = folder();
    let redis = Redis::start().await;
    // The schema is there, so that only the lock is raced for.
    assert!(seed(folder.path()).status.success());
    let (url, path) = (redis.url(), folder.path());
    let variables = [NO_DEMO, ("REDIS_URL", url.as_str())];
    let start = || Server::start(path, &variables);
    let servers = tokio::join!(start(), start(), start(), start());
    for server in [servers.0, servers.1, servers.2, servers.3] {
        server.api.get("/courses").await.expect(200);
    }
}
