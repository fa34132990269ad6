//! MongoDB for course content: the settings that name it, and a look past the application.

use std::ops::{Deref, DerefMut};

use campus::config::Settings;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};

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
