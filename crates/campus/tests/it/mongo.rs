//! Course content in MongoDB: when it is away, when writers die, and beside what SQL has.

use std::path::Path;

use campus::config::Settings;
use campus::model::Role;
use mongodb::bson::doc;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Api, Mongo, Person, Redis, SECRET, Server, Sql, TestApp, content, course, run, until,
};

pub(super) async fn sql_of(app: &TestApp) -> Sql {
    Sql::file(&app.folder.path().join("campus.db")).await
}

/// How many documents are in their rows.
pub(super) async fn in_sql(sql: &Sql) -> i64 {
    sql.number("SELECT COUNT(*) FROM course_contents WHERE doc <> ''").await
}

pub(super) async fn put(app: &Api, by: &Person, id: i64, title: &str) -> crate::support::Answer {
    let draft = json!({"modules": [{"title": title, "lessons": [{"title": title}]}]});
    app.put(&format!("/courses/{id}/content")).by(by).json(draft).await
}

pub(super) async fn title_of(app: &Api, by: &Person, id: i64) -> Value {
    let document = app.get(&format!("/courses/{id}/content")).by(by).await.expect(200).json();
    document["modules"][0]["title"].clone()
}

#[tokio::test]
async fn a_document_is_in_mongodb_and_no_longer_in_sql() {
    let mongo = Mongo::start().await;
    let app = TestApp::with(mongo.settings()).await;
    let (ada, sql) = (app.instructor("ada").await, sql_of(&app).await);
    let id = app.published(&ada, "Rust").await;
    app.write_content(&ada, id).await;
    assert_eq!(in_sql(&sql).await, 0);
    let contents = mongo.contents().await;
    let found = contents.find_one(doc! {"course_id": id}).await.expect("it answers");
    let found = found.expect("a document").to_string();
    assert!(found.contains("A lesson explains one thing."), "{found}");
    put(&app, &ada, id, "Other").await.expect(200);
    assert_eq!(mongo.version(id).await, Some(2));
    app.delete(&format!("/courses/{id}/content")).by(&ada).await.expect(204);
    let found = contents.find_one(doc! {"course_id": id}).await.expect("it answers");
    assert!(!found.expect("its ids stay").to_string().contains("Other"), "its text is gone");
    assert_eq!((in_sql(&sql).await, mongo.version(id).await), (0, Some(3)));
}

/// What is cached is served, the rest is 503, and what can be is written.
async fn works_without(app: &TestApp, ada: &Person, [warm, cold, empty]: [i64; 3]) {
    let path = |id: i64| format!("/courses/{id}/content");
    assert_eq!(app.get(&path(warm)).by(ada).await.expect(200).cache(), "HIT");
    let refused = app.get(&path(cold)).by(ada).await;
    let detail = refused.refused(503);
    assert!(detail.contains("MongoDB"), "{detail}");
    assert_eq!(refused.header("retry-after"), "1");
    let detail = put(app, ada, warm, "Lost").await.refused(503);
    assert!(detail.contains("MongoDB"), "{detail}");
    // Who may not write is told so, whatever is away.
    let eve = app.person(&format!("eve{empty}"), Role::Student).await;
    put(app, &eve, warm, "Mine").await.refused(403);
    put(app, ada, empty, "Kept").await.expect(200);
    assert_eq!(title_of(app, ada, empty).await, "Kept");
    put(app, ada, empty, "Kept again").await.expect(200);
    assert_eq!(title_of(app, ada, empty).await, "Kept again");
    until("the health tells", async || {
        let health = app.get("/health").await.expect(200).json();
        health["services"]["mongodb"] == "disconnected" && health["status"] == "degraded"
    })
    .await;
    let root = app.token(ada.id, Role::Admin);
    let parts = app.get("/api/v3/system/health/detailed").bearer(&root).await.expect(200).json();
    assert_eq!(parts["components"]["documents"]["status"], "unhealthy");
    assert_eq!(parts["components"]["database"]["status"], "healthy");
    app.get("/health/ready").await.expect(200);
}

async fn works_again(app: &TestApp, ada: &Person, [warm, cold, empty]: [i64; 3]) {
    until("the health tells", async || {
        let health = app.get("/health").await.expect(200).json();
        health["services"]["mongodb"] == "connected" && health["status"] == "healthy"
    })
    .await;
    assert_eq!(title_of(app, ada, cold).await, "Cold");
    app.app.store().carry_all_content().await.expect("carried");
    assert_eq!(in_sql(&sql_of(app).await).await, 0);
    assert_eq!(title_of(app, ada, empty).await, "Kept again");
    put(app, ada, warm, "Written").await.expect(200);
    assert_eq!(title_of(app, ada, warm).await, "Written");
}

async fn three_courses(app: &TestApp) -> (Person, [i64; 3]) {
    let ada = app.instructor("ada").await;
    let mut ids = [0; 3];
    for (id, title) in ids.iter_mut().zip(["Warm", "Cold", "Empty"]) {
        *id = app.published(&ada, title).await;
        if title != "Empty" {
            put(app, &ada, *id, title).await.expect(200);
        }
    }
    title_of(app, &ada, ids[0]).await;
    (ada, ids)
}

#[tokio::test]
async fn while_mongodb_is_down_cached_content_is_served_and_everything_works_once_it_is_back() {
    let mut mongo = Mongo::start().await;
    let app = TestApp::with(mongo.settings()).await;
    let (ada, ids) = three_courses(&app).await;
    mongo.kill();
    works_without(&app, &ada, ids).await;
    mongo.restart().await;
    works_again(&app, &ada, ids).await;
}

#[tokio::test]
async fn a_mongodb_that_hangs_delays_nobody_for_long_and_is_used_again_once_it_goes_on() {
    let mongo = Mongo::start().await;
    let app = TestApp::with(mongo.settings()).await;
    let (ada, ids) = three_courses(&app).await;
    mongo.hang();
    works_without(&app, &ada, ids).await;
    mongo.resume();
    works_again(&app, &ada, ids).await;
}

#[tokio::test]
async fn who_writes_while_mongodb_hangs_writes_one_after_the_other_and_the_last_one_stays() {
    let mongo = Mongo::start().await;
    let app = TestApp::with(mongo.settings()).await;
    let (ada, sql) = (app.instructor("ada").await, sql_of(&app).await);
    let id = app.published(&ada, "Rust").await;
    let path = format!("/courses/{id}/content");
    mongo.hang();
    let mut writes = Vec::new();
    for version in 1..=3 {
        let draft = json!({"modules": [{"title": version.to_string()}]});
        writes.push(tokio::spawn(app.put(&path).by(&ada).json(draft).send()));
        let committed = async || sql.column::<i64>("SELECT version FROM course_contents").await;
        until("it is committed", async || committed().await == [version]).await;
    }
    assert_eq!(title_of(&app, &ada, id).await, "3");
    mongo.resume();
    for write in writes {
        write.await.expect("no panic").expect(200);
    }
    assert_eq!(title_of(&app, &ada, id).await, "3");
    app.app.store().carry_all_content().await.expect("carried");
    assert_eq!((in_sql(&sql).await, mongo.version(id).await), (0, Some(3)));
    put(&app, &ada, id, "4").await.expect(200);
    assert_eq!(title_of(&app, &ada, id).await, "4");
}

#[tokio::test]
async fn content_from_before_mongodb_is_read_at_once_and_carried_over_and_sql_alone_is_refused() {
    let mongo = Mongo::start().await;
    let before = TestApp::start().await;
    let (ada, ids) = three_courses(&before).await;
    let sql = sql_of(&before).await;
    let app = before.twin(mongo.settings()).await;
    assert_eq!(title_of(&app, &ada, ids[1]).await, "Cold");
    assert_eq!((in_sql(&sql).await, mongo.version(ids[1]).await), (2, None));
    put(&app, &ada, ids[0], "Warmer").await.expect(200);
    assert_eq!((in_sql(&sql).await, mongo.version(ids[0]).await), (1, Some(2)));
    app.app.store().carry_all_content().await.expect("carried");
    assert_eq!((in_sql(&sql).await, mongo.version(ids[1]).await), (0, Some(1)));
    assert_eq!(title_of(&app, &ada, ids[1]).await, "Cold");
    let folder = app.folder.path();
    let refused = run(folder, &[("DATABASE_URL", "sqlite://campus.db")], &["serve"]);
    let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && problem.contains("CONTENT_STORE=mongo"), "{problem}");
    // A server from before goes on, and says what it cannot read.
    before.get(&format!("/courses/{}/content", ids[1])).by(&ada).await.refused(503);
}

#[tokio::test]
async fn what_another_installation_has_in_mongodb_is_never_taken_for_ours_and_ours_is_not_lost() {
    let mongo = Mongo::start().await;
    let app = TestApp::with(mongo.settings()).await;
    let (ada, sql) = (app.instructor("ada").await, sql_of(&app).await);
    let id = app.published(&ada, "Rust").await;
    let empty = doc! {"modules": [], "metadata": {"total_modules": 0, "total_lessons": 0,
    "total_duration_hours": 0.0, "tags": []}, "next_id": 1};
    let contents = mongo.contents().await;
    let other = doc! {"course_id": id, "version": 9_i64, "content": empty};
    contents.insert_one(other).await.expect("it answers");
    put(&app, &ada, id, "Ours").await.expect(200);
    assert_eq!(title_of(&app, &ada, id).await, "Ours");
    let problem = app.app.store().carry_all_content().await.expect_err("it is not ours");
    assert!(problem.to_string().contains("MONGODB_DB_NAME"), "{problem}");
    assert_eq!((in_sql(&sql).await, mongo.version(id).await), (1, Some(9)));
    contents.delete_one(doc! {"course_id": id}).await.expect("it answers");
    app.app.store().carry_all_content().await.expect("carried");
    assert_eq!((in_sql(&sql).await, mongo.version(id).await), (0, Some(1)));
    // An older document is not taken for the one that was written last.
    let older = doc! {"$set": {"version": 0_i64}};
    contents.update_one(doc! {"course_id": id}, older).await.expect("it answers");
    let next = app.twin(mongo.settings()).await;
    next.get(&format!("/courses/{id}/content")).by(&ada).await.refused(503);
    // A document that MongoDB has lost is a fault, not a course without content.
    contents.delete_one(doc! {"course_id": id}).await.expect("it answers");
    let next = app.twin(mongo.settings()).await;
    next.get(&format!("/courses/{id}/content")).by(&ada).await.refused(503);
}

const PASSWORD: &str = "correct horse battery";

/// Programs on one SQLite file, one Redis and one MongoDB, none with an L1.
struct Servers<'a> {
    folder: TempDir,
    redis: &'a Redis,
    mongo: &'a Mongo,
}

impl Servers<'_> {
    async fn start(&self, more: &[(&str, &str)]) -> Server {
        let (redis, mongo) = (self.redis.url(), self.mongo.url());
        let mut variables = vec![
            ("DATABASE_URL", "sqlite://campus.db"),
            ("REDIS_URL", &redis),
            ("CONTENT_STORE", "mongo"),
            ("MONGO_URI", &mongo),
            ("CACHE_L1_ENABLED", "false"),
            ("CAMPUS_SEED", "none"),
            ("CAMPUS_ADMIN_PASSWORD", PASSWORD),
            ("JWT_SECRET", SECRET),
        ];
        variables.extend(more);
        Server::start(self.folder.path(), &variables).await
    }

    async fn sql(&self) -> Sql {
        Sql::file(&self.folder.path().join("campus.db")).await
    }
}

/// The admin, and a course with content.
async fn school(api: &Api) -> (Person, i64) {
    let login = json!({"email": "admin@campus.local", "password": PASSWORD});
    let session = api.post("/auth/login").json(login).await.expect(200).json();
    let token = session["access_token"].as_str().expect("a token").to_owned();
    let root = Person { id: 1, token };
    let id = api.post("/courses").by(&root).json(course("Rust")).await.expect(201).id();
    put(api, &root, id, "Before").await.expect(200);
    (root, id)
}

/// Reads a course's content until Redis has it.
async fn warm(api: &Api, redis: &Redis, by: &Person, id: i64) {
    let key = format!("skillup:course:content@1:{id}");
    until("Redis has the content", async || {
        title_of(api, by, id).await;
        redis.get(&key).await.len() > 18
    })
    .await;
}

#[tokio::test]
async fn a_writer_that_dies_after_its_commit_leaves_no_old_content_and_its_document_is_carried() {
    let (redis, mongo) = (Redis::start().await, Mongo::start().await);
    let servers = Servers {
        folder: TempDir::new().expect("a temporary folder"),
        redis: &redis,
        mongo: &mongo,
    };
    let other = servers.start(&[]).await;
    let (root, id) = school(&other.api).await;
    let sql = servers.sql().await;
    for turn in 1..=3 {
        let text = format!("After {turn}");
        let doomed = servers.start(&[("CAMPUS_ABORT_AFTER_COMMIT", "1")]).await;
        warm(&other.api, &redis, &root, id).await;
        let draft = json!({"modules": [{"title": text}]});
        let path = format!("/courses/{id}/content");
        let write = doomed.api.put(&path).by(&root).json(draft).attempt().await;
        write.expect_err("it dies before it answers");
        until("the other one has told Redis", async || {
            title_of(&other.api, &root, id).await == text.as_str()
        })
        .await;
        until("the document is carried", async || in_sql(&sql).await == 0).await;
        assert_eq!(mongo.version(id).await, Some(1 + turn));
        assert_eq!(title_of(&other.api, &root, id).await, text.as_str());
    }
}

#[tokio::test]
async fn a_writer_that_dies_while_mongodb_hangs_has_written_and_its_late_document_does_no_harm() {
    let (redis, mongo) = (Redis::start().await, Mongo::start().await);
    let servers = Servers {
        folder: TempDir::new().expect("a temporary folder"),
        redis: &redis,
        mongo: &mongo,
    };
    let writer = servers.start(&[]).await;
    let (root, id) = school(&writer.api).await;
    let second =
        writer.api.post("/courses").by(&root).json(course("Second")).await.expect(201).id();
    warm(&writer.api, &redis, &root, id).await;
    let sql = servers.sql().await;
    mongo.hang();
    // Its commit needs no MongoDB: there is no document to be fetched before.
    let path = format!("/courses/{second}/content");
    let write = tokio::spawn(writer.api.put(&path).by(&root).json(content()).attempt());
    until("it is committed", async || in_sql(&sql).await == 1).await;
    drop(writer);
    assert!(write.await.expect("no panic").is_err(), "it dies before it answers");
    mongo.resume();
    // Whatever was on its way to MongoDB may arrive now.
    let next = servers.start(&[]).await;
    let read = next.api.get(&path).by(&root).await.expect(200).json();
    assert_eq!(read["metadata"]["total_lessons"], 3);
    until("the document is carried", async || in_sql(&sql).await == 0).await;
    assert_eq!(mongo.version(second).await, Some(1));
    put(&next.api, &root, second, "Next").await.expect(200);
    assert_eq!(title_of(&next.api, &root, second).await, "Next");
    assert_eq!(title_of(&next.api, &root, id).await, "Before");
}

#[tokio::test]
async fn every_edit_of_the_content_is_in_the_next_read_on_either_server() {
    let (redis, mongo) = (Redis::start().await, Mongo::start().await);
    let settings = || Settings { redis_url: Some(redis.url()), ..mongo.settings() };
    let one = TestApp::with(settings()).await.connected().await;
    let other = one.twin(settings()).await.connected().await;
    let ada = one.instructor("ada").await;
    let id = one.published(&ada, "Rust").await;
    put(&one, &ada, id, "Turn").await.expect(200);
    for turn in 0..10 {
        let text = format!("Turn {turn}");
        let (writer, reader) = if turn % 2 == 0 { (&one, &other) } else { (&other, &one) };
        title_of(reader, &ada, id).await;
        put(writer, &ada, id, &text).await.expect(200);
        assert_eq!(title_of(writer, &ada, id).await, text.as_str());
        until("the other server has heard of it", async || {
            title_of(reader, &ada, id).await == text.as_str()
        })
        .await;
    }
}

#[test]
fn a_start_without_mongodb_is_refused_and_says_what_to_do_and_no_password() {
    let folder = TempDir::new().expect("a temporary folder");
    let variables = [
        ("CONTENT_STORE", "mongo"),
        ("MONGODB_URL", "mongodb://app:hunter2hunter2@127.0.0.1:1/?authSource=admin"),
        ("CAMPUS_SEED", "none"),
        ("LOG_FILTER", "trace"),
    ];
    let refused = run(folder.path(), &variables, &["serve", "--addr", "127.0.0.1:0"]);
    let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    for part in ["127.0.0.1:1", "MONGODB_URL", "check that it runs there"] {
        assert!(problem.contains(part), "{part}: {problem}");
    }
    assert!(!problem.contains("hunter2"), "{problem}");
    assert_eq!(shown(folder.path(), &variables, "MONGODB_URL"), "mongodb://app:***@127.0.0.1:1/");
    let uri = [variables[0], ("MONGO_URI", variables[1].1)];
    assert_eq!(shown(folder.path(), &uri, "MONGODB_URL"), "mongodb://app:***@127.0.0.1:1/");
    assert_eq!(shown(folder.path(), &uri, "MONGODB_DB_NAME"), "smartcourse");
}

/// What `config check` says of a setting.
#[track_caller]
fn shown(folder: &Path, variables: &[(&str, &str)], name: &str) -> String {
    let check = run(folder, variables, &["config", "check", "--json"]);
    let report: Value = serde_json::from_slice(&check.stdout).expect("JSON");
    assert!(!report.to_string().contains("hunter2"), "{report}");
    let settings = report["settings"].as_array().cloned().unwrap_or_default();
    let setting = settings.iter().find(|setting| setting["name"] == name).expect(name);
    setting["value"].as_str().unwrap_or("").to_owned()
}
