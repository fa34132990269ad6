//! Who sees what, and that a warm cache gives nobody more than a cold one.

use serde_json::json;

use crate::support::{Person, TestApp};

/// Everybody who could ask, with what each should get.
struct Viewers {
    owner: Person,
    admin: Person,
    enrolled: Person,
    other_teacher: Person,
    student: Person,
}

impl Viewers {
    async fn of(app: &TestApp) -> Self {
        Self {
            owner: app.instructor("ada").await,
            admin: app.admin().await,
            enrolled: app.student("sam").await,
            other_teacher: app.instructor("bob").await,
            student: app.student("eve").await,
        }
    }

    /// The status that each viewer gets: anonymous, owner, admin, enrolled, another teacher, a student.
    async fn get(&self, app: &TestApp, path: &str) -> [u16; 6] {
        let mut seen = [0; 6];
        seen[0] = app.get(path).await.status;
        let people = [&self.owner, &self.admin, &self.enrolled, &self.other_teacher, &self.student];
        for (index, person) in people.into_iter().enumerate() {
            seen[index + 1] = app.get(path).by(person).await.status;
        }
        seen
    }
}

#[tokio::test]
async fn each_status_of_a_course_shows_it_to_those_who_have_to_do_with_it() {
    let app = TestApp::start().await;
    let who = Viewers::of(&app).await;
    let id = app.draft(&who.owner, "Rust").await;
    app.write_content(&who.owner, id).await;
    let slug = "/courses/slug/rust".to_owned();
    let (detail, content) = (format!("/courses/{id}"), format!("/courses/{id}/content"));
    // Each path is read twice: what the first viewer left in the cache must not help the next.
    for path in [&detail, &detail, &slug] {
        assert_eq!(who.get(&app, path).await, [404, 200, 200, 404, 404, 404], "draft {path}");
    }
    for _ in 0..2 {
        assert_eq!(who.get(&app, &content).await, [401, 200, 200, 404, 404, 404], "draft");
    }
    app.set_status(&who.owner, id, "published").await.expect(200);
    app.enroll(&who.enrolled, id).await.expect(201);
    for path in [&detail, &detail, &slug] {
        assert_eq!(who.get(&app, path).await, [200; 6], "published {path}");
    }
    for _ in 0..2 {
        assert_eq!(who.get(&app, &content).await, [401, 200, 200, 200, 403, 403], "published");
    }
    app.set_status(&who.owner, id, "archived").await.expect(200);
    for path in [&detail, &detail, &slug] {
        assert_eq!(who.get(&app, path).await, [404, 200, 200, 200, 404, 404], "archived {path}");
    }
    for _ in 0..2 {
        assert_eq!(who.get(&app, &content).await, [401, 200, 200, 200, 404, 404], "archived");
    }
    app.enroll(&who.student, id).await.refused(409);
    app.delete(&detail).by(&who.owner).await.expect(204);
    for path in [&detail, &slug] {
        assert_eq!(who.get(&app, path).await, [404; 6], "deleted {path}");
    }
    assert_eq!(who.get(&app, &content).await, [401, 404, 404, 404, 404, 404], "deleted");
}

#[tokio::test]
async fn an_unpublished_course_is_read_past_the_cache_and_may_not_be_stored() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    let id = app.draft(&ada, "Secret plans").await;
    for _ in 0..2 {
        let answer = app.get(&format!("/courses/{id}")).by(&ada).await.expect(200);
        assert_eq!(answer.cache(), "BYPASS");
        assert_eq!(answer.header("cache-control"), "private, no-store");
    }
    let list = app.get("/courses").await.expect(200);
    assert_eq!(list.json()["total"], 0, "a draft is in no list");
    assert_eq!(app.get("/courses?q=secret").await.json()["total"], 0);
    app.get(&format!("/courses/{id}/seats")).await.refused(404);
}

#[tokio::test]
async fn a_hidden_course_and_none_at_all_look_alike() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    let hidden = app.draft(&ada, "Secret plans").await;
    for path in ["", "/seats"] {
        let mut seen = Vec::new();
        for id in [hidden, hidden + 1] {
            let mut answers = Vec::new();
            for _ in 0..2 {
                let answer = app.get(&format!("/courses/{id}{path}")).await.expect(404);
                let mut headers = answer.headers.clone();
                headers.remove("x-request-id");
                headers.remove("date");
                answers.push((headers, answer.body));
            }
            seen.push(answers);
        }
        assert_eq!(seen[0], seen[1], "/courses/{{id}}{path}");
    }
}

#[tokio::test]
async fn a_warm_cache_gives_a_protected_body_to_nobody_without_a_token() {
    let app = TestApp::start().await;
    let (ada, sam) = (app.instructor("ada").await, app.student("sam").await);
    let id = app.published(&ada, "Rust").await;
    app.write_content(&ada, id).await;
    let (content, profile) = (format!("/courses/{id}/content"), format!("/users/{}", sam.id));
    let body = app.get(&content).by(&ada).await.expect(200);
    let lesson = format!("{content}/lessons/{}", body.json()["modules"][0]["lessons"][0]["id"]);
    app.get(&profile).by(&ada).await.expect(200);
    assert_eq!(app.get(&content).by(&ada).await.cache(), "HIT");
    for path in [&content, &lesson, &profile] {
        let refused = app.get(path).await;
        refused.refused(401);
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        assert_eq!(refused.etag(), "", "{path}");
        let knows_the_tag = app.get(path).header("if-none-match", body.etag()).await;
        knows_the_tag.refused(401);
        app.get(path).bearer("not.a.token").await.refused(401);
    }
    app.get(&content).by(&sam).await.refused(403);
    let guessed = app.get(&content).by(&sam).header("if-none-match", body.etag()).await;
    guessed.refused(403);
}

#[tokio::test]
async fn strangers_see_the_profiles_of_instructors_only() {
    let app = TestApp::start().await;
    let (ada, sam) = (app.instructor("ada").await, app.student("sam").await);
    let (teacher, student) = (format!("/users/{}", ada.id), format!("/users/{}", sam.id));
    for _ in 0..2 {
        app.get(&teacher).await.expect(200);
        app.get(&student).await.refused(401);
        app.get("/users/999999").await.refused(401);
        app.get(&student).by(&ada).await.expect(200);
        app.get("/users/999999").by(&ada).await.refused(404);
    }
    let seen = app.get(&student).by(&ada).await.json();
    assert!(seen.get("email").is_none(), "{seen}");
    let me = app.get("/auth/me").by(&sam).await.expect(200).json();
    assert_eq!(me["email"], json!("sam@example.org"));
}

#[tokio::test]
async fn an_enrollment_is_shown_to_its_student_the_owner_and_admins() {
    let app = TestApp::start().await;
    let who = Viewers::of(&app).await;
    let id = app.published(&who.owner, "Rust").await;
    let enrollment = app.enroll(&who.enrolled, id).await.expect(201).id();
    let path = format!("/enrollments/{enrollment}");
    assert_eq!(who.get(&app, &path).await, [401, 200, 200, 200, 404, 404]);
    let other = json!({"course_id": id, "student_id": who.student.id});
    app.post("/enrollments").by(&who.other_teacher).json(other.clone()).await.refused(403);
    app.post("/enrollments").by(&who.owner).json(other).await.expect(201);
}

#[tokio::test]
async fn an_enrollment_goes_with_its_course_and_only_admins_still_see_it() {
    let app = TestApp::start().await;
    let viewers = Viewers::of(&app).await;
    let (kept, deleted) =
        (app.published(&viewers.owner, "Kept").await, app.published(&viewers.owner, "Gone").await);
    app.enroll(&viewers.enrolled, kept).await.expect(201);
    let id = app.enroll(&viewers.enrolled, deleted).await.expect(201).id();
    let path = format!("/enrollments/{id}");
    assert_eq!(viewers.get(&app, &path).await, [401, 200, 200, 200, 404, 404]);
    app.delete(&format!("/courses/{deleted}")).by(&viewers.owner).await.expect(204);
    assert_eq!(viewers.get(&app, &path).await, [401, 404, 200, 404, 404, 404]);
    let own = app.get("/enrollments/my-enrollments").by(&viewers.enrolled).await.expect(200);
    assert_eq!(own.header("x-total-count"), "1");
    let own = own.json();
    assert_eq!((&own["total"], &own["items"][0]["course_id"]), (&json!(1), &json!(kept)));
    assert_eq!(own["items"].as_array().map(Vec::len), Some(1));
}
