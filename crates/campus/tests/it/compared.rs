//! `campus content check`: rows and documents of course content, held against each other.

use std::collections::BTreeMap;

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::mongo::{put, title_of};
use crate::restored::{School, uncarry};

/// What differs, by course.
fn differences(printed: &Value) -> BTreeMap<i64, String> {
    let all = printed["differences"].as_array().expect("a list").iter();
    let difference = |one: &Value| {
        let how = one["difference"].as_str().expect("a text").to_owned();
        (one["course_id"].as_i64().expect("a number"), how)
    };
    all.map(difference).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_lists_what_differs_and_does_what_it_is_told_on_sqlite() {
    checked(&School::on_sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_lists_what_differs_and_does_what_it_is_told_on_postgresql() {
    checked(&School::on_postgresql().await).await;
}

async fn set(school: &School, id: i64, what: Document) {
    let contents = school.mongo.contents().await;
    let done = contents.update_one(doc! {"course_id": id}, doc! {"$set": what}).await;
    assert_eq!(done.expect("it answers").matched_count, 1);
}

const TITLES: [&str; 10] = [
    "Good",
    "Missing",
    "Other",
    "Kept out",
    "Waiting",
    "Half carried",
    "Older",
    "Garbled",
    "No number",
    "A text",
];

/// Courses with these titles; most are then as their titles say.
async fn damaged(school: &School) -> Vec<i64> {
    let mut ids = Vec::new();
    for title in TITLES {
        ids.push(school.written(title).await);
    }
    let (code, printed) = school.check(&[]);
    assert_eq!((code, differences(&printed).len(), &printed["rows"]), (0, 0, &json!(10)));
    for id in [ids[3], ids[4], ids[5], ids[6], ids[9]] {
        uncarry(school, id).await;
    }
    set(school, ids[7], doc! {"content": {}}).await;
    for id in [ids[8], ids[9]] {
        set(school, id, doc! {"version": "one"}).await;
    }
    school.write_past(ids[3]).await;
    for (id, version) in [(ids[1], None), (ids[2], Some(4)), (ids[4], None), (ids[6], Some(7))] {
        school.mongo.turn_into(id, version).await;
    }
    let stranger = doc! {"course_id": 4_000_i64, "version": "none", "content": {}};
    school.mongo.contents().await.insert_one(stranger).await.expect("it answers");
    ids
}

async fn checked(school: &School) {
    let ids = damaged(school).await;
    let expected = |ids: &[(i64, &str)]| -> BTreeMap<i64, String> {
        ids.iter().map(|(id, how)| (*id, (*how).to_owned())).collect()
    };
    let (lost, newer, strange) = (
        [
            (ids[1], "missing"),
            (ids[2], "other_version"),
            (ids[7], "unreadable"),
            (ids[8], "unreadable"),
        ],
        [(ids[6], "newer_in_mongodb")],
        [(ids[3], "kept_out"), (4_000, "without_row")],
    );
    let all: Vec<_> = [&lost[..], &newer, &strange].concat();
    let (code, printed) = school.check(&[]);
    assert_eq!(differences(&printed), expected(&all));
    assert_eq!((code, &printed["waiting"], &printed["removed"]), (1, &json!(3), &json!(0)));
    let shown = school.command(&["content", "check"]);
    let parts = ["WHAT IS WRONG", "--remove-strangers", "--remove-newer", "7 differ, 3 wait"];
    for part in parts.into_iter().chain(["older backup", "cannot be read"]) {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    assert_eq!((shown.code, shown.problem.as_str()), (1, ""));
    let (code, printed) = school.check(&["--carry"]);
    assert_eq!(differences(&printed), expected(&all));
    assert!(printed["problem"].as_str().is_some_and(|text| text.contains("content check")));
    assert_eq!((code, &printed["waiting"]), (1, &json!(0)));
    let (code, printed) = school.check(&["--remove-strangers", "--carry"]);
    assert_eq!(differences(&printed), expected(&[&lost[..], &newer].concat()));
    assert_eq!((code, &printed["removed"]), (1, &json!(2)));
    assert_eq!(school.mongo.version(ids[6]).await, Some(7), "it may be an author's last work");
    let (code, printed) = school.check(&["--remove-newer", "--carry"]);
    assert_eq!(differences(&printed), expected(&lost));
    assert_eq!((code, &printed["removed"], &printed["problem"]), (1, &json!(1), &Value::Null));
    let app = school.fresh().await;
    for (id, title) in ids.iter().zip(TITLES) {
        if lost.iter().any(|(lost, _)| lost == id) {
            put(&app, &school.ada, *id, "Replaced").await.expect(200);
        } else {
            assert_eq!(title_of(&app, &school.ada, *id).await, title);
        }
    }
    let (code, printed) = school.check(&[]);
    assert_eq!((code, differences(&printed).len(), &printed["waiting"]), (0, 0, &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_the_only_copy_since_the_comparison_is_not_removed() {
    let school = School::on_sqlite().await;
    let (relied, left) = (school.written("Relied on").await, school.written("Left").await);
    for id in [relied, left] {
        uncarry(&school, id).await;
        school.write_past(id).await;
    }
    let store = school.app.app.store();
    let compared = store.compare_content(&mut |_| {}).await.expect("compared").differences;
    assert_eq!(compared.iter().map(|one| one.course_id).collect::<Vec<_>>(), [relied, left]);
    school
        .sql
        .run(&format!("UPDATE course_contents SET doc = '' WHERE course_id = {relied}"))
        .await;
    assert!(!store.remove_document(&compared[0]).await.expect("looked at"));
    assert_eq!(title_of(&*school.fresh().await, &school.ada, relied).await, "Relied on");
    assert!(store.remove_document(&compared[1]).await.expect("removed"));
    assert!(!store.remove_document(&compared[1]).await.expect("it is gone"), "counted once");
    assert_eq!(school.mongo.version(left).await, None);
}

/// The content of a course that has none.
fn nothing() -> Document {
    let metadata = doc! {"total_modules": 0, "total_lessons": 0, "total_duration_hours": 0.0,
    "tags": []};
    doc! {"modules": [], "metadata": metadata, "next_id": 1}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_sees_every_one_of_thousands() {
    let school = School::on_sqlite().await;
    let courses = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) \
        INSERT INTO courses (id, slug, title, description, search_text, category, category_key, \
        level, price_cents, status, instructor_id, enrolled_count, rating_sum, rating_count, \
        rating_score, created_at, updated_at, version) SELECT i, 's' || i, 't', '', '', 'c', 'c', \
        'beginner', 0, 'published', 1, 0, 0, 0, 0, 0, 0, 1 FROM n";
    school.sql.run(courses).await;
    let rows = "INSERT INTO course_contents (course_id, version, doc, outline, updated_at) \
        SELECT id, 1, '', '[]', 0 FROM courses";
    school.sql.run(rows).await;
    let missing = [1_i64, 1_000, 1_001, 2_000, 2_500];
    let is_there = |id: &i64| !missing.contains(id);
    let documents: Vec<Document> = (-300..=2_700_i64)
        .filter(is_there)
        .map(|id| doc! {"course_id": id, "version": 1_i64 + i64::from(id == 1_999), "content": nothing()})
        .collect();
    let contents = school.mongo.contents().await;
    for some in documents.chunks(1_000) {
        contents.insert_many(some).await.expect("it answers");
    }
    let (code, printed) = school.check(&[]);
    let found = differences(&printed);
    let how = |name: &str| -> Vec<i64> {
        found.iter().filter(|(_, how)| *how == name).map(|(id, _)| *id).collect()
    };
    assert_eq!((code, &printed["rows"]), (1, &json!(2_500)));
    assert_eq!(how("missing"), missing);
    assert_eq!(how("other_version"), [1_999]);
    let strange: Vec<i64> = (-300..=0).chain(2_501..=2_700).collect();
    assert_eq!(how("without_row"), strange);
}
