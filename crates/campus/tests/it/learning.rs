//! Places in courses: giving one up, and what else a student does with it.

use campus::config::Settings;
use campus::model::Role;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Answer, Person, Postgres, Redis, School, TestApp, counts, on_both, on_every_content_store,
    on_redis, until,
};

impl School {
    /// The ids of the lessons, in their order.
    async fn lessons(&self) -> Vec<i64> {
        self.app.lessons(&self.ada, self.course).await
    }

    fn lesson_path(&self, lesson: i64) -> String {
        format!("/courses/{}/lessons/{lesson}/complete", self.course)
    }

    async fn complete(&self, student: &Person, lesson: i64) -> Answer {
        self.app.complete(student, self.course, lesson).await
    }

    async fn uncomplete(&self, student: &Person, lesson: i64) -> Answer {
        self.app.delete(&self.lesson_path(lesson)).by(student).await
    }

    async fn progress(&self, student: &Person) -> Value {
        let path = format!("/courses/{}/progress", self.course);
        self.app.get(&path).by(student).await.expect(200).json()
    }

    async fn certificates(&self, student: &Person) -> Value {
        self.app.get("/certificates/me").by(student).await.expect(200).json()
    }

    async fn enrollment(&self, student: &Person, id: i64) -> Value {
        self.app.get(&format!("/enrollments/{id}")).by(student).await.expect(200).json()
    }

    async fn taken_seats(&self) -> Value {
        let path = format!("/courses/{}/seats", self.course);
        self.app.get(&path).await.expect(200).json()["enrolled"].clone()
    }
}

on_both!(
    dropping,
    a_dropped_place_is_free_at_once_and_can_be_taken_again_on_sqlite,
    a_dropped_place_is_free_at_once_and_can_be_taken_again_on_postgresql
);

async fn dropping(app: TestApp) {
    let school = School::on(app).await;
    let (app, course) = (&school.app, school.course);
    let limit = json!({"max_students": 1});
    app.put(&format!("/courses/{course}")).by(&school.ada).json(limit).await.expect(200);
    let (sam, id) = school.enrolled("sam").await;
    let content = format!("/courses/{course}/content");
    app.get(&content).by(&sam).await.expect(200);
    let path = format!("/enrollments/{id}");
    let dropped = app.post(&format!("{path}/drop")).by(&sam).await.expect(200);
    assert_eq!(dropped.header("cache-control"), "private, no-store");
    let dropped = dropped.json();
    assert_eq!((&dropped["status"], &dropped["version"]), (&json!("dropped"), &json!(2)));
    assert!(dropped["dropped_at"].is_string(), "{dropped}");
    assert_eq!(app.get(&path).by(&sam).await.expect(200).json(), dropped);
    app.get(&content).by(&sam).await.refused(403);
    assert_eq!(school.taken_seats().await, 0);
    // Again, and the other way: nothing happens, and no seat is given back twice.
    assert_eq!(app.delete(&path).by(&sam).await.expect(200).json(), dropped);
    assert_eq!(school.taken_seats().await, 0);
    let again = app.enroll(&sam, course).await.expect(201);
    assert_ne!(again.id(), id);
    app.get(&content).by(&sam).await.expect(200);
    assert_eq!(school.taken_seats().await, 1);
    let own = app.get("/enrollments/my-enrollments").by(&sam).await.expect(200).json();
    assert_eq!(own["total"], 2);
    app.delete(&format!("/enrollments/{}", again.id())).by(&school.root).await.expect(200);
    assert_eq!(school.taken_seats().await, 0);
}

on_both!(
    droppers,
    a_place_is_dropped_by_its_student_and_admins_only_on_sqlite,
    a_place_is_dropped_by_its_student_and_admins_only_on_postgresql
);

async fn droppers(app: TestApp) {
    let school = School::on(app).await;
    let app = &school.app;
    let (eve, bob) = (app.student("eve").await, app.instructor("bob").await);
    let (_, id) = school.enrolled("sam").await;
    let path = format!("/enrollments/{id}/drop");
    app.post(&path).await.refused(401);
    for stranger in [&eve, &bob] {
        assert_eq!(app.post(&path).by(stranger).await.refused(404), "Enrollment not found");
    }
    app.post(&path).by(&school.ada).await.refused(403);
    app.post("/enrollments/424242/drop").by(&school.root).await.refused(404);
    app.post("/enrollments/one/drop").by(&school.root).await.refused(422);
    assert_eq!(school.taken_seats().await, 1);
    app.post(&path).by(&school.root).await.expect(200);
}

on_both!(
    dropping_at_once,
    a_place_dropped_by_many_at_once_gives_one_seat_back_on_sqlite,
    a_place_dropped_by_many_at_once_gives_one_seat_back_on_postgresql
);

async fn dropping_at_once(app: TestApp) {
    let school = School::on(app).await;
    let app = &school.app;
    let (sam, id) = school.enrolled("sam").await;
    school.enrolled("eve").await;
    let path = format!("/enrollments/{id}");
    let drop = || async { app.delete(&path).by(&sam).await };
    let answers = join_all((0..32).map(|_| drop())).await;
    assert_eq!(counts(&answers, [200]), [32]);
    assert_eq!(school.taken_seats().await, 1);
    // Dropping and taking a place at once: whatever comes first, seats and places agree.
    for _ in 0..10 {
        let place = app.enroll(&sam, school.course).await.expect(201).id();
        let path = format!("/enrollments/{place}");
        let (dropped, taken) =
            tokio::join!(app.delete(&path).by(&sam).send(), app.enroll(&sam, school.course));
        dropped.expect(200);
        let places = if taken.status == 201 { 2 } else { 1 };
        assert_eq!(counts(std::slice::from_ref(&taken), [201, 409]).iter().sum::<usize>(), 1);
        assert_eq!(school.taken_seats().await, places);
        if taken.status == 201 {
            app.delete(&format!("/enrollments/{}", taken.id())).by(&sam).await.expect(200);
        }
    }
}

on_every_content_store!(
    lessons,
    lessons_are_done_undone_and_done_again_and_the_last_one_gives_a_certificate_on_sqlite,
    lessons_are_done_undone_and_done_again_and_the_last_one_gives_a_certificate_on_postgresql,
    lessons_are_done_undone_and_done_again_and_the_last_one_gives_a_certificate_on_mongodb
);

async fn lessons(app: TestApp) {
    let school = School::on(app).await;
    let (sam, id) = school.enrolled("sam").await;
    let lessons = school.lessons().await;
    assert_eq!(school.progress(&sam).await["progress_percent"], 0.0);
    let first = school.complete(&sam, lessons[0]).await.expect(200);
    assert_eq!(first.header("cache-control"), "private, no-store");
    let first = first.json();
    assert_eq!(first["progress_percent"], 33.33);
    assert_eq!(first["completed_lessons"], json!([lessons[0]]));
    assert_eq!(
        (&first["total_lessons"], &first["last_lesson_id"]),
        (&json!(3), &json!(lessons[0]))
    );
    assert_eq!(school.progress(&sam).await, first, "what the write answered is what is read");
    assert_eq!(school.complete(&sam, lessons[0]).await.expect(200).json(), first, "once is enough");
    let undone = school.uncomplete(&sam, lessons[0]).await.expect(200).json();
    assert_eq!(undone["progress_percent"], 0.0);
    assert_eq!(school.uncomplete(&sam, lessons[0]).await.expect(200).json(), undone);
    for lesson in [-1, 0, 987_654] {
        assert_eq!(school.complete(&sam, lesson).await.refused(404), "Lesson not found");
        school.uncomplete(&sam, lesson).await.refused(404);
    }
    for lesson in &lessons {
        assert_eq!(school.certificates(&sam).await["total"], 0);
        school.complete(&sam, *lesson).await.expect(200);
    }
    let done = school.enrollment(&sam, id).await;
    assert_eq!(done["status"], "completed");
    assert!(done["completed_at"].is_string() && done["started_at"].is_string(), "{done}");
    assert_eq!(done["completion_percentage"], 100.0);
    let certificates = school.certificates(&sam).await;
    assert_eq!(certificates["total"], 1);
    // Undone and done again, and more content: the one certificate stays.
    school.uncomplete(&sam, lessons[2]).await.expect(200);
    assert_eq!(school.progress(&sam).await["progress_percent"], 66.67);
    school.complete(&sam, lessons[2]).await.expect(200);
    let modules = format!("/courses/{}/content/modules", school.course);
    let more = json!({"title": "Three", "lessons": [{"title": "Fourth"}]});
    school.app.post(&modules).by(&school.ada).json(more).await.expect(201);
    assert_eq!(school.progress(&sam).await["progress_percent"], 75.0);
    assert_eq!(school.enrollment(&sam, id).await["status"], "completed");
    assert_eq!(school.certificates(&sam).await, certificates);
    let refused = school.app.delete(&format!("/enrollments/{id}")).by(&sam).await;
    assert_eq!(refused.refused(409), "A completed course cannot be dropped");
}

on_every_content_store!(
    edits,
    content_that_is_edited_under_a_student_counts_as_it_is_now_on_sqlite,
    content_that_is_edited_under_a_student_counts_as_it_is_now_on_postgresql,
    content_that_is_edited_under_a_student_counts_as_it_is_now_on_mongodb
);

async fn edits(app: TestApp) {
    let school = School::on(app).await;
    let (sam, id) = school.enrolled("sam").await;
    let lessons = school.lessons().await;
    let content = format!("/courses/{}/content", school.course);
    let document = school.app.get(&content).by(&sam).await.expect(200).json();
    let remove = async |module: usize, lesson: i64| {
        let module = &document["modules"][module]["id"];
        let path = format!("{content}/modules/{module}/lessons/{lesson}");
        school.app.delete(&path).by(&school.ada).await.expect(204);
    };
    school.complete(&sam, lessons[0]).await.expect(200);
    remove(0, lessons[0]).await;
    let seen = school.progress(&sam).await;
    assert_eq!((&seen["progress_percent"], &seen["total_lessons"]), (&json!(0.0), &json!(2)));
    assert_eq!(seen["completed_lessons"], json!([]));
    assert_eq!(school.complete(&sam, lessons[0]).await.refused(404), "Lesson not found");
    assert_eq!(school.complete(&sam, lessons[1]).await.json()["progress_percent"], 50.0);
    // Taking away what is left to do completes nobody; the student's next word does.
    remove(1, lessons[2]).await;
    assert_eq!(school.progress(&sam).await["progress_percent"], 100.0);
    assert_eq!(school.enrollment(&sam, id).await["status"], "active");
    assert_eq!(school.certificates(&sam).await["total"], 0);
    school.complete(&sam, lessons[1]).await.expect(200);
    assert_eq!(school.enrollment(&sam, id).await["status"], "completed");
    assert_eq!(school.certificates(&sam).await["total"], 1);
    school.app.delete(&content).by(&school.ada).await.expect(204);
    let seen = school.progress(&sam).await;
    assert_eq!((&seen["progress_percent"], &seen["total_lessons"]), (&json!(0.0), &json!(0)));
    assert_eq!(school.certificates(&sam).await["total"], 1, "what was learned stays learned");
    school.app.delete(&format!("/courses/{}", school.course)).by(&school.ada).await.expect(204);
    let gone = format!("/courses/{}/progress", school.course);
    school.app.get(&gone).by(&sam).await.refused(404);
    school.complete(&sam, lessons[1]).await.refused(404);
    let seen = school.app.get("/users/me/session").by(&sam).header("cache-control", "no-cache");
    assert_eq!(seen.await.expect(200).json()["user_id"], sam.id);
    assert_eq!(school.certificates(&sam).await["total"], 1);
}

on_both!(
    empty_reports,
    a_report_of_nothing_new_is_answered_and_leaves_no_trace_on_sqlite,
    a_report_of_nothing_new_is_answered_and_leaves_no_trace_on_postgresql
);

async fn empty_reports(app: TestApp) {
    let school = School::on(app).await;
    let (sam, id) = school.enrolled("sam").await;
    let lessons = school.lessons().await;
    let path = format!("/enrollments/{id}/progress");
    let report = async |body: Value| school.app.patch(&path).by(&sam).json(body).await.expect(200);
    report(json!({"lesson_id": lessons[0]})).await;
    let before = report(json!({"lesson_id": lessons[1]})).await.json();
    let store = school.app.app.store();
    let newest = store.newest_row().await.expect("the outbox");
    let content = format!("/courses/{}/content", school.course);
    let content = school.app.get(&content).by(&sam).await.expect(200).json();
    for nothing in [
        json!({}),
        json!({"lesson_id": null, "module_id": null, "time_spent_minutes": null}),
        json!({"time_spent_minutes": 0}),
        json!({"lesson_id": lessons[1]}),
        json!({"module_id": content["modules"][0]["id"]}),
    ] {
        assert_eq!(report(nothing.clone()).await.json(), before, "{nothing}");
        assert_eq!(store.newest_row().await.expect("the outbox"), newest, "{nothing}");
    }
    // Going back to a lesson is kept, but is nothing to tell others.
    let back = report(json!({"lesson_id": lessons[0]})).await.json();
    assert_eq!(back["last_lesson_id"], lessons[0]);
    let told = store.events_after(newest.unwrap_or(0), 10).await.expect("the outbox").events;
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(school.enrollment(&sam, id).await, back);
}

on_both!(
    reports,
    a_report_moves_the_place_to_go_on_from_and_adds_its_time_on_sqlite,
    a_report_moves_the_place_to_go_on_from_and_adds_its_time_on_postgresql
);

async fn reports(app: TestApp) {
    let school = School::on(app).await;
    let (sam, id) = school.enrolled("sam").await;
    let lessons = school.lessons().await;
    let path = format!("/enrollments/{id}/progress");
    let report = async |body: Value| school.app.patch(&path).by(&sam).json(body).await;
    let first = json!({"lesson_id": lessons[1], "time_spent_minutes": 25});
    let seen = report(first).await.expect(200).json();
    assert_eq!(
        (&seen["last_lesson_id"], &seen["time_spent_minutes"]),
        (&json!(lessons[1]), &json!(25))
    );
    assert_eq!(seen["completed_lessons"], json!([lessons[1]]));
    assert_eq!(school.enrollment(&sam, id).await, seen);
    let seen = report(json!({"time_spent_minutes": 5})).await.expect(200).json();
    assert_eq!(
        (&seen["last_lesson_id"], &seen["time_spent_minutes"]),
        (&json!(lessons[1]), &json!(30))
    );
    let content = format!("/courses/{}/content", school.course);
    let content = school.app.get(&content).by(&sam).await.expect(200).json();
    let module = &content["modules"][0]["id"];
    let seen = report(json!({"module_id": module})).await.expect(200).json();
    assert_eq!(seen["completed_modules"], json!([module]));
    assert_eq!(seen["completed_lessons"], json!([lessons[0], lessons[1]]));
    for wrong in [
        json!({"lesson_id": 987_654}),
        json!({"module_id": lessons[0]}),
        json!({"time_spent_minutes": -1}),
        json!({"time_spent_minutes": 1441}),
        json!({"lesson": 1}),
    ] {
        report(wrong).await.refused(422);
    }
    let seen = report(json!({"lesson_id": lessons[2]})).await.expect(200).json();
    assert_eq!((&seen["status"], &seen["time_spent_minutes"]), (&json!("completed"), &json!(30)));
    let (dan, gone) = school.enrolled("dan").await;
    school.app.delete(&format!("/enrollments/{gone}")).by(&dan).await.expect(200);
    let late = school.app.patch(&format!("/enrollments/{gone}/progress")).by(&dan);
    assert_eq!(late.json(json!({})).await.refused(409), "The enrollment was dropped");
}

on_both!(
    one_lesson,
    what_one_student_does_at_once_counts_once_and_every_minute_counts_on_sqlite,
    what_one_student_does_at_once_counts_once_and_every_minute_counts_on_postgresql
);

async fn one_lesson(app: TestApp) {
    let school = School::on(app).await;
    let (sam, id) = school.enrolled("sam").await;
    let lessons = school.lessons().await;
    let many = (0..64).map(|_| school.complete(&sam, lessons[0]));
    assert_eq!(counts(&join_all(many).await, [200]), [64]);
    let seen = school.enrollment(&sam, id).await;
    assert_eq!(seen["completed_lessons"], json!([lessons[0]]));
    assert_eq!(seen["version"], 2, "one of them changed something");
    let path = format!("/enrollments/{id}/progress");
    let minutes = (1..=64).map(|minutes| {
        let body = json!({ "time_spent_minutes": minutes });
        school.app.patch(&path).by(&sam).json(body).send()
    });
    assert_eq!(counts(&join_all(minutes).await, [200]), [64]);
    assert_eq!(school.enrollment(&sam, id).await["time_spent_minutes"], 64 * 65 / 2);
    // Done and undone at once: whichever comes last is what everything then says.
    for _ in 0..10 {
        let (done, undone) =
            tokio::join!(school.complete(&sam, lessons[1]), school.uncomplete(&sam, lessons[1]));
        assert_eq!(counts(&[done, undone], [200]), [2]);
        let stored = school.enrollment(&sam, id).await;
        let progress = school.progress(&sam).await;
        assert_eq!(progress["completed_lessons"], stored["completed_lessons"]);
        assert_eq!(progress["progress_percent"], stored["completion_percentage"]);
    }
}

on_both!(
    last_lesson,
    the_last_lesson_done_many_times_at_once_gives_one_certificate_on_sqlite,
    the_last_lesson_done_many_times_at_once_gives_one_certificate_on_postgresql
);

async fn last_lesson(app: TestApp) {
    let school = School::on(app).await;
    let lessons = school.lessons().await;
    for round in 0..5 {
        let (sam, _) = school.enrolled(&format!("sam{round}")).await;
        for lesson in &lessons[..2] {
            school.complete(&sam, *lesson).await.expect(200);
        }
        let many = (0..16).map(|_| school.complete(&sam, lessons[2]));
        assert_eq!(counts(&join_all(many).await, [200]), [16]);
        assert_eq!(school.certificates(&sam).await["total"], 1);
    }
    // Dropping at the same time: either there is a certificate and a place, or neither.
    for round in 0..10 {
        let (eve, id) = school.enrolled(&format!("eve{round}")).await;
        for lesson in &lessons[..2] {
            school.complete(&eve, *lesson).await.expect(200);
        }
        let before = school.taken_seats().await.as_i64();
        let path = format!("/enrollments/{id}");
        let (done, dropped) = tokio::join!(
            school.complete(&eve, lessons[2]),
            school.app.delete(&path).by(&eve).send()
        );
        let seen = school.enrollment(&eve, id).await;
        let seats = school.taken_seats().await.as_i64();
        if done.status == 200 {
            dropped.refused(409);
            assert_eq!((&seen["status"], seats), (&json!("completed"), before));
            assert_eq!(school.certificates(&eve).await["total"], 1);
        } else {
            assert_eq!(done.refused(403), "You are not enrolled in this course");
            dropped.expect(200);
            assert_eq!((&seen["status"], seats), (&json!("dropped"), before.map(|n| n - 1)));
            assert_eq!(school.certificates(&eve).await["total"], 0);
        }
    }
}

on_both!(
    certificates,
    a_certificate_is_shown_to_its_people_and_verified_by_everybody_on_sqlite,
    a_certificate_is_shown_to_its_people_and_verified_by_everybody_on_postgresql
);

async fn certificates(app: TestApp) {
    let school = School::on(app).await;
    let app = &school.app;
    let (sam, _) = school.enrolled("sam").await;
    let (eve, bob) = (app.student("eve").await, app.instructor("bob").await);
    for lesson in school.lessons().await {
        school.complete(&sam, lesson).await.expect(200);
    }
    let certificate = school.certificates(&sam).await["items"][0].clone();
    let path = format!("/certificates/{}", certificate["id"]);
    app.get(&path).await.refused(401);
    app.get("/certificates/me").await.refused(401);
    for shown in [&sam, &school.ada, &school.root] {
        let seen = app.get(&path).by(shown).await.expect(200);
        assert_eq!(seen.header("cache-control"), "private, no-store");
        assert_eq!(seen.json(), certificate);
    }
    for stranger in [&eve, &bob] {
        assert_eq!(app.get(&path).by(stranger).await.refused(404), "Certificate not found");
    }
    assert_eq!(school.certificates(&eve).await["total"], 0);
    let code = certificate["code"].as_str().unwrap_or("").to_owned();
    assert_eq!(code.len(), 32);
    for spelled in [code.clone(), code.to_lowercase()] {
        let verified = app.get(&format!("/certificates/verify/{spelled}")).await.expect(200);
        let expected = json!({"valid": true, "certificate": {
            "code": code, "course": {"id": school.course, "title": "Rust"},
            "student_name": "sam of the tests", "issued_at": certificate["issued_at"]}});
        assert_eq!(verified.json(), expected);
    }
    let invalid = async |code: &str| {
        let answer = app.get(&format!("/certificates/verify/{code}")).await.expect(200);
        assert_eq!(answer.header("cache-control"), "private, no-store");
        assert_eq!(answer.json(), json!({"valid": false}), "{code}");
    };
    for unknown in ["A".repeat(32), "1".to_owned(), format!("{code}A"), "x".repeat(5000)] {
        invalid(&unknown).await;
    }
    for malformed in ["%00", "%27%20OR%201=1", "%F0%9F%8E%93", "*", "me"] {
        invalid(malformed).await;
    }
    let account = format!("/users/{}", sam.id);
    app.delete(&account).by(&school.root).await.expect(204);
    invalid(&code).await;
}

/// The names of the fields of an object.
fn names(object: &Value) -> Vec<String> {
    let mut names: Vec<String> = object.as_object().expect("fields").keys().cloned().collect();
    names.sort();
    names
}

on_both!(
    own_reads,
    what_a_student_reads_of_themselves_is_theirs_alone_and_follows_every_write_on_sqlite,
    what_a_student_reads_of_themselves_is_theirs_alone_and_follows_every_write_on_postgresql
);

async fn own_reads(app: TestApp) {
    let school = School::on(app).await;
    let app = &school.app;
    let (sam, id) = school.enrolled("sam").await;
    let (eve, bob) = (app.student("eve").await, app.instructor("bob").await);
    let progress = format!("/courses/{}/progress", school.course);
    for path in [progress.as_str(), "/users/me/dashboard", "/users/me/session"] {
        app.get(path).await.refused(401);
        let (miss, hit) = (app.get(path).by(&sam).await, app.get(path).by(&sam).await);
        assert_eq!((miss.cache(), hit.cache()), ("MISS", "HIT"), "{path}");
        assert_eq!(miss.body, hit.body);
        for answer in [&miss, &hit] {
            assert_eq!(answer.header("cache-control"), "private, no-store", "{path}");
        }
    }
    for outsider in [&eve, &bob, &school.ada, &school.root] {
        let refused = app.get(&progress).by(outsider).await.refused(403);
        assert_eq!(refused, "You are not enrolled in this course");
        let lesson = school.lessons().await[0];
        school.complete(outsider, lesson).await.refused(403);
        let session = app.get("/users/me/session").by(outsider).await.expect(200).json();
        assert_eq!((&session["user_id"], &session["enrolled"]), (&json!(outsider.id), &json!([])));
        let path = format!("/enrollments/{id}/progress");
        let report = app.patch(&path).by(outsider).json(json!({"time_spent_minutes": 1})).await;
        assert!([403, 404].contains(&report.status), "{}", report.text());
    }
    let lessons = school.lessons().await;
    let path = format!("/enrollments/{id}/progress");
    let report = json!({"lesson_id": lessons[0], "time_spent_minutes": 7});
    app.patch(&path).by(&sam).json(report).await.expect(200);
    let seen = app.get("/users/me/dashboard").by(&sam).await.expect(200).json();
    assert_eq!(seen["user"]["username"], "sam");
    assert_eq!(names(&seen), ["certificates", "enrollments", "totals", "user"]);
    let entry = &seen["enrollments"][0];
    let fields = ["course", "last_accessed_at", "last_lesson_id", "progress_percent", "status"];
    assert_eq!(names(entry), fields);
    let course = json!({"id": school.course, "title": "Rust", "slug": "rust"});
    assert_eq!((&entry["course"], &entry["status"]), (&course, &json!("active")));
    assert_eq!(
        (&entry["progress_percent"], &entry["last_lesson_id"]),
        (&json!(33.33), &json!(lessons[0]))
    );
    let totals = json!({"active": 1, "completed": 0, "time_spent_minutes": 7});
    assert_eq!((&seen["totals"], &seen["certificates"]), (&totals, &json!([])));
    for lesson in &lessons {
        school.complete(&sam, *lesson).await.expect(200);
    }
    let seen = app.get("/users/me/dashboard").by(&sam).await.expect(200).json();
    assert_eq!(seen["totals"]["completed"], 1);
    assert_eq!(seen["certificates"], school.certificates(&sam).await["items"]);
    let session = app.get("/users/me/session").by(&sam).await.expect(200).json();
    let course = school.course.to_string();
    assert_eq!(
        session,
        json!({"user_id": sam.id, "role": "student",
        "enrolled": [school.course], "progress": {course: 100.0}})
    );
}

on_both!(
    roster,
    a_course_shows_its_owner_who_is_enrolled_as_json_and_as_a_table_on_sqlite,
    a_course_shows_its_owner_who_is_enrolled_as_json_and_as_a_table_on_postgresql
);

async fn roster(app: TestApp) {
    let school = School::on(app).await;
    let app = &school.app;
    let path = format!("/courses/{}/enrollments", school.course);
    let (sam, id) = school.enrolled("sam").await;
    let formula = json!({"full_name": "=HYPERLINK(\"http://evil\")"});
    app.put(&format!("/users/{}", sam.id)).by(&sam).json(formula).await.expect(200);
    let (eve, dropped) = school.enrolled("eve").await;
    app.delete(&format!("/enrollments/{dropped}")).by(&eve).await.expect(200);
    let bob = app.instructor("bob").await;
    app.get(&path).await.refused(401);
    for outsider in [&sam, &eve, &bob] {
        assert_eq!(app.get(&path).by(outsider).await.refused(403), "You do not own this course");
    }
    app.get("/courses/424242/enrollments").by(&school.root).await.refused(404);
    let draft = app.draft(&school.ada, "Secret").await;
    app.get(&format!("/courses/{draft}/enrollments")).by(&bob).await.refused(404);
    for reader in [&school.ada, &school.root] {
        let seen = app.get(&path).by(reader).await.expect(200);
        assert_eq!(seen.header("cache-control"), "private, no-store");
        let list = seen.json();
        assert_eq!((&list["total"], &list["items"][0]["id"]), (&json!(2), &json!(id)));
        assert_eq!(list["items"][0]["student"]["id"], sam.id);
        assert_eq!(list["items"][1]["status"], "dropped");
        assert!(!seen.text().contains("@example.org"), "no addresses");
    }
    let page = app.get(&format!("{path}?limit=1&format=csv")).by(&school.ada).await.expect(200);
    assert_eq!(page.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(page.header("x-total-count"), "2");
    assert!(page.header("link").contains("skip=1&limit=1&format=csv>; rel=\"next\""));
    let text = page.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("enrollment_id,student_id,student_name,status,"), "{text}");
    let start = format!("{id},{},\"'=HYPERLINK(\"\"http://evil\"\")\",active,", sam.id);
    assert!(lines[1].starts_with(&start), "{text}");
    let asked = app.get(&path).by(&school.ada).header("accept", "text/csv").await.expect(200);
    assert_eq!(asked.header("content-type"), "text/csv; charset=utf-8");
    app.get(&format!("{path}?format=xml")).by(&school.ada).await.refused(422);
    app.get(&format!("{path}?limit=0")).by(&school.ada).await.refused(422);
}

/// What a student reads of themselves, by either server.
async fn own_bodies(app: &TestApp, student: &Person, course: i64) -> Vec<Value> {
    let mut bodies = Vec::new();
    for path in [
        format!("/courses/{course}/progress"),
        "/users/me/dashboard".to_owned(),
        "/users/me/session".to_owned(),
        format!("/courses/{course}/seats"),
    ] {
        bodies.push(app.get(&path).by(student).await.json());
    }
    bodies
}

/// Enrolling (O11), learning (O12) and dropping (O13), each seen by the other server.
async fn two_servers(settings: impl Fn() -> Settings) {
    let school = School::on(TestApp::with(settings()).await.connected().await).await;
    let second = school.app.twin(settings()).await.connected().await;
    let (sam, lessons) = (school.app.student("sam").await, school.lessons().await);
    let other = school.app.published(&school.ada, "Untouched").await;
    let untouched = format!("/courses/{other}");
    let mut place = 0;
    for step in ["enroll", "complete", "uncomplete", "report", "drop", "enroll again"] {
        school.app.settled().await;
        for app in [&school.app, &second] {
            own_bodies(app, &sam, school.course).await;
            app.get(&untouched).await.expect(200);
        }
        match step {
            "complete" => school.complete(&sam, lessons[0]).await.expect(200),
            "uncomplete" => school.uncomplete(&sam, lessons[0]).await.expect(200),
            "report" => {
                let path = format!("/enrollments/{place}/progress");
                let report = json!({"module_id": null, "time_spent_minutes": 9});
                school.app.patch(&path).by(&sam).json(report).await.expect(200)
            }
            "drop" => {
                school.app.delete(&format!("/enrollments/{place}")).by(&sam).await.expect(200)
            }
            _ => {
                let answer = school.app.enroll(&sam, school.course).await.expect(201);
                place = answer.id();
                answer
            }
        };
        let here = own_bodies(&school.app, &sam, school.course).await;
        // Here at once, there as soon as the message has arrived.
        let admin = school.app.token(sam.id, Role::Admin);
        let no_cache = async |path: &str| {
            let asked = school.app.get(path).bearer(&admin).header("cache-control", "no-cache");
            asked.await.expect(200).json()
        };
        assert_eq!(here[1], no_cache("/users/me/dashboard").await, "{step}");
        assert_eq!(here[2], no_cache("/users/me/session").await, "{step}");
        until("the other server has heard of it", async || {
            own_bodies(&second, &sam, school.course).await == here
        })
        .await;
        assert_eq!(second.get(&untouched).await.cache(), "HIT", "{step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_server_sees_what_a_student_did_on_sqlite() {
    let redis = Redis::start().await;
    two_servers(|| on_redis(&redis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_server_sees_what_a_student_did_on_postgresql() {
    let (redis, cluster) = (Redis::start().await, Postgres::start());
    let database_url = || Some(cluster.url());
    two_servers(|| Settings { database_url: database_url(), ..on_redis(&redis) }).await;
}
