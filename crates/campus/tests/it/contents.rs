//! Course content, the same wherever it is kept: in SQLite, in PostgreSQL or in MongoDB.

use axum::http::Method;
use campus::import::synthetic::{Size, make};
use campus::model::{Catalogue, Role};
use campus::reads::Ending;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Person, TestApp, content, counts, on_every_content_store};

/// A course with content, of which Ada is the owner.
struct Written {
    app: TestApp,
    ada: Person,
    path: String,
}

impl Written {
    async fn on(app: TestApp) -> Self {
        let ada = app.instructor("ada").await;
        let id = app.published(&ada, "Rust").await;
        app.write_content(&ada, id).await;
        Self { app, ada, path: format!("/courses/{id}/content") }
    }

    async fn ask(&self, method: Method, below: &str, body: Value) -> Answer {
        let path = format!("{}{below}", self.path);
        self.app.ask(method, &path).by(&self.ada).json(body).await
    }

    /// As the cache has it, and as it is kept.
    async fn read(&self) -> Value {
        let cached = self.app.get(&self.path).by(&self.ada).await.expect(200).json();
        let admin = self.app.token(self.ada.id, Role::Admin);
        let past = self.app.get(&self.path).bearer(&admin).header("cache-control", "no-cache");
        let past = past.await.expect(200);
        assert_eq!(past.cache(), "BYPASS");
        assert_eq!(past.json(), cached);
        cached
    }
}

on_every_content_store!(
    life,
    content_is_written_extended_shortened_deleted_and_written_again_on_sqlite,
    content_is_written_extended_shortened_deleted_and_written_again_on_postgresql,
    content_is_written_extended_shortened_deleted_and_written_again_on_mongodb
);

async fn life(app: TestApp) {
    let course = Written::on(app).await;
    let first = course.read().await;
    let totals = |document: &Value| {
        let metadata = &document["metadata"];
        [&metadata["total_modules"], &metadata["total_lessons"]].map(|n| n.as_i64().unwrap_or(-1))
    };
    assert_eq!((&first["version"], totals(&first)), (&json!(1), [2, 3]));
    assert_eq!(first["metadata"]["total_duration_hours"], 1.0);
    let module = json!({"title": "Three", "position": 1});
    let added = course.ask(Method::POST, "/modules", module).await.expect(201).json();
    assert_eq!((added["modules"][0]["title"].as_str(), totals(&added)), (Some("Three"), [3, 3]));
    assert_eq!(course.read().await, added, "the write answers what is read");
    let module = format!("/modules/{}", added["modules"][0]["id"]);
    let lesson = json!({"title": "Fourth", "body": "New.", "duration_minutes": 100_000});
    let lessons = format!("{module}/lessons");
    let longer = course.ask(Method::POST, &lessons, lesson).await.expect(201).json();
    assert_eq!(course.read().await, longer);
    let lesson = longer["modules"][0]["lessons"][0]["id"].clone();
    course.ask(Method::DELETE, &format!("{lessons}/{lesson}"), Value::Null).await.expect(204);
    course.ask(Method::DELETE, &module, Value::Null).await.expect(204);
    let last = course.read().await;
    assert_eq!((&last["version"], totals(&last)), (&json!(5), [2, 3]));
    let document = json!({"modules": last["modules"], "metadata": last["metadata"]});
    let same = course.ask(Method::PUT, "", document).await.expect(200).json();
    assert_eq!(same, last, "nothing is written that changes nothing");
    course.ask(Method::DELETE, "", Value::Null).await.expect(204);
    course.app.get(&course.path).by(&course.ada).await.refused(404);
    course.ask(Method::DELETE, "", Value::Null).await.refused(404);
    course.ask(Method::POST, &lessons, json!({"title": "Lost"})).await.refused(404);
    let again = course.ask(Method::PUT, "", content()).await.expect(200).json();
    assert_eq!((&again["version"], totals(&again)), (&json!(7), [2, 3]));
    assert_eq!(course.read().await, again);
    let ids = |document: &Value| -> Vec<i64> {
        let modules = document["modules"].as_array().cloned().unwrap_or_default();
        modules.iter().filter_map(|module| module["id"].as_i64()).collect()
    };
    let (before, after) = (ids(&longer), ids(&again));
    assert!(after.iter().min() > before.iter().max(), "{after:?} and {before:?}");
}

on_every_content_store!(
    limits,
    content_at_its_limits_is_kept_as_it_is_and_beyond_them_refused_on_sqlite,
    content_at_its_limits_is_kept_as_it_is_and_beyond_them_refused_on_postgresql,
    content_at_its_limits_is_kept_as_it_is_and_beyond_them_refused_on_mongodb
);

async fn limits(app: TestApp) {
    let course = Written::on(app).await;
    let lesson = |id: i64, body: &str| {
        json!({"id": id, "title": "$set: {\"a.b\": 1}", "kind": "$where", "body": body,
            "duration_minutes": 100_000})
    };
    let highest = (1_i64 << 53) - 2;
    let body = "𠜎🎓".repeat(100_000);
    let one = json!({"id": highest - 1, "title": ".", "lessons": [lesson(highest, &body)]});
    let large = json!({"modules": [one], "metadata": {"tags": ["$", "a.b", "𠜎"]}});
    let written = course.ask(Method::PUT, "", large).await.expect(200).json();
    assert_eq!(written["modules"][0]["lessons"][0]["id"], highest);
    assert_eq!(written["modules"][0]["lessons"][0]["body"], body);
    assert_eq!(written["metadata"]["total_duration_hours"], 1666.67);
    assert_eq!(course.read().await, written);
    for (body, status) in [("x".repeat(2_000_001), 422), ("x".repeat(3 << 20), 413)] {
        let more = json!({"modules": [{"title": "Two", "lessons": [lesson(1, &body)]}]});
        course.ask(Method::PUT, "", more).await.refused(status);
    }
    let empty = course.ask(Method::PUT, "", json!({"modules": []})).await.expect(200).json();
    assert_eq!(course.read().await, empty);
}

on_every_content_store!(
    versions,
    of_many_who_replace_one_version_at_once_one_does_on_sqlite,
    of_many_who_replace_one_version_at_once_one_does_on_postgresql,
    of_many_who_replace_one_version_at_once_one_does_on_mongodb
);

async fn versions(app: TestApp) {
    let course = Written::on(app).await;
    let draft = |text: String| json!({"modules": [{"title": text}]});
    let replace = |text: String, tag: String| {
        let put = course.app.put(&course.path).by(&course.ada).header("if-match", tag);
        put.json(draft(text)).send()
    };
    for round in 0..4 {
        let before = course.app.get(&course.path).by(&course.ada).await.expect(200);
        let version = before.json()["version"].as_i64().expect("a version");
        let many = (0..8).map(|n| replace(format!("{round}.{n}"), before.etag()));
        let answers = join_all(many).await;
        assert_eq!(counts(&answers, [200, 412]), [1, 7]);
        let won = answers.iter().find(|answer| answer.status == 200).expect("one won").json();
        assert_eq!(won["version"], version + 1);
        assert_eq!(course.read().await, won);
    }
    // Without a condition each is written after the other, and none is lost.
    let version = course.read().await["version"].as_i64().expect("a version");
    let modules = course.read().await["modules"].as_array().map_or(0, Vec::len);
    let add = (0..8).map(|n| course.ask(Method::POST, "/modules", json!({"title": n.to_string()})));
    assert_eq!(counts(&join_all(add).await, [201]), [8]);
    let after = course.read().await;
    assert_eq!(after["version"], version + 8);
    assert_eq!(after["modules"].as_array().map_or(0, Vec::len), modules + 8);
    course.ask(Method::DELETE, "", Value::Null).await.expect(204);
    let tag = format!("\"{}-0\"", version + 9);
    assert_eq!(replace("Deleted".to_owned(), tag).await.status, 412, "there is no such version");
}

on_every_content_store!(
    imports,
    imported_content_keeps_its_ids_through_edits_and_further_imports_on_sqlite,
    imported_content_keeps_its_ids_through_edits_and_further_imports_on_postgresql,
    imported_content_keeps_its_ids_through_edits_and_further_imports_on_mongodb
);

async fn imports(app: TestApp) {
    let root = app.admin().await;
    let size = |users| Size { courses: 2, users, seed: 1 };
    let import = async |catalogue: &Catalogue| {
        let tx = app.app.store().begin().await.expect("a transaction");
        let done = tx.import(&[catalogue], app.clock.now(), &mut |_| {}).await.expect("imported");
        app.app.reads.commit(tx, Ending::imported(&done)).await.expect("a commit");
        app.app.store().carry_all_content().await.expect("carried");
        done.into_iter().next().expect("a report")
    };
    let mut catalogue = make(size(40)).catalogue;
    let id = import(&catalogue).await.course_ids[0];
    let path = format!("/courses/{id}/content");
    let known = async || {
        let content = app.app.store().content(id).await.expect("it is read").expect("it is there");
        content.0.known_ids()
    };
    let before = known().await;
    let lessons = catalogue.courses[0].modules.iter().map(|module| module.lessons.len());
    assert_eq!(before.len(), catalogue.courses[0].modules.len() + lessons.sum::<usize>());
    let more = json!({"title": "Added here"});
    app.post(&format!("{path}/modules")).by(&root).json(more).await.expect(201);
    assert_eq!(known().await, before, "an edit gives what was imported no new ids");
    catalogue.courses[0].modules[0].title = "Changed there".to_owned();
    import(&catalogue).await;
    assert_eq!(known().await, before, "nor does the next import");
    let document = app.get(&path).by(&root).await.expect(200).json();
    assert_eq!(
        (&document["modules"][0]["title"], &document["version"]),
        (&json!("Changed there"), &json!(3))
    );
    // Who came later has done lessons of documents that were written before.
    let later = import(&make(size(60)).catalogue).await;
    assert!(later.enrollments.inserted > 0, "{later:?}");
    let roster = app.get(&format!("/courses/{id}/enrollments?limit=100")).by(&root).await;
    let places = roster.expect(200).json()["items"].as_array().cloned().unwrap_or_default();
    let first_of_them = later.user_ids.iter().min().copied();
    let has_done = |place: &Value| {
        let is_later = place["student"]["id"].as_i64() >= first_of_them;
        is_later && place["completion_percentage"].as_f64() > Some(0.0)
    };
    assert!(first_of_them.is_some() && places.iter().any(has_done));
}
