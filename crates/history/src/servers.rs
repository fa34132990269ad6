//! Private servers: Redis, and the database.

use std::{
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use redis::{AsyncConnectionConfig, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time;

use crate::Failure;

const START_LIMIT: Duration = Duration::from_secs(20);
const COMMAND_LIMIT: Duration = Duration::from_secs(5);

/// A redis-server on a free port, without persistence unless saved by hand.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let (folder, port) = (TempDir::new()?, free_port()?);
        let redis = Self { child: redis_server(port, folder.path())?, port, folder };
        redis.answers().await?;
        Ok(redis)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn command<T: FromRedisValue>(&self, command: &[&str]) -> Result<T, Failure> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(COMMAND_LIMIT))
            .set_response_timeout(Some(COMMAND_LIMIT));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut cmd = redis::cmd(command[0]);
        command[1..].iter().for_each(|argument| {
            cmd.arg(argument);
        });
        Ok(cmd.query_async(&mut connection).await?)
    }

    /// Waits until it answers.
    async fn answers(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + START_LIMIT;
        while self.command::<String>(&["PING"]).await.is_err() {
            if Instant::now() > deadline {
                return Err("redis-server does not start (`make setup` installs it)".into());
            }
            time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts again on the same port, with what it saved or with nothing.
    pub(crate) async fn restart(&mut self, with_saved: bool) -> Result<(), Failure> {
        let saved = self.folder.path().join("dump.rdb");
        if !with_saved && saved.exists() {
            std::fs::remove_file(saved)?;
        }
        self.child = redis_server(self.port, self.folder.path())?;
        self.answers().await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn redis_server(port: u16, folder: &Path) -> Result<Child, Failure> {
    let port = port.to_string();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let child = command.arg("--dir").arg(folder).stdout(Stdio::null()).spawn();
    child.map_err(|error| format!("redis-server (`make setup` installs it): {error}").into())
}

/// One that the system gives to nobody by itself: while the server is down, whoever connects in vain
/// must not be given its port, by chance, as their own end.
pub(crate) fn free_port() -> Result<u16, Failure> {
    let ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_000)).take(1_000);
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().ok_or_else(|| "no port is free".into())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatabaseKind {
    Sqlite,
    Postgres,
}

impl DatabaseKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// An SQLite file or a PostgreSQL cluster, gone when dropped.
pub(crate) enum Database {
    Sqlite(TempDir),
    Postgres(Cluster),
}

impl Database {
    pub(crate) fn start(kind: DatabaseKind) -> Result<Self, Failure> {
        Ok(match kind {
            DatabaseKind::Sqlite => Self::Sqlite(TempDir::new()?),
            DatabaseKind::Postgres => Self::Postgres(Cluster::start()?),
        })
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => {
                format!("sqlite://{}/items.db?mode=rwc", folder.path().display())
            }
            Self::Postgres(cluster) => {
                format!("postgres://history@127.0.0.1:{}/postgres", cluster.port)
            }
        }
    }
}

pub(crate) struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Cluster {
    fn start() -> Result<Self, Failure> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let folders = versions.map(|version| version.path().join("bin"));
        let programs = folders.filter(|folder| folder.join("initdb").is_file()).max();
        let programs = programs.ok_or("PostgreSQL is not installed")?;
        let cluster = Self { folder: TempDir::new()?, programs, port: free_port()? };
        // PostgreSQL refuses to run as root; its own user must be able to write here.
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(cluster.folder.path(), open)?;
        cluster.run("initdb", &["-A", "trust", "-U", "history", "-N", "-E", "UTF8"])?;
        let port = cluster.port;
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        );
        let log = cluster.folder.path().join("log").display().to_string();
        cluster.run("pg_ctl", &["start", "-w", "-l", &log, "-o", &options])?;
        Ok(cluster)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), Failure> {
        let output = self.command(program, arguments).output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{program}: {text}").into());
        }
        Ok(())
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let program = self.programs.join(program);
        let mut command = Command::new("setpriv");
        if rustix::process::geteuid().is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        } else {
            command = Command::new(program);
        }
        command.arg("-D").arg(self.folder.path().join("cluster")).args(arguments).current_dir("/");
        // The server outlives pg_ctl and must not keep our pipes open.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.command("pg_ctl", &["stop", "-m", "immediate"]).output();
    }
}
