//! Redis answers that it will not: passwords, permissions, too many clients, busy, loading.

use std::time::{Duration, Instant};

use larder::{Cache, L2State, Source};
use redis::aio::MultiplexedConnection;
use tokio::time::sleep;

use crate::{
    contents::admin,
    drill::{DELTA, Drill, Setup},
    logged::log,
    report::Fault,
    restarts::{l2_is_off, seconds},
    support::{Redis, until},
};

/// What the user of a cache may do, and nothing else.
const RIGHTS: &str = "~t:* &t:* -@all +get +getrange +select +mget +set +unlink +del +incr \
    +expire +pexpire +pttl +exists +hset +hdel +publish +spublish +subscribe +ssubscribe \
    +unsubscribe +sunsubscribe +evalsha +eval +script|load +info +ping +hello +auth +time \
    +client|setname";
/// Two processes with two connections each.
const CONNECTIONS: f64 = 4.0;

async fn run(connection: &mut MultiplexedConnection, command: &str) -> redis::Value {
    let mut words = command.split_whitespace();
    let mut cmd = redis::cmd(words.next().expect("a command"));
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd.query_async(connection).await.expect("the administrator may do anything")
}

/// Connections that a server has seen, the refused ones among them.
async fn connections(connection: &mut MultiplexedConnection) -> f64 {
    let stats = redis::cmd("INFO").arg("stats").query_async::<String>(connection).await;
    let stats = stats.expect("redis is up");
    let of = |field| stats.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = |field| of(field).and_then(|text| text.trim().parse::<f64>().ok());
    number("total_connections_received").expect("a number")
        + number("rejected_connections").expect("a number")
}

/// Lets time pass, and says how often a second each connection was tried anew.
async fn attempts_a_second(connection: &mut MultiplexedConnection) -> f64 {
    let (before, began) = (connections(connection).await, Instant::now());
    sleep(Duration::from_secs(4)).await;
    let attempts = connections(connection).await - before;
    attempts / CONNECTIONS / began.elapsed().as_secs_f64()
}

// On one thread, so that all of the log is seen.
#[tokio::test]
async fn a_password_that_is_changed_at_run_time_makes_neither_a_storm_nor_a_leak() {
    let (logged, _guard) = log();
    let redis = Redis::start().await;
    let mut admin = admin(&redis).await;
    run(&mut admin, &format!("ACL SETUSER app on >first-secret {RIGHTS}")).await;
    let url = redis.url().replace("redis://", "redis://app:first-secret@");
    let mut drill = Setup::on(&url).begin().await;
    assert_eq!(run(&mut admin, "ACL LOG").await, redis::Value::Array(vec![]), "rights suffice");
    drill.fault_begins();
    run(&mut admin, "ACL SETUSER app resetpass >second-secret").await;
    run(&mut admin, "CLIENT KILL USER app").await;
    let off = l2_is_off(&drill).await;
    let attempts = attempts_a_second(&mut admin).await;
    assert!(attempts <= 2.0, "{attempts} attempts a second");
    run(&mut admin, "ACL SETUSER app resetpass >first-secret").await;
    let line = drill.fault_ends(PASSWORD).await;
    let text = logged.text();
    let warnings = text.lines().filter(|line| line.contains(" WARN ")).collect::<Vec<_>>();
    let of = |what: &str| warnings.iter().filter(|line| line.contains(what)).count();
    assert!((1..=2).contains(&of("redis is unavailable")), "{warnings:#?}");
    assert!((1..=2).contains(&of("the backplane is unavailable")), "{warnings:#?}");
    assert!(!text.contains("secret"), "a password is in the log");
    line.note(format!("off after {}", seconds(off)))
        .note(format!("{attempts:.1} attempts a second by each connection"))
        .note(format!("{} warnings by 2 processes", warnings.len()))
        .record();
}
// On one thread, so that all of the log is seen.
#[tokio::test]
async fn a_wrong_password_is_told_from_a_missing_one_and_shown_by_neither() {
    let redis = Redis::start().await;
    run(&mut admin(&redis).await, "CONFIG SET requirepass right-secret").await;
    for (login, word) in
        [("", "NOAUTH"), (":a-secret@", "WRONGPASS"), ("somebody:a-secret@", "WRONGPASS")]
    {
        let (logged, _guard) = log();
        let url = redis.url().replace("redis://", &format!("redis://{login}"));
        let cache = Cache::builder().redis(&url).expect("a URL").build().expect("a cache");
        until("it is said", || logged.text().contains("redis is unavailable")).await;
        let text = logged.text();
        assert!(text.contains(word) && !text.contains("secret"), "{login}: {text}");
        assert_eq!(cache.stats().l2, L2State::Down);
    }
}

const PASSWORD: Fault = Fault {
    row: 18,
    what: "password changed at run time (the user has the documented rights only)",
    expected: "at most 2 attempts/s a connection, one warning in 10 s, no secret in the log",
};

async fn refused_after(
    drill: &mut Drill,
    admin: &mut MultiplexedConnection,
    commands: [&str; 2],
) -> (Duration, f64) {
    drill.fault_begins();
    for command in commands {
        run(admin, command).await;
    }
    let off = l2_is_off(drill).await;
    let attempts = attempts_a_second(admin).await;
    assert!(attempts <= 2.0, "{attempts} attempts a second by each connection");
    (off, attempts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_not_run_scripts_any_more_is_an_outage() {
    let redis = Redis::start().await;
    let mut admin = admin(&redis).await;
    run(&mut admin, &format!("ACL SETUSER app on >pw {RIGHTS}")).await;
    let url = redis.url().replace("redis://", "redis://app:pw@");
    let mut drill = Setup::on(&url).begin().await;
    let takes = ["ACL SETUSER app -eval -evalsha", "PING"];
    let (off, attempts) = refused_after(&mut drill, &mut admin, takes).await;
    run(&mut admin, "ACL SETUSER app +eval +evalsha").await;
    let line = drill.fault_ends(NOPERM).await;
    line.note(format!("off after {}", seconds(off)))
        .note(format!("{attempts:.1} attempts a second by each connection"))
        .record();
}
const NOPERM: Fault = Fault {
    row: 18,
    what: "NOPERM: the user loses EVAL and EVALSHA",
    expected: "bypassed; at most 2 attempts/s a connection",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_with_too_many_clients_is_left_alone() {
    let redis = Redis::start().await;
    let mut admin = admin(&redis).await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    let takes = ["CONFIG SET maxclients 1", "CLIENT KILL TYPE normal SKIPME yes"];
    run(&mut admin, "CONFIG SET maxclients 1").await;
    run(&mut admin, "CLIENT KILL TYPE pubsub").await;
    let (off, attempts) = refused_after(&mut drill, &mut admin, takes).await;
    run(&mut admin, "CONFIG SET maxclients 1000").await;
    let line = drill.fault_ends(MAXCLIENTS).await;
    line.note(format!("off after {}", seconds(off)))
        .note(format!("{attempts:.1} attempts a second by each connection"))
        .record();
}
const MAXCLIENTS: Fault = Fault {
    row: 19,
    what: "maxclients reached",
    expected: "bypassed; at most 2 attempts/s a connection",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_busy_with_a_script_is_given_up() {
    let redis = Redis::start().await;
    let mut other = admin(&redis).await;
    redis.command::<()>(&["CONFIG", "SET", "busy-reply-threshold", "50"]).await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    drill.fault_begins();
    let endless = tokio::spawn(async move {
        let spin = redis::cmd("EVAL").arg("while true do end").arg(0).clone();
        spin.exec_async(&mut other).await.is_err()
    });
    let off = l2_is_off(&drill).await;
    sleep(Duration::from_secs(2)).await;
    redis.command::<()>(&["SCRIPT", "KILL"]).await;
    assert!(endless.await.expect("no panic"), "the script was killed");
    drill.fault_ends(BUSY).await.note(format!("off after {}", seconds(off))).record();
}
const BUSY: Fault = Fault {
    row: 20,
    what: "BUSY: a script runs for 2 s",
    expected: "as SIGSTOP: given up, used again afterwards",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_loading_its_data_is_waited_for() {
    let mut redis = Redis::start().await;
    let mut junk = redis::pipe();
    (0..2_000).for_each(|id| {
        junk.set(format!("junk:{id}"), "x".repeat(100)).ignore();
    });
    junk.exec_async(&mut admin(&redis).await).await.expect("redis is up");
    let mut drill = Setup::on(&redis.url()).begin().await;
    redis.command::<()>(&["SAVE"]).await;
    drill.fault_begins();
    redis.kill();
    let slowly = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
    redis.restart_with(&slowly).await;
    let began = Instant::now();
    let loading = async || {
        let refused = redis.try_command(&["GET", "x"]).await;
        refused.is_err_and(|error| error.code() == Some("LOADING"))
    };
    while !loading().await {
        assert!(began.elapsed() < Duration::from_secs(10), "it never said LOADING");
        sleep(Duration::from_millis(5)).await;
    }
    let off = l2_is_off(&drill).await;
    redis.wait_until_it_answers().await;
    let took = began.elapsed();
    let line = drill.fault_ends(LOADING).await;
    line.note(format!("off after {}", seconds(off)))
        .note(format!("loading for {}", seconds(took)))
        .record();
}
const LOADING: Fault = Fault {
    row: 21,
    what: "LOADING: restart with a snapshot that takes 2 s",
    expected: "no L2 until it is loaded",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_its_master_is_not_used() {
    let redis = Redis::start().await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    drill.fault_begins();
    redis.command::<()>(&["CONFIG", "SET", "replica-serve-stale-data", "no"]).await;
    redis.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let refused = redis.try_command(&["GET", "x"]).await;
    assert!(refused.is_err_and(|error| error.code() == Some("MASTERDOWN")));
    let off = l2_is_off(&drill).await;
    sleep(Duration::from_secs(1)).await;
    redis.command::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    drill.fault_ends(MASTERDOWN).await.note(format!("off after {}", seconds(off))).record();
}
const MASTERDOWN: Fault = Fault {
    row: 21,
    what: "MASTERDOWN: a replica that lost its master",
    expected: "no L2 until it is a master",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_cannot_save_and_so_refuses_writes_is_not_read_either() {
    let redis = Redis::start().await;
    let mut drill = Setup::on(&redis.url()).begin().await;
    let (_, dir): (String, String) = redis.command(&["CONFIG", "GET", "dir"]).await;
    // A snapshot cannot take the place of a folder.
    std::fs::create_dir(format!("{dir}/dump.rdb")).expect("a folder");
    drill.fault_begins();
    redis.command::<()>(&["CONFIG", "SET", "save", "3600 1"]).await;
    redis.command::<String>(&["BGSAVE"]).await;
    let off = l2_is_off(&drill).await;
    let refused = redis.try_command(&["SET", "x", "y"]).await;
    assert!(refused.is_err_and(|error| error.code() == Some("MISCONF")));
    let (began, l2_hits) = (Instant::now(), drill.answered_by(Source::L2));
    until("a second has passed", || began.elapsed() > DELTA).await;
    assert_eq!(drill.answered_by(Source::L2), l2_hits, "it is read");
    assert_eq!(drill.reader.stats().l2, L2State::Down);
    redis.command::<()>(&["CONFIG", "SET", "save", ""]).await;
    drill.fault_ends(MISCONF).await.note(format!("off after {}", seconds(off))).record();
}
const MISCONF: Fault = Fault {
    row: 21,
    what: "MISCONF: the disk takes no snapshot",
    expected: "no L2 while writes are refused",
};
