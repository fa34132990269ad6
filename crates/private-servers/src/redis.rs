//! A redis-server, which may be killed, stopped and started again.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult, ToRedisArgs, Value};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    Port, blocking,
    process::{self, Failed, Process},
};

/// On a free port of 127.0.0.1, without persistence unless saved by hand.
pub struct Redis {
    process: Process,
    port: Port,
    folder: TempDir,
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further options.
    pub async fn start_with(options: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let program = Program::new(&folder, options);
        let start = move || process::start(|port| program.answering_on(port));
        let (process, port) = blocking(start).await;
        Self { process, port, folder }
    }

    /// A port on which there is no server until [`Redis::restart`].
    pub async fn down() -> Self {
        let mut redis = Self::start().await;
        redis.kill();
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port.number())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Of the server that runs now or ran last.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub fn kill(&mut self) {
        self.process.end();
    }

    /// Starts again on the same port; with what was SAVEd, if anything was.
    pub async fn restart(&mut self) {
        self.kill();
        let (program, port) = (Program::new(&self.folder, &[]), self.port());
        let start = move || process::start_again(|| program.answering_on(port));
        self.process = blocking(start).await;
    }

    /// The same with further options, and only until it listens: it may be loading for long.
    pub async fn restart_with(&mut self, options: &[&str]) {
        self.kill();
        let (program, port) = (Program::new(&self.folder, options), self.port());
        let start = move || process::start_again(|| program.listening_on(port));
        self.process = blocking(start).await;
    }

    /// Until it has loaded its data.
    pub async fn wait_until_it_answers(&self) {
        let deadline = Instant::now() + process::LIMIT;
        while let Err(error) = self.try_command(&["PING"]).await {
            assert!(Instant::now() < deadline, "{error}; it said:\n{}", self.process.said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Deletes what was SAVEd.
    pub fn forget_what_was_saved(&self) {
        match std::fs::remove_file(self.folder.path().join("dump.rdb")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("our file: {error}"),
            _ => {}
        }
    }

    /// Stops answering without closing anything.
    pub fn hang(&self) {
        self.process.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    pub async fn try_command(&self, command: &[&str]) -> RedisResult<Value> {
        self.ask(command).await
    }

    /// What it answers, which must be no error.
    pub async fn command<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let value = self.ask(command).await.expect("redis answers");
        redis::from_redis_value(value).expect("the expected type of answer")
    }

    async fn ask<A: ToRedisArgs>(&self, command: &[A]) -> RedisResult<Value> {
        // Ten seconds: the machine may be busy, and this is no part of what is tested.
        let limit = Some(Duration::from_secs(10));
        let patient =
            AsyncConnectionConfig::new().set_connection_timeout(limit).set_response_timeout(limit);
        let client = Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
        let mut cmd = redis::Cmd::new();
        command.iter().for_each(|part| {
            cmd.arg(part);
        });
        cmd.query_async(&mut connection).await
    }

    pub async fn set(&self, key: &str, value: &[u8]) {
        self.ask(&[b"SET".as_slice(), key.as_bytes(), value]).await.expect("redis answers");
    }

    pub async fn get(&self, key: &str) -> Vec<u8> {
        self.command(&["GET", key]).await
    }

    /// All keys, in their order.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.command(&["KEYS", "*"]).await;
        keys.sort();
        keys
    }

    /// Calls of a command since the last CONFIG RESETSTAT.
    pub async fn calls(&self, command: &str) -> u64 {
        let info: String = self.command(&["INFO", "commandstats"]).await;
        let line =
            info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
    }
}

/// How to start a server, and how to see that it is the one that answers.
struct Program {
    folder: PathBuf,
    options: Vec<String>,
}

impl Program {
    fn new(folder: &TempDir, options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Self { folder: folder.path().to_owned(), options }
    }

    fn spawn(&self, port: u16) -> Process {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(&self.folder);
        command.args(&self.options);
        Process::spawn("redis-server", &mut command, Signal::KILL, self.folder.join("log"))
    }

    fn answering_on(&self, port: u16) -> Result<Process, Failed> {
        self.spawn(port).wait_until(|process| {
            answer(port).is_ok_and(|said| {
                said.contains(&format!("process_id:{}\r\n", process.id())) && said.contains("+PONG")
            })
        })
    }

    fn listening_on(&self, port: u16) -> Result<Process, Failed> {
        let accepting = |said: &str| said.contains("Server initialized");
        self.spawn(port).wait_until(|process| accepting(&process.said()))
    }
}

/// What whoever listens there says of itself, and whether it serves its data.
fn answer(port: u16) -> io::Result<String> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    server.set_read_timeout(Some(Duration::from_millis(200)))?;
    server.write_all(b"INFO server\r\nPING\r\nQUIT\r\n")?;
    let mut said = String::new();
    server.read_to_string(&mut said)?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, net::TcpListener};

    use rustix::process::{Pid, test_kill_process};
    use tokio::task::JoinSet;

    use super::*;
    use crate::process::{start_again, start_on_one_of};

    fn folder() -> TempDir {
        TempDir::new().expect("a temporary folder")
    }

    #[test]
    fn whoever_answers_on_the_port_is_not_taken_for_the_server_that_was_started() {
        let (theirs, ours) = (folder(), folder());
        let (taken, free) = (Port::free(), Port::free());
        let stranger = Program::new(&theirs, &[]).answering_on(taken.number());
        assert!(
            stranger.is_ok() && answer(taken.number()).is_ok_and(|said| said.contains("+PONG"))
        );
        let (program, expected) = (Program::new(&ours, &[]), free.number());
        let ports = [taken, free].into_iter();
        let (_process, port) = start_on_one_of(ports, |port| program.answering_on(port));
        assert_eq!(port.number(), expected);
    }

    #[test]
    fn a_restart_waits_until_its_port_is_free() {
        let (folder, port) = (folder(), Port::free());
        let program = Program::new(&folder, &[]);
        let somebody = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).expect("free");
        let (somebody, refused) = (Cell::new(Some(somebody)), Cell::new(0));
        let _process = start_again(|| {
            let started = program.answering_on(port.number());
            if started.is_err() {
                refused.set(refused.get() + 1);
                somebody.take();
            }
            started
        });
        assert_eq!(refused.get(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn servers_that_start_at_once_do_not_meet() {
        let mut starting = JoinSet::new();
        (0..12).for_each(|_| {
            starting.spawn(Redis::start());
        });
        let servers = starting.join_all().await;
        for redis in &servers {
            redis.set("whose", redis.url().as_bytes()).await;
        }
        for redis in &servers {
            assert_eq!(redis.get("whose").await, redis.url().as_bytes());
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_says_why() {
        let started = tokio::spawn(Redis::start_with(&["--no-such-option", "1"])).await;
        let panic = started.map(|redis| redis.url()).expect_err("it cannot start").into_panic();
        let text = panic.downcast::<String>().expect("a message");
        assert!(text.contains("redis-server has ended with exit status: 1"), "{text}");
        assert!(text.contains("Bad directive"), "{text}");
    }

    #[tokio::test]
    async fn a_server_starts_again_with_what_was_saved_or_without() {
        let mut redis = Redis::start().await;
        let port = redis.port();
        redis.set("kept", b"1").await;
        redis.command::<()>(&["SAVE"]).await;
        redis.kill();
        redis.restart().await;
        assert_eq!((redis.get("kept").await, redis.port()), (b"1".to_vec(), port));
        redis.kill();
        redis.forget_what_was_saved();
        redis.restart().await;
        assert!(redis.keys().await.is_empty());
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_server_whose_test_panics() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let test = tokio::spawn(async {
            let redis = Redis::start().await;
            redis.hang();
            let left = (redis.process_id(), redis.folder.path().to_owned());
            tell.send(left).expect("somebody listens");
            panic!("as a failed test does");
        });
        let (id, folder) = told.await.expect("it has started");
        assert!(test.await.expect_err("it panics").is_panic());
        let id = Pid::from_raw(i32::try_from(id).expect("small")).expect("not 0");
        assert!(test_kill_process(id).is_err(), "the server is gone");
        assert!(!folder.exists(), "and its files");
    }
}
