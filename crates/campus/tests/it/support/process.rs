//! The program itself, as a person starts it: a folder, variables, and what it prints.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Api, until};

/// The program in a folder, with no variables but these.
fn campus(folder: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_campus"));
    command.current_dir(folder).env_clear();
    // Only a test of restarting waits for proxies.
    command.env("CAMPUS_SHUTDOWN_DELAY_MS", "0").envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end, which must come within 20 s.
pub(crate) fn run(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    run_for(Duration::from_secs(60), folder, variables, arguments)
}

/// The same for what takes longer.
pub(crate) fn run_for(
    limit: Duration,
    folder: &Path,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> Output {
    let child = campus(folder, variables).args(arguments).spawn().expect("the program starts");
    Running::new(child).wait_for(limit)
}

/// `campus serve` on a free port.
pub(crate) struct Server {
    pub(crate) api: Api,
    pub(crate) address: String,
    running: Running,
}

impl Server {
    /// Starts and waits until it is ready.
    pub(crate) async fn start(folder: &Path, variables: &[(&str, &str)]) -> Self {
        let command = campus(folder, variables).args(["--addr", "127.0.0.1:0"]).spawn();
        let mut running = Running::new(command.expect("the program starts"));
        let mut address = String::new();
        until("the server prints its URL", async || {
            address = running.address();
            !address.is_empty() || running.has_ended()
        })
        .await;
        assert!(!address.is_empty(), "the server ended: {:?}", running.wait());
        let api = Api::new(format!("http://{address}"));
        api.get("/health/ready").await.expect(200);
        Self { api, address, running }
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        self.running.out.so_far()
    }

    /// What it has written to standard error so far.
    pub(crate) fn complaints(&self) -> String {
        self.running.err.so_far()
    }

    /// Ends it with SIGTERM; what it printed and how it ended.
    pub(crate) fn stop(self) -> Output {
        self.terminate();
        self.ended()
    }

    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.running.child);
        kill_process(pid, Signal::TERM).expect("the server is there");
    }

    pub(crate) fn ended(mut self) -> Output {
        self.running.wait()
    }
}

/// A child process whose output is read while it runs.
struct Running {
    child: Child,
    out: Printed,
    err: Printed,
}

impl Running {
    fn new(mut child: Child) -> Self {
        let out = Printed::by(child.stdout.take().expect("a pipe"));
        let err = Printed::by(child.stderr.take().expect("a pipe"));
        Self { child, out, err }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of this process").is_some()
    }

    /// Where it serves, as soon as that line is complete.
    fn address(&self) -> String {
        let text = self.out.so_far();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let mut urls = lines.filter_map(|line| line.trim().strip_prefix("Campus    http://"));
        urls.next().unwrap_or("").to_owned()
    }

    fn wait(&mut self) -> Output {
        self.wait_for(Duration::from_secs(60))
    }

    fn wait_for(&mut self, limit: Duration) -> Output {
        let deadline = Instant::now() + limit;
        while !self.has_ended() {
            let so_far = || self.err.so_far();
            assert!(Instant::now() < deadline, "still running after {limit:?}: {}", so_far());
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().expect("a child of this process");
        Output { status, stdout: self.out.all(), stderr: self.err.all() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one stream of the program has printed.
struct Printed {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Printed {
    fn by(mut stream: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut chunk) {
                let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
                text.extend_from_slice(&chunk[..read]);
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Everything, once the program has ended.
    fn all(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        self.so_far().into_bytes()
    }
}
