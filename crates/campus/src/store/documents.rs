//! Documents in MongoDB: the only file that names its driver.
//!
//! A document is replaced as a whole, and only by a newer version of itself. Everything asked
//! of MongoDB has a limit, because the driver itself would wait for a server that hangs.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use mongodb::bson::{self, Bson, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use mongodb::error::{ErrorKind, Result as Answer, WriteFailure};
use mongodb::options::{
    Acknowledgment, ClientOptions, CollectionOptions, ConnectionString, IndexOptions, ReadConcern,
    ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Collection, Database, IndexModel};
use tokio::time::timeout;

use super::content::{Document, Found};
use super::differences::Kept;
use super::{Error, Result};
use crate::model::Content;

/// How long MongoDB may take to take a connection, or to have a server that takes writes.
const REACH: Duration = Duration::from_secs(2);
/// How long it may take for all of an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// MongoDB's limit is 16 MiB; the rest is for what stands around the content.
const MAX_BYTES: usize = (16 << 20) - 1024;

const COLLECTION: &str = "course_contents";
const DUPLICATE_KEY: i32 = 11_000;

/// The collection of documents; clones share its connections.
#[derive(Clone)]
pub struct Documents {
    database: Database,
    contents: Collection<Document>,
    /// Hosts and database, without a login.
    location: String,
}

impl Documents {
    /// Whether a URL can be one. What the driver says of it is not repeated: where it is wrong,
    /// a part of the password may be what stands there.
    pub fn check_url(url: &str) -> std::result::Result<(), &'static str> {
        if url.starts_with("mongodb+srv://") {
            return Err("is mongodb+srv://, which is not supported: name the hosts in mongodb://");
        }
        if !url.starts_with("mongodb://") {
            return Err("must start with mongodb://");
        }
        ConnectionString::parse(url).map(drop).map_err(|_| {
            "is no MongoDB URL such as mongodb://user:password@host:27017/?replicaSet=rs0; a \
             password with : / ? # [ ] @ or % must be encoded"
        })
    }

    /// Connects and makes sure that a course has one document.
    pub async fn open(url: &str, database: &str) -> Result<Self> {
        Self::check_url(url).map_err(|problem| Error::open(format!("MONGODB_URL {problem}")))?;
        let refused = |e: mongodb::error::Error| Error::open(format!("MONGODB_URL: {e}"));
        let mut options = ClientOptions::parse(url).await.map_err(refused)?;
        options.app_name.get_or_insert_with(|| "campus".to_owned());
        options.server_selection_timeout = Some(REACH);
        options.connect_timeout = Some(REACH);
        let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
        let hosts = hosts.join(",");
        let database = Client::with_options(options).map_err(refused)?.database(database);
        let location = format!("mongodb://{hosts}/{}", database.name());
        let contents = database.collection_with_options(COLLECTION, certain());
        let documents = Self { database, contents, location };
        documents.prepare().await.map_err(|error| {
            Error::open(format!(
                "cannot use MongoDB at {hosts}: {error}; check that it runs there, and host, \
                 port, user, password and options in MONGODB_URL"
            ))
        })?;
        Ok(documents)
    }

    async fn prepare(&self) -> Result<()> {
        let unique = IndexOptions::builder().unique(true).build();
        let index = IndexModel::builder().keys(doc! {"course_id": 1}).options(unique).build();
        asked(self.contents.create_index(index)).await.map_err(failed)?;
        Ok(())
    }

    pub(super) async fn find(&self, course_id: i64) -> Result<Option<Found>> {
        let contents = self.contents.clone_with_type::<RawDocumentBuf>();
        let found = asked(contents.find_one(doc! {"course_id": course_id})).await;
        Ok(found.map_err(failed)?.as_deref().map(read))
    }

    /// Replaces the document of a course by this version, if what is there is older.
    pub(super) async fn put(&self, document: &Document) -> Result<()> {
        let Document { course_id, version, .. } = *document;
        let older = doc! {"course_id": course_id, "version": {"$lt": version}};
        match asked(self.contents.replace_one(older, document).upsert(true)).await {
            Ok(_) => Ok(()),
            // There is one that is not older.
            Err(Failed::Driver(error)) if is_duplicate(&error) => self.recognise(document).await,
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether the document that is there is this one, which another server has carried. Whoever
    /// hears yes removes it from its row, so it counts only once a majority has it: until then a
    /// failover may lose it, and a look at the primary alone would find it all the same.
    async fn recognise(&self, document: &Document) -> Result<()> {
        let Document { course_id, version, .. } = *document;
        let contents = self.contents.clone_with_type::<RawDocumentBuf>();
        let confirmed = contents.find_one(doc! {"course_id": course_id});
        let confirmed = asked(confirmed.read_concern(ReadConcern::majority())).await;
        match confirmed.map_err(failed)?.as_deref().map(read) {
            Some(Found::Whole(found)) if found == *document => Ok(()),
            Some(Found::Whole(Document { version: found, .. })) if found >= version => {
                Err(Error::corrupt(format!(
                    "MongoDB has version {found} of the content of course {course_id} in place of \
                     {version}; is the database an older backup, or MONGODB_DB_NAME the one of \
                     another installation? `campus content check` lists all of them"
                )))
            }
            Some(Found::Unreadable { version: None, .. }) => self.put_in_place(document).await,
            Some(Found::Unreadable { .. }) => Err(Error::corrupt(format!(
                "MongoDB has a document of course {course_id} in place of version {version} of \
                 its content that cannot be read; `campus content check` lists all of them"
            ))),
            _ => Err(unconfirmed(document)),
        }
    }

    /// Replaces what has no version: it is older than any, and nobody can read it.
    async fn put_in_place(&self, document: &Document) -> Result<()> {
        let course_id = document.course_id;
        let Some(odd) = self.not_numbered(course_id).await? else {
            return Err(unconfirmed(document));
        };
        let this = doc! {"course_id": course_id, "version": odd};
        let put = asked(self.contents.replace_one(this, document)).await.map_err(failed)?;
        if put.matched_count == 1 { Ok(()) } else { Err(unconfirmed(document)) }
    }

    /// Documents in the order of their courses, from the first one after `after`. Each is read as a
    /// whole and forgotten before the next: only so is it known that it can be.
    pub(super) async fn after(&self, after: i64, most: i64) -> Result<Vec<(i64, Kept)>> {
        let contents = self.contents.clone_with_type::<RawDocumentBuf>();
        let those = contents.find(doc! {"course_id": {"$gt": after}});
        let those = those.sort(doc! {"course_id": 1}).limit(most);
        let mut found = asked(those).await.map_err(failed)?;
        let mut kept = Vec::new();
        while asked(found.advance()).await.map_err(failed)? {
            let raw = found.current();
            kept.extend(integer(raw, "course_id").map(|id| (id, read(raw).kept())));
        }
        Ok(kept)
    }

    /// Removes the document of a course, unless it is another version meanwhile. Whether it is
    /// needed after all is asked when it is gone, and nobody can come to need it any more: then,
    /// or if that cannot be told, it is put back.
    pub(super) async fn remove(
        &self,
        course_id: i64,
        version: Option<i64>,
        is_needed: impl Future<Output = Result<bool>>,
    ) -> Result<bool> {
        // Also one that cannot be read.
        let contents = self.contents.clone_with_type::<bson::Document>();
        let this = match version {
            Some(version) => doc! {"course_id": course_id, "version": version},
            None => match self.not_numbered(course_id).await? {
                Some(version) => doc! {"course_id": course_id, "version": version},
                None => return Ok(false),
            },
        };
        let taken = asked(contents.find_one_and_delete(this)).await.map_err(failed)?;
        let Some(mut taken) = taken else {
            return Ok(false);
        };
        let is_needed = is_needed.await;
        if let Ok(false) = is_needed {
            return Ok(true);
        }
        taken.remove("_id");
        // One that cannot be read is put back where there is none.
        let version = version.unwrap_or(i64::MIN);
        let older = doc! {"course_id": course_id, "version": {"$lt": version}};
        match asked(contents.replace_one(older, taken).upsert(true)).await {
            // The course has been written meanwhile.
            Err(Failed::Driver(error)) if is_duplicate(&error) => {}
            put => drop(put.map_err(failed)?),
        }
        is_needed.map(|_| false)
    }

    /// What a document has in place of a version, null if it has nothing there.
    async fn not_numbered(&self, course_id: i64) -> Result<Option<Bson>> {
        let contents = self.contents.clone_with_type::<bson::Document>();
        let found = asked(contents.find_one(doc! {"course_id": course_id})).await;
        let found = found.map_err(failed)?.map(|mut found| found.remove("version"));
        let version = found.map(Option::unwrap_or_default);
        Ok(version.filter(|version| !matches!(version, Bson::Int32(_) | Bson::Int64(_))))
    }

    pub(super) fn check_size(content: &Content) -> Result<()> {
        let bytes = bson::serialize_to_vec(content).map_err(|e| Error::import(e.to_string()))?;
        let (size, most) = (bytes.len().div_ceil(1 << 10), MAX_BYTES >> 10);
        if bytes.len() <= MAX_BYTES {
            return Ok(());
        }
        Err(Error::import(format!(
            "a content has {size} KiB as a document; MongoDB takes at most {most} KiB"
        )))
    }

    /// One cheap round trip, for health checks.
    pub async fn ping(&self) -> Result<()> {
        asked(self.database.run_command(doc! {"ping": 1})).await.map(drop).map_err(failed)
    }
}

impl fmt::Display for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location)
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whatever the URL and the cluster's defaults say: a document leaves its row only once no
/// failover can lose it, and is read from where it was written, as it is there: a new primary
/// has what a majority had, and may not know yet that it had.
fn certain() -> CollectionOptions {
    CollectionOptions::builder()
        .read_concern(ReadConcern::local())
        .write_concern(WriteConcern::builder().w(Acknowledgment::Majority).build())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build()
}

fn unconfirmed(Document { course_id, version, .. }: &Document) -> Error {
    Error::documents(format!(
        "MongoDB has not confirmed version {version} of the content of course {course_id} yet"
    ))
}

/// What somebody else has written, or a fault, must not hold up more than its own course.
fn read(raw: &RawDocument) -> Found {
    if let Ok(document) = bson::deserialize_from_slice(raw.as_bytes()) {
        return Found::Whole(document);
    }
    let content = raw.get_document("content").ok();
    let next_id = content.and_then(|content| integer(content, "next_id")).unwrap_or(0);
    Found::Unreadable { version: integer(raw, "version"), next_id }
}

fn integer(raw: &RawDocument, name: &str) -> Option<i64> {
    match raw.get(name).ok()?? {
        RawBsonRef::Int64(number) => Some(number),
        RawBsonRef::Int32(number) => Some(number.into()),
        _ => None,
    }
}

/// Why MongoDB did not do what it was asked for.
enum Failed {
    Driver(mongodb::error::Error),
    Late,
}

async fn asked<T>(question: impl IntoFuture<Output = Answer<T>>) -> std::result::Result<T, Failed> {
    match timeout(PATIENCE, question.into_future()).await {
        Ok(answer) => answer.map_err(Failed::Driver),
        Err(_) => Err(Failed::Late),
    }
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(e)) if e.code == DUPLICATE_KEY)
}

fn failed(failed: Failed) -> Error {
    match failed {
        Failed::Driver(error) => match &*error.kind {
            ErrorKind::BsonDeserialization(_) => Error::corrupt(format!("MongoDB: {error}")),
            _ => Error::documents(format!("MongoDB: {error}")),
        },
        Failed::Late => {
            Error::documents(format!("MongoDB did not answer within {} s", PATIENCE.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Documents, MAX_BYTES};
    use crate::model::{Content, Metadata};

    #[test]
    fn a_url_that_is_none_is_refused_without_its_password() {
        for url in ["localhost", "mongodb+srv://a:s3cret@h", "mongodb://a:s3/cret@h", "mongodb://"]
        {
            let problem = Documents::check_url(url).unwrap_err();
            assert!(!problem.contains("cret"), "{problem}");
        }
        for url in ["mongodb://localhost", "mongodb://a:b@h:1,i:2/d?replicaSet=rs0"] {
            Documents::check_url(url).unwrap();
        }
    }

    #[test]
    fn a_document_that_mongodb_would_not_take_is_refused() {
        let content = |bytes| Content {
            metadata: Metadata { tags: vec!["x".repeat(bytes)], ..Metadata::default() },
            ..Content::default()
        };
        Documents::check_size(&content(MAX_BYTES - 1024)).unwrap();
        let refused = Documents::check_size(&content(MAX_BYTES)).unwrap_err();
        assert!(refused.is_import() && refused.to_string().contains("16383 KiB"), "{refused}");
    }
}
