//! The outbox: a row for every write, and whoever finds one undone tells Redis in its writer's place.

use std::time::Duration;

use campus::config::Settings;
use campus::model::Role;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Answer, Api, LostAnswer, Person, Postgres, Redis, SECRET, Server, Sql, Stopwatch, TestApp,
    content, course, on_redis, on_redis_alone, until,
};

/// How old Redis may be after a crash: the grace of a row, the time between two looks, the telling.
const BOUND: Duration = Duration::from_millis(400);
/// For a machine that has other things to do.
const MARGIN: Duration = Duration::from_millis(1600);

async fn on_sqlite(settings: Settings) -> (TestApp, Sql) {
    let app = TestApp::with(settings).await;
    let sql = Sql::file(&app.folder.path().join("campus.db")).await;
    (app, sql)
}

async fn on_postgres(cluster: &Postgres, settings: Settings) -> (TestApp, Sql) {
    let database_url = Some(cluster.url());
    let app = TestApp::with(Settings { database_url, ..settings }).await;
    (app, Sql::open(&cluster.url()).await)
}

fn title(text: &str) -> Value {
    json!({ "title": text })
}

/// Counts the rows that each write leaves.
struct Ledger<'a> {
    sql: &'a Sql,
    rows: i64,
}

impl Ledger<'_> {
    async fn grew_by(&mut self, more: i64, what: &str) {
        let rows = self.sql.naming_rows().await;
        assert_eq!(rows - self.rows, more, "{what}");
        self.rows = rows;
    }

    async fn wrote(&mut self, what: &str, answer: impl Future<Output = Answer>) -> Answer {
        let answer = answer.await;
        assert!((200..300).contains(&answer.status), "{what}: {}", answer.text());
        self.grew_by(1, what).await;
        answer
    }

    async fn wrote_nothing(&mut self, what: &str, answer: impl Future<Output = Answer>) {
        let before = self.sql.rows().await;
        answer.await;
        assert_eq!(self.sql.rows().await, before, "{what}");
    }
}

async fn every_write_leaves_one_row_that_becomes_done(app: TestApp, sql: Sql) {
    let mut ledger = Ledger { sql: &sql, rows: 0 };
    app.import_demo().await;
    ledger.grew_by(1, "the demo").await;
    let (ada, root) = (app.instructor("ada").await, app.admin().await);
    let nina = json!({"username": "nina", "email": "nina@example.org",
        "password": "correct horse battery", "full_name": "Nina"});
    let id = ledger.wrote("register", app.post("/auth/register").json(nina).send()).await.id();
    let nina = Person { id, token: app.token(id, Role::Student) };
    let (person, teacher) = (format!("/users/{id}"), format!("/instructors/{}", ada.id));
    let bio = json!({"bio": "Reads a lot"});
    ledger.wrote("edit a user", app.put(&person).by(&nina).json(bio.clone()).send()).await;
    ledger.wrote("edit an instructor", app.put(&teacher).by(&ada).json(bio).send()).await;
    let role = app.patch(&format!("{person}/role")).by(&root).json(json!({"role": "instructor"}));
    ledger.wrote("change a role", role.send()).await;
    let draft = app.post("/courses").by(&ada).json(course("Knots"));
    let id = ledger.wrote("create a course", draft.send()).await.id();
    let path = format!("/courses/{id}");
    ledger.wrote("edit it", app.put(&path).by(&ada).json(title("More knots")).send()).await;
    ledger.wrote("publish it", app.set_status(&ada, id, "published")).await;
    let doc = format!("{path}/content");
    ledger.wrote("write content", app.put(&doc).by(&ada).json(content()).send()).await;
    let module = app.post(&format!("{doc}/modules")).by(&ada).json(title("Three")).send();
    let module = ledger.wrote("add a module", module).await.json()["modules"][2]["id"].clone();
    let module = format!("{doc}/modules/{module}");
    let lessons = format!("{module}/lessons");
    let lesson = json!({"title": "Fourth", "duration_minutes": 5});
    let lesson =
        ledger.wrote("add a lesson", app.post(&lessons).by(&ada).json(lesson).send()).await;
    let lesson = format!("{lessons}/{}", lesson.json()["modules"][2]["lessons"][0]["id"]);
    ledger.wrote("remove a lesson", app.delete(&lesson).by(&ada).send()).await;
    ledger.wrote("remove a module", app.delete(&module).by(&ada).send()).await;
    let place = ledger.wrote("enroll", app.enroll(&nina, id)).await.id();
    let stars = app.put(&format!("{path}/rating")).by(&nina).json(json!({"stars": 4}));
    ledger.wrote("rate", stars.send()).await;
    every_step_of_learning_leaves_a_row(&mut ledger, &app, &nina, (id, place)).await;
    every_write_of_an_article_leaves_a_row(&mut ledger, &app, &ada).await;
    ledger.wrote("delete content", app.delete(&doc).by(&ada).send()).await;
    ledger.wrote("delete a user", app.delete(&person).by(&root).send()).await;
    ledger.wrote("delete a course", app.delete(&path).by(&ada).send()).await;
    until("every row is done", async || sql.undone().await == 0).await;
}

async fn every_step_of_learning_leaves_a_row(
    ledger: &mut Ledger<'_>,
    app: &TestApp,
    student: &Person,
    (course, place): (i64, i64),
) {
    let path = format!("/courses/{course}");
    let document = app.get(&format!("{path}/content")).by(student).await.expect(200).json();
    let lesson = &document["modules"][0]["lessons"][0]["id"];
    let done = format!("{path}/lessons/{lesson}/complete");
    ledger.wrote("complete a lesson", app.post(&done).by(student).send()).await;
    ledger.wrote_nothing("complete it again", app.post(&done).by(student).send()).await;
    ledger.wrote("take it back", app.delete(&done).by(student).send()).await;
    ledger.wrote_nothing("take it back again", app.delete(&done).by(student).send()).await;
    let enrollment = format!("/enrollments/{place}");
    let report = |minutes: i64| {
        let body = json!({ "time_spent_minutes": minutes });
        app.patch(&format!("{enrollment}/progress")).by(student).json(body).send()
    };
    ledger.wrote("report time", report(5)).await;
    ledger.wrote_nothing("too much of it", report(1441)).await;
    ledger.wrote("drop", app.delete(&enrollment).by(student).send()).await;
    ledger.wrote_nothing("drop again", app.delete(&enrollment).by(student).send()).await;
    ledger.wrote("enroll again", app.enroll(student, course)).await;
}

async fn every_write_of_an_article_leaves_a_row(
    ledger: &mut Ledger<'_>,
    app: &TestApp,
    author: &Person,
) {
    let new = || json!({"title": "Knots", "body": "", "tags": ["rope"]});
    let post = || app.post("/articles").by(author).json(new()).send();
    let id = ledger.wrote("write an article", post()).await.id();
    ledger.wrote_nothing("its slug is taken", post()).await;
    let path = format!("/articles/{id}");
    let put = |edit: Value| app.put(&path).by(author).json(edit).send();
    ledger.wrote("edit it", put(title("More knots"))).await;
    ledger.wrote_nothing("as it is", put(json!({"tags": ["ROPE"]}))).await;
    ledger.wrote("publish it", put(json!({"published": true}))).await;
    ledger.wrote_nothing("not valid", put(json!({"tags": [""]}))).await;
    ledger.wrote("delete it", app.delete(&path).by(author).send()).await;
    ledger.wrote_nothing("delete it again", app.delete(&path).by(author).send()).await;
}

async fn what_changes_nothing_leaves_no_row(app: TestApp, sql: Sql) {
    let (ada, sam) = (app.instructor("ada").await, app.student("sam").await);
    let id = app.published(&ada, "Knots").await;
    app.write_content(&ada, id).await;
    app.enroll(&sam, id).await.expect(201);
    let path = format!("/courses/{id}");
    let rating = format!("{path}/rating");
    app.put(&rating).by(&sam).json(json!({"stars": 4})).await.expect(200);
    let mut ledger = Ledger { sql: &sql, rows: sql.naming_rows().await };
    let version = app.get(&path).await.json()["version"].clone();
    let edit = |by, body| app.put(&path).by(by).json(body).send();
    ledger.wrote_nothing("of somebody else", edit(&sam, title("Mine"))).await;
    ledger.wrote_nothing("not valid", edit(&ada, title(""))).await;
    ledger.wrote_nothing("as it is", edit(&ada, title("Knots"))).await;
    ledger.wrote_nothing("an empty edit", edit(&ada, json!({}))).await;
    assert_eq!(app.get(&path).await.json()["version"], version);
    let nowhere = app.put("/courses/999").by(&ada).json(title("Gone")).send();
    ledger.wrote_nothing("no such course", nowhere).await;
    ledger.wrote_nothing("not allowed there", app.set_status(&ada, id, "published")).await;
    ledger.wrote_nothing("enrolled already", app.enroll(&sam, id)).await;
    let same = app.put(&rating).by(&sam).json(json!({"stars": 4})).send();
    ledger.wrote_nothing("the same stars", same).await;
    let mut taken = course("Other");
    taken["slug"] = json!("knots");
    ledger.wrote_nothing("a taken slug", app.post("/courses").by(&ada).json(taken).send()).await;
    let known = json!({"full_name": "sam of the tests"});
    let path = format!("/users/{}", sam.id);
    ledger.wrote_nothing("the same name", app.put(&path).by(&sam).json(known).send()).await;
}

#[tokio::test]
async fn every_write_on_sqlite_leaves_one_row_that_becomes_done() {
    let redis = Redis::start().await;
    let (app, sql) = on_sqlite(on_redis(&redis)).await;
    every_write_leaves_one_row_that_becomes_done(app.connected().await, sql).await;
}

#[tokio::test]
async fn every_write_on_postgresql_leaves_one_row_that_becomes_done() {
    let cluster = Postgres::start();
    let redis = Redis::start().await;
    let (app, sql) = on_postgres(&cluster, on_redis(&redis)).await;
    every_write_leaves_one_row_that_becomes_done(app.connected().await, sql).await;
}

#[tokio::test]
async fn what_changes_nothing_on_sqlite_leaves_no_row() {
    let (app, sql) = on_sqlite(Settings::default()).await;
    what_changes_nothing_leaves_no_row(app, sql).await;
}

#[tokio::test]
async fn what_changes_nothing_on_postgresql_leaves_no_row() {
    let cluster = Postgres::start();
    let (app, sql) = on_postgres(&cluster, Settings::default()).await;
    what_changes_nothing_leaves_no_row(app, sql).await;
}

async fn without_redis_the_outbox_stays_small_and_forgets_nothing(app: TestApp, sql: Sql) {
    let ada = app.instructor("ada").await;
    for number in 0..5 {
        app.draft(&ada, &format!("Course {number}")).await;
    }
    assert_eq!((sql.rows().await, sql.undone().await), (5, 5));
    app.app.reads.clean_outbox().await.expect("cleaned");
    assert_eq!((sql.rows().await, sql.undone().await), (6, 1), "one row says it for all");
    app.app.reads.clean_outbox().await.expect("cleaned");
    assert_eq!((sql.rows().await, sql.undone().await), (6, 1), "and is not said again");
    let two_days = "UPDATE outbox SET at = at - 172800000000, done_at = done_at - 172800000000";
    sql.run(two_days).await;
    app.app.reads.clean_outbox().await.expect("cleaned");
    assert_eq!((sql.rows().await, sql.undone().await), (1, 1), "only what is done is forgotten");
}

#[tokio::test]
async fn without_redis_the_outbox_on_sqlite_stays_small_and_forgets_nothing() {
    let (app, sql) = on_sqlite(Settings::default()).await;
    without_redis_the_outbox_stays_small_and_forgets_nothing(app, sql).await;
}

#[tokio::test]
async fn without_redis_the_outbox_on_postgresql_stays_small_and_forgets_nothing() {
    let cluster = Postgres::start();
    let (app, sql) = on_postgres(&cluster, Settings::default()).await;
    without_redis_the_outbox_stays_small_and_forgets_nothing(app, sql).await;
}

#[tokio::test]
async fn what_was_written_without_redis_is_not_read_from_redis_later() {
    let redis = Redis::start().await;
    let (app, _) = on_sqlite(on_redis_alone(&redis)).await;
    let app = app.connected().await;
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Before").await;
    let path = format!("/courses/{id}");
    warm(&app, &redis, id).await;
    let alone = app.twin(Settings::default()).await;
    // As if the server with Redis had ended before: it may not tell Redis of this.
    drop(app);
    alone.put(&path).by(&ada).json(title("After")).await.expect(200);
    alone.app.reads.clean_outbox().await.expect("cleaned");
    let later = alone.twin(on_redis_alone(&redis)).await.connected().await;
    assert_eq!(later.get(&path).await.expect(200).json()["title"], "After");
}

/// Reads a course until Redis has it.
async fn warm(api: &Api, redis: &Redis, id: i64) {
    let key = format!("skillup:course:detail@1:{id}");
    until("Redis has the course", async || {
        api.get(&format!("/courses/{id}")).await.expect(200);
        redis.get(&key).await.len() > 18
    })
    .await;
}

/// Programs on one database and one Redis, none with an L1, each in a folder of its own.
struct Servers {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

const PASSWORD: &str = "correct horse battery";

impl Servers {
    fn on(database: String, redis: &Redis) -> Self {
        let variables = vec![
            ("DATABASE_URL", database),
            ("REDIS_URL", redis.url()),
            ("CACHE_L1_ENABLED", "false".to_owned()),
            ("CAMPUS_SEED", "none".to_owned()),
            ("CAMPUS_ADMIN_PASSWORD", PASSWORD.to_owned()),
            ("JWT_SECRET", SECRET.to_owned()),
        ];
        Self { folder: TempDir::new().expect("a temporary folder"), variables }
    }

    async fn start(&self, more: &[(&'static str, &str)]) -> Server {
        let mut variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        variables.extend(more);
        Server::start(self.folder.path(), &variables).await
    }

    /// Dies at its next write, between the commit and the invalidation.
    async fn start_doomed(&self) -> Server {
        self.start(&[("CAMPUS_ABORT_AFTER_COMMIT", "1")]).await
    }
}

/// The admin's token, and a published course.
async fn school(api: &Api) -> (String, i64) {
    let login = json!({"email": "admin@campus.local", "password": PASSWORD});
    let session = api.post("/auth/login").json(login).await.expect(200).json();
    let token = session["access_token"].as_str().expect("a token").to_owned();
    let id = api.post("/courses").bearer(&token).json(course("Before")).await.expect(201).id();
    let publish = api.patch(&format!("/courses/{id}/status")).bearer(&token);
    publish.json(json!({"status": "published"})).await.expect(200);
    (token, id)
}

async fn title_of(api: &Api, id: i64) -> String {
    let course = api.get(&format!("/courses/{id}")).await.expect(200).json();
    course["title"].as_str().unwrap_or("").to_owned()
}

async fn retitle(api: &Api, token: &str, id: i64, text: &str) -> Result<Answer, String> {
    api.put(&format!("/courses/{id}")).bearer(token).json(title(text)).attempt().await
}

#[tokio::test]
async fn a_crash_between_commit_and_invalidation_is_healed_by_another_server() {
    let cluster = Postgres::start();
    let redis = Redis::start().await;
    let servers = Servers::on(cluster.url(), &redis);
    let other = servers.start(&[]).await;
    let (token, id) = school(&other.api).await;
    for turn in 0..3 {
        let text = format!("After {turn}");
        let doomed = servers.start_doomed().await;
        warm(&other.api, &redis, id).await;
        retitle(&doomed.api, &token, id, &text).await.expect_err("it dies before it answers");
        let died = Stopwatch::start();
        until("the other one has told Redis", async || title_of(&other.api, id).await == text)
            .await;
        let took = died.elapsed();
        assert!(took < BOUND + MARGIN, "{took:?}");
    }
}

#[tokio::test]
async fn a_crash_between_commit_and_invalidation_is_healed_by_a_restart() {
    let redis = Redis::start().await;
    let servers = Servers::on("sqlite://campus.db".to_owned(), &redis);
    let first = servers.start(&[]).await;
    let (token, id) = school(&first.api).await;
    assert_eq!(first.stop().status.code(), Some(0));
    let doomed = servers.start_doomed().await;
    warm(&doomed.api, &redis, id).await;
    retitle(&doomed.api, &token, id, "After").await.expect_err("it dies before it answers");
    let next = servers.start(&[]).await;
    assert_eq!(title_of(&next.api, id).await, "After", "not even its first read is old");
    let sql = Sql::file(&servers.folder.path().join("campus.db")).await;
    until("the row is done", async || sql.undone().await == 0).await;
}

#[tokio::test]
async fn what_one_process_writes_the_next_read_on_another_one_has() {
    let cluster = Postgres::start();
    let redis = Redis::start().await;
    let servers = Servers::on(cluster.url(), &redis);
    let one = servers.start(&[]).await;
    let (token, id) = school(&one.api).await;
    let other = servers.start(&[]).await;
    for turn in 0..20 {
        let text = format!("Turn {turn}");
        let (writer, reader) = if turn % 2 == 0 { (&one, &other) } else { (&other, &one) };
        warm(&reader.api, &redis, id).await;
        retitle(&writer.api, &token, id, &text).await.expect("an answer").expect(200);
        assert_eq!(title_of(&reader.api, id).await, text);
    }
    // They also hear of each other's commits, which must not keep them from ending.
    for server in [one, other] {
        assert_eq!(server.stop().status.code(), Some(0));
    }
}

#[tokio::test]
async fn with_the_database_down_nothing_is_read_from_a_redis_that_comes_back() {
    let mut cluster = Postgres::start();
    let redis = Redis::start().await;
    let servers = Servers::on(cluster.url(), &redis);
    let server = servers.start(&[]).await;
    let (_, id) = school(&server.api).await;
    warm(&server.api, &redis, id).await;
    let path = format!("/courses/{id}");
    cluster.stop();
    server.api.get(&path).await.expect(200);
    redis.command::<i64>(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    // Whether a row says that this value is old nobody can tell now.
    let is_refused = async || server.api.get(&path).await.status == 503;
    until("it is not served", is_refused).await;
    assert!(is_refused().await, "nor any later");
    cluster.resume();
    until("it is served again", async || server.api.get(&path).await.cache() == "HIT").await;
}

#[tokio::test]
async fn a_commit_that_was_cut_off_before_it_was_made_is_answered_as_in_doubt_and_undone() {
    let cluster = Postgres::start();
    let redis = Redis::start().await;
    let (app, sql) = on_postgres(&cluster, on_redis(&redis)).await;
    let app = app.connected().await;
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Before").await;
    let path = format!("/courses/{id}");
    let rows = sql.rows().await;
    sql.run(
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(30); RETURN NULL; END'; \
         CREATE CONSTRAINT TRIGGER linger AFTER UPDATE ON courses DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION linger()",
    )
    .await;
    let write = tokio::spawn(app.put(&path).by(&ada).json(title("After")).send());
    let committing = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE query = 'COMMIT' AND state = 'active'";
    until("the commit is cut off", async || !sql.column::<bool>(committing).await.is_empty()).await;
    let detail = write.await.expect("an answer").refused(503);
    assert!(detail.contains("may have been made"), "{detail}");
    until("it is known and cached again", async || {
        let answer = app.get(&path).await.expect(200);
        assert_eq!(answer.json()["title"], "Before");
        answer.cache() == "HIT"
    })
    .await;
    assert_eq!(sql.rows().await, rows);
    until("every row is done", async || sql.undone().await == 0).await;
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_told_to_redis_all_the_same() {
    let cluster = Postgres::start();
    let redis = Redis::start().await;
    let way = LostAnswer::before(&cluster).await;
    let settings = Settings { database_url: Some(way.url.clone()), ..on_redis(&redis) };
    let app = TestApp::with(settings).await.connected().await;
    let sql = Sql::open(&cluster.url()).await;
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Before").await;
    let path = format!("/courses/{id}");
    let reader = app.twin(Settings { database_url: Some(cluster.url()), ..on_redis_alone(&redis) });
    let reader = reader.await.connected().await;
    warm(&reader, &redis, id).await;
    way.lose_the_next();
    let refused = app.put(&path).by(&ada).json(title("After")).await.refused(503);
    assert!(refused.contains("may have been made"), "{refused}");
    assert_eq!(app.get(&path).await.expect(200).json()["title"], "After", "it was made");
    until("Redis has heard of it", async || title_of(&reader, id).await == "After").await;
    until("its row is done", async || sql.undone().await == 0).await;
}

#[tokio::test]
async fn whoever_listens_is_woken_by_a_commit_also_after_its_connection_was_lost() {
    let cluster = Postgres::start();
    let (app, sql) = on_postgres(&cluster, Settings::default()).await;
    let ada = app.instructor("ada").await;
    let mut wake_ups = app.app.store().wake_ups().await.expect("it listens").expect("on this one");
    app.draft(&ada, "One").await;
    wake_ups.next().await.expect("woken");
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    assert_eq!(sql.column::<bool>(kill).await, [true]);
    wake_ups.next().await.expect("woken, because some may have been missed");
    app.draft(&ada, "Two").await;
    wake_ups.next().await.expect("woken");
}
