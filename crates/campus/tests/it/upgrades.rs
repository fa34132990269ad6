//! A database of an earlier version, brought up to date by the program.

use std::path::Path;

use crate::support::{Person, Postgres, SECRET, Sql, TestApp, on, run};

/// What the step made, taken away again.
const BEFORE: &str = "DROP INDEX lesson_completions_course; \
    ALTER TABLE lesson_completions DROP COLUMN course_id; \
    DELETE FROM seaql_migrations WHERE version = 'm0013_completions_by_course'";

const STOP_ON_SQLITE: &str = "CREATE TRIGGER stop BEFORE UPDATE ON lesson_completions \
    WHEN NEW.enrollment_id = 4 BEGIN SELECT RAISE(ABORT, 'stopped'); END";

const STOP_ON_POSTGRESQL: &str = "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN IF NEW.enrollment_id = 4 THEN RAISE EXCEPTION ''stopped''; END IF; RETURN NEW; END'; \
    CREATE TRIGGER stop BEFORE UPDATE ON lesson_completions FOR EACH ROW EXECUTE FUNCTION stop()";

#[tokio::test(flavor = "multi_thread")]
async fn lessons_done_get_their_course_by_parts_and_what_was_cut_short_goes_on_on_sqlite() {
    let app = TestApp::start().await;
    let sql = Sql::file(&app.folder.path().join("campus.db")).await;
    let index = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'lesson_completions_course'";
    let ends = ["DROP TRIGGER stop", index];
    cut_short(&app, &sql, "sqlite://campus.db", STOP_ON_SQLITE, ends).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lessons_done_get_their_course_by_parts_and_what_was_cut_short_goes_on_on_postgresql() {
    let cluster = Postgres::start();
    let app = TestApp::with(on(&cluster)).await;
    let sql = Sql::open(&cluster.url()).await;
    let index = "SELECT COUNT(*) FROM pg_indexes WHERE indexname = 'lesson_completions_course'";
    let ends = ["DROP TRIGGER stop ON lesson_completions", index];
    cut_short(&app, &sql, &cluster.url(), STOP_ON_POSTGRESQL, ends).await;
}

async fn cut_short(app: &TestApp, sql: &Sql, database: &str, stop: &str, ends: [&str; 2]) {
    let [go_on, index] = ends;
    places(app, 5).await;
    sql.run(BEFORE).await;
    // More in two places than are written at once.
    let done = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) \
        INSERT INTO lesson_completions (enrollment_id, lesson_id, module_id, completed_at) \
        SELECT e.id, n.i, 1, 0 FROM enrollments e, n";
    sql.run(done).await;
    sql.run(stop).await;
    let migrate = || migrate(app.folder.path(), database);
    assert!(!migrate().0, "it is stopped");
    let without = "SELECT COUNT(*) FROM lesson_completions WHERE course_id = 0";
    assert_eq!(sql.number(without).await, 3 * 1_500, "what came before is kept");
    // By a server of the version before, which is still running.
    let late = "INSERT INTO lesson_completions (enrollment_id, lesson_id, module_id, completed_at) \
        VALUES (1, 9999, 1, 0)";
    sql.run(late).await;
    sql.run(go_on).await;
    let (is_done, said) = migrate();
    assert!(is_done && said.contains("applied 1 migration"), "{said}");
    let wrong = "SELECT COUNT(*) FROM lesson_completions d JOIN enrollments e \
        ON e.id = d.enrollment_id WHERE d.course_id <> e.course_id";
    assert_eq!((sql.number(wrong).await, sql.number(index).await), (0, 1));
    assert_eq!(sql.number("SELECT COUNT(*) FROM lesson_completions").await, 5 * 1_500 + 1);
    let (is_done, said) = migrate();
    assert!(is_done && said.contains("is up to date"), "{said}");
}

/// Places of one student, each in a course of its own, numbered from 1.
async fn places(app: &TestApp, many: i64) {
    let (ada, sam): (Person, Person) = (app.instructor("ada").await, app.student("sam").await);
    for number in 1..=many {
        let course = app.published(&ada, &format!("Course {number}")).await;
        assert_eq!(app.enroll(&sam, course).await.expect(201).id(), number);
    }
}

/// Whether it went well, and what it said.
fn migrate(folder: &Path, database: &str) -> (bool, String) {
    let variables = [("DATABASE_URL", database), ("JWT_SECRET", SECRET)];
    let ended = run(folder, &variables, &["migrate"]);
    (ended.status.success(), String::from_utf8_lossy(&ended.stdout).into_owned())
}
