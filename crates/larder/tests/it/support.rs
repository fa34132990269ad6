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
    Public, Tag, Tags,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// A redis-server of this test alone, on a free port, without persistence unless saved by hand.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let child = spawn(port, &dir);
        let redis = Self { child, port, dir };
        redis.wait_until_it_answers().await;
        redis
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
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.try_command(&["PING"]).await.is_err() {
            assert!(Instant::now() < deadline, "redis-server did not start within 10 s");
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

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").port()
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

    pub(crate) fn builder(self, redis: &Redis) -> Builder {
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

/// Builds, and waits until Redis is used, and L1 proven current, if Redis is configured. Which names
/// share a stamp is the same in every run: a hit that one costs would look like a hit lost.
pub(crate) async fn built(builder: Builder) -> Cache {
    fastrand::seed(1);
    let cache = builder.build().expect("a valid configuration");
    if cache.stats().l2 != L2State::Off {
        until("redis is used", || cache.stats().l2 == L2State::Up).await;
        until("the window is open", || cache.stats().backplane.is_fresh).await;
    }
    cache
}

/// Waits for a condition, for at most 10 s.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn counted(cache: &Cache) -> NamespaceStats {
    cache.stats().namespaces.into_iter().find(|row| row.namespace == "docs").unwrap_or_default()
}

pub(crate) fn failed<T: std::fmt::Debug, E>(result: Result<T, LoadError<E>>) -> LoadError<E> {
    result.map(|value| panic!("unexpectedly loaded {value:?}")).unwrap_err()
}
