//! What a cached answer says of itself, and when it comes from where.

use std::io::Read;

use campus::config::Settings;
use campus::model::Role;
use flate2::read::GzDecoder;
use serde_json::json;

use crate::support::{Answer, TestApp, course};

#[tokio::test]
async fn a_list_read_twice_is_a_miss_and_then_a_hit_with_the_same_bytes() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    for title in ["One", "Two", "Three"] {
        app.published(&ada, title).await;
    }
    let miss = app.get("/courses/?limit=2").await.expect(200);
    let hit = app.get("/courses/?limit=2").await.expect(200);
    assert_eq!((miss.cache(), hit.cache()), ("MISS", "HIT"));
    assert_eq!(miss.body, hit.body);
    assert_eq!(miss.header("cache-status"), "campus; fwd=miss; stored");
    assert_eq!(miss.header("age"), "");
    assert_is_a_hit_from(&hit, "L1");
    for answer in [&miss, &hit] {
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "public, max-age=0, must-revalidate");
        assert_eq!(answer.header("vary"), "Accept-Encoding");
        assert_eq!(answer.header("x-total-count"), "3");
        let link = answer.header("link");
        for part in [
            "</courses?skip=0&limit=2>; rel=\"first\"",
            "</courses?skip=2&limit=2>; rel=\"next\"",
            "</courses?skip=2&limit=2>; rel=\"last\"",
        ] {
            assert!(link.contains(part), "{part} in {link}");
        }
        assert!(!link.contains("prev"), "{link}");
        assert_eq!(answer.etag(), miss.etag());
        assert!(answer.etag().len() == 18, "{}", answer.etag());
    }
    assert!(!miss.header("x-request-id").is_empty());
    assert_ne!(miss.header("x-request-id"), hit.header("x-request-id"));
}

/// RFC 9211, with the tier as its detail.
fn assert_is_a_hit_from(answer: &Answer, tier: &str) {
    let status = answer.header("cache-status");
    let parts: Vec<&str> = status.split("; ").collect();
    assert_eq!(parts.len(), 4, "{status}");
    assert_eq!((parts[0], parts[1]), ("campus", "hit"), "{status}");
    let ttl = parts[2].strip_prefix("ttl=").and_then(|ttl| ttl.parse::<u64>().ok());
    assert!(ttl.is_some(), "{status}");
    assert_eq!(parts[3], format!("detail={tier}"), "{status}");
    assert!(answer.header("age").parse::<u64>().is_ok(), "Age: {}", answer.header("age"));
}

#[tokio::test]
async fn a_request_keeps_the_id_that_its_client_gave_it() {
    let app = TestApp::start().await;
    let kept = app.get("/courses").header("x-request-id", "from-the-client.1").await;
    assert_eq!(kept.header("x-request-id"), "from-the-client.1");
    let replaced = app.get("/courses").header("x-request-id", "not allowed; at all").await;
    assert_ne!(replaced.header("x-request-id"), "not allowed; at all");
}

#[tokio::test]
async fn a_course_its_content_and_its_seats_are_hits_the_second_time() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Rust").await;
    app.write_content(&ada, id).await;
    for (path, cache_control) in [
        (format!("/courses/{id}"), "public, max-age=0, must-revalidate"),
        (format!("/courses/{id}/seats"), "public, max-age=0, must-revalidate"),
        (format!("/courses/{id}/content"), "private, max-age=0, must-revalidate"),
        (format!("/users/{}", ada.id), "public, max-age=0, must-revalidate"),
        (format!("/instructors/{}", ada.id), "public, max-age=0, must-revalidate"),
    ] {
        let miss = app.get(&path).by(&ada).await.expect(200);
        let hit = app.get(&path).by(&ada).await.expect(200);
        assert_eq!((miss.cache(), hit.cache()), ("MISS", "HIT"), "{path}");
        assert_eq!(miss.body, hit.body, "{path}");
        assert_eq!(miss.etag(), hit.etag(), "{path}");
        assert_eq!(miss.header("cache-control"), cache_control, "{path}");
        assert_is_a_hit_from(&hit, "L1");
    }
}

#[tokio::test]
async fn a_lesson_is_cut_from_the_cached_document() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Rust").await;
    app.write_content(&ada, id).await;
    let document = app.get(&format!("/courses/{id}/content")).by(&ada).await.expect(200);
    let lesson = &document.json()["modules"][1]["lessons"][0];
    let path = format!("/courses/{id}/content/lessons/{}", lesson["id"]);
    let cut = app.get(&path).by(&ada).await.expect(200);
    assert_eq!(cut.cache(), "HIT");
    assert_eq!(cut.json(), *lesson);
    app.get(&format!("/courses/{id}/content/lessons/987654")).by(&ada).await.refused(404);
}

#[tokio::test]
async fn a_client_that_has_the_body_gets_304_with_the_same_tag_and_no_body() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Rust").await;
    for path in ["/courses".to_owned(), format!("/courses/{id}"), format!("/courses/{id}/seats")] {
        let first = app.get(&path).await.expect(200);
        for tag in [first.etag(), format!("\"other\", W/{}", first.etag()), "*".to_owned()] {
            let again = app.get(&path).header("if-none-match", tag).await.expect(304);
            assert!(again.body.is_empty(), "{path}");
            assert_eq!(again.etag(), first.etag(), "{path}");
            assert_eq!(again.cache(), "HIT", "{path}");
            assert_eq!(again.header("cache-control"), first.header("cache-control"), "{path}");
            assert_eq!(again.header("vary"), first.header("vary"), "{path}");
        }
        app.get(&path).header("if-none-match", "\"0-0000000000000000\"").await.expect(200);
    }
}

#[tokio::test]
async fn the_tag_of_a_course_begins_with_its_version() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Rust").await;
    let path = format!("/courses/{id}");
    let before = app.get(&path).await.expect(200);
    let version = before.json()["version"].as_i64().expect("a version");
    assert!(before.etag().starts_with(&format!("\"{version}-")), "{}", before.etag());
    let written = app.put(&path).by(&ada).json(json!({"title": "Rust 2"})).await.expect(200);
    let after = app.get(&path).header("if-none-match", before.etag()).await.expect(200);
    assert!(after.etag().starts_with(&format!("\"{}-", version + 1)), "{}", after.etag());
    assert_eq!(written.etag(), after.etag(), "the write names the tag of the next read");
}

#[tokio::test]
async fn a_compressed_answer_has_a_tag_of_its_own_and_the_same_content() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Rust").await;
    app.write_content(&ada, id).await;
    let path = format!("/courses/{id}/content");
    let plain = app.get(&path).by(&ada).await.expect(200);
    let gzip = app.get(&path).by(&ada).header("accept-encoding", "gzip").await.expect(200);
    assert_eq!(gzip.header("content-encoding"), "gzip");
    assert_eq!(plain.header("content-encoding"), "");
    assert_ne!(gzip.etag(), plain.etag());
    for answer in [&plain, &gzip] {
        assert!(answer.header("vary").contains("Accept-Encoding"), "{}", answer.header("vary"));
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(&gzip.body[..]).read_to_end(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain.body);
    let asked = app.get(&path).by(&ada).header("accept-encoding", "gzip");
    asked.header("if-none-match", gzip.etag()).await.expect(304);
    let asked = app.get(&path).by(&ada).header("accept-encoding", "gzip");
    asked.header("if-none-match", plain.etag()).await.expect(200);
}

#[tokio::test]
async fn two_spellings_of_one_question_share_an_entry() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    for title in ["One", "Two", "Three"] {
        app.published(&ada, title).await;
    }
    for (first, second) in [
        ("/courses?skip=2&limit=2", "/courses?page=2&page_size=2"),
        ("/courses?limit=3&skip=0&sort_by=recent", "/courses/?page_size=3"),
        ("/courses?q=%20%20TwO", "/courses?q=two&sort_by=recent&min_rating=0"),
        ("/courses?category=Testing", "/courses?category=testing%20"),
    ] {
        let miss = app.get(first).await.expect(200);
        let hit = app.get(second).await.expect(200);
        assert_eq!((miss.cache(), hit.cache()), ("MISS", "HIT"), "{first} and {second}");
        assert_eq!(miss.body, hit.body, "{first} and {second}");
    }
}

#[tokio::test]
async fn an_edit_by_the_owner_is_in_the_next_read() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Before").await;
    let path = format!("/courses/{id}");
    for path in [path.as_str(), "/courses", "/courses?q=before"] {
        app.get(path).await.expect(200);
        assert_eq!(app.get(path).await.cache(), "HIT");
    }
    app.put(&path).by(&ada).json(json!({"title": "After"})).await.expect(200);
    let detail = app.get(&path).await;
    assert_eq!((detail.cache(), &detail.json()["title"]), ("MISS", &json!("After")));
    let list = app.get("/courses").await;
    assert_eq!((list.cache(), &list.json()["items"][0]["title"]), ("MISS", &json!("After")));
    assert_eq!(app.get("/courses?q=after").await.json()["total"], 1);
}

#[tokio::test]
async fn only_the_owner_and_admins_may_edit_a_course() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.instructor("ada").await, app.instructor("bob").await);
    let (eve, root) = (app.student("eve").await, app.admin().await);
    let id = app.published(&ada, "Hers").await;
    let path = format!("/courses/{id}");
    let edit = json!({"title": "Taken over"});
    for other in [&bob, &eve] {
        app.put(&path).by(other).json(edit.clone()).await.refused(403);
        app.set_status(other, id, "archived").await.refused(403);
        app.delete(&path).by(other).await.refused(403);
        let content = format!("{path}/content");
        app.put(&content).by(other).json(crate::support::content()).await.refused(403);
    }
    app.put(&path).json(edit.clone()).await.refused(401);
    assert_eq!(app.get(&path).await.json()["title"], "Hers");
    app.put(&path).by(&root).json(json!({"title": "Corrected"})).await.expect(200);
    assert_eq!(app.get(&path).await.json()["title"], "Corrected");
    app.post("/courses").by(&eve).json(course("Not a teacher")).await.refused(403);
}

#[tokio::test]
async fn no_cache_is_heard_from_admins_only() {
    let app = TestApp::start().await;
    let (ada, root) = (app.instructor("ada").await, app.admin().await);
    let id = app.published(&ada, "Rust").await;
    for path in ["/courses".to_owned(), format!("/courses/{id}"), format!("/courses/{id}/seats")] {
        let first = app.get(&path).await.expect(200);
        let by_owner = app.get(&path).by(&ada).header("cache-control", "no-cache").await;
        assert_eq!(by_owner.cache(), "HIT", "{path}");
        assert_eq!(app.get(&path).header("cache-control", "no-cache").await.cache(), "HIT");
        let by_admin = app.get(&path).by(&root).header("cache-control", "no-cache").await;
        assert_eq!(by_admin.cache(), "BYPASS", "{path}");
        assert_eq!(by_admin.header("cache-control"), "private, no-store", "{path}");
        assert_eq!(by_admin.body, first.body, "{path}");
        assert_eq!(app.get(&path).by(&root).await.cache(), "HIT", "{path}");
    }
}

#[tokio::test]
async fn with_the_cache_off_every_read_loads_and_says_so() {
    let no = || Some("false".to_owned());
    let off = Settings { cache_enabled: no(), ..Settings::default() };
    every_read_loads_and_says_so(TestApp::with(off).await).await;
    let no_tier = Settings { cache_l1_enabled: no(), ..Settings::default() };
    every_read_loads_and_says_so(TestApp::with(no_tier).await).await;
}

async fn every_read_loads_and_says_so(app: TestApp) {
    let (ada, root) = (app.instructor("ada").await, app.admin().await);
    let id = app.published(&ada, "Rust").await;
    for path in ["/courses".to_owned(), format!("/courses/{id}"), format!("/courses/{id}/seats")] {
        for _ in 0..2 {
            let answer = app.get(&path).await.expect(200);
            assert_eq!(answer.cache(), "OFF", "{path}");
            assert_eq!(answer.header("cache-status"), "campus; fwd=bypass; detail=OFF", "{path}");
            assert_eq!(answer.header("age"), "", "{path}");
        }
    }
    let edit = json!({"title": "Edited"});
    app.put(&format!("/courses/{id}")).by(&ada).json(edit).await.expect(200);
    assert_eq!(app.get(&format!("/courses/{id}")).await.json()["title"], "Edited");
    let stats = app.get("/cache/stats").by(&root).await.expect(200).json();
    assert_eq!(stats["totals"]["hits"], 0, "{stats}");
}

#[tokio::test]
async fn an_unknown_course_is_remembered_as_unknown_until_it_is_created() {
    let app = TestApp::start().await;
    let (ada, root) = (app.instructor("ada").await, app.admin().await);
    let next = app.draft(&ada, "The one before").await + 1;
    let path = format!("/courses/{next}");
    for from in ["MISS", "HIT", "HIT"] {
        let absent = app.get(&path).await;
        absent.refused(404);
        assert_eq!(absent.cache(), from);
        assert_eq!(absent.header("cache-control"), "private, no-store");
    }
    let counters = app.counters(&root, "courses").await;
    assert_eq!((&counters["loads"], &counters["l1_hits"]), (&json!(1), &json!(2)), "{counters}");
    assert_eq!(app.draft(&ada, "The next one").await, next);
    let answer = app.get(&path).by(&ada).await.expect(200);
    assert_eq!(answer.json()["title"], "The next one");
    app.set_status(&ada, next, "published").await.expect(200);
    app.get(&path).await.expect(200);
}

#[tokio::test]
async fn personal_answers_and_writes_are_never_stored() {
    let app = TestApp::start().await;
    let (ada, sam) = (app.instructor("ada").await, app.student("sam").await);
    let id = app.published(&ada, "Rust").await;
    let enrolled = app.enroll(&sam, id).await.expect(201);
    let own = format!("/enrollments/{}", enrolled.id());
    for answer in [
        enrolled,
        app.get("/auth/me").by(&sam).await.expect(200),
        app.get("/enrollments/my-enrollments").by(&sam).await.expect(200),
        app.get(&own).by(&sam).await.expect(200),
        app.get("/courses/my-courses").by(&ada).await.expect(200),
    ] {
        assert_eq!(answer.header("cache-control"), "private, no-store", "{answer:?}");
        assert_eq!(answer.cache(), "", "{answer:?}");
    }
}

#[tokio::test]
async fn the_counters_are_for_admins() {
    let app = TestApp::start().await;
    let (ada, root) = (app.instructor("ada").await, app.admin().await);
    app.get("/cache/stats").await.refused(401);
    app.get("/cache/stats").by(&ada).await.refused(403);
    app.get("/courses").await.expect(200);
    app.get("/courses").await.expect(200);
    let stats = app.get("/cache/stats").by(&root).await.expect(200).json();
    assert_eq!(stats["hits"]["courses_list"], 1, "{stats}");
    assert_eq!(stats["misses"]["courses_list"], 1, "{stats}");
    assert_eq!(stats["totals"], json!({"hits": 1, "misses": 1, "hit_ratio": 50.0}));
    assert_eq!((&stats["redis"], &stats["pending_invalidations"]), (&json!("off"), &json!(0)));
    assert!(stats["memory_cache_size"].as_u64() > Some(0), "{stats}");
    assert!(stats["l1"]["bytes"].as_u64() <= stats["l1"]["capacity"].as_u64(), "{stats}");
    assert_eq!(stats["l1"]["entries"], 1, "{stats}");
    let stale = app.token(root.id, Role::Student);
    app.get("/cache/stats").bearer(&stale).await.refused(403);
}
