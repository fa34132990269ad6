//! A private redis-server, a database that counts its loads, and caches in every set-up.

use std::{
    convert::Infallible,
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::{
    Builder, Cache, CacheKey, Cached, Clock, KeyWriter, L2State, LoadError, NamespaceStats, Policy,
    Public, Tag, Tags, Verdict,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

pub(crate) use crate::stopwatch::Stopwatch;

/// A redis-server of this test alone, on a free port, without persistence unless saved by hand.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        loop {
            let dir = TempDir::new().expect("a temporary folder");
            let port = free_port();
            let mut redis = Self { child: spawn(port, &dir), port, dir };
            if redis.is_the_one_that_answers().await {
                return redis;
            }
        }
    }

    /// Waits until it answers; `false` if another process took the port between our look and its
    /// start.
    async fn is_the_one_that_answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        let own = format!("process_id:{}", self.child.id());
        while self.child.try_wait().expect("our child").is_none() {
            if let Ok(info) = self.try_command(&["INFO", "server"]).await {
                let info: String = redis::from_redis_value(info).expect("a text");
                return info.lines().any(|line| line.trim_end() == own);
            }
            assert!(Instant::now() < deadline, "redis-server did not start within 20 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// A second server of the same kind that also speaks TLS, with a certificate nobody trusts.
    pub(crate) async fn start_with_untrusted_tls() -> (Self, String) {
        let dir = TempDir::new().expect("a temporary folder");
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("writable");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("writable");
        let (port, tls_port) = (free_port(), free_port());
        let child = command(port, &dir)
            .args([
                "--tls-port",
                &tls_port.to_string(),
                "--tls-auth-clients",
                "no",
                "--tls-cert-file",
            ])
            .arg(&certificate)
            .arg("--tls-ca-cert-file")
            .arg(&certificate)
            .arg("--tls-key-file")
            .arg(&key)
            .spawn()
            .expect("it was started before");
        let redis = Self { child, port, dir };
        redis.wait_until_it_answers().await;
        (redis, format!("rediss://localhost:{tls_port}/"))
    }

    pub(crate) async fn wait_until_it_answers(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.try_command(&["PING"]).await.is_err() {
            assert!(Instant::now() < deadline, "redis-server did not start within 20 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn try_command(&self, command: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url())?;
        // Ten seconds: the machine may be busy, and this is no part of what is tested.
        let limit = Some(Duration::from_secs(10));
        let patient = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(limit)
            .set_response_timeout(limit);
        let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
        let mut cmd = redis::cmd(command[0]);
        command[1..].iter().for_each(|arg| {
            cmd.arg(arg);
        });
        cmd.query_async(&mut connection).await
    }

    pub(crate) async fn command<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let value = self.try_command(command).await.expect("redis answers");
        redis::from_redis_value(value).expect("the expected type of answer")
    }

    /// Calls of a command since the last CONFIG RESETSTAT.
    pub(crate) async fn calls(&self, command: &str) -> u64 {
        let info: String = self.command(&["INFO", "commandstats"]).await;
        let line =
            info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the server was running");
        self.child.wait().expect("the server ends");
    }

    /// Starts again on the same port; with what was SAVEd, if anything was.
    pub(crate) async fn restart(&mut self) {
        self.restart_with(&[]);
        self.wait_until_it_answers().await;
    }

    /// The same with further options, without waiting until it answers.
    pub(crate) fn restart_with(&mut self, options: &[&str]) {
        let child = command(self.port, &self.dir).args(options).spawn();
        self.child = child.expect("it was started before");
    }

    /// Stops answering without closing anything.
    pub(crate) fn hang(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the server is there");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, dir: &TempDir) -> Child {
    command(port, dir).spawn().expect("redis-server is not installed: `make setup` installs it")
}

fn command(port: u16, dir: &TempDir) -> Command {
    let mut command = Command::new("redis-server");
    let port = port.to_string();
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(dir.path()).stdout(Stdio::null());
    command
}

/// One that the system gives to nobody by itself: while the server is down, whoever connects in vain
/// must not be given its port, by chance, as their own end.
pub(crate) fn free_port() -> u16 {
    let ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_000));
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("endless")
}

/// A cached value whose version says how old it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Doc {
    pub(crate) id: i64,
    pub(crate) version: u64,
}

pub(crate) struct DocKey(pub(crate) i64);

impl CacheKey for DocKey {
    type Value = Doc;
    type Scope = Public;
    const NAMESPACE: &'static str = "docs";
    const NAME: &'static str = "doc:detail";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        Policy::new(Duration::from_secs(60), Duration::from_secs(120))
            .negative(Duration::from_secs(30))
            .load_timeout(Duration::from_secs(5))
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.0);
    }
    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(doc(self.0));
        tags.add(Tag::named("docs"));
        tags.lazy(Tag::new("summary", self.0));
    }
}

pub(crate) fn doc(id: i64) -> Tag {
    Tag::new("doc", id)
}

/// The source of truth: one version for all documents, and a count of the loads.
#[derive(Clone, Default)]
pub(crate) struct Database {
    pub(crate) version: Arc<AtomicU64>,
    pub(crate) loads: Arc<AtomicUsize>,
    pub(crate) delay: Duration,
}

impl Database {
    pub(crate) fn slow(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// Reads the version first and answers later: the window in which a write makes it old.
    pub(crate) async fn load(self, id: i64) -> Result<Doc, Infallible> {
        self.loads.fetch_add(1, SeqCst);
        let version = self.version.load(SeqCst);
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        Ok(Doc { id, version })
    }

    pub(crate) fn write(&self) -> u64 {
        self.version.fetch_add(1, SeqCst) + 1
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(SeqCst)
    }

    pub(crate) async fn read(&self, cache: &Cache, id: i64) -> Cached<Arc<Doc>> {
        let database = self.clone();
        let read = cache.get_or_load(&DocKey(id), move || database.load(id)).await;
        read.expect("this database never fails")
    }
}

/// Which tiers a cache has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tiers {
    L1,
    L2,
    Both,
}

impl Tiers {
    pub(crate) const ALL: [Self; 3] = [Self::L1, Self::L2, Self::Both];

    /// One that waits for Redis and for other processes however long the machine pauses: who gives
    /// up sooner loads by itself, as it should, and no test could count on one load or on a fill.
    pub(crate) fn builder(self, redis: &Redis) -> Builder {
        let patience = Duration::from_secs(20);
        self.hasty_builder(redis).op_timeout(patience).wait_max(patience)
    }

    /// One with the default timeouts, for tests in which Redis hangs.
    pub(crate) fn hasty_builder(self, redis: &Redis) -> Builder {
        let builder = Cache::builder().prefix("t:").clock(Clock::system()).l1_bytes(16 << 20);
        match self {
            Self::L1 => builder,
            Self::L2 => builder.redis(&redis.url()).expect("a valid URL").without_l1(),
            Self::Both => builder.redis(&redis.url()).expect("a valid URL"),
        }
    }

    pub(crate) async fn cache(self, redis: &Redis) -> Cache {
        built(self.builder(redis)).await
    }
}

/// Builds, and waits until Redis is used, and L1 proven current, if Redis is configured.
pub(crate) async fn built(builder: Builder) -> Cache {
    let cache = builder.build().expect("a valid configuration");
    if cache.stats().l2 != L2State::Off {
        until("redis is used", || cache.stats().l2 == L2State::Up).await;
        until("the window is open", || cache.stats().backplane.is_fresh).await;
    }
    cache
}

/// Waits for a condition, for at most 20 s.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    eventually(what, async || condition()).await;
}

/// The same for a condition that has to be asked for.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until a value is in Redis, if the cache has one: nobody else waits for a fill.
pub(crate) async fn filled<K: CacheKey<Scope = Public>>(cache: &Cache, key: &K) {
    if cache.stats().l2 == L2State::Off {
        return;
    }
    let is_there =
        async || matches!(cache.explain(key).await.l2.verdict, Verdict::Fresh | Verdict::Stale);
    eventually("the value is in Redis", is_there).await;
}

/// The same for a document.
pub(crate) async fn stored(cache: &Cache, id: i64) {
    filled(cache, &DocKey(id)).await;
}

/// Waits until L1 answers for a document. It does not while the window is closed, as after a pause
/// of the machine; an entry that is gone does not come back by being waited for.
pub(crate) async fn in_l1(cache: &Cache, id: i64) {
    let is_there = async || {
        let verdict = cache.explain(&DocKey(id)).await.l1.verdict;
        let is_kept = matches!(verdict, Verdict::Fresh | Verdict::Stale | Verdict::Unproven);
        assert!(is_kept, "L1 has lost document {id}: {verdict:?}");
        verdict != Verdict::Unproven
    };
    eventually("L1 answers", is_there).await;
}

/// What came of a scenario in which heartbeats were answered throughout. A pause of the machine
/// closes the window and may flush L1, as it should; the scenario is then played again.
pub(crate) async fn in_one_window<T>(caches: &[&Cache], mut play: impl AsyncFnMut() -> T) -> T {
    let backplane = |cache: &&Cache| cache.stats().backplane;
    let lag = |cache: &&Cache| backplane(cache).lag.unwrap_or(Duration::MAX);
    for _ in 0..50 {
        let quiet = Duration::from_millis(300);
        until("heartbeats are answered", || caches.iter().all(|cache| lag(cache) < quiet)).await;
        let flushes = || caches.iter().map(|cache| backplane(cache).flushes).sum::<u64>();
        let (before, began) = (flushes(), Instant::now());
        let outcome = play().await;
        if began.elapsed() < Duration::from_millis(600) && flushes() == before {
            return outcome;
        }
    }
    panic!("the machine pauses all the time");
}

/// What came of a scenario during which the machine did not pause for so long that an attempt was
/// given up and made again.
pub(crate) async fn without_a_pause<T>(mut play: impl AsyncFnMut() -> T) -> T {
    for _ in 0..50 {
        let began = Instant::now();
        let outcome = play().await;
        if began.elapsed() < Duration::from_millis(200) {
            return outcome;
        }
    }
    panic!("the machine pauses all the time");
}

pub(crate) fn counted(cache: &Cache) -> NamespaceStats {
    cache.stats().namespaces.into_iter().find(|row| row.namespace == "docs").unwrap_or_default()
}

pub(crate) fn failed<T: std::fmt::Debug, E>(result: Result<T, LoadError<E>>) -> LoadError<E> {
    result.map(|value| panic!("unexpectedly loaded {value:?}")).unwrap_err()
}
