//! MongoDB for course content: the settings that name it, and a look past the application.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use campus::config::Settings;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// `mongo.kill()`, `mongo.restart()`: the server itself.
pub(crate) struct Mongo(private_servers::Mongo);

impl Deref for Mongo {
    type Target = private_servers::Mongo;

    fn deref(&self) -> &private_servers::Mongo {
        &self.0
    }
}

impl DerefMut for Mongo {
    fn deref_mut(&mut self) -> &mut private_servers::Mongo {
        &mut self.0
    }
}

impl Mongo {
    pub(crate) async fn start() -> Self {
        Self(private_servers::Mongo::start().await)
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
        let (hears, to) = (Arc::clone(&heard), self.port());
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
