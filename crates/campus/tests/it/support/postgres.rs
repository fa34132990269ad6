//! A PostgreSQL cluster of one test alone.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::free_port;

/// Listens on a free port of 127.0.0.1 until it is dropped.
pub(crate) struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    pub(crate) port: u16,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let programs = programs().expect("PostgreSQL is not installed: `make setup` installs it");
        let folder = TempDir::new().expect("a temporary folder");
        let mut server = Self { folder, programs, port: free_port() };
        server.own_the_folder();
        server.fill();
        for _ in 0..5 {
            if server.try_to_resume().is_ok() {
                return server;
            }
            // Another process took it between our look and our start.
            server.port = free_port();
        }
        server.resume();
        server
    }

    /// A new cluster. The first of a build directory is kept and copied: `initdb` takes seconds.
    fn fill(&self) {
        let version = self.programs.parent().and_then(Path::file_name).expect("a version");
        let template = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("postgres-{}", version.to_string_lossy()));
        if template.is_dir() {
            return copy(&template, &self.data());
        }
        self.run("initdb", &["-A", "trust", "-U", "campus", "-N", "-E", "UTF8"]);
        let unfinished = template.with_extension(std::process::id().to_string());
        copy(&self.data(), &unfinished);
        if std::fs::rename(&unfinished, &template).is_err() {
            // Another test was faster.
            let _ = std::fs::remove_dir_all(unfinished);
        }
    }

    /// Starts it where it was, with what it had.
    pub(crate) fn resume(&self) {
        self.try_to_resume().expect("PostgreSQL starts");
    }

    fn try_to_resume(&self) -> Result<(), String> {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off",
            self.port
        );
        let log = self.log_file().display().to_string();
        self.try_to_run("pg_ctl", &["start", "-w", "-l", &log, "-o", &options])
    }

    pub(crate) fn stop(&self) {
        self.run("pg_ctl", &["stop", "-w", "-m", "immediate"]);
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).expect("its log")
    }

    fn log_file(&self) -> PathBuf {
        self.data().with_extension("log")
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://campus@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    /// PostgreSQL refuses to run as root; its own user must be able to write here.
    fn own_the_folder(&self) {
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(self.folder.path(), open).expect("our own folder");
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) {
        self.try_to_run(program, arguments).unwrap();
    }

    fn try_to_run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        let output = self.command(program, arguments).output().expect("the program starts");
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let program = self.programs.join(program);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("-D").arg(self.data()).args(arguments).current_dir(Path::new("/"));
        // The server outlives pg_ctl and must not keep our pipes open.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// With the owners that it has: PostgreSQL's user owns its clusters.
#[track_caller]
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("cp starts");
    assert!(status.success(), "{} cannot be copied", from.display());
}

/// Where Debian puts the server programs of the newest version.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("initdb").is_file()).max()
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.command("pg_ctl", &["stop", "-m", "immediate"]).output();
    }
}
