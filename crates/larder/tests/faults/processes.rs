//! Processes that die, stop, and start together. The other processes are this binary, started
//! again to run [`another_process`] alone.

use std::{
    io::{BufRead as _, Write as _},
    process::Stdio,
    time::{Duration, Instant},
};

use larder::{Ack, Cache, Source};
use redis::{RedisResult, aio::MultiplexedConnection};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::sleep,
};

use crate::{
    contents::admin,
    drill::{DELTA, PATIENCE, QUEUED, patient_process, process},
    report::{Fault, Line, Spread},
    restarts::seconds,
    support::{Doc, DocKey, Redis, Stopwatch, built, doc, until},
    truth::Truth,
};

/// Another process with a cache. Its database is a second Redis, which nothing happens to.
struct Node {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Node {
    async fn start(redis: &Redis, database: &Redis) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "processes::another_process", "--ignored", "--nocapture"])
            .env("NODE_REDIS", redis.url())
            .env("NODE_DATABASE", database.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("this program can be started");
        let commands = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut node = Self { child, commands, answers };
        assert_eq!(node.answer().await, "ready");
        node
    }

    async fn tell(&mut self, command: &str) {
        let line = format!("{command}\n");
        self.commands.write_all(line.as_bytes()).await.expect("it listens");
    }

    /// Its next line; the test harness' own lines are not its.
    async fn answer(&mut self) -> String {
        loop {
            let line = self.answers.next_line().await.expect("a pipe").expect("it lives");
            if let Some((_, answer)) = line.split_once("node: ") {
                return answer.to_owned();
            }
        }
    }

    async fn ask(&mut self, command: &str) -> String {
        self.tell(command).await;
        self.answer().await
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32));
        kill_process(pid.expect("it was not waited for"), signal).expect("it is there");
    }
}

/// The loader of the other processes: counted, and slower than a look into Redis.
async fn load(mut database: MultiplexedConnection, id: i64) -> RedisResult<Doc> {
    let mut ask = redis::pipe();
    ask.cmd("INCR").arg("loads").ignore().cmd("GET").arg(format!("version:{id}"));
    let (version,): (Option<u64>,) = ask.query_async(&mut database).await?;
    sleep(Duration::from_millis(200)).await;
    Ok(Doc { id, version: version.unwrap_or(0) })
}

#[test]
#[ignore = "the other process of the tests here, which start it"]
fn another_process() {
    let setting = |name: &str| std::env::var(name).expect("started by a test");
    let (redis, database) = (setting("NODE_REDIS"), setting("NODE_DATABASE"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (cache, database) = runtime.block_on(async {
        let client = redis::Client::open(database).expect("valid");
        let database = client.get_multiplexed_async_connection().await.expect("it is up");
        (built(patient_process(&redis)).await, database)
    });
    let say = |answer: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nnode: {answer}").and_then(|()| out.flush()).expect("somebody listens");
    };
    say("ready".into());
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let words: Vec<_> = line.split(' ').collect();
        let id = words.last().and_then(|id| id.parse().ok()).unwrap_or(0);
        let answer = match words[0] {
            "read" => runtime.block_on(read(&cache, &database, id)),
            "flushes" => cache.stats().backplane.flushes.to_string(),
            "storm" => {
                let callers = words[1].parse().expect("a number");
                runtime.block_on(storm(&cache, &database, callers, id))
            }
            _ => runtime.block_on(hold(&cache, id, move || say("loading".into()))),
        };
        say(answer);
    }
}

async fn read(cache: &Cache, database: &MultiplexedConnection, id: i64) -> String {
    let database = database.clone();
    let read = cache.get_or_load(&DocKey(id), move || load(database, id)).await.expect("loads");
    format!("{} {:?}", read.value.version, read.source)
}

/// Many reads at once: how many failed, and the milliseconds that the slowest took.
async fn storm(cache: &Cache, database: &MultiplexedConnection, callers: usize, id: i64) -> String {
    let reads = (0..callers).map(|_| async {
        let (database, began) = (database.clone(), Instant::now());
        let read = cache.get_or_load(&DocKey(id), move || load(database, id)).await;
        (read.is_err(), began.elapsed().as_millis())
    });
    let reads = futures_util::future::join_all(reads).await;
    let failed = reads.iter().filter(|(failed, _)| *failed).count();
    let slowest = reads.iter().map(|(_, took)| *took).max().unwrap_or(0);
    format!("{failed} {slowest}")
}

/// A read whose load never ends.
async fn hold(cache: &Cache, id: i64, begun: impl FnOnce() + Send + 'static) -> String {
    let endless = move || async move {
        begun();
        std::future::pending::<()>().await;
        Ok::<_, std::convert::Infallible>(Doc { id, version: 0 })
    };
    format!("{:?}", cache.get_or_load(&DocKey(id), endless).await.is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_dies_after_its_commit_is_healed_by_another_process() {
    let (redis, truth) = (Redis::start().await, Truth::of(8));
    let cache = built(process(&redis.url()).outbox(truth.outbox.clone())).await;
    let (mut latencies, mut l1_healed, mut l2_healed) = (vec![], Duration::ZERO, Duration::ZERO);
    for round in 0..15 {
        let id = round % 8;
        truth.read(&cache, id).await.expect("loads");
        truth.commit(id);
        let committed = Instant::now();
        let (mut l1_is_new, mut l2_is_new) = (false, false);
        while !(l1_is_new && l2_is_new) {
            for (reader, is_new, healed) in [
                (cache.fresh(), &mut l2_is_new, &mut l2_healed),
                (cache.clone(), &mut l1_is_new, &mut l1_healed),
            ] {
                let began = Instant::now();
                let read = truth.read(&reader, id).await.expect("loads");
                latencies.push(began.elapsed());
                if read.value.version < truth.newest(id) {
                    *healed = (*healed).max(began - committed);
                } else {
                    *is_new = true;
                }
            }
            sleep(Duration::from_millis(2)).await;
        }
    }
    assert!(l1_healed.max(l2_healed) < QUEUED, "{l1_healed:?} {l2_healed:?}");
    until("every row is done", || truth.outbox.open() == 0).await;
    let line = Line { spread: Some(Spread::of(latencies)), ..Line::of(WRITER_DIES) };
    line.note(format!("stale for at most {} in L2", seconds(l2_healed)))
        .note(format!("{} in L1, 15 crashes", seconds(l1_healed)))
        .record();
}
const WRITER_DIES: Fault = Fault {
    row: 23,
    what: "writer dies between COMMIT and invalidation",
    expected: "stale for 0.4 s in L2 at most, 0.4 s + Δ in L1",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_of_a_killed_process_is_waited_for_and_then_made_by_others() {
    let (redis, database) = (Redis::start().await, Redis::start().await);
    let (cache, truth) = (built(process(&redis.url())).await, Truth::of(8));
    let mut holder = Node::start(&redis, &database).await;
    // For the load timeout (5 s) and two of its budgets for Redis (3 s).
    assert_eq!(holder.ask("hold 5").await, "loading");
    let leased = Instant::now();
    holder.signal(Signal::KILL);
    holder.child.wait().await.expect("it ends");
    let began = Stopwatch::start();
    let reads = (0..20).map(|_| async {
        let read = truth.read(&cache, 5).await.expect("no failed read");
        (read.value.id, began.elapsed())
    });
    let reads = futures_util::future::join_all(reads).await;
    let waited = reads.iter().map(|(_, took)| *took).max().unwrap_or_default();
    assert!(waited < PATIENCE, "waited for {waited:?}");
    assert_eq!(truth.loads(), 1, "one load for twenty callers");
    while truth.read(&cache.fresh(), 5).await.expect("loads").source != Source::L2 {
        assert!(leased.elapsed() < Duration::from_secs(20), "the lease outlives its life");
        sleep(Duration::from_millis(10)).await;
    }
    let filled = leased.elapsed();
    let spread = Spread::of(reads.into_iter().map(|(_, took)| took).collect());
    let line = Line { reads: 20, spread: Some(spread), ..Line::of(HOLDER_DIES) };
    line.note(format!("others waited for {}", seconds(waited)))
        .note(format!("Redis filled again {} after the lease of 11 s began", seconds(filled)))
        .record();
}
const HOLDER_DIES: Fault = Fault {
    row: 24,
    what: "SIGKILL of the process that holds a lease",
    expected: "others wait for wait_max (2 s) at most; filled when the lease is over",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_stopped_answers_nothing_old_when_it_goes_on() {
    let (redis, database) = (Redis::start().await, Redis::start().await);
    let mut stopped = Node::start(&redis, &database).await;
    let asked = Instant::now();
    while stopped.ask("read 1").await != "0 L1" {
        assert!(asked.elapsed() < Duration::from_secs(20), "L1 is not used");
    }
    let flushes = stopped.ask("flushes").await;
    let mut admin = admin(&redis).await;
    stopped.signal(Signal::STOP);
    let megabyte = "x".repeat(1 << 20);
    for _ in 0..48 {
        let publish = redis::cmd("PUBLISH").arg("t:~inv:0").arg(&megabyte).clone();
        publish.exec_async(&mut admin).await.expect("redis is up");
    }
    let subscribers = redis.command::<String>(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    assert_eq!(subscribers, "", "Redis has cut the slow subscriber off");
    // Only now, so that its message cannot be among those that wait.
    database.command::<()>(&["SET", "version:1", "1"]).await;
    let writer = built(process(&redis.url())).await;
    assert_eq!(writer.invalidate(doc(1)).await, Ack::Applied);
    sleep(DELTA).await;
    stopped.tell("read 1").await;
    stopped.signal(Signal::CONT);
    let resumed = Instant::now();
    let first = stopped.answer().await;
    assert!(first.starts_with("1 "), "read {first} after it went on");
    while stopped.ask("read 1").await != "1 L1" {
        assert!(resumed.elapsed() < Duration::from_secs(10), "L1 is not used again");
        sleep(Duration::from_millis(5)).await;
    }
    let l1_back = Some(resumed.elapsed());
    while stopped.ask("flushes").await == flushes {
        assert!(resumed.elapsed() < Duration::from_secs(10), "the gap was not noticed");
        sleep(Duration::from_millis(5)).await;
    }
    let line = Line { l1_back, ..Line::of(SLOW_SUBSCRIBER) };
    line.note(format!("its first read was {first}")).note("cut off by Redis").record();
}
const SLOW_SUBSCRIBER: Fault = Fault {
    row: 28,
    what: "slow subscriber: SIGSTOP, 48 MB of messages, a write, SIGCONT",
    expected: "L1 refuses, connects anew, flushes",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reads_of_a_cold_key_in_three_processes_make_one_load() {
    let (redis, database) = (Redis::start().await, Redis::start().await);
    let mut nodes = vec![];
    for _ in 0..3 {
        nodes.push(Node::start(&redis, &database).await);
    }
    for node in &mut nodes {
        node.tell("storm 334 7").await;
    }
    let mut slowest = vec![];
    for node in &mut nodes {
        let answer = node.answer().await;
        let (failed, ms) = answer.split_once(' ').expect("two numbers");
        assert_eq!(failed, "0", "failed reads");
        slowest.push(Duration::from_millis(ms.parse().expect("a number")));
    }
    assert_eq!(database.command::<u64>(&["GET", "loads"]).await, 1);
    let longest = slowest.into_iter().max();
    assert!(longest < Some(PATIENCE), "a read took {longest:?}");
    let line = Line { reads: 1_002, longest, loads: Some(1), ..Line::of(COLD_START) };
    line.note("the load took 200 ms").record();
}
const COLD_START: Fault = Fault {
    row: 29,
    what: "cold start: 1,002 reads of one key at once in 3 processes",
    expected: "exactly 1 load",
};
