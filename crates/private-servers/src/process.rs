//! A server as a child of this process, and how it comes to a port.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Port;

/// No server takes longer to start, or waits longer for its port, on however busy a machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// As many ports are tried: nobody else is so often faster.
const PORTS: usize = 5;
/// What is quoted of the log of a server that does not run.
const QUOTED_LINES: usize = 30;

/// A server that has been started. Ends when dropped.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// Ends it at once.
    end: Signal,
    log: PathBuf,
    /// Where in the log this process begins.
    begin: u64,
}

/// Why a server does not run.
pub(crate) enum Failed {
    /// Somebody else listens there.
    PortTaken(String),
    Otherwise(String),
}

impl Process {
    /// Starts a program whose output is added to a log.
    pub(crate) fn spawn(
        name: &'static str,
        command: &mut Command,
        end: Signal,
        log: PathBuf,
    ) -> Self {
        let (out, begin) = append(&log).expect("our own folder");
        let err = out.try_clone().expect("a second handle");
        let started = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = started.unwrap_or_else(|error| {
            let program = command.get_program().display();
            panic!("{program}: {error}: `make setup` (scripts/setup) installs {name}")
        });
        Self { name, child, end, log, begin }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it is there, as `is_there` finds out.
    pub(crate) fn wait_until(mut self, is_there: impl Fn(&Self) -> bool) -> Result<Self, Failed> {
        let deadline = Instant::now() + LIMIT;
        while !is_there(&self) {
            if let Some(status) = self.child.try_wait().expect("a child of this process") {
                return Err(self.failed(&format!("has ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.failed(&format!("does not answer after {LIMIT:?}")));
            }
            sleep(Duration::from_millis(2));
        }
        Ok(self)
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        let mut said = Vec::new();
        let read = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.begin))?;
            log.read_to_end(&mut said)
        });
        read.expect("our own log");
        String::from_utf8_lossy(&said).into_owned()
    }

    fn failed(&self, how: &str) -> Failed {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        let quoted = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
        let why = format!("{} {how}; it said:\n{quoted}", self.name);
        if said.to_ascii_lowercase().contains("address already in use") {
            return Failed::PortTaken(why);
        }
        Failed::Otherwise(why)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the server is there");
    }

    /// Ends it, unless it has ended, and waits for that.
    pub(crate) fn end(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), self.end);
        }
        let deadline = Instant::now() + LIMIT;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The file, opened for adding to it, and its length.
fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// Starts a server on a free port. Whoever takes that before the server does may have it.
pub(crate) fn start(start_on: impl Fn(u16) -> Result<Process, Failed>) -> (Process, Port) {
    start_on_one_of((0..PORTS).map(|_| Port::free()), start_on)
}

pub(crate) fn start_on_one_of(
    ports: impl Iterator<Item = Port>,
    start_on: impl Fn(u16) -> Result<Process, Failed>,
) -> (Process, Port) {
    let mut last = String::new();
    for port in ports {
        match start_on(port.number()) {
            Ok(process) => return (process, port),
            Err(Failed::PortTaken(why)) => last = why,
            Err(Failed::Otherwise(why)) => panic!("{why}"),
        }
    }
    panic!("every port was taken: {last}")
}

/// Starts a server on the port that it had, as soon as nobody else has it.
pub(crate) fn start_again(start: impl Fn() -> Result<Process, Failed>) -> Process {
    let deadline = Instant::now() + LIMIT;
    loop {
        match start() {
            Ok(process) => return process,
            Err(Failed::PortTaken(_)) if Instant::now() < deadline => {
                sleep(Duration::from_millis(20));
            }
            Err(Failed::PortTaken(why) | Failed::Otherwise(why)) => panic!("{why}"),
        }
    }
}
