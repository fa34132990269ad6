//! Articles and tags: who writes and sees them, and how they are listed, on both databases.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Person, TestApp, counts, on_both};

/// An article as a client creates it.
fn article(title: &str, published: bool) -> Value {
    json!({"title": title, "body": format!("{title}, at length."), "published": published,
        "tags": ["Open data", "caching"]})
}

async fn write(app: &TestApp, by: &Person, body: Value) -> Answer {
    app.post("/articles").by(by).json(body).await
}

async fn tags(app: &TestApp) -> Value {
    app.get("/tags").await.expect(200).json()
}

fn titles(list: &Answer) -> Vec<String> {
    let items = list.json().as_array().cloned().expect("an array");
    items.iter().map(|item| item["title"].as_str().unwrap_or("").to_owned()).collect()
}

on_both!(
    life,
    an_article_is_written_published_changed_and_deleted_on_sqlite,
    an_article_is_written_published_changed_and_deleted_on_postgresql
);

async fn life(app: TestApp) {
    let ada = app.instructor("ada").await;
    let written = write(&app, &ada, article("Knots", false)).await.expect(201);
    let path = format!("/articles/{}", written.id());
    assert_eq!(written.header("location"), path);
    let draft = written.json();
    let author = json!({"id": ada.id, "full_name": "ada of the tests"});
    assert_eq!((&draft["slug"], &draft["author"]), (&json!("knots"), &author));
    assert_eq!((&draft["version"], &draft["published"]), (&json!(1), &json!(false)));
    assert_eq!(draft["tags"], json!(["caching", "open-data"]));
    assert_eq!((titles(&app.get("/articles").await).len(), tags(&app).await), (0, json!([])));
    let publish = app.put(&path).by(&ada).json(json!({"published": true})).await.expect(200);
    let (miss, hit) = (app.get(&path).await.expect(200), app.get(&path).await.expect(200));
    assert_eq!((miss.cache(), hit.cache()), ("MISS", "HIT"));
    assert_eq!((&miss.body, miss.etag()), (&hit.body, hit.etag()));
    assert_eq!((miss.body.clone(), miss.etag()), (publish.body.clone(), publish.etag()));
    let again = app.get(&path).header("if-none-match", miss.etag()).await.expect(304);
    assert!(again.body.is_empty());
    assert_eq!(hit.header("cache-control"), "public, max-age=0, must-revalidate");
    let list = app.get("/articles").await.expect(200);
    assert_eq!(list.json(), json!([miss.json()]));
    assert_eq!(list.header("x-total-count"), "1");
    let both = json!([{"name": "caching", "count": 1}, {"name": "open-data", "count": 1}]);
    assert_eq!(tags(&app).await, both);
    let edit = json!({"title": "Better knots", "tags": ["ROPE"]});
    let edited = app.put(&path).by(&ada).json(edit).await.expect(200).json();
    assert_eq!((&edited["title"], &edited["slug"]), (&json!("Better knots"), &json!("knots")));
    assert_eq!(app.get(&path).await.json(), edited);
    assert_eq!(tags(&app).await, json!([{"name": "rope", "count": 1}]));
    app.put(&path).by(&ada).json(json!({"tags": null})).await.expect(200);
    assert_eq!(app.get(&path).await.json()["tags"], json!([]));
    app.delete(&path).by(&ada).await.expect(204);
    assert_eq!(app.get(&path).await.refused(404), "Article not found");
    assert_eq!((titles(&app.get("/articles").await).len(), tags(&app).await), (0, json!([])));
    for gone in [app.put(&path).by(&ada).json(json!({})), app.delete(&path).by(&ada)] {
        gone.await.refused(404);
    }
    let again = write(&app, &ada, article("Knots", true)).await.expect(201);
    assert_eq!(again.json()["slug"], "knots", "the slug is free again");
}

on_both!(
    viewers,
    an_unpublished_article_is_for_its_author_and_admins_only_on_sqlite,
    an_unpublished_article_is_for_its_author_and_admins_only_on_postgresql
);

async fn viewers(app: TestApp) {
    let (ada, bob) = (app.instructor("ada").await, app.instructor("bob").await);
    let (sam, root) = (app.student("sam").await, app.admin().await);
    write(&app, &sam, article("Mine", true)).await.refused(403);
    app.post("/articles").json(article("Nobody's", true)).await.refused(401);
    let hidden = write(&app, &ada, article("Secret", false)).await.expect(201).id();
    let path = format!("/articles/{hidden}");
    // Twice: what one viewer leaves in the cache must not help the next.
    for _ in 0..2 {
        let absent = app.get(&path).await;
        absent.refused(404);
        assert_eq!(
            (absent.header("age"), absent.header("cache-control")),
            ("", "private, no-store")
        );
        for stranger in [&bob, &sam] {
            app.get(&path).by(stranger).await.refused(404);
        }
        for reader in [&ada, &root] {
            let seen = app.get(&path).by(reader).await.expect(200);
            assert_eq!((seen.cache(), &seen.json()["title"]), ("BYPASS", &json!("Secret")));
            assert_eq!(seen.header("cache-control"), "private, no-store");
        }
    }
    let edit = || json!({"title": "Taken over"});
    for stranger in [&bob, &sam] {
        app.put(&path).by(stranger).json(edit()).await.refused(404);
        app.delete(&path).by(stranger).await.refused(404);
    }
    app.put(&path).by(&root).json(json!({"published": true})).await.expect(200);
    for viewer in [&ada, &bob, &sam, &root] {
        assert_eq!(app.get(&path).by(viewer).await.expect(200).json()["title"], "Secret");
    }
    for stranger in [&bob, &sam] {
        let refused = app.put(&path).by(stranger).json(edit()).await.refused(403);
        assert_eq!(refused, "You are not the author of this article");
        app.delete(&path).by(stranger).await.refused(403);
    }
    app.put(&path).json(edit()).await.refused(401);
    app.delete(&path).await.refused(401);
    let bypass = app.get("/tags").by(&root).header("cache-control", "no-cache").await.expect(200);
    assert_eq!(bypass.cache(), "BYPASS");
    // Who is no instructor any more is no author either.
    let role = json!({"role": "student"});
    app.patch(&format!("/users/{}/role", ada.id)).by(&root).json(role).await.expect(200);
    app.put(&path).by(&ada).json(edit()).await.refused(403);
    app.put(&path).by(&root).json(json!({"published": false})).await.expect(200);
    app.get(&path).await.refused(404);
}

on_both!(
    pages,
    articles_are_listed_newest_first_in_pages_that_share_an_entry_on_sqlite,
    articles_are_listed_newest_first_in_pages_that_share_an_entry_on_postgresql
);

async fn pages(app: TestApp) {
    let ada = app.instructor("ada").await;
    for number in 0..5 {
        let title = format!("Article {number}");
        write(&app, &ada, article(&title, number != 2)).await.expect(201);
    }
    let all = app.get("/articles").await.expect(200);
    assert_eq!(titles(&all), ["Article 4", "Article 3", "Article 1", "Article 0"]);
    let page = app.get("/articles?skip=2&limit=2").await.expect(200);
    assert_eq!(titles(&page), ["Article 1", "Article 0"]);
    assert_eq!(page.header("x-total-count"), "4");
    assert!(page.header("link").contains("</articles?skip=0&limit=2>; rel=\"prev\""));
    let same = app.get("/articles?page=2&page_size=2").await.expect(200);
    assert_eq!((same.cache(), &same.body), ("HIT", &page.body));
    let beyond = app.get("/articles?skip=1000000").await.expect(200);
    assert_eq!((titles(&beyond).len(), beyond.header("x-total-count")), (0, "4"));
    let counted = json!([{"name": "caching", "count": 4}, {"name": "open-data", "count": 4}]);
    assert_eq!(tags(&app).await, counted);
    // The most used tag comes first, whatever its name.
    let mut more = article("Zebras", true);
    more["tags"] = json!(["open data", "zebras"]);
    write(&app, &ada, more).await.expect(201);
    let names = tags(&app).await;
    let names: Vec<&Value> = names.as_array().expect("tags").iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["open-data", "caching", "zebras"]);
}

on_both!(
    versions,
    if_match_lets_only_the_current_version_of_an_article_be_changed_on_sqlite,
    if_match_lets_only_the_current_version_of_an_article_be_changed_on_postgresql
);

async fn versions(app: TestApp) {
    let ada = app.instructor("ada").await;
    let written = write(&app, &ada, article("Knots", true)).await.expect(201);
    let path = format!("/articles/{}", written.id());
    let edit = |title: &str, tag: &str| {
        app.put(&path).by(&ada).header("if-match", tag).json(json!({ "title": title }))
    };
    edit("First", &written.etag()).await.expect(200);
    let late = edit("Second", &written.etag()).await.refused(412);
    assert_eq!(late, "the resource is at version 2");
    app.delete(&path).by(&ada).header("if-match", written.etag()).await.refused(412);
    edit("Third", "*").await.expect(200);
    let seen = app.get(&path).await.expect(200);
    assert_eq!((&seen.json()["title"], &seen.json()["version"]), (&json!("Third"), &json!(3)));
    let same =
        app.put(&path).by(&ada).json(json!({"title": "Third", "tags": ["CACHING", "open data"]}));
    assert_eq!(same.await.expect(200).json()["version"], 3, "nothing changed");
    app.delete(&path).by(&ada).header("if-match", seen.etag()).await.expect(204);
}

on_both!(
    bad_articles,
    an_article_that_cannot_be_stored_is_refused_and_names_the_field_on_sqlite,
    an_article_that_cannot_be_stored_is_refused_and_names_the_field_on_postgresql
);

async fn bad_articles(app: TestApp) {
    let ada = app.instructor("ada").await;
    let id = write(&app, &ada, article("Knots", true)).await.expect(201).id();
    let path = format!("/articles/{id}");
    let many: Vec<String> = (0..31).map(|number| format!("tag{number}")).collect();
    for (field, value) in [
        ("title", json!(" ")),
        ("title", json!("x".repeat(301))),
        ("title", json!("a\u{0}b")),
        ("title", Value::Null),
        ("slug", json!("Not A Slug")),
        ("slug", json!("机器学习")),
        ("slug", json!("")),
        ("body", json!("x".repeat(60_001))),
        ("body", json!(7)),
        ("tags", json!(many)),
        ("tags", json!("caching")),
        ("tags[1]", json!(["a", "  "])),
        ("tags[0]", json!(["x".repeat(101)])),
        ("tags[0]", json!(["a\u{0}b"])),
        ("published", json!("yes")),
        ("author_id", json!(1)),
    ] {
        let name = field.split('[').next().expect("a field");
        let mut new = article("Another", true);
        new[name] = value.clone();
        for asked in [
            app.post("/articles").by(&ada).json(new),
            app.put(&path).by(&ada).json(json!({ name: value.clone() })),
        ] {
            let answer = asked.await;
            let detail = answer.refused(422);
            assert!(detail.contains(field), "{field} {value}: {detail}");
        }
    }
    app.put(&path).by(&ada).json(json!({"published": null})).await.refused(422);
    app.put(&path).by(&ada).json(json!({"body": "x".repeat(70_000)})).await.refused(413);
    app.post("/articles").by(&ada).body("text/plain", "{}").await.refused(415);
    app.post("/articles").by(&ada).body("application/json", "{").await.refused(400);
    for query in ["skip=-1", "limit=0", "limit=101", "page=1000000000000", "sort_by=title", "q=x"] {
        app.get(&format!("/articles?{query}")).await.refused(422);
    }
    for id in ["abc", "9223372036854775808", "%00"] {
        app.get(&format!("/articles/{id}")).await.refused(422);
    }
    for id in [0, -1, i64::MIN, i64::MAX] {
        let path = format!("/articles/{id}");
        app.get(&path).await.refused(404);
        app.put(&path).by(&ada).json(json!({})).await.refused(404);
        app.delete(&path).by(&ada).await.refused(404);
    }
    let taken = "Slug 'knots' is already taken";
    assert_eq!(write(&app, &ada, article("Knots", true)).await.refused(409), taken);
    let other = write(&app, &ada, article("Other", false)).await.expect(201).id();
    let edit = app.put(&format!("/articles/{other}")).by(&ada).json(json!({"slug": "knots"}));
    assert_eq!(edit.await.refused(409), taken);
    assert_eq!(app.get(&path).await.json()["version"], 1, "nothing of it was kept");
}

on_both!(
    racing_articles,
    articles_written_at_once_share_their_new_tags_and_not_their_slug_on_sqlite,
    articles_written_at_once_share_their_new_tags_and_not_their_slug_on_postgresql
);

async fn racing_articles(app: TestApp) {
    let ada = app.instructor("ada").await;
    for round in 0..5 {
        let title = format!("Round {round}");
        let (one, two) = tokio::join!(
            write(&app, &ada, article(&title, true)),
            write(&app, &ada, article(&title, true))
        );
        assert_eq!(counts(&[one, two], [201, 409]), [1, 1]);
    }
    let mut authors = Vec::new();
    for number in 0..16 {
        authors.push(app.instructor(&format!("author{number}")).await);
    }
    let writers = authors.iter().enumerate().map(|(number, author)| {
        let mut new = article(&format!("By {number}"), true);
        // Each in another order: whoever waits must not be waited for.
        let mut names: Vec<String> = (0..8).map(|tag| format!("new-{tag}")).collect();
        names.rotate_left(number % 8);
        new["tags"] = json!(names);
        write(&app, author, new)
    });
    assert_eq!(counts(&join_all(writers).await, [201]), [16]);
    let counted = tags(&app).await;
    let new: Vec<&Value> = counted.as_array().expect("tags").iter().take(8).collect();
    assert!(new.iter().all(|tag| tag["count"] == 16), "{counted}");
    let id = write(&app, &ada, article("Everybody's", true)).await.expect(201).id();
    let path = format!("/articles/{id}");
    let edits = (0..16).map(|number| {
        let edit = json!({"title": format!("Edit {number}"), "tags": [format!("t{number}"), "t"]});
        app.put(&path).by(&ada).json(edit).send()
    });
    assert_eq!(counts(&join_all(edits).await, [200]), [16], "editors of one article take turns");
    let seen = app.get(&path).await.expect(200).json();
    assert_eq!((&seen["version"], seen["tags"].as_array().map(Vec::len)), (&json!(17), Some(2)));
}

#[tokio::test]
async fn a_page_of_long_texts_ends_early_is_kept_and_leads_to_the_rest() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    for number in 0..13 {
        let body = json!({"title": format!("Long {number}"), "body": "long ".repeat(12_000),
            "published": true});
        write(&app, &ada, body).await.expect(201);
    }
    let mut seen = Vec::new();
    let mut path = "/articles?limit=100".to_owned();
    loop {
        let miss = app.get(&path).await.expect(200);
        let hit = app.get(&path).header("accept-encoding", "gzip").await.expect(200);
        assert_eq!((miss.cache(), hit.cache()), ("MISS", "HIT"), "{path}");
        assert_eq!(hit.header("content-encoding"), "gzip");
        assert!(miss.body.len() <= 640 << 10, "{path}: {} bytes", miss.body.len());
        assert_eq!(miss.header("x-total-count"), "13");
        seen.extend(titles(&miss));
        let next = miss.header("link").split(", ").find(|link| link.ends_with("rel=\"next\""));
        let Some(next) = next else { break };
        path = next[1..].split('>').next().expect("a link").to_owned();
        assert_eq!(path, format!("/articles?skip={}&limit=100", seen.len()));
    }
    let all: Vec<String> = (0..13).rev().map(|number| format!("Long {number}")).collect();
    assert_eq!(seen, all);
}
