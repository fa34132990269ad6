//! The workers, as their parent sees them.

use std::{path::PathBuf, process::Stdio, time::Duration};

use clap::ValueEnum;
use private_servers::Proxy;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time,
};

use crate::{Failure, clock, worker::Bug};

/// No worker takes longer to say that it has done what it was told.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What every worker is started with.
#[derive(Clone)]
pub(crate) struct Orders {
    pub(crate) seed: u64,
    pub(crate) keys: u32,
    pub(crate) database: String,
    pub(crate) folder: PathBuf,
    pub(crate) bug: Option<Bug>,
}

/// The file of one process, which may have ended.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) process: u32,
    pub(crate) line: usize,
    pub(crate) path: PathBuf,
    pub(crate) born: u64,
    pub(crate) died: Option<u64>,
}

struct Worker {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// Where its log is among all logs.
    log: usize,
}

pub(crate) struct Crew {
    orders: Orders,
    lines: Vec<String>,
    workers: Vec<Worker>,
    logs: Vec<Log>,
}

impl Crew {
    /// One worker at the end of each line.
    pub(crate) async fn start(orders: Orders, lines: &[Proxy]) -> Result<Self, Failure> {
        let lines = lines.iter().map(Proxy::url).collect();
        let mut crew = Self { orders, lines, workers: Vec::new(), logs: Vec::new() };
        for line in 0..crew.lines.len() {
            let worker = crew.spawn(line)?;
            crew.workers.push(worker);
        }
        for worker in &mut crew.workers {
            worker.says("ready").await?;
        }
        Ok(crew)
    }

    fn spawn(&mut self, line: usize) -> Result<Worker, Failure> {
        let process = self.logs.len() as u32;
        let path = self.orders.folder.join(format!("{process}.log"));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("worker").args(["--process", &process.to_string()]);
        command.args(["--seed", &self.orders.seed.to_string()]);
        command.args(["--keys", &self.orders.keys.to_string()]);
        command.args(["--database", &self.orders.database, "--redis", &self.lines[line]]);
        command.arg("--log").arg(&path);
        if let Some(bug) = self.orders.bug.and_then(|bug| bug.to_possible_value()) {
            command.args(["--bug", bug.get_name()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let born = clock::now();
        let mut child = command.spawn()?;
        let orders = child.stdin.take().ok_or("a pipe to the worker")?;
        let answers = child.stdout.take().ok_or("a pipe from the worker")?;
        self.logs.push(Log { process, line, path, born, died: None });
        let answers = BufReader::new(answers).lines();
        Ok(Worker { child, orders, answers, log: self.logs.len() - 1 })
    }

    pub(crate) fn size(&self) -> usize {
        self.workers.len()
    }

    pub(crate) fn logs(&self) -> &[Log] {
        &self.logs
    }

    pub(crate) fn signal(&self, at: usize, signal: Signal) -> Result<(), Failure> {
        let id = self.workers[at].child.id().ok_or("the worker has ended")?;
        let id = Pid::from_raw(id as i32).ok_or("the worker has ended")?;
        Ok(kill_process(id, signal)?)
    }

    /// Kills a worker.
    pub(crate) async fn kill(&mut self, at: usize) -> Result<(), Failure> {
        self.workers[at].child.start_kill()?;
        self.buried(at).await
    }

    /// Lets a worker die between the COMMIT and the invalidation of its next write.
    pub(crate) async fn abort(&mut self, at: usize) -> Result<(), Failure> {
        self.workers[at].tell("abort").await?;
        self.buried(at).await
    }

    /// Waits for the end of a worker.
    async fn buried(&mut self, at: usize) -> Result<(), Failure> {
        time::timeout(ANSWER_LIMIT, self.workers[at].child.wait()).await??;
        self.logs[self.workers[at].log].died = Some(clock::now());
        Ok(())
    }

    /// Starts a new worker in the place of a dead one.
    pub(crate) async fn replace(&mut self, at: usize) -> Result<(), Failure> {
        self.workers[at] = self.spawn(at)?;
        self.workers[at].says("ready").await
    }

    /// Tells all workers, and waits until each has answered.
    pub(crate) async fn all(&mut self, order: &str, answer: &str) -> Result<(), Failure> {
        for worker in &mut self.workers {
            worker.tell(order).await?;
        }
        for worker in &mut self.workers {
            worker.says(answer).await?;
        }
        Ok(())
    }
}

impl Worker {
    async fn tell(&mut self, order: &str) -> Result<(), Failure> {
        Ok(self.orders.write_all(format!("{order}\n").as_bytes()).await?)
    }

    async fn says(&mut self, word: &str) -> Result<(), Failure> {
        match time::timeout(ANSWER_LIMIT, self.answers.next_line()).await {
            Ok(Ok(Some(said))) if said == word => Ok(()),
            Ok(Ok(other)) => Err(format!("a worker said {other:?} instead of {word}").into()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(format!("a worker did not say {word} in time").into()),
        }
    }
}
