//! How the databases find what lists and dashboards ask for: never by reading a large table through.

use std::sync::{Arc, Mutex};

use sea_orm::{ConnectionTrait, Statement};
use tempfile::TempDir;

use super::Store;
use crate::import::synthetic::{Size, make};
use crate::model::{CourseFilter, CourseSort, Level, Timestamp, Window};

const PAGE: Window = Window { skip: 20, limit: 20 };

/// Tables that grow with people and with what they do.
const LARGE: [&str; 5] =
    ["users", "enrollments", "lesson_completions", "course_ratings", "certificates"];

/// A store with courses and learners in it, and every statement that it runs from now on.
async fn watched(folder: &TempDir) -> (Store, Arc<Mutex<Vec<Statement>>>) {
    let url = format!("sqlite://{}", folder.path().join("campus.db").display());
    let mut store = Store::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    let made = make(Size { courses: 40, users: 400, seed: 1 }).catalogue;
    let tx = store.begin().await.unwrap();
    tx.import(&[&made], Timestamp(0), &mut |_| {}).await.unwrap();
    tx.commit().await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    store.reader.set_metric_callback(move |info| {
        told.lock().unwrap().push(info.statement.clone());
    });
    (store, seen)
}

async fn every_list(store: &Store) {
    for sort in [CourseSort::Recent, CourseSort::Popular, CourseSort::TopRated] {
        store.published_courses(&CourseFilter::default(), sort, PAGE).await.unwrap();
    }
    for filter in [
        CourseFilter { q: Some("logic".to_owned()), ..CourseFilter::default() },
        CourseFilter { category: Some("logic".to_owned()), ..CourseFilter::default() },
        CourseFilter { level: Some(Level::Beginner), ..CourseFilter::default() },
        CourseFilter { min_rating: Some(300), ..CourseFilter::default() },
    ] {
        store.published_courses(&filter, CourseSort::Recent, PAGE).await.unwrap();
    }
    let ids = store.imported_ids("synthetic-1").await.unwrap();
    let (student, course) = (ids.people["learner-0000007"], ids.courses["course-000000"]);
    assert!(store.learner(student).await.unwrap().is_some_and(|l| !l.places.is_empty()));
    assert!(!store.roster(course, PAGE).await.unwrap().0.is_empty());
    // Of nobody and nothing.
    let nobody = ids.people["teacher-00000"];
    assert!(store.learner(nobody).await.unwrap().is_some_and(|l| l.places.is_empty()));
    let beyond = Window { skip: 100_000, limit: 20 };
    assert!(store.roster(course, beyond).await.unwrap().0.is_empty());
    store.progress(nobody, course).await.unwrap();
    store.enrollments_of(student, PAGE).await.unwrap();
    store.progress(student, course).await.unwrap();
    store.is_enrolled(student, course).await.unwrap();
    store.seats(course).await.unwrap();
    store.certificates_of(student, PAGE).await.unwrap();
    store.courses_of(ids.people["teacher-00000"], PAGE).await.unwrap();
    store.categories().await.unwrap();
    store.instructor(student).await.unwrap();
}

#[tokio::test]
async fn no_list_and_no_dashboard_reads_a_large_table_through() {
    let folder = TempDir::new().unwrap();
    let (store, seen) = watched(&folder).await;
    every_list(&store).await;
    let statements = std::mem::take(&mut *seen.lock().unwrap());
    assert!(statements.len() > 30, "{} statements were seen", statements.len());
    let mut scans = Vec::new();
    for mut statement in statements {
        // Only what tests and commands ask.
        if statement.sql.contains("\"source\" =") {
            continue;
        }
        statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
        for row in store.writer.query_all_raw(statement.clone()).await.unwrap() {
            let step: String = row.try_get("", "detail").unwrap();
            let is_large = LARGE.iter().any(|t| step.starts_with(&format!("SCAN {t}")));
            if is_large || step.starts_with("SCAN courses") {
                scans.push(format!("{step}: {}", statement.sql));
            }
        }
    }
    assert!(scans.is_empty(), "{scans:#?}");
}
