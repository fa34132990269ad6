//! Course content of which the database says one thing and MongoDB another, as after only one of
//! them was restored from a backup: how it is refused, repaired and brought back.

use std::path::Path;

use campus::config::Settings;
use mongodb::bson::doc;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::mongo::{in_sql, put, sql_of, title_of};
use crate::support::{Mongo, Person, Postgres, SECRET, Server, Sql, TestApp, run};

/// An application with content in MongoDB, and a look into both databases.
pub(crate) struct School {
    pub(crate) app: TestApp,
    pub(crate) ada: Person,
    pub(crate) mongo: Mongo,
    pub(crate) sql: Sql,
    cluster: Option<Postgres>,
}

impl School {
    pub(crate) async fn on_sqlite() -> Self {
        let mongo = Mongo::start().await;
        let app = TestApp::with(mongo.settings()).await;
        let (ada, sql) = (app.instructor("ada").await, sql_of(&app).await);
        Self { app, ada, mongo, sql, cluster: None }
    }

    pub(crate) async fn on_postgresql() -> Self {
        let (mongo, cluster) = (Mongo::start().await, Postgres::start());
        let settings = Settings { database_url: Some(cluster.url()), ..mongo.settings() };
        let app = TestApp::with(settings).await;
        let (ada, sql) = (app.instructor("ada").await, Sql::open(&cluster.url()).await);
        Self { app, ada, mongo, sql, cluster: Some(cluster) }
    }

    fn settings(&self) -> Settings {
        let database_url = self.cluster.as_ref().map(Postgres::url);
        Settings { database_url, ..self.mongo.settings() }
    }

    /// A server that has nothing in its memory.
    pub(crate) async fn fresh(&self) -> TestApp {
        self.app.twin(self.settings()).await
    }

    pub(crate) async fn written(&self, title: &str) -> i64 {
        let id = self.app.published(&self.ada, title).await;
        put(&self.app, &self.ada, id, title).await.expect(200);
        id
    }

    async fn version(&self, id: i64) -> i64 {
        let version = format!("SELECT version FROM course_contents WHERE course_id = {id}");
        self.sql.number(&version).await
    }

    /// Runs a command on these databases.
    pub(crate) fn command(&self, arguments: &[&str]) -> Ended {
        let (database, mongo) = match &self.cluster {
            Some(cluster) => (cluster.url(), self.mongo.url()),
            None => ("sqlite://campus.db".to_owned(), self.mongo.url()),
        };
        let variables = [
            ("DATABASE_URL", database.as_str()),
            ("CONTENT_STORE", "mongo"),
            ("MONGODB_URL", mongo.as_str()),
            ("JWT_SECRET", SECRET),
        ];
        command(self.app.folder.path(), &variables, arguments)
    }

    /// Makes the document of a course another one of the same version.
    pub(crate) async fn write_past(&self, id: i64) {
        let set = doc! {"$set": {"content.next_id": 900_i64}};
        let contents = self.mongo.contents().await;
        let done = contents.update_one(doc! {"course_id": id}, set).await.expect("it answers");
        assert_eq!(done.matched_count, 1);
    }

    pub(crate) fn check(&self, options: &[&str]) -> (i32, Value) {
        self.command(&[&["content", "check", "--json"], options].concat()).json()
    }
}

/// How a command ended and what it wrote.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) problem: String,
}

impl Ended {
    #[track_caller]
    fn json(&self) -> (i32, Value) {
        let printed = serde_json::from_str(&self.out);
        (self.code, printed.unwrap_or_else(|e| panic!("{e}: {} {}", self.out, self.problem)))
    }
}

fn command(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let ended = run(folder, variables, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: ended.status.code().expect("it was not killed"),
        out: text(&ended.stdout),
        problem: text(&ended.stderr),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_lost_is_refused_until_it_is_replaced_or_deleted_on_sqlite() {
    lost(&School::on_sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_lost_is_refused_until_it_is_replaced_or_deleted_on_postgresql() {
    lost(&School::on_postgresql().await).await;
}

async fn lost(school: &School) {
    for found in [Some(1), Some(9), None] {
        let id = school.written(&format!("One {found:?}")).await;
        put(&school.app, &school.ada, id, "Two").await.expect(200);
        assert_eq!((school.version(id).await, school.mongo.version(id).await), (2, Some(2)));
        school.mongo.turn_into(id, found).await;
        refused_in_every_part(school, id, found).await;
        replaced(school, id, found).await;
        let last = school.version(id).await;
        school.mongo.turn_into(id, found).await;
        deleted(school, id, last.max(found.unwrap_or(0))).await;
    }
}

async fn refused_in_every_part(school: &School, id: i64, found: Option<i64>) {
    let (app, ada, path) = (school.fresh().await, &school.ada, format!("/courses/{id}/content"));
    for _ in 0..2 {
        let detail = app.get(&path).by(ada).await.refused(503);
        assert!(detail.contains("campus content check"), "{detail}");
    }
    let module = json!({"title": "More"});
    app.post(&format!("{path}/modules")).by(ada).json(module).await.refused(503);
    app.delete(&format!("{path}/modules/1")).by(ada).await.refused(503);
    let eve = app.student(&format!("eve{id}")).await;
    put(&app, &eve, id, "Mine").await.refused(403);
    app.delete(&path).by(&eve).await.refused(403);
    assert_eq!((school.version(id).await, school.mongo.version(id).await), (2, found));
    // Nobody remembers that there was nothing.
    if found.is_some() {
        school.mongo.turn_into(id, Some(2)).await;
        assert_eq!(title_of(&app, ada, id).await, "Two");
        school.mongo.turn_into(id, found).await;
    }
}

async fn replaced(school: &School, id: i64, found: Option<i64>) {
    let (app, ada, path) = (school.fresh().await, &school.ada, format!("/courses/{id}/content"));
    let draft = json!({"modules": [{"title": "Three", "lessons": [{"title": "Three"}]}]});
    let other = app.put(&path).by(ada).header("if-match", "\"1-0\"").json(draft.clone()).await;
    assert_eq!(other.status, 412, "{}", other.text());
    let written = app.put(&path).by(ada).json(draft).await.expect(200).json();
    let version = found.unwrap_or(0).max(2) + 1;
    assert_eq!(written["version"], version);
    assert_eq!(app.get(&path).by(ada).await.expect(200).json(), written);
    assert_eq!(school.mongo.version(id).await, Some(version), "MongoDB takes it");
    assert_eq!(in_sql(&school.sql).await, 0);
    assert_eq!(title_of(&*school.fresh().await, ada, id).await, "Three");
}

async fn deleted(school: &School, id: i64, last: i64) {
    let (app, ada, path) = (school.fresh().await, &school.ada, format!("/courses/{id}/content"));
    app.get(&path).by(ada).await.refused(503);
    app.delete(&path).by(ada).await.expect(204);
    app.get(&path).by(ada).await.refused(404);
    assert_eq!(
        (school.version(id).await, school.mongo.version(id).await),
        (last + 1, Some(last + 1))
    );
    put(&app, ada, id, "Four").await.expect(200);
    assert_eq!(title_of(&app, ada, id).await, "Four");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_cannot_be_read_is_refused_until_it_is_replaced_or_deleted() {
    let school = School::on_sqlite().await;
    let (contents, ada) = (school.mongo.contents().await, &school.ada);
    let ids = [school.written("One").await, school.written("Two").await, school.written("3").await];
    let garble = async |id: i64| {
        let set = doc! {"$set": {"content": {}}};
        contents.update_one(doc! {"course_id": id}, set).await.expect("it answers");
    };
    for id in [ids[0], ids[1]] {
        garble(id).await;
        let path = format!("/courses/{id}/content");
        let detail = school.fresh().await.get(&path).by(ada).await.refused(503);
        assert!(detail.contains("can replace it as a whole"), "{detail}");
    }
    put(&*school.fresh().await, ada, ids[0], "Replaced").await.expect(200);
    assert_eq!(title_of(&*school.fresh().await, ada, ids[0]).await, "Replaced");
    assert_eq!(school.mongo.version(ids[0]).await, Some(2));
    let path = format!("/courses/{}/content", ids[1]);
    school.fresh().await.delete(&path).by(ada).await.expect(204);
    school.fresh().await.get(&path).by(ada).await.refused(404);
    garble(ids[0]).await;
    let (code, printed) = school.command(&["content", "to-sql", "--json"]).json();
    let lost = json!([{"course_id": ids[0], "database_version": 2, "mongodb_version": 2,
        "unreadable": true}]);
    assert_eq!((code, &printed["lost"], &printed["documents"]), (1, &lost, &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_replaces_lost_content_has_no_lesson_that_somebody_has_done_before() {
    for school in [School::on_sqlite().await, School::on_postgresql().await] {
        let (app, ada) = (&school.app, &school.ada);
        let (sam, id) = (app.student("sam").await, app.published(ada, "Rust").await);
        app.write_content(ada, id).await;
        app.enroll(&sam, id).await.expect(201);
        let lessons = app.lessons(ada, id).await;
        app.complete(&sam, id, lessons[2]).await.expect(200);
        // The row forgets the lessons with this, and then MongoDB everything.
        let nothing = json!({"modules": []});
        let path = format!("/courses/{id}/content");
        app.put(&path).by(ada).json(nothing).await.expect(200);
        school.mongo.turn_into(id, None).await;
        let written = put(&*school.fresh().await, ada, id, "New").await.expect(200).json();
        let new = written["modules"][0]["lessons"][0]["id"].as_i64().expect("an id");
        assert!(new > lessons[2], "{new} after {lessons:?}");
        let progress = school.fresh().await;
        let progress = progress.get(&format!("/courses/{id}/progress")).by(&sam).await;
        assert_eq!(progress.expect(200).json()["progress_percent"], 0.0);
        // A client may keep the ids that the row knows.
        school.mongo.turn_into(id, None).await;
        let kept = json!({"modules": [{"id": written["modules"][0]["id"], "title": "New",
            "lessons": [{"id": new, "title": "Again"}]}]});
        let again = school.fresh().await.put(&path).by(ada).json(kept).await.expect(200).json();
        assert_eq!(again["modules"][0]["lessons"][0]["id"], new);
        // Nor is a document without a word left alone when it is lost.
        put_nothing(&school, id).await;
    }
}

async fn put_nothing(school: &School, id: i64) {
    let (app, path) = (school.fresh().await, format!("/courses/{id}/content"));
    let nothing = || app.put(&path).by(&school.ada).json(json!({"modules": []}));
    nothing().await.expect(200);
    school.mongo.turn_into(id, None).await;
    let app = school.fresh().await;
    app.get(&path).by(&school.ada).await.refused(503);
    nothing().await.expect(200);
    app.get(&path).by(&school.ada).await.expect(200);
}

/// Puts the document of a row back into it, as if it had not been carried.
pub(crate) async fn uncarry(school: &School, id: i64) {
    let contents = school.mongo.contents().await.clone_with_type::<Value>();
    let found = contents.find_one(doc! {"course_id": id}).await.expect("it answers");
    let text = found.expect("a document")["content"].to_string().replace('\'', "''");
    let set = format!("UPDATE course_contents SET doc = '{text}' WHERE course_id = {id}");
    school.sql.run(&set).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_comes_back_from_mongodb_on_sqlite_while_no_server_runs() {
    let school = School::on_sqlite().await;
    let file = school.app.folder.path().join("campus.db");
    back(&school, &format!("sqlite://{}", file.display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_comes_back_from_mongodb_on_postgresql_while_no_server_runs() {
    let school = School::on_postgresql().await;
    let url = school.cluster.as_ref().expect("a cluster").url();
    back(&school, &url).await;
}

async fn back(school: &School, database: &str) {
    let (app, ada) = (&school.app, &school.ada);
    let ids = [school.written("One").await, school.written("Two").await];
    let deleted = school.written("Deleted").await;
    app.delete(&format!("/courses/{deleted}/content")).by(ada).await.expect(204);
    let (gone, course) = (school.written("Gone").await, school.written("A course").await);
    let sam = app.student("sam").await;
    app.enroll(&sam, gone).await.expect(201);
    let lesson = app.lessons(ada, gone).await[0];
    app.complete(&sam, gone, lesson).await.expect(200);
    for (id, what) in [(gone, "/content"), (course, "")] {
        app.delete(&format!("/courses/{id}{what}")).by(ada).await.expect(204);
        school.mongo.turn_into(id, None).await;
    }
    assert_eq!(school.check(&[]).0, 0, "nobody misses what is deleted");
    let path = format!("/courses/{}/content", ids[0]);
    let before = app.get(&path).by(ada).await.expect(200);
    let to_sql = || school.command(&["content", "to-sql", "--json"]);
    let mongo = school.mongo.url();
    let variables = [
        ("DATABASE_URL", database),
        ("CONTENT_STORE", "mongo"),
        ("MONGODB_URL", &mongo),
        ("CAMPUS_SEED", "none"),
        ("JWT_SECRET", SECRET),
    ];
    let server = Server::start(app.folder.path(), &variables).await;
    let Ended { code, problem, .. } = to_sql();
    assert!(code == 1 && problem.contains(&server.address), "{problem}");
    assert_eq!(in_sql(&school.sql).await, 0);
    server.stop();
    school.mongo.turn_into(ids[1], Some(7)).await;
    let (code, printed) = to_sql().json();
    let lost = json!([{"course_id": ids[1], "database_version": 1, "mongodb_version": 7,
        "unreadable": false}]);
    assert_eq!((code, &printed["documents"], &printed["lost"]), (1, &json!(2), &lost));
    assert_eq!((&printed["ids_alone"], in_sql(&school.sql).await), (&json!(2), 4));
    // Whoever goes on with MongoDB all the same loses nothing.
    app.app.store().carry_all_content().await.expect("carried");
    put(&*school.fresh().await, ada, ids[1], "Two again").await.expect(200);
    let (code, printed) = to_sql().json();
    assert_eq!((code, &printed["documents"], &printed["lost"]), (0, &json!(5), &json!([])));
    let (code, printed) = to_sql().json();
    assert_eq!((code, &printed["documents"]), (0, &json!(0)), "it can be repeated");
    let settings = Settings { database_url: Some(database.to_owned()), ..Settings::default() };
    let in_sql_alone = app.twin(settings).await;
    let after = in_sql_alone.get(&path).by(ada).await.expect(200);
    assert_eq!((after.body.clone(), after.etag()), (before.body.clone(), before.etag()));
    assert_eq!(title_of(&in_sql_alone, ada, ids[1]).await, "Two again");
    let deleted = format!("/courses/{deleted}/content");
    in_sql_alone.get(&deleted).by(ada).await.refused(404);
    put(&in_sql_alone, ada, gone, "After a deletion and a loss").await.expect(200);
    assert_eq!(in_sql_alone.lessons(ada, gone).await, [4], "ids go on where they were");
    put(&in_sql_alone, ada, ids[0], "Written there").await.expect(200);
}

#[test]
fn without_mongodb_there_is_nothing_to_compare_and_nothing_to_bring_back() {
    let folder = TempDir::new().expect("a temporary folder");
    for what in ["check", "to-sql"] {
        let Ended { code, problem, .. } = command(folder.path(), &[], &["content", what]);
        assert!(code == 1 && problem.contains("CONTENT_STORE"), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_there_already_leaves_its_row_once_a_majority_has_it() {
    let school = School::on_sqlite().await;
    let id = school.written("Carried by another one").await;
    uncarry(&school, id).await;
    let tap = school.mongo.tap("readConcernLevel=available").await;
    let settings = Settings { mongodb_url: Some(tap.url.clone()), ..school.settings() };
    let other = school.app.twin(settings).await;
    assert_eq!(in_sql(&school.sql).await, 1);
    other.app.store().carry_all_content().await.expect("it is the same document");
    assert_eq!(in_sql(&school.sql).await, 0);
    let asked = |level: &str| {
        let length = level.len() as u8 + 1;
        tap.has_heard(&[b"\x02level\0".as_slice(), &[length, 0, 0, 0], level.as_bytes()].concat())
    };
    assert!(asked("majority") && !asked("local"), "it has read nothing else");
    assert_eq!(title_of(&other, &school.ada, id).await, "Carried by another one");
    assert!(asked("local") && !asked("available"), "whatever the URL says");
}
