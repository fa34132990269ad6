//! What clients get wrong, and the specific refusal of each.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Person, TestApp, content, course};

struct School {
    app: TestApp,
    ada: Person,
    id: i64,
}

impl School {
    async fn new() -> Self {
        let app = TestApp::start().await;
        let ada = app.instructor("ada").await;
        let id = app.published(&ada, "Rust").await;
        app.write_content(&ada, id).await;
        Self { app, ada, id }
    }

    fn path(&self) -> String {
        format!("/courses/{}", self.id)
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_is_400() {
    let school = School::new().await;
    let (app, ada, path) = (&school.app, &school.ada, school.path());
    let bodies = ["", "{", "not json", "{\"title\": \"x\"", "{\"title\":\"x\"}}", "{'title': 'x'}"];
    for body in bodies {
        let post = app.post("/courses").by(ada).body("application/json", body);
        assert!(post.await.refused(400).contains("not valid JSON"), "{body}");
        app.put(&path).by(ada).body("application/json", body).await.refused(400);
        app.post("/auth/login").body("application/json", body).await.refused(400);
    }
    // A wrong field before the place where the text stops being JSON.
    let both = "{\"nonsense\": 1, ";
    app.put(&path).by(ada).body("application/json", both).await.refused(400);
    let deep = "[".repeat(100_000 / 2);
    app.put(&path).by(ada).body("application/json", deep).await.refused(400);
    let bytes: &[u8] = b"{\"title\": \"\xff\xfe\"}";
    app.put(&path).by(ada).body("application/json", bytes).await.refused(400);
}

#[tokio::test]
async fn json_of_another_shape_is_422_and_names_the_field() {
    let school = School::new().await;
    let (app, ada, id) = (&school.app, &school.ada, school.id);
    let with = |name: &str, value: Value| {
        let mut course = course("New");
        course[name] = value;
        course
    };
    let long = "x".repeat(201);
    let (courses, detail) = ("/courses".to_owned(), school.path());
    let cases = [
        (Method::POST, &courses, with("titel", json!("x")), "titel"),
        (Method::POST, &courses, with("title", json!(7)), "title"),
        (Method::POST, &courses, with("title", json!("  ")), "title"),
        (Method::POST, &courses, with("title", json!(long)), "title"),
        (Method::POST, &courses, with("title", json!("a\u{0}b")), "title"),
        (Method::POST, &courses, with("slug", json!("Not A Slug")), "slug"),
        (Method::POST, &courses, with("level", json!("expert")), "level"),
        (Method::POST, &courses, with("price", json!(19.9)), "price"),
        (Method::POST, &courses, with("price", json!("-1.00")), "price"),
        (Method::POST, &courses, with("price", json!("1.999")), "price"),
        (Method::POST, &courses, with("max_students", json!(0)), "max_students"),
        (Method::POST, &courses, with("max_students", json!(1e30)), "max_students"),
        (Method::POST, &courses, with("instructor_id", json!(1)), "instructor_id"),
        (Method::POST, &courses, json!({"title": "No more"}), "description"),
        (Method::POST, &courses, json!([1, 2]), "body"),
        (Method::POST, &courses, json!("text"), "body"),
        (Method::PUT, &detail, json!({"title": null}), "title"),
        (Method::PUT, &detail, json!({"price": null}), "price"),
        (Method::PUT, &detail, json!({"status": "archived"}), "status"),
        (Method::PUT, &detail, json!({"enrolled_count": 7}), "enrolled_count"),
        (Method::PUT, &detail, json!({"max_students": -1}), "max_students"),
        (Method::PATCH, &format!("{detail}/status"), json!({"status": "gone"}), "status"),
        (Method::PUT, &format!("{detail}/rating"), json!({"stars": 6}), "stars"),
        (Method::PUT, &format!("{detail}/rating"), json!({"stars": "5"}), "stars"),
        (Method::POST, &"/enrollments".to_owned(), json!({"course_id": "1"}), "course_id"),
        (Method::POST, &"/enrollments".to_owned(), json!({}), "course_id"),
        (Method::POST, &"/auth/register".to_owned(), json!({"username": "x"}), "email"),
    ];
    for (method, path, body, field) in cases {
        let answer = app.ask(method, path).by(ada).json(body.clone()).await;
        let detail = answer.refused(422);
        assert!(detail.contains(field), "{body}: {field} in {detail}");
        let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
        assert!(!errors.is_empty(), "{body}: {}", answer.text());
    }
    let seen = app.get(&format!("/courses/{id}")).await.expect(200).json();
    assert_eq!((&seen["title"], &seen["version"]), (&json!("Rust"), &json!(2)));
}

#[tokio::test]
async fn every_invalid_field_is_named_at_once() {
    let school = School::new().await;
    let mut bad = course("");
    bad["category"] = json!("");
    bad["max_students"] = json!(0);
    bad["slug"] = json!("-");
    let answer = school.app.post("/courses").by(&school.ada).json(bad).await;
    answer.refused(422);
    let errors = answer.json()["errors"].clone();
    let fields: Vec<&str> =
        errors.as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["slug", "title", "category", "max_students"]);
}

#[tokio::test]
async fn accounts_are_checked_before_anything_is_hashed_or_stored() {
    let app = TestApp::start().await;
    let good = json!({"username": "nina", "email": "nina@example.org",
        "password": "correct horse battery", "full_name": "Nina"});
    for (field, values) in [
        (
            "username",
            vec![json!("ab"), json!("a b c"), json!("x".repeat(51)), json!(7), Value::Null],
        ),
        (
            "email",
            vec![json!("nina"), json!("a@b@c"), json!("a b@c.de"), json!("@x.de"), json!("")],
        ),
        ("password", vec![json!("short"), json!("x".repeat(129)), json!("null\u{0}byte")]),
        ("full_name", vec![json!(""), json!("x".repeat(201))]),
        ("role", vec![json!("admin")]),
    ] {
        for value in values {
            let mut bad = good.clone();
            bad[field] = value.clone();
            let detail = app.post("/auth/register").json(bad).await.refused(422);
            assert!(detail.contains(field), "{field} {value}: {detail}");
            let shown = value.as_str().unwrap_or("");
            assert!(field != "password" || !detail.contains(shown), "{detail}");
        }
    }
    app.post("/auth/register").json(good).await.expect(201);
}

#[tokio::test]
async fn content_that_contradicts_itself_is_422() {
    let school = School::new().await;
    let path = format!("{}/content", school.path());
    for (bad, field) in [
        (json!({}), "modules"),
        (json!({"modules": [], "extra": 1}), "extra"),
        (json!({"modules": [{"title": ""}]}), "modules[0].title"),
        (json!({"modules": [{"title": "A", "lessons": [{}]}]}), "title"),
        (json!({"modules": [{"id": 1, "title": "A"}, {"id": 1, "title": "B"}]}), "modules[1]"),
        (json!({"modules": [{"id": -1, "title": "A"}]}), "modules[0].id"),
        (json!({"modules": [{"id": 1_i64 << 60, "title": "A"}]}), "modules[0].id"),
    ] {
        let answer = school.app.put(&path).by(&school.ada).json(bad.clone()).await;
        let detail = answer.refused(422);
        assert!(detail.contains(field), "{bad}: {field} in {detail}");
    }
    let document = school.app.get(&path).by(&school.ada).await.expect(200).json();
    assert_eq!(
        (&document["version"], &document["metadata"]["total_lessons"]),
        (&json!(1), &json!(3))
    );
    let taken = document["modules"][0]["id"].clone();
    let module = json!({"id": taken, "title": "Again"});
    let modules = format!("{path}/modules");
    school.app.post(&modules).by(&school.ada).json(module).await.refused(422);
    let lessons = format!("{modules}/987654/lessons");
    school.app.post(&lessons).by(&school.ada).json(json!({"title": "Lost"})).await.refused(404);
    school.app.delete(&format!("{modules}/987654")).by(&school.ada).await.refused(404);
}

#[tokio::test]
async fn paging_and_filters_out_of_range_are_422() {
    let school = School::new().await;
    for (query, field) in [
        ("skip=-1", "skip"),
        ("skip=1000001", "skip"),
        ("skip=abc", "skip"),
        ("skip=99999999999999999999", "skip"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1.5", "limit"),
        ("page=0", "page"),
        ("page=1000002", "page"),
        ("page=9223372036854775807", "page"),
        ("page=100000&page_size=100", "page"),
        ("page_size=0", "page_size"),
        ("page_size=101", "page_size"),
        ("skip=0&page=1", "page"),
        ("limit=5&page_size=5", "page_size"),
        ("sort_by=price", "sort_by"),
        ("sort_by=", "sort_by"),
        ("level=expert", "level"),
        ("min_rating=6", "min_rating"),
        ("min_rating=-1", "min_rating"),
        ("min_rating=NaN", "min_rating"),
        ("min_rating=inf", "min_rating"),
        ("q=a%00b", "q"),
        ("category=a%00b", "category"),
    ] {
        let detail = school.app.get(&format!("/courses?{query}")).await.refused(422);
        assert!(detail.starts_with(&format!("{field}:")), "{query}: {detail}");
    }
    let long = "x".repeat(201);
    school.app.get(&format!("/courses?q={long}")).await.refused(422);
    school.app.get("/courses/my-courses?limit=0").by(&school.ada).await.refused(422);
    school.app.get("/enrollments/my-enrollments?skip=-1").by(&school.ada).await.refused(422);
}

#[tokio::test]
async fn an_id_that_is_no_64_bit_integer_is_422_and_an_absurd_one_is_404() {
    let school = School::new().await;
    let (app, ada) = (&school.app, &school.ada);
    for id in
        ["abc", "1.5", "9223372036854775808", "-9223372036854775809", "%00", "1%20or%201=1", "0x1"]
    {
        for path in
            [format!("/courses/{id}"), format!("/courses/{id}/seats"), format!("/users/{id}")]
        {
            app.get(&path).await.refused(422);
        }
        app.delete(&format!("/courses/{id}")).by(ada).await.refused(422);
        app.get(&format!("/enrollments/{id}")).by(ada).await.refused(422);
    }
    for id in [0, -1, i64::MAX, i64::MIN] {
        app.get(&format!("/courses/{id}")).await.refused(404);
        app.get(&format!("/courses/{id}/seats")).await.refused(404);
        app.get(&format!("/courses/{id}/content")).by(ada).await.refused(404);
        app.get(&format!("/users/{id}")).by(ada).await.refused(404);
        app.get(&format!("/instructors/{id}")).await.refused(404);
        app.get(&format!("/enrollments/{id}")).by(ada).await.refused(404);
        app.put(&format!("/courses/{id}")).by(ada).json(json!({})).await.refused(404);
        app.enroll(ada, id).await.refused(404);
    }
}

#[tokio::test]
async fn a_body_over_its_limit_is_413() {
    let school = School::new().await;
    let (app, ada, path) = (&school.app, &school.ada, school.path());
    let ten_megabytes = format!("{{\"title\": \"{}\"}}", "x".repeat(10 << 20));
    for (method, path) in [
        (Method::PUT, path.clone()),
        (Method::POST, "/courses".to_owned()),
        (Method::POST, "/enrollments".to_owned()),
        (Method::POST, "/auth/login".to_owned()),
        (Method::POST, "/auth/register".to_owned()),
        (Method::PUT, format!("{path}/content")),
    ] {
        let body = ten_megabytes.clone();
        app.ask(method, &path).by(ada).body("application/json", body).await.refused(413);
    }
    let login = json!({"email": "a@b.de", "password": "x".repeat(4096)});
    app.post("/auth/login").json(login).await.refused(413);
    let fits = json!({"description": "x".repeat(19_000)});
    app.put(&path).by(ada).json(fits).await.expect(200);
    let mut large = content();
    large["modules"][0]["lessons"][0]["body"] = json!("x".repeat(1 << 20));
    app.put(&format!("{path}/content")).by(ada).json(large).await.expect(200);
}

#[tokio::test]
async fn a_body_that_is_not_declared_as_json_is_415() {
    let school = School::new().await;
    let (app, ada, path) = (&school.app, &school.ada, school.path());
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        app.put(&path).by(ada).body(kind, "{\"title\": \"x\"}").await.refused(415);
    }
    app.put(&path).by(ada).await.refused(415);
    let kind = "application/json; charset=utf-8";
    app.put(&path).by(ada).body(kind, "{\"title\": \"Declared\"}").await.expect(200);
}

#[tokio::test]
async fn a_wrong_method_is_405_and_an_unknown_path_404() {
    let school = School::new().await;
    let (app, path) = (&school.app, school.path());
    for (method, path) in [
        (Method::DELETE, "/courses".to_owned()),
        (Method::POST, path.clone()),
        (Method::PATCH, path.clone()),
        (Method::GET, "/auth/login".to_owned()),
        (Method::POST, "/health".to_owned()),
    ] {
        let answer = app.ask(method, &path).json(json!({})).await;
        answer.refused(405);
        assert!(!answer.header("allow").is_empty(), "{path}");
    }
    for path in ["/nothing", "/courses/1/nothing", "/api", "/.env", "/../../etc/passwd"] {
        app.get(path).await.refused(404);
    }
    let head = app.ask(Method::HEAD, &path).await.expect(200);
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn if_match_lets_only_the_current_version_be_written() {
    let school = School::new().await;
    let (app, ada, path) = (&school.app, &school.ada, school.path());
    let seen = app.get(&path).await.expect(200).etag();
    let edit = |title: &str, tag: &str| {
        app.put(&path).by(ada).header("if-match", tag).json(json!({ "title": title }))
    };
    let first = edit("First", &seen).await.expect(200);
    let late = edit("Second", &seen).await;
    assert_eq!(late.refused(412), "the resource is at version 3");
    for tag in ["\"99-0000000000000000\"", "\"nonsense\"", "W/\"3-0\""] {
        let answer = edit("Never", tag).await;
        assert!(matches!(answer.status, 412 | 422), "{tag}: {}", answer.text());
    }
    edit("Third", "*").await.expect(200);
    edit("Fourth", &format!("\"7-0\", {}", first.etag())).await.refused(412);
    assert_eq!(app.get(&path).await.json()["title"], "Third");
}

#[tokio::test]
async fn a_taken_slug_is_409_and_is_named() {
    let school = School::new().await;
    let (app, ada) = (&school.app, &school.ada);
    let taken = "Slug 'rust' is already taken";
    assert_eq!(app.post("/courses").by(ada).json(course("Rust")).await.refused(409), taken);
    let mut other = course("Another");
    other["slug"] = json!("rust");
    assert_eq!(app.post("/courses").by(ada).json(other).await.refused(409), taken);
    let another = app.draft(ada, "Another").await;
    let edit = json!({"slug": "rust"});
    let put = app.put(&format!("/courses/{another}")).by(ada).json(edit).await;
    assert_eq!(put.refused(409), taken);
    app.put(&school.path()).by(ada).json(json!({"slug": "rust"})).await.expect(200);
}

#[tokio::test]
async fn a_status_changes_only_along_its_arrows() {
    let school = School::new().await;
    let (app, ada) = (&school.app, &school.ada);
    let sam = app.student("sam").await;
    let id = app.draft(ada, "Another").await;
    for (to, status) in [
        ("draft", 409),
        ("archived", 409),
        ("published", 200),
        ("published", 409),
        ("draft", 200),
        ("published", 200),
        ("archived", 200),
        ("draft", 409),
        ("archived", 409),
        ("published", 200),
    ] {
        let answer = app.set_status(ada, id, to).await;
        assert_eq!(answer.status, status, "{to}: {}", answer.text());
    }
    app.enroll(&sam, id).await.expect(201);
    let refused = app.set_status(ada, id, "draft").await.refused(409);
    assert_eq!(refused, "A course with enrolled students cannot become a draft again");
}

#[tokio::test]
async fn a_course_keeps_the_day_it_was_first_published() {
    let school = School::new().await;
    let (app, ada, path) = (&school.app, &school.ada, school.path());
    let first = app.get(&path).await.json()["published_at"].clone();
    assert!(first.as_str().is_some_and(|at| at.ends_with('Z')), "{first}");
    app.set_status(ada, school.id, "archived").await.expect(200);
    let again = app.set_status(ada, school.id, "published").await.expect(200).json();
    assert_eq!(again["published_at"], first);
}

#[tokio::test]
async fn null_clears_a_field_and_absence_keeps_it() {
    let school = School::new().await;
    let (app, ada, path) = (&school.app, &school.ada, school.path());
    let put = async |body: Value| app.put(&path).by(ada).json(body).await.expect(200).json();
    assert_eq!(put(json!({"max_students": 5})).await["max_students"], 5);
    let kept = put(json!({"title": "Kept"})).await;
    assert_eq!((&kept["max_students"], &kept["price"]), (&json!(5), &json!("19.90")));
    assert_eq!(put(json!({"max_students": null})).await["max_students"], Value::Null);
    assert_eq!(put(json!({})).await["title"], "Kept");
}

#[tokio::test]
async fn enrolling_says_why_it_is_refused() {
    let school = School::new().await;
    let (app, ada, id) = (&school.app, &school.ada, school.id);
    let (sam, eve) = (app.student("sam").await, app.student("eve").await);
    let draft = app.draft(ada, "Draft").await;
    app.enroll(&sam, 999_999).await.refused(404);
    let not_open = "Course is not available for enrollment";
    assert_eq!(app.enroll(&sam, draft).await.refused(409), not_open);
    let enrolled = app.enroll(&sam, id).await.expect(201).json();
    assert_eq!(enrolled["status"], "active");
    assert_eq!(enrolled["student_id"], sam.id);
    assert_eq!(app.enroll(&sam, id).await.refused(409), "Already enrolled in this course");
    app.put(&school.path()).by(ada).json(json!({"max_students": 1})).await.expect(200);
    assert_eq!(app.enroll(&eve, id).await.refused(409), "Course enrollment limit reached");
    app.post("/enrollments").json(json!({"course_id": id})).await.refused(401);
    let ghost = json!({"course_id": id, "student_id": 999_999});
    app.post("/enrollments").by(ada).json(ghost).await.refused(422);
}

#[tokio::test]
async fn a_refusal_is_in_words_that_say_what_to_change() {
    let school = School::new().await;
    let (app, ada, path) = (&school.app, &school.ada, school.path());
    for (query, detail) in [
        ("min_rating=good", "min_rating: must be a number"),
        ("min_rating=", "min_rating: must be a number"),
        ("skip=abc", "skip: must be a whole number"),
        ("limit=1.5", "limit: must be a whole number"),
        ("skip=99999999999999999999", "skip: is too large"),
    ] {
        assert_eq!(app.get(&format!("/courses?{query}")).await.refused(422), detail);
    }
    let slug = app.get("/courses/slug/%ff").await.refused(422);
    assert!(slug.starts_with("slug: ") && slug.contains("UTF-8"), "{slug}");
    for (method, path, body, field) in [
        (Method::POST, "/courses".to_owned(), json!({"title": "No more"}), "description"),
        (Method::POST, "/auth/login".to_owned(), json!({}), "email"),
        (Method::PUT, format!("{path}/content"), json!({}), "modules"),
        (
            Method::PUT,
            format!("{path}/content"),
            json!({"modules": [{"title": "One", "lessons": [{"title": "A"}, {}]}]}),
            "modules[0].lessons[1].title",
        ),
    ] {
        let answer = app.ask(method, &path).by(ada).json(body).await;
        assert_eq!(answer.refused(422), format!("{field}: is missing"));
        assert_eq!(answer.json()["errors"][0]["field"], field);
    }
}

#[tokio::test]
async fn an_array_in_the_place_of_an_object_is_422_at_any_depth() {
    let school = School::new().await;
    let (app, ada) = (&school.app, &school.ada);
    let content = format!("{}/content", school.path());
    let modules = format!("{content}/modules");
    let lesson = json!([null, "A lesson"]);
    for (method, path, body, field) in [
        (Method::PUT, &content, json!([[]]), "body"),
        (Method::PUT, &content, json!({"modules": [[null, "One", null, []]]}), "modules[0]"),
        (Method::PUT, &content, json!({"modules": [], "metadata": [1, 2, 3.0, []]}), "metadata"),
        (
            Method::PUT,
            &content,
            json!({"modules": [{"title": "One", "lessons": [lesson]}]}),
            "modules[0].lessons[0]",
        ),
        (Method::POST, &modules, json!({"title": "One", "lessons": [lesson]}), "lessons[0]"),
        (Method::POST, &modules, json!([null, "One"]), "body"),
    ] {
        let answer = app.ask(method, path).by(ada).json(body.clone()).await;
        assert!(answer.refused(422).contains("expected an object"), "{body}: {}", answer.text());
        assert_eq!(answer.json()["errors"][0]["field"], field, "{body}");
    }
}

#[tokio::test]
async fn an_unknown_query_parameter_is_422_and_the_known_ones_are_listed() {
    let school = School::new().await;
    let (app, ada) = (&school.app, &school.ada);
    for (path, unknown, known) in [
        ("/courses?limit=5&minrating=4", "minrating", "`min_rating`"),
        ("/courses?sort=popular", "sort", "`sort_by`"),
        ("/courses/my-courses?offset=3", "offset", "`skip`"),
        ("/enrollments/my-enrollments?per_page=3", "per_page", "`page_size`"),
        ("/enrollments/my-enrollments?x=&x=", "x", "`page_size`"),
    ] {
        let answer = app.get(path).by(ada).await;
        let detail = answer.refused(422);
        assert!(detail.starts_with(&format!("{unknown}: ")) && detail.contains(known), "{detail}");
        assert_eq!(answer.json()["errors"][0]["field"], unknown);
    }
}
