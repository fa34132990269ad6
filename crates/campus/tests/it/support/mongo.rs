//! A MongoDB of one test alone, which may be killed and stopped: nx-27017 speaks its protocol.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use campus::config::Settings;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{free_port, until};

/// On a free port; what it has outlives a restart.
pub(crate) struct Mongo {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Mongo {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let child = spawn(port, &folder);
        let mongo = Self { child, port, folder };
        mongo.answers().await;
        mongo
    }

    /// It opens its port some seconds after its start.
    async fn answers(&self) {
        let address = ("127.0.0.1", self.port);
        let answers = async || tokio::net::TcpStream::connect(address).await.is_ok();
        until("nx-27017 answers", answers).await;
    }

    pub(crate) fn url(&self) -> String {
        format!("mongodb://127.0.0.1:{}/", self.port)
    }

    /// Settings for course content in it.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            content_store: Some("mongo".to_owned()),
            mongodb_url: Some(self.url()),
            ..Settings::default()
        }
    }

    /// A way to it that remembers what it was asked.
    pub(crate) async fn tap(&self, options: &str) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (hears, to) = (Arc::clone(&heard), self.port);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await {
                    tokio::spawn(carry(client, server, Arc::clone(&hears)));
                }
            }
        });
        Tap { url: format!("mongodb://127.0.0.1:{port}/?{options}"), heard }
    }

    /// Makes the document of a course another version of it, or takes it away.
    pub(crate) async fn turn_into(&self, course: i64, version: Option<i64>) {
        let (contents, this) = (self.contents().await, doc! {"course_id": course});
        let done = match version {
            Some(version) => {
                let set = doc! {"$set": {"version": version}};
                contents.update_one(this, set).await.map(|done| done.matched_count)
            }
            None => contents.delete_one(this).await.map(|done| done.deleted_count),
        };
        assert_eq!(done.expect("it answers"), 1);
    }

    /// A look past the application.
    pub(crate) async fn contents(&self) -> Collection<Document> {
        let client = Client::with_uri_str(self.url()).await.expect("a URL");
        client.database("smartcourse").collection("course_contents")
    }

    /// The version of a course's document.
    pub(crate) async fn version(&self, course: i64) -> Option<i64> {
        let found = self.contents().await.find_one(doc! {"course_id": course}).await;
        let version = found.expect("it answers")?.get("version")?.clone();
        version.as_i64().or(version.as_i32().map(i64::from))
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the server was running");
        self.child.wait().expect("the server ends");
    }

    /// Starts again on the same port, with what it had.
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

pub(crate) struct Tap {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    pub(crate) fn has_heard(&self, words: &[u8]) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.windows(words.len()).any(|bytes| bytes == words)
    }
}

/// What is heard is remembered before it is passed on, so before it is answered.
async fn carry(mut client: TcpStream, mut server: TcpStream, heard: Arc<Mutex<Vec<u8>>>) {
    let (mut up, mut down) = ([0; 16 << 10], [0; 16 << 10]);
    loop {
        tokio::select! {
            Ok(read @ 1..) = client.read(&mut up) => {
                let asked = &up[..read];
                heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(asked);
                if server.write_all(asked).await.is_err() {
                    return;
                }
            }
            Ok(read @ 1..) = server.read(&mut down) => {
                if client.write_all(&down[..read]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, folder: &TempDir) -> Child {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../nx-27017/bin/nx-27017");
    let own = |name: &str| folder.path().join(name);
    Command::new(&program)
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .arg("--data-dir")
        .arg(own("data"))
        .arg("--log-file")
        .arg(own("log"))
        .arg("--pid-file")
        .arg(own("pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}: `make setup` installs it", program.display()))
}
