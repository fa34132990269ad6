//! MongoDB's protocol on SQLite (nx-27017), which may be killed, stopped and started again.

use std::{path::Path, process::Command};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    Port, blocking, folder_with,
    process::{Failed, Process, start, start_again},
};

/// On a free port of 127.0.0.1. What it has outlives a kill, not the drop.
pub struct Mongo {
    process: Process,
    port: Port,
    folder: TempDir,
}

impl Mongo {
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let files = folder.path().to_owned();
        let (process, port) = blocking(move || start(|port| serve(port, &files))).await;
        Self { process, port, folder }
    }

    pub fn url(&self) -> String {
        format!("mongodb://127.0.0.1:{}/", self.port.number())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn kill(&mut self) {
        self.process.end();
    }

    /// Starts again on the same port, with what it had.
    pub async fn restart(&mut self) {
        self.kill();
        let (files, port) = (self.folder.path().to_owned(), self.port.number());
        self.process = blocking(move || start_again(|| serve(port, &files))).await;
    }

    /// Stops answering without closing anything.
    pub fn hang(&self) {
        self.process.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }
}

fn serve(port: u16, files: &Path) -> Result<Process, Failed> {
    const PROGRAM: &str = "nx-27017/bin/nx-27017";
    let folder =
        folder_with(PROGRAM).expect("no nx-27017: `make setup` (scripts/setup) installs it");
    let mut server = Command::new(folder.join(PROGRAM));
    server.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    server.arg("--data-dir").arg(files.join("data"));
    server.arg("--pid-file").arg(files.join("pid"));
    let process = Process::spawn("nx-27017", &mut server, Signal::KILL, files.join("log"));
    // It tells its id to nobody, but its log where it listens.
    let listens = format!("Listening on 127.0.0.1:{port}");
    process.wait_until(|process| process.said().contains(&listens))
}
