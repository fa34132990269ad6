//! How PostgreSQL finds what lists and dashboards ask for, in tables that it has not counted yet.
//!
//! It writes the plan of every statement into its log. For SQLite `store::plans` asks. What counts
//! the whole platform for its admins, once in its soft life, has to look at all of it.

use campus::config::Settings;
use campus::import::synthetic::{Size, make};
use campus::model::Role;
use campus::reads::Ending;

use crate::support::{Person, Postgres, Sql, TestApp};

/// Tables that grow with people and with what they do.
const LARGE: [&str; 5] =
    ["users", "enrollments", "lesson_completions", "course_ratings", "certificates"];

/// As many people, places and lessons done as a platform of some size has.
const MORE: [&str; 4] = [
    "INSERT INTO users (username, full_name, bio, role, version, created_at) \
     SELECT 'more-' || n, 'More', repeat('A bio. ', 50), 'student', 1, 0 FROM generate_series(1, 20000) AS n",
    "INSERT INTO enrollments (student_id, course_id, status, enrollment_source, enrolled_at, \
     time_spent_minutes, version) SELECT users.id, courses.id, 'active', 'web', 0, 0, 1 \
     FROM users JOIN courses ON (users.id + courses.id) % 40 = 0 WHERE username LIKE 'more-%'",
    "INSERT INTO lesson_completions (enrollment_id, lesson_id, module_id, completed_at, course_id) \
     SELECT enrollments.id, lesson, 1, 0, course_id FROM enrollments, \
     generate_series(1000001, 1000004) AS lesson WHERE enrolled_at = 0",
    "INSERT INTO certificates (enrollment_id, code, issued_at) \
     SELECT id, 'code-' || id, 0 FROM enrollments WHERE enrolled_at = 0",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_list_and_no_dashboard_reads_a_large_table_through_on_postgresql() {
    let cluster = Postgres::start();
    let sql = Sql::open(&cluster.url()).await;
    for statement in [
        "ALTER SYSTEM SET autovacuum = off",
        "ALTER DATABASE postgres SET session_preload_libraries = 'auto_explain'",
        "ALTER DATABASE postgres SET auto_explain.log_min_duration = 0",
        "SELECT pg_reload_conf()",
    ] {
        sql.run(statement).await;
    }
    let settings = Settings {
        database_url: Some(cluster.url()),
        cache_enabled: Some("false".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::with(settings).await;
    let made = make(Size { courses: 100, users: 200, seed: 1 }).catalogue;
    let tx = app.app.store().begin().await.expect("a transaction");
    let imported = tx.import(&[&made], app.clock.now(), &mut |_| {}).await.expect("an import");
    app.app.reads.commit(tx, Ending::imported(&imported)).await.expect("a commit");
    for statement in MORE {
        sql.run(statement).await;
    }
    let counted = "SELECT COUNT(*) FROM pg_class WHERE relname = 'enrollments' AND reltuples >= 0";
    assert_eq!(sql.number(counted).await, 0, "it has counted its rows");
    let root = app.admin().await;
    let busiest = "SELECT course_id FROM enrollments GROUP BY 1 ORDER BY COUNT(*) DESC LIMIT 1";
    let course = sql.number(busiest).await;
    let student = "SELECT student_id FROM enrollments GROUP BY 1 ORDER BY COUNT(*) DESC LIMIT 1";
    let id = sql.number(student).await;
    let student = Person { id, token: app.token(id, Role::Student) };
    let own = sql
        .number(&format!(
            "SELECT course_id FROM enrollments WHERE student_id = {id} AND status <> 'dropped'"
        ))
        .await;
    let teacher = format!("SELECT instructor_id FROM courses WHERE id = {course}");
    let id = sql.number(&teacher).await;
    let teacher = Person { id, token: app.token(id, Role::Instructor) };
    let mut scans = Vec::new();
    for (path, by) in asked([course, own], &student, &teacher, &root) {
        let before = cluster.log().len();
        app.get(&path).by(by).await.expect(200);
        let log = cluster.log();
        let plans = log.get(before..).unwrap_or_default();
        assert!(plans.contains("Query Text"), "{path}: no plan was logged");
        for table in LARGE {
            let scan = format!("Seq Scan on {table} ");
            if plans.contains(&scan) {
                scans.push(format!("{path}: {scan}\n{plans}"));
            }
        }
    }
    assert!(scans.is_empty(), "{}", scans.join("\n"));
}

fn asked<'a>(
    [course, own]: [i64; 2],
    student: &'a Person,
    teacher: &'a Person,
    root: &'a Person,
) -> Vec<(String, &'a Person)> {
    let mut asked: Vec<(String, &Person)> = Vec::new();
    for query in [
        "sort_by=recent",
        "sort_by=popular",
        "sort_by=top_rated",
        "category=logic",
        "level=beginner&min_rating=3",
    ] {
        asked.push((format!("/courses?{query}&skip=40"), root));
    }
    for path in [
        "/users/me/dashboard".to_owned(),
        "/users/me/session".to_owned(),
        "/enrollments/my-enrollments?limit=100".to_owned(),
        "/certificates/me".to_owned(),
        format!("/courses/{own}/progress"),
        format!("/api/v3/analytics/students/{}", student.id),
    ] {
        asked.push((path, student));
    }
    for path in [
        "/courses/my-courses".to_owned(),
        format!("/courses/{course}/enrollments?limit=100"),
        format!("/courses/{course}/enrollments?limit=100&skip=100"),
        format!("/api/v3/analytics/courses/{course}"),
        format!("/courses/{course}/seats"),
    ] {
        asked.push((path, teacher));
    }
    asked
}
