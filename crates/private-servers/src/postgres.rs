//! A PostgreSQL cluster, which may be stopped and started again.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    Port, folder_with,
    process::{Failed, Process, start, start_again},
};

/// The superuser of every cluster.
const USER: &str = "tester";

/// On a free port of 127.0.0.1. What it has outlives a stop, not the drop.
pub struct Postgres {
    process: Process,
    port: Port,
    cluster: Cluster,
}

impl Postgres {
    pub fn start() -> Self {
        let cluster = Cluster::new();
        let (process, port) = start(|port| cluster.serve(port));
        Self { process, port, cluster }
    }

    /// As a crash would.
    pub fn stop(&mut self) {
        self.process.end();
    }

    /// Starts it where it was, with what it had.
    pub fn resume(&mut self) {
        let port = self.port.number();
        self.process = start_again(|| self.cluster.serve(port));
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> String {
        self.process.said()
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn url(&self) -> String {
        self.url_by_way_of(self.port())
    }

    /// Its URL if something else on this port leads to it.
    pub fn url_by_way_of(&self, port: u16) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/postgres")
    }
}

/// The files of a cluster, and the programs that know them.
struct Cluster {
    folder: TempDir,
    programs: PathBuf,
}

impl Cluster {
    /// The first one in a build folder is kept there and copied: `initdb` takes seconds.
    fn new() -> Self {
        let programs = programs().expect("no PostgreSQL: `make setup` (scripts/setup) installs it");
        let folder = TempDir::new().expect("a temporary folder");
        // PostgreSQL refuses to run as root; its own user must be able to write here.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("ours");
        let cluster = Self { folder, programs };
        match cluster.template() {
            Some(template) if template.is_dir() => copy(&template, &cluster.data()),
            Some(template) => {
                cluster.initialise();
                cluster.keep_as(&template);
            }
            None => cluster.initialise(),
        }
        cluster
    }

    fn initialise(&self) {
        let mut initdb = self.command("initdb");
        let initdb = initdb.args(["-A", "trust", "-U", USER, "-N", "-E", "UTF8"]);
        let output = initdb.stdin(Stdio::null()).output().expect("initdb starts");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn template(&self) -> Option<PathBuf> {
        let version = self.programs.parent()?.file_name()?.to_string_lossy();
        // What cargo keeps beside the programs it builds.
        Some(folder_with(".fingerprint")?.join(format!("private-postgres-{version}")))
    }

    fn keep_as(&self, template: &Path) {
        let folder = TempDir::new_in(template.parent().expect("a folder")).expect("writable");
        let unfinished = folder.path().join("cluster");
        copy(&self.data(), &unfinished);
        // Refused if another test was faster.
        let _ = std::fs::rename(unfinished, template);
    }

    fn serve(&self, port: u16) -> Result<Process, Failed> {
        let mut server = self.command("postgres");
        server.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "lc_messages=C"]);
        // SIGQUIT ends its children as well, and what they share.
        let log = self.folder.path().join("log");
        let process = Process::spawn("PostgreSQL", &mut server, Signal::QUIT, log);
        process.wait_until(|process| self.is_ready(process.id()))
    }

    /// Whether the server with this id is the one of these files, and accepts connections.
    fn is_ready(&self, process: u32) -> bool {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = file.lines().map(str::trim).collect();
        matches!(lines[..], [first, .., "ready"] if first == process.to_string())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("-D").arg(self.data()).current_dir("/");
        command
    }
}

/// With the owners that it has: PostgreSQL's user owns its clusters.
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::process::start_on_one_of;

    fn is_listening(port: u16) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    }

    #[test]
    fn a_port_that_somebody_else_has_is_left_to_them() {
        let (taken, free) = (Port::free(), Port::free());
        let _somebody = TcpListener::bind((Ipv4Addr::LOCALHOST, taken.number())).expect("free");
        let (cluster, expected) = (Cluster::new(), free.number());
        let ports = [taken, free].into_iter();
        let (_process, port) = start_on_one_of(ports, |port| cluster.serve(port));
        assert_eq!(port.number(), expected);
        assert!(is_listening(expected));
    }

    #[test]
    fn a_cluster_is_where_it_was_after_a_stop_and_gone_after_a_drop() {
        let mut postgres = Postgres::start();
        let (port, folder) = (postgres.port(), postgres.cluster.folder.path().to_owned());
        postgres.stop();
        assert!(!is_listening(port));
        postgres.resume();
        assert!(is_listening(port) && postgres.log().contains("ready to accept connections"));
        drop(postgres);
        assert!(!is_listening(port) && !folder.exists());
    }

    #[test]
    fn a_cluster_that_does_not_start_says_why() {
        let cluster = Cluster::new();
        std::fs::write(cluster.data().join("postgresql.conf"), "no_such_option = 1").expect("ours");
        let Err(Failed::Otherwise(why)) = cluster.serve(Port::free().number()) else {
            panic!("it cannot start");
        };
        assert!(why.contains("unrecognized configuration parameter"), "{why}");
    }
}
