//! A redis-server of one test alone, which may be killed and stopped.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use redis::{Client, FromRedisValue, RedisResult, Value};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::until;

/// On a free port, without persistence.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        loop {
            let folder = TempDir::new().expect("a temporary folder");
            let port = free_port();
            let mut redis = Self { child: spawn(port, &folder), port, folder };
            if redis.is_the_one_that_answers().await {
                return redis;
            }
        }
    }

    /// Waits until it answers; `false` if another process took the port between our look and its
    /// start.
    async fn is_the_one_that_answers(&mut self) -> bool {
        let own = format!("process_id:{}", self.child.id());
        let mut is_own = false;
        until("redis-server answers or ends", async || {
            let Ok(info) = self.ask(&["INFO", "server"]).await else {
                return self.child.try_wait().expect("our child").is_some();
            };
            let info: String = redis::from_redis_value(info).expect("a text");
            is_own = info.lines().any(|line| line.trim_end() == own);
            true
        })
        .await;
        is_own
    }

    /// A port on which there is no server until [`Redis::restart`].
    pub(crate) async fn down() -> Self {
        let mut redis = Self::start().await;
        redis.kill();
        redis
    }

    async fn answers(&self) {
        let ping = ["PING"];
        let answers = async || self.ask(&ping).await.is_ok();
        until("redis-server answers", answers).await;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    async fn ask<A: redis::ToRedisArgs>(&self, command: &[A]) -> RedisResult<Value> {
        let mut connection = Client::open(self.url())?.get_multiplexed_async_connection().await?;
        let mut cmd = redis::Cmd::new();
        command.iter().for_each(|part| {
            cmd.arg(part);
        });
        cmd.query_async(&mut connection).await
    }

    pub(crate) async fn command<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let value = self.ask(command).await.expect("redis answers");
        redis::from_redis_value(value).expect("the expected type of answer")
    }

    pub(crate) async fn set(&self, key: &str, value: &[u8]) {
        self.ask(&[b"SET".as_slice(), key.as_bytes(), value]).await.expect("redis answers");
    }

    pub(crate) async fn get(&self, key: &str) -> Vec<u8> {
        self.command(&["GET", key]).await
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.command(&["KEYS", "*"]).await;
        keys.sort();
        keys
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the server was running");
        self.child.wait().expect("the server ends");
    }

    /// Starts again on the same port, empty.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder);
        self.answers().await;
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

fn spawn(port: u16, folder: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is not installed: `make setup` installs it")
}

/// One that the system gives to nobody by itself: while the server is down, whoever connects in vain
/// must not be given its port, by chance, as their own end.
pub(crate) fn free_port() -> u16 {
    let random = || RandomState::new().hash_one(0);
    let ports = std::iter::repeat_with(|| 10_000 + (random() % 22_000) as u16);
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("endless")
}
