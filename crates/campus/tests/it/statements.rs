//! How many statements a request sends to the database: none on a hit. And how often an import
//! writes a row.

use std::collections::BTreeSet;

use campus::import::synthetic::{Size, make};
use campus::model::Catalogue;

use crate::support::{Person, Postgres, Redis, Sql, TestApp, on, on_both, on_redis_alone, until};

/// A course with content and a student in it, an article, and everybody who reads them.
struct World {
    app: TestApp,
    ada: Person,
    sam: Person,
    root: Person,
    course: i64,
    enrollment: i64,
    article: i64,
}

/// A cached GET and what it costs.
struct Cached<'a> {
    template: &'static str,
    path: String,
    by: Option<&'a Person>,
    /// Where its own entry is.
    namespace: &'static str,
    /// Statements when its own entry is missing, and when every entry is.
    own: u64,
    cold: u64,
    /// Why it takes more than a simple read may.
    because: &'static str,
}

const SIMPLE: &str = "";
const AGGREGATE: &str = "an aggregate, counted once in its soft life whoever asks";
const GATHERED: &str = "gathers account, places, lessons done, outlines and certificates";
/// What may be known of a course and a place is decided by cached reads of their own.
const DECIDED: u64 = 1;
const DECIDED_FOR_STUDENTS: u64 = 2;

/// Never cached, as the contract lists them: each with a path, if asking it comes to an end.
const UNCACHED: [(&str, &str); 19] = [
    ("/api/v3/system/health/detailed", "/api/v3/system/health/detailed"),
    ("/api/v3/system/redis/stats", "/api/v3/system/redis/stats"),
    ("/auth/me", "/auth/me"),
    ("/cache/audit", "/cache/audit"),
    ("/cache/definitions", "/cache/definitions"),
    ("/cache/entries", "/cache/entries?key=tag:list@1"),
    ("/cache/stats", "/cache/stats"),
    ("/certificates/me", "/certificates/me"),
    ("/certificates/verify/{code}", "/certificates/verify/AAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ("/certificates/{id}", "/certificates/1"),
    ("/courses/my-courses", "/courses/my-courses"),
    ("/courses/slug/{slug}", "/courses/slug/mine"),
    ("/courses/{id}/enrollments", "/courses/1/enrollments"),
    ("/enrollments/my-enrollments", "/enrollments/my-enrollments"),
    ("/events", ""),
    ("/health", "/health"),
    ("/health/live", "/health/live"),
    ("/health/ready", "/health/ready"),
    ("/health/redis", "/health/redis"),
];

impl World {
    async fn on(app: TestApp) -> Self {
        let (ada, sam, root) =
            (app.instructor("ada").await, app.student("sam").await, app.admin().await);
        let course = app.published(&ada, "Mine").await;
        app.write_content(&ada, course).await;
        let enrollment = app.enroll(&sam, course).await.expect(201).id();
        let lesson = app.lessons(&ada, course).await[0];
        app.complete(&sam, course, lesson).await.expect(200);
        let article = app.article(&ada, "Mine too").await;
        Self { app, ada, sam, root, course, enrollment, article }
    }

    async fn rows(&self) -> Vec<Cached<'_>> {
        let Self { ada, sam, root, course, article, .. } = self;
        let lesson = self.app.lessons(ada, *course).await[0];
        let of = |rest: &str| format!("/courses/{course}{rest}");
        let to = |path: &str, id: &i64| format!("{path}/{id}");
        let (anybody, ada, sam, root) = (None, Some(ada), Some(sam), Some(root));
        let content = "/courses/{id}/content";
        let lessons = "/courses/{id}/content/lessons/{lesson_id}";
        let one_lesson = of(&format!("/content/lessons/{lesson}"));
        let figures = "/api/v3/analytics";
        vec![
            row("/courses", "/courses", anybody, "courses_list", 2),
            row(
                "/courses",
                "/courses?sort_by=popular&category=testing",
                anybody,
                "courses_list",
                2,
            ),
            row("/courses", "/courses?q=mine", anybody, "search", 2),
            row("/courses/categories", "/courses/categories", anybody, "courses_list", 1),
            row("/courses/{id}", of(""), anybody, "courses", 1),
            row(content, of("/content"), ada, "content", 1).after(DECIDED),
            row(content, of("/content"), sam, "content", 1).after(DECIDED_FOR_STUDENTS),
            row(lessons, one_lesson, sam, "content", 1).after(DECIDED_FOR_STUDENTS),
            row("/courses/{id}/seats", of("/seats"), anybody, "enroll_count", 1).after(DECIDED),
            row("/courses/{id}/progress", of("/progress"), sam, "progress", 2)
                .after(DECIDED_FOR_STUDENTS),
            row("/users/{id}", to("/users", &self.ada.id), anybody, "users", 1),
            row("/users/{id}", to("/users", &self.sam.id), ada, "users", 1),
            row("/users/me/dashboard", "/users/me/dashboard", sam, "dashboard", 5).since(GATHERED),
            row("/users/me/session", "/users/me/session", sam, "session", 5).since(GATHERED),
            row("/instructors/{id}", to("/instructors", &self.ada.id), anybody, "instructors", 2),
            row("/articles", "/articles", anybody, "articles_list", 2),
            row("/articles", "/articles?skip=500", anybody, "articles_list", 2),
            row("/articles/{id}", to("/articles", article), anybody, "articles", 2),
            row("/tags", "/tags", anybody, "tags", 1),
            row(
                "/api/v3/analytics/courses/{id}",
                format!("{figures}/courses/{course}"),
                ada,
                "analytics",
                4,
            )
            .after(DECIDED)
            .since(AGGREGATE),
            row(
                "/api/v3/analytics/students/{id}",
                format!("{figures}/students/{}", self.sam.id),
                root,
                "analytics",
                4,
            )
            .since(AGGREGATE),
            row("/api/v3/analytics/platform", "/api/v3/analytics/platform", root, "analytics", 9)
                .since(AGGREGATE),
            row("/api/v3/system/stats", "/api/v3/system/stats", root, "system", 6).since(AGGREGATE),
        ]
    }

    /// What a request sends, and what the cache says to it.
    async fn sent(&self, path: &str, by: Option<&Person>) -> (u64, String) {
        let before = self.app.app.store().statements();
        let asked = self.app.get(path);
        let answer = match by {
            Some(person) => asked.by(person).await,
            None => asked.await,
        };
        let answer = answer.expect(200);
        (self.app.app.store().statements() - before, answer.cache().to_owned())
    }

    async fn clear(&self, what: &str) {
        self.app.delete(&format!("/cache{what}")).by(&self.root).await.expect(200);
    }
}

fn row<'a>(
    template: &'static str,
    path: impl Into<String>,
    by: Option<&'a Person>,
    namespace: &'static str,
    own: u64,
) -> Cached<'a> {
    let (path, because) = (path.into(), SIMPLE);
    Cached { template, path, by, namespace, own, cold: own, because }
}

impl Cached<'_> {
    /// Reads that decide who may see it come first.
    fn after(self, decisions: u64) -> Self {
        Self { cold: self.cold + decisions, ..self }
    }

    fn since(self, because: &'static str) -> Self {
        Self { because, ..self }
    }
}

on_both!(
    counted,
    a_hit_asks_the_database_nothing_and_a_miss_as_little_as_its_row_says_on_sqlite,
    a_hit_asks_the_database_nothing_and_a_miss_as_little_as_its_row_says_on_postgresql
);

async fn counted(app: TestApp) {
    let world = World::on(app).await;
    for row in world.rows().await {
        let Cached { path, by, namespace, own, cold, because, .. } = row;
        assert!(own <= 2 || !because.is_empty(), "{path}: {own} statements, and no reason");
        world.clear("?confirm=all").await;
        assert_eq!(world.sent(&path, by).await, (cold, "MISS".to_owned()), "{path}, cold");
        assert_eq!(world.sent(&path, by).await, (0, "HIT".to_owned()), "{path} again");
        world.clear(&format!("/namespaces/{namespace}")).await;
        assert_eq!(world.sent(&path, by).await.0, own, "{path} without its own entry");
    }
}

#[tokio::test]
async fn a_hit_in_redis_asks_the_database_nothing() {
    let redis = Redis::start().await;
    let world = World::on(TestApp::with(on_redis_alone(&redis)).await.connected().await).await;
    world.app.settled().await;
    for row in world.rows().await {
        // Redis is filled behind the answer, also with what decides who may see it.
        until("it is a hit in everything", async || {
            world.sent(&row.path, row.by).await == (0, "HIT".to_owned())
        })
        .await;
    }
}

#[tokio::test]
async fn every_get_of_the_document_is_counted_or_never_cached() {
    let world = World::on(TestApp::start().await).await;
    let api = world.app.get("/openapi.json").await.expect(200).json();
    let paths = api["paths"].as_object().expect("paths").iter();
    let gets = paths.filter(|(_, item)| item.get("get").is_some()).map(|(path, _)| path.clone());
    let described: BTreeSet<String> = gets.collect();
    let enrollment = format!("/enrollments/{}", world.enrollment);
    let uncached = UNCACHED.into_iter().chain([("/enrollments/{id}", enrollment.as_str())]);
    let mut known: BTreeSet<String> = BTreeSet::new();
    for row in world.rows().await {
        known.insert(row.template.to_owned());
    }
    for (template, path) in uncached {
        assert!(known.insert(template.to_owned()), "{template} is in both tables");
        for person in [&world.ada, &world.sam, &world.root] {
            for _ in 0..2 {
                if !path.is_empty() {
                    let said = world.app.get(path).by(person).await;
                    assert!(!["HIT", "STALE", "MISS"].contains(&said.cache()), "{path}");
                }
            }
        }
    }
    assert_eq!(described, known, "a GET without a row, or a row without a GET");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_writes_a_course_once_a_step_and_only_if_its_counts_change_on_sqlite() {
    let app = TestApp::start().await;
    let sql = Sql::file(&app.folder.path().join("campus.db")).await;
    let count = "CREATE TRIGGER counted AFTER UPDATE ON courses \
                 BEGIN INSERT INTO course_updates VALUES (NEW.id); END";
    writes(&app, &sql, count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_writes_a_course_once_a_step_and_only_if_its_counts_change_on_postgresql() {
    let cluster = Postgres::start();
    let app = TestApp::with(on(&cluster)).await;
    let count = "CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN INSERT INTO course_updates VALUES (NEW.id); RETURN NEW; END'; \
                 CREATE TRIGGER counted AFTER UPDATE ON courses \
                 FOR EACH ROW EXECUTE FUNCTION counted()";
    writes(&app, &Sql::open(&cluster.url()).await, count).await;
}

/// Every update of a row leaves a dead one behind.
async fn writes(app: &TestApp, sql: &Sql, count: &str) {
    sql.run("CREATE TABLE course_updates (id BIGINT NOT NULL)").await;
    sql.run(count).await;
    let steps = make(Size { courses: 6, users: 120, seed: 1 }).catalogue.into_steps(40);
    for step in &steps {
        let updated = updates(app, sql, step).await;
        let places = step.enrollments.iter().map(|row| &row.course);
        let named: BTreeSet<&String> =
            places.chain(step.ratings.iter().map(|row| &row.course)).collect();
        let each: BTreeSet<i64> = updated.iter().copied().collect();
        assert_eq!(each.len(), updated.len(), "{updated:?}");
        assert!(updated.len() <= named.len(), "{updated:?} of {named:?}");
        assert_eq!(updated.is_empty(), named.is_empty());
        let wrong = "SELECT COUNT(*) FROM courses c WHERE enrolled_count <> (SELECT COUNT(*) \
            FROM enrollments e WHERE e.course_id = c.id AND e.status <> 'dropped') OR rating_count \
            <> (SELECT COUNT(*) FROM course_ratings r WHERE r.course_id = c.id) OR rating_sum <> \
            (SELECT COALESCE(SUM(r.stars), 0) FROM course_ratings r WHERE r.course_id = c.id) \
            OR rating_score <> (rating_sum * 2 + 35) * 500000 / (rating_count + 5)";
        assert_eq!(sql.number(wrong).await, 0);
    }
    assert!(steps.len() > 5, "{} steps", steps.len());
    for step in &steps {
        assert!(updates(app, sql, step).await.is_empty(), "nothing has changed");
    }
}

/// The courses that a step of an import writes, as often as it does.
async fn updates(app: &TestApp, sql: &Sql, step: &Catalogue) -> Vec<i64> {
    sql.run("DELETE FROM course_updates").await;
    let tx = app.app.store().begin().await.expect("a transaction");
    tx.import(&[step], app.clock.now(), &mut |_| {}).await.expect("an import");
    tx.commit().await.expect("a commit");
    sql.column("SELECT id FROM course_updates").await
}
