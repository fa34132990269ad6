//! Texts of every alphabet and numbers at their limits: kept, found or refused alike on both databases.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{TestApp, on_both, on_every_content_store};

/// Four-byte characters, joined ones, right to left, combining marks, and what editors leave behind.
const TEXTS: [&str; 6] = [
    "Grüße 🎓 an alle",
    "机器学习入门 𠜎𠜱",
    "مقدمة في البرمجة",
    "👩🏽‍💻 family 👨‍👩‍👧‍👦",
    "e\u{301}clair and é",
    "tab\tquote\" apostrophe' back\\slash \u{feff}\u{200b}end",
];

on_every_content_store!(
    kept,
    text_in_any_alphabet_comes_back_as_it_was_written_on_sqlite,
    text_in_any_alphabet_comes_back_as_it_was_written_on_postgresql,
    text_in_any_alphabet_comes_back_as_it_was_written_on_mongodb
);

async fn kept(app: TestApp) {
    let (ada, sam) = (app.instructor("ada").await, app.student("sam").await);
    for (number, text) in TEXTS.into_iter().enumerate() {
        let new = json!({"title": text, "slug": format!("text-{number}"), "description": text,
            "category": text, "level": "beginner", "price": "0.00"});
        let id = app.post("/courses").by(&ada).json(new).await.expect(201).id();
        app.set_status(&ada, id, "published").await.expect(200);
        let lesson = json!({"title": text, "body": text});
        let content = json!({"modules": [{"title": text, "lessons": [lesson]}]});
        let path = format!("/courses/{id}");
        app.put(&format!("{path}/content")).by(&ada).json(content).await.expect(200);
        let place = json!({"course_id": id, "enrollment_source": text});
        let place = app.post("/enrollments").by(&sam).json(place).await.expect(201).json();
        assert_eq!(place["enrollment_source"], text);
        let article = json!({"title": text, "slug": format!("text-{number}"), "body": text,
            "tags": [text], "published": true});
        let article = app.post("/articles").by(&ada).json(article).await.expect(201).id();
        // From the database, and then from the cache.
        for _ in 0..2 {
            let course = app.get(&path).await.expect(200).json();
            for field in ["title", "description", "category"] {
                assert_eq!(course[field], text, "{field}");
            }
            let content = app.get(&format!("{path}/content")).by(&sam).await.expect(200).json();
            let module = &content["modules"][0];
            assert_eq!(
                (&module["title"], &module["lessons"][0]["body"]),
                (&json!(text), &json!(text))
            );
            let dashboard = app.get("/users/me/dashboard").by(&sam).await.expect(200).json();
            assert_eq!(dashboard["enrollments"][0]["course"]["title"], text);
            let article = app.get(&format!("/articles/{article}")).await.expect(200).json();
            assert_eq!((&article["title"], &article["body"]), (&json!(text), &json!(text)));
        }
    }
    let name = json!({"full_name": TEXTS[1], "bio": TEXTS[3]});
    app.put(&format!("/users/{}", ada.id)).by(&ada).json(name).await.expect(200);
    let seen = app.get(&format!("/users/{}", ada.id)).await.expect(200).json();
    assert_eq!((&seen["full_name"], &seen["bio"]), (&json!(TEXTS[1]), &json!(TEXTS[3])));
}

on_both!(
    found,
    a_search_means_every_character_literally_on_sqlite,
    a_search_means_every_character_literally_on_postgresql
);

async fn found(app: TestApp) {
    let ada = app.instructor("ada").await;
    for title in [
        "100% Rust",
        "snake_case",
        "glob * and ? and [a-z]",
        "O'Reilly \"quoted\"",
        "back\\slash",
        "Straße Ünïcode",
        "Kaffee ☕ und 🎓",
        "机器学习",
        "$1 and :name and ;",
    ] {
        app.published(&ada, title).await;
    }
    for (q, hits) in [
        ("%25", 1),
        ("100%25%20rust", 1),
        ("_", 1),
        ("%25_", 0),
        ("*", 1),
        ("?", 1),
        ("%5Ba-z%5D", 1),
        ("%5Ba-b%5D", 0),
        ("%27", 1),
        ("%22", 1),
        ("%5C", 1),
        ("%5C%5C", 0),
        ("%5C%25", 0),
        ("%27%20OR%201%3D1--", 0),
        ("%27;%20DROP%20TABLE%20courses;--", 0),
        ("%F0%9F%8E%93", 1),
        ("%E5%AD%A6%E4%B9%A0", 1),
        ("%C3%9CN%C3%8FCODE", 1),
        ("%241", 1),
        (":name", 1),
        (";", 1),
        ("described", 9),
    ] {
        let list = app.get(&format!("/courses?q={q}")).await.expect(200).json();
        assert_eq!(list["total"], hits, "{q}");
        let found = list["items"].as_array().map(Vec::len);
        assert_eq!(found, Some(hits), "{q}");
    }
    for category in ["%25", "_", "*", "Testin_", "%27"] {
        let list = app.get(&format!("/courses?category={category}")).await.expect(200).json();
        assert_eq!(list["total"], 0, "{category}");
    }
}

#[tokio::test]
async fn a_page_an_order_or_a_text_that_there_cannot_be_is_no_servers_error() {
    let app = TestApp::start().await;
    for query in ["q=%F0%9F", "q=%ff"] {
        let answer = app.get(&format!("/courses?{query}")).await;
        assert!([200, 422].contains(&answer.status), "{query}: {}", answer.text());
    }
    for query in [
        "page=1000000000000",
        "page=1000000000000&page_size=100",
        "skip=1000000000000",
        "sort_by=title",
        "sort_by=%27",
        "sort_by=popular%00",
    ] {
        app.get(&format!("/courses?{query}")).await.refused(422);
    }
}

on_both!(
    slugs,
    a_slug_is_ascii_and_titles_in_other_alphabets_get_one_of_their_own_on_sqlite,
    a_slug_is_ascii_and_titles_in_other_alphabets_get_one_of_their_own_on_postgresql
);

async fn slugs(app: TestApp) {
    let ada = app.instructor("ada").await;
    for slug in
        ["机器学习", "grüße", "слаг", "🎓", "a\u{301}", "A", "a b", "a/b", "a_b", "-a", "%41"]
    {
        let mut new = crate::support::course("Rust");
        new["slug"] = json!(slug);
        let answer = app.post("/courses").by(&ada).json(new).await;
        assert!(answer.refused(422).starts_with("slug: "), "{slug}");
    }
    let made = async |title: &str| {
        let new = crate::support::course(title);
        app.post("/courses").by(&ada).json(new).await.expect(201).json()["slug"].clone()
    };
    let (one, two) = (made("机器学习").await, made("Введение").await);
    for slug in [&one, &two] {
        let slug = slug.as_str().unwrap_or("");
        assert!(slug.starts_with("untitled-"), "{slug}");
        let seen = app.get(&format!("/courses/slug/{slug}")).by(&ada).await.expect(200);
        assert_eq!(seen.json()["slug"], slug);
    }
    assert_ne!(one, two);
    let again = app.post("/courses").by(&ada).json(crate::support::course("机器学习")).await;
    assert!(again.refused(409).contains(one.as_str().unwrap_or("?")), "as for any other title");
    for path in ["%E6%9C%BA%E5%99%A8", "%F0%9F%8E%93", "*", "%25", "'"] {
        app.get(&format!("/courses/slug/{path}")).await.refused(404);
    }
}

on_both!(
    limits,
    ids_at_the_limits_of_64_bits_are_looked_up_and_not_found_on_sqlite,
    ids_at_the_limits_of_64_bits_are_looked_up_and_not_found_on_postgresql
);

async fn limits(app: TestApp) {
    let (ada, root) = (app.instructor("ada").await, app.admin().await);
    let course = app.published(&ada, "Rust").await;
    app.write_content(&ada, course).await;
    let place = app.enroll(&ada, course).await.expect(201).id();
    let stars = json!({"stars": 5});
    for id in [i64::MIN, -1, 0, i64::MAX] {
        for (method, path, body) in [
            (Method::GET, format!("/courses/{id}"), Value::Null),
            (Method::GET, format!("/courses/{id}/seats"), Value::Null),
            (Method::GET, format!("/courses/{id}/content"), Value::Null),
            (Method::GET, format!("/courses/{id}/content/lessons/{id}"), Value::Null),
            (Method::GET, format!("/courses/{course}/content/lessons/{id}"), Value::Null),
            (Method::GET, format!("/courses/{id}/progress"), Value::Null),
            (Method::GET, format!("/courses/{id}/enrollments"), Value::Null),
            (Method::GET, format!("/enrollments/{id}"), Value::Null),
            (Method::GET, format!("/certificates/{id}"), Value::Null),
            (Method::GET, format!("/users/{id}"), Value::Null),
            (Method::GET, format!("/instructors/{id}"), Value::Null),
            (Method::GET, format!("/articles/{id}"), Value::Null),
            (Method::PUT, format!("/courses/{id}/rating"), stars.clone()),
            (Method::PUT, format!("/articles/{id}"), json!({})),
            (Method::POST, format!("/courses/{id}/lessons/1/complete"), Value::Null),
            (Method::POST, format!("/courses/{course}/lessons/{id}/complete"), Value::Null),
            (Method::DELETE, format!("/courses/{course}/lessons/{id}/complete"), Value::Null),
            (Method::DELETE, format!("/enrollments/{id}"), Value::Null),
            (Method::PATCH, format!("/enrollments/{id}/progress"), json!({})),
            (Method::DELETE, format!("/courses/{course}/content/modules/{id}"), Value::Null),
            (Method::POST, "/enrollments".to_owned(), json!({ "course_id": id })),
        ] {
            let asked = app.ask(method, &path).by(&ada);
            let asked = if body.is_null() { asked } else { asked.json(body) };
            asked.await.refused(404);
        }
        let report = app.patch(&format!("/enrollments/{place}/progress")).by(&ada);
        report.json(json!({ "lesson_id": id })).await.refused(422);
        let student = json!({"course_id": course, "student_id": id});
        app.post("/enrollments").by(&root).json(student).await.refused(422);
    }
    for beyond in ["9223372036854775808", "-9223372036854775809", "1e3", "1.0", "\"1\""] {
        let body = format!("{{\"course_id\": {beyond}}}");
        let asked = app.post("/enrollments").by(&ada).body("application/json", body);
        asked.await.refused(422);
    }
}
