//! Searching, sorting, filtering and paging, on the bundled catalogue.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{TestApp, course};

/// Every item of a list, in pages of `size`.
async fn all(app: &TestApp, query: &str, size: usize) -> Vec<Value> {
    let mut items = Vec::new();
    loop {
        let path = format!("/courses?{query}&skip={}&limit={size}", items.len());
        let page = app.get(&path).await.expect(200);
        let list = page.json();
        assert_eq!(page.header("x-total-count"), list["total"].to_string());
        let more = list["items"].as_array().expect("items").clone();
        assert_eq!((&list["skip"], &list["limit"]), (&items.len().into(), &size.into()));
        let is_last = more.len() < size;
        items.extend(more);
        assert_eq!(page.header("link").contains("rel=\"next\""), items.len() < total(&list));
        if is_last {
            assert_eq!(items.len(), total(&list), "{query}");
            return items;
        }
    }
}

fn total(list: &Value) -> usize {
    list["total"].as_u64().expect("a total") as usize
}

fn ids(items: &[Value]) -> Vec<i64> {
    items.iter().map(|item| item["id"].as_i64().expect("an id")).collect()
}

#[tokio::test]
async fn the_demo_has_its_courses_on_pages_that_neither_repeat_nor_skip() {
    let app = TestApp::demo().await;
    for sort in ["recent", "popular", "top_rated"] {
        let query = format!("sort_by={sort}");
        let small = all(&app, &query, 7).await;
        let large = all(&app, &query, 100).await;
        assert!(small.len() >= 60, "{} courses", small.len());
        assert_eq!(ids(&small), ids(&large), "{sort}");
        let distinct: HashSet<i64> = ids(&small).into_iter().collect();
        assert_eq!(distinct.len(), small.len(), "{sort}");
    }
}

#[tokio::test]
async fn lists_are_sorted_as_asked_with_the_id_to_decide_ties() {
    let app = TestApp::demo().await;
    let recent = all(&app, "sort_by=recent", 100).await;
    let by_date = |item: &Value| (item["published_at"].to_string(), item["id"].as_i64());
    assert!(recent.is_sorted_by(|a, b| by_date(a) > by_date(b)));
    let popular = all(&app, "sort_by=popular", 100).await;
    let by_count = |item: &Value| (item["enrolled_count"].as_i64(), item["id"].as_i64());
    assert!(popular.is_sorted_by(|a, b| by_count(a) > by_count(b)));
    let top = all(&app, "sort_by=top_rated", 100).await;
    // Five votes of 3.5 are mixed in, so that one vote of 5 does not win.
    let score = |item: &Value| {
        let count = item["rating"]["count"].as_f64().unwrap();
        let sum = item["rating"]["average"].as_f64().unwrap_or(0.0) * count;
        (sum + 17.5) / (count + 5.0)
    };
    // The averages on the wire are rounded to two decimals.
    assert!(top.is_sorted_by(|a, b| score(a) > score(b) - 0.01));
    assert!(score(&top[0]) > score(top.last().unwrap()));
}

#[tokio::test]
async fn courses_with_equal_ratings_keep_their_order_over_pages() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    for number in 0..9 {
        app.published(&ada, &format!("Unrated {number}")).await;
    }
    for sort in ["top_rated", "popular"] {
        let items = all(&app, &format!("sort_by={sort}"), 2).await;
        let found = ids(&items);
        assert!(found.is_sorted_by(|a, b| a > b), "{sort}: {found:?}");
    }
}

#[tokio::test]
async fn filters_narrow_a_list_to_what_matches() {
    let app = TestApp::demo().await;
    let everything = all(&app, "", 100).await;
    let matching = |test: &dyn Fn(&Value) -> bool| {
        let found: HashSet<i64> =
            everything.iter().filter(|item| test(item)).filter_map(|i| i["id"].as_i64()).collect();
        assert!(!found.is_empty() && found.len() < everything.len());
        found
    };
    let asked = async |query: &str| -> HashSet<i64> {
        ids(&all(&app, query, 100).await).into_iter().collect()
    };
    let level = matching(&|item| item["level"] == "beginner");
    assert_eq!(asked("level=beginner").await, level);
    let category = everything[0]["category"].as_str().unwrap().to_owned();
    let query = format!("category={}", category.replace(' ', "%20").to_uppercase());
    assert_eq!(asked(&query).await, matching(&|item| item["category"] == category));
    let rated = matching(&|item| item["rating"]["average"].as_f64().unwrap_or(0.0) >= 4.0);
    assert_eq!(asked("min_rating=4").await, rated);
    let word = "data";
    let holds = |item: &Value| {
        let text = format!("{} {}", item["title"], item["description"]).to_lowercase();
        text.contains(word)
    };
    assert_eq!(asked("q=DaTa").await, matching(&holds));
    let both = matching(&|item| holds(item) && item["level"] == "beginner");
    assert_eq!(asked("q=data&level=beginner&sort_by=popular").await, both);
}

#[tokio::test]
async fn a_search_takes_wildcards_and_quotes_literally() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    for title in ["100% Rust", "snake_case", "O'Reilly \"quoted\"", "back\\slash", "Straße Ünïcode"]
    {
        app.published(&ada, title).await;
    }
    for (q, hits) in [
        ("100%25", 1),
        ("%25", 1),
        ("_", 1),
        ("%27", 1),
        ("%22", 1),
        ("%5C", 1),
        ("STRASSE", 0),
        ("stra%C3%9Fe", 1),
        ("%C3%9CN%C3%8FCODE", 1),
        ("%27;%20DROP%20TABLE%20courses;--", 0),
        ("described", 5),
        ("", 5),
    ] {
        let list = app.get(&format!("/courses?q={q}")).await.expect(200).json();
        assert_eq!(list["total"], hits, "{q}");
    }
}

#[tokio::test]
async fn a_page_after_the_last_is_empty_and_has_the_total() {
    let app = TestApp::demo().await;
    let first = app.get("/courses").await.expect(200).json();
    assert_eq!(first["items"].as_array().map(Vec::len), Some(20), "twenty by default");
    let beyond = app.get("/courses?skip=1000000&limit=100").await.expect(200);
    let list = beyond.json();
    assert_eq!(list["items"], Value::Array(vec![]));
    assert_eq!(list["total"], first["total"]);
    assert!(beyond.header("link").contains("rel=\"prev\""), "{}", beyond.header("link"));
    assert!(!beyond.header("link").contains("rel=\"next\""), "{}", beyond.header("link"));
}

#[tokio::test]
async fn links_lead_through_a_filtered_list() {
    let app = TestApp::demo().await;
    let mut path = "/courses?level=beginner&limit=5&sort_by=popular".to_owned();
    let mut seen = HashSet::new();
    loop {
        let page = app.get(&path).await.expect(200);
        for item in page.json()["items"].as_array().unwrap() {
            assert_eq!(item["level"], "beginner");
            assert!(seen.insert(item["id"].as_i64()), "{path} repeats a course");
        }
        let link = page.header("link");
        let next = link.split(", ").find(|part| part.ends_with("rel=\"next\""));
        match next {
            Some(next) => path = next[1..next.find('>').unwrap()].to_owned(),
            None => {
                assert_eq!(page.header("x-total-count"), seen.len().to_string());
                return;
            }
        }
    }
}

#[tokio::test]
async fn the_demos_counts_are_its_rows() {
    let app = TestApp::demo().await;
    for course in all(&app, "sort_by=popular", 100).await.iter().step_by(9) {
        let path = format!("/courses/{}/seats", course["id"]);
        let seats = app.get(&path).await.expect(200).json();
        assert_eq!(seats["enrolled"], course["enrolled_count"]);
        let slug = format!("/courses/slug/{}", course["slug"].as_str().unwrap());
        assert_eq!(app.get(&slug).await.expect(200).json(), *course);
    }
}

#[tokio::test]
async fn a_teacher_finds_drafts_in_their_own_list_and_nobody_elses() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.instructor("ada").await, app.instructor("bob").await);
    let sam = app.student("sam").await;
    let draft = app.draft(&ada, "Draft").await;
    let open = app.published(&ada, "Open").await;
    app.published(&bob, "Other").await;
    let mine = app.get("/courses/my-courses").by(&ada).await.expect(200);
    assert_eq!(mine.header("x-total-count"), "2");
    assert_eq!(ids(mine.json()["items"].as_array().unwrap()), [open, draft]);
    app.get("/courses/my-courses").by(&sam).await.refused(403);
    app.enroll(&sam, open).await.expect(201);
    let places = app.get("/enrollments/my-enrollments").by(&sam).await.expect(200).json();
    assert_eq!((&places["total"], &places["items"][0]["course_id"]), (&1.into(), &open.into()));
}

#[tokio::test]
async fn the_categories_are_those_of_every_published_course() {
    let app = TestApp::demo().await;
    let ada = app.instructor("ada").await;
    let categories = async || app.get("/courses/categories").await.expect(200);
    let names: Vec<String> = categories()
        .await
        .json()
        .as_array()
        .expect("an array")
        .iter()
        .map(|category| category["name"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(names.len(), 8, "{names:?}");
    assert!(names.is_sorted_by_key(|name| name.to_lowercase()), "{names:?}");
    let mut courses = 0;
    for category in categories().await.json().as_array().expect("an array") {
        let name = category["name"].as_str().expect("a name").replace(' ', "%20");
        let list = app.get(&format!("/courses?category={name}&limit=1")).await.json();
        assert_eq!(list["total"], category["count"], "{category}");
        courses += total(&list);
    }
    assert_eq!(courses, total(&app.get("/courses").await.json()));
    assert_eq!(categories().await.cache(), "HIT");
    // A draft is in no category yet; spellings of one are one.
    let id = app.draft(&ada, "New").await;
    assert_eq!(categories().await.json().as_array().map(Vec::len), Some(8));
    app.set_status(&ada, id, "published").await.expect(200);
    let other = app.published(&ada, "Other").await;
    let spelt = json!({"category": " TESTING "});
    app.put(&format!("/courses/{other}")).by(&ada).json(spelt).await.expect(200);
    let now = categories().await;
    assert_eq!(now.cache(), "MISS");
    let now = now.json();
    let testing: Vec<&Value> = now
        .as_array()
        .expect("an array")
        .iter()
        .filter(|category| category["name"].to_string().to_lowercase().contains("testing"))
        .collect();
    assert_eq!(testing.len(), 1, "{now}");
    assert_eq!(testing[0]["count"], 2, "{now}");
}

#[tokio::test]
async fn a_catalogue_page_of_long_descriptions_is_kept_and_leads_to_the_rest() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    for number in 0..12 {
        let mut new = course(&format!("Long {number}"));
        new["description"] = "🦀".repeat(15_000).into();
        let id = app.post("/courses").by(&ada).json(new).await.expect(201).id();
        app.set_status(&ada, id, "published").await.expect(200);
    }
    for path in ["/courses?limit=12", "/courses?q=long&limit=12"] {
        let (miss, hit) = (app.get(path).await.expect(200), app.get(path).await.expect(200));
        assert_eq!((miss.cache(), hit.cache()), ("MISS", "HIT"), "{path}");
        let list = hit.json();
        let count = list["items"].as_array().map_or(0, Vec::len);
        assert!((1..12).contains(&count) && total(&list) == 12, "{count}");
        let next = format!("skip={count}&limit=12");
        assert!(hit.header("link").contains(&next), "{}", hit.header("link"));
    }
}
