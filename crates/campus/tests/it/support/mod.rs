//! What the tests share: an application of their own, its people and courses, and waiting for things.

mod api;
mod listener;
mod lost_answer;
#[cfg(feature = "mongo")]
mod mongo;
mod process;
mod school;
mod sql;

use std::collections::BTreeMap;
use std::future::pending;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campus::app::App;
use campus::clock::Clock;
use campus::config::{Config, Settings};
use campus::http;
use campus::import;
use campus::model::{NewUser, Principal, Role};
use campus::reads::{Ending, RedisState};
use campus::token::TokenKey;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) use api::{Answer, Api, Asked};
pub(crate) use listener::{Heard, Listener};
pub(crate) use lost_answer::LostAnswer;
#[cfg(feature = "mongo")]
pub(crate) use mongo::Mongo;
pub(crate) use private_servers::{Postgres, Proxy, Redis, Stopwatch, free_port};
pub(crate) use process::{Server, run, run_for};
pub(crate) use school::School;
pub(crate) use sql::Sql;

pub(crate) const SECRET: &str = "a secret of the tests, long enough for HS256";

/// One test body as two tests, one on each database.
macro_rules! on_both {
    ($test:ident, $sqlite:ident, $postgresql:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $sqlite() {
            $test($crate::support::TestApp::start().await).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $postgresql() {
            let cluster = $crate::support::Postgres::start();
            let database_url = Some(cluster.url());
            let settings = campus::config::Settings::default();
            let settings = campus::config::Settings { database_url, ..settings };
            $test($crate::support::TestApp::with(settings).await).await;
        }
    };
}

pub(crate) use on_both;

/// The same with a look past the application.
macro_rules! with_sql {
    ($test:ident, $sqlite:ident, $postgresql:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $sqlite() {
            let app = $crate::support::TestApp::start().await;
            let sql = $crate::support::Sql::file(&app.folder.path().join("campus.db")).await;
            $test(app, sql).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $postgresql() {
            let cluster = $crate::support::Postgres::start();
            let app = $crate::support::TestApp::with($crate::support::on(&cluster)).await;
            $test(app, $crate::support::Sql::open(&cluster.url()).await).await;
        }
    };
}

pub(crate) use with_sql;

/// The same and a third one: course content in MongoDB, everything else on SQLite.
macro_rules! on_every_content_store {
    ($test:ident, $sqlite:ident, $postgresql:ident, $mongodb:ident) => {
        $crate::support::on_both!($test, $sqlite, $postgresql);

        #[cfg(feature = "mongo")]
        #[tokio::test(flavor = "multi_thread")]
        async fn $mongodb() {
            let mongo = $crate::support::Mongo::start().await;
            $test($crate::support::TestApp::with(mongo.settings()).await).await;
        }
    };
}

pub(crate) use on_every_content_store;

/// The application on its own SQLite file, served on a free port.
pub(crate) struct TestApp {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Clock,
    pub(crate) folder: Arc<TempDir>,
    api: Api,
    tokens: TokenKey,
}

/// Somebody with an account and an access token.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) id: i64,
    pub(crate) token: String,
}

/// Requests are made to the application itself: `app.get("/courses").await`.
impl Deref for TestApp {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl TestApp {
    /// L1 only, on an empty database.
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::with_settings_and_clock(settings, Clock::System).await
    }

    /// On a clock that stands still until the test moves it.
    pub(crate) async fn with_clock(clock: Clock) -> Self {
        Self::with_settings_and_clock(Settings::default(), clock).await
    }

    pub(crate) async fn with_settings_and_clock(settings: Settings, clock: Clock) -> Self {
        let folder = Arc::new(TempDir::new().expect("a temporary folder"));
        Self::launch(settings, folder, clock).await
    }

    /// A second application on the database of this one.
    pub(crate) async fn twin(&self, settings: Settings) -> Self {
        Self::launch(settings, Arc::clone(&self.folder), self.clock.clone()).await
    }

    /// With the bundled catalogue.
    pub(crate) async fn demo() -> Self {
        let app = Self::start().await;
        app.import_demo().await;
        app
    }

    pub(crate) async fn import_demo(&self) {
        let tx = self.app.store().begin().await.expect("a transaction");
        let imported = import::demo(&tx, self.clock.now()).await;
        let imported = imported.expect("it can be imported").expect("the database was empty");
        let ending = Ending::imported(&[imported]);
        self.app.reads.commit(tx, ending).await.expect("a commit");
    }

    async fn launch(settings: Settings, folder: Arc<TempDir>, clock: Clock) -> Self {
        let file = folder.path().join("campus.db");
        let settings = Settings {
            database_url: settings
                .database_url
                .or_else(|| Some(format!("sqlite://{}", file.display()))),
            jwt_secret: Some(SECRET.to_owned()),
            ..settings
        };
        let config = Config::resolve(&settings, &BTreeMap::new()).expect("a valid configuration");
        // Which names share a stamp is the same in every run: a hit that one costs would look like
        // a hit lost.
        fastrand::seed(1);
        let app = App::build(&config, clock.clone()).await.expect("the application starts");
        let app = Arc::new(app);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let served = http::serve(listener, http::service(Arc::clone(&app)), pending());
        tokio::spawn(served);
        let tokens = TokenKey::new(SECRET.as_bytes(), Duration::from_secs(900));
        Self { app, clock, folder, api: Api::new(format!("http://{address}")), tokens }
    }

    /// An account without a usable password, signed in: hashing is for the tests of logging in.
    pub(crate) async fn person(&self, name: &str, role: Role) -> Person {
        let new = NewUser {
            username: name.to_owned(),
            email: format!("{name}@example.org"),
            full_name: format!("{name} of the tests"),
            password_hash: "nobody's".to_owned(),
            role,
        };
        let tx = self.app.store().begin().await.expect("a transaction");
        let user = tx.insert_user(new, self.clock.now()).await.expect("a new account");
        tx.commit().await.expect("a commit");
        Person { id: user.id, token: self.token(user.id, role) }
    }

    pub(crate) async fn student(&self, name: &str) -> Person {
        self.person(name, Role::Student).await
    }

    pub(crate) async fn instructor(&self, name: &str) -> Person {
        self.person(name, Role::Instructor).await
    }

    pub(crate) async fn admin(&self) -> Person {
        self.person("admin", Role::Admin).await
    }

    pub(crate) fn token(&self, id: i64, role: Role) -> String {
        self.tokens.sign(Principal { id, role }, self.clock.now())
    }

    /// Creates a draft and answers its id.
    pub(crate) async fn draft(&self, teacher: &Person, title: &str) -> i64 {
        let answer = self.post("/courses").by(teacher).json(course(title)).await;
        answer.expect(201).id()
    }

    pub(crate) async fn published(&self, teacher: &Person, title: &str) -> i64 {
        let id = self.draft(teacher, title).await;
        self.set_status(teacher, id, "published").await.expect(200);
        id
    }

    pub(crate) async fn set_status(&self, by: &Person, id: i64, status: &str) -> Answer {
        let status = json!({ "status": status });
        self.patch(&format!("/courses/{id}/status")).by(by).json(status).await
    }

    pub(crate) async fn write_content(&self, teacher: &Person, id: i64) {
        let path = format!("/courses/{id}/content");
        self.put(&path).by(teacher).json(content()).await.expect(200);
    }

    /// The ids of a course's lessons, in their order.
    pub(crate) async fn lessons(&self, teacher: &Person, id: i64) -> Vec<i64> {
        let path = format!("/courses/{id}/content");
        let content = self.get(&path).by(teacher).await.expect(200).json();
        let modules = content["modules"].as_array().cloned().unwrap_or_default();
        let lessons = modules.iter().flat_map(|module| module["lessons"].as_array().cloned());
        lessons.flatten().filter_map(|lesson| lesson["id"].as_i64()).collect()
    }

    pub(crate) async fn complete(&self, student: &Person, course: i64, lesson: i64) -> Answer {
        let path = format!("/courses/{course}/lessons/{lesson}/complete");
        self.post(&path).by(student).await
    }

    pub(crate) async fn enroll(&self, student: &Person, course: i64) -> Answer {
        self.post("/enrollments").by(student).json(json!({ "course_id": course })).await
    }

    /// A published article with a tag; answers its id.
    pub(crate) async fn article(&self, author: &Person, title: &str) -> i64 {
        let new = json!({"title": title, "body": "At length.", "tags": ["testing"],
            "published": true});
        self.post("/articles").by(author).json(new).await.expect(201).id()
    }

    /// The counters of a namespace, by the admins' endpoint.
    pub(crate) async fn counters(&self, admin: &Person, namespace: &str) -> Value {
        let stats = self.get("/cache/stats").by(admin).await.expect(200).json();
        let rows = stats["namespaces"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["ns"] == namespace).unwrap_or_default()
    }

    /// Waits until Redis has been told of every write: whoever finds one untold on a busy machine
    /// tells it once more, which ends reads that nobody has touched since.
    pub(crate) async fn settled(&self) {
        let settled = async || {
            let undone = self.app.store().undone_rows(Duration::ZERO, 1).await;
            undone.expect("the outbox").is_empty()
        };
        until("every write is told", settled).await;
    }

    /// Waits until Redis is used.
    pub(crate) async fn connected(self) -> Self {
        until("Redis is used", async || self.app.reads.stats().redis == RedisState::Up).await;
        self
    }
}

/// A course as a client creates it.
pub(crate) fn course(title: &str) -> Value {
    json!({
        "title": title,
        "description": format!("{title}, described."),
        "category": "Testing",
        "level": "beginner",
        "price": "19.90",
    })
}

/// Two modules with three lessons, over a kilobyte, so that it is worth compressing.
pub(crate) fn content() -> Value {
    let body = "A lesson explains one thing. ".repeat(40);
    json!({
        "modules": [
            {"title": "One", "lessons": [
                {"title": "First", "duration_minutes": 10, "body": body},
                {"title": "Second", "duration_minutes": 20, "body": body}]},
            {"title": "Two", "lessons": [{"title": "Third", "duration_minutes": 30, "body": body}]},
        ],
        "metadata": {"tags": ["testing"]},
    })
}

/// Settings for a database in PostgreSQL.
pub(crate) fn on(cluster: &Postgres) -> Settings {
    Settings { database_url: Some(cluster.url()), ..Settings::default() }
}

/// Settings for a cache in Redis, which waits for it however long the machine pauses: who gives it
/// up after 100 ms loads by itself, as it should, and no test could count on a hit.
pub(crate) fn on_redis(redis: &Redis) -> Settings {
    let redis_op_timeout_ms = Some("20000".to_owned());
    Settings { redis_url: Some(redis.url()), redis_op_timeout_ms, ..Settings::default() }
}

/// Settings for a cache in Redis alone.
pub(crate) fn on_redis_alone(redis: &Redis) -> Settings {
    Settings { cache_l1_enabled: Some("false".to_owned()), ..on_redis(redis) }
}

/// How many answers have each of these statuses; there must be no other.
#[track_caller]
pub(crate) fn counts<const N: usize>(answers: &[Answer], statuses: [u16; N]) -> [usize; N] {
    for answer in answers {
        assert!(statuses.contains(&answer.status), "{}: {}", answer.status, answer.text());
    }
    statuses.map(|status| answers.iter().filter(|answer| answer.status == status).count())
}

/// Waits for a condition, for at most 30 s.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until there is something to give, for at most 30 s.
pub(crate) async fn until_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, async || {
        found = find();
        found.is_some()
    })
    .await;
    found.expect("it was waited for")
}
