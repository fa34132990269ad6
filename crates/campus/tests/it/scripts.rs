//! The scripts for operators.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::Redis;

/// `scripts/redis`, with a `redis-cli` that writes its arguments down before it does its work.
fn script(folder: &Path, action: &str, variables: &[(&str, &str)]) -> Output {
    let path = std::env::var("PATH").expect("a path");
    let wrapper = folder.join("redis-cli");
    let seen = folder.join("seen").display().to_string();
    let text =
        format!("#!/bin/sh\nPATH='{path}'\necho \"$@\" >> '{seen}'\nexec redis-cli \"$@\"\n");
    std::fs::write(&wrapper, text).expect("a file");
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/redis");
    let path = format!("{}:{path}", folder.display());
    let mut command = Command::new(script);
    command.arg(action).env_clear().env("PATH", path).envs(variables.iter().copied());
    command.output().expect("bash runs")
}

#[tokio::test]
async fn the_password_of_redis_is_not_in_the_list_of_processes() {
    let folder = TempDir::new().expect("a temporary folder");
    let redis = Redis::start().await;
    redis.set("skillup:a", b"1").await;
    redis.set("other:b", b"1").await;
    let user = ["ACL", "SETUSER", "ops", "on", ">o@ps/s3cret", "~*", "+@all"];
    redis.command::<()>(&user).await;
    redis.command::<()>(&["CONFIG", "SET", "requirepass", "p@ss\\s3cret"]).await;
    let place = redis.url().replace("redis://", "");
    let in_url = format!("redis://:p%40ss%5cs3cret@{place}");
    let by_name = format!("redis://ops:o%40ps%2Fs3cret@{place}");
    let beside = ("REDIS_PASSWORD", "p@ss\\s3cret");
    for variables in [
        vec![("REDIS_URL", in_url.as_str())],
        vec![("REDIS_URL", in_url.as_str()), ("REDIS_PASSWORD", "not this one")],
        vec![("REDIS_URL", by_name.as_str())],
        vec![("REDIS_URL", &redis.url()), beside],
    ] {
        let keys = script(folder.path(), "keys", &variables);
        assert_eq!(String::from_utf8_lossy(&keys.stdout), "skillup:a\n", "{variables:?}: {keys:?}");
    }
    let clear = [("REDIS_URL", in_url.as_str()), ("CONFIRM", "1")];
    let cleared = script(folder.path(), "clear", &clear);
    assert!(cleared.status.success(), "{cleared:?}");
    let keys = script(folder.path(), "keys", &clear);
    assert_eq!(String::from_utf8_lossy(&keys.stdout), "", "{keys:?}");
    let seen = std::fs::read_to_string(folder.path().join("seen")).expect("it was called");
    assert!(seen.contains("UNLINK") && seen.contains(&place), "{seen}");
    assert!(!seen.contains("s3cret"), "{seen}");
}
