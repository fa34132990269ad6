//! What admins do to the cache and what it tells them: clearing, rules, explanations, health.

use campus::config::Settings;
use campus::model::Role;
use serde_json::{Value, json};

use crate::support::{
    Answer, Person, Postgres, Redis, Server, Sql, TestApp, on_both, on_redis, run, until, with_sql,
};

/// Reads that nobody needs to be signed in for, primed.
struct Catalogue {
    app: TestApp,
    root: Person,
    ada: Person,
    course: i64,
    other: i64,
}

impl Catalogue {
    async fn of(app: TestApp) -> Self {
        let (root, ada) = (app.admin().await, app.instructor("ada").await);
        let course = app.published(&ada, "Mine").await;
        let other = app.published(&ada, "Other").await;
        let catalogue = Self { app, root, ada, course, other };
        catalogue.prime().await;
        catalogue
    }

    fn paths(&self) -> [String; 5] {
        let Self { course, other, .. } = self;
        [
            "/courses".to_owned(),
            format!("/courses/{course}"),
            format!("/courses/{course}/seats"),
            format!("/courses/{other}"),
            format!("/instructors/{}", self.ada.id),
        ]
    }

    /// What the cache says to each of them, `h` for a hit and `m` for anything else.
    async fn states(&self) -> String {
        let mut states = String::new();
        for path in self.paths() {
            let answer = self.app.get(&path).await.expect(200);
            states.push(if answer.cache() == "HIT" { 'h' } else { 'm' });
        }
        states
    }

    async fn prime(&self) {
        until("every read is a hit", async || self.states().await == "hhhhh").await;
    }

    async fn clear(&self, path: &str) -> Answer {
        self.app.delete(path).by(&self.root).await
    }

    async fn explain(&self, key: &str) -> Value {
        let path = format!("/cache/entries?key={key}");
        self.app.get(&path).by(&self.root).await.expect(200).json()
    }

    async fn log(&self) -> Vec<String> {
        let url = self.app.app.store().file().map(|file| format!("sqlite://{}", file.display()));
        let sql = Sql::open(&url.expect("an SQLite file")).await;
        let entry = "actor_id || ' ' || action || ' ' || target";
        sql.column(&format!("SELECT {entry} FROM audit_log ORDER BY id")).await
    }
}

async fn clears(app: TestApp) {
    let all = Catalogue::of(app).await;
    for (path, missed, message) in [
        (format!("/cache/courses/{}", all.course), "mmmhh", format!("course {}", all.course)),
        ("/cache/namespaces/courses".to_owned(), "hmhmh", "namespace courses".to_owned()),
        (format!("/cache/tags/user:{}", all.ada.id), "hhhhm", format!("tag user:{}", all.ada.id)),
        ("/cache/tags/courses".to_owned(), "mhhhh", "tag courses".to_owned()),
        ("/cache?confirm=all".to_owned(), "mmmmm", "everything".to_owned()),
    ] {
        let cleared = all.clear(&path).await.expect(200).json();
        assert_eq!(cleared["message"], format!("Cache cleared for {message}"));
        assert_eq!(all.states().await, missed, "{path}");
        all.prime().await;
    }
}

on_both!(
    clears,
    a_clear_ends_what_it_names_and_nothing_else_on_sqlite,
    a_clear_ends_what_it_names_and_nothing_else_on_postgresql
);

#[tokio::test]
async fn every_clear_is_in_the_audit_log_and_in_the_outbox() {
    let redis = Redis::start().await;
    let all = Catalogue::of(TestApp::with(on_redis(&redis)).await.connected().await).await;
    all.clear("/cache/namespaces/users").await.expect(200);
    all.clear("/cache/tags/course:7").await.expect(200);
    all.app.post("/cache/warm").by(&all.root).await.expect(200);
    let by = all.root.id;
    let expected = [
        format!("{by} cache.clear namespace users"),
        format!("{by} cache.clear tag course:7"),
        format!("{by} cache.warm "),
    ];
    assert_eq!(all.log().await, expected);
    let url = all.app.app.store().file().expect("a file").clone();
    let rows: Vec<String> =
        Sql::file(&url).await.column("SELECT names FROM outbox ORDER BY id DESC LIMIT 2").await;
    assert_eq!(rows, ["t course:7", "n users"]);
}

#[tokio::test]
async fn the_cache_is_nobodys_but_an_admins_as_the_database_knows_them() {
    let all = Catalogue::of(TestApp::start().await).await;
    let writes = async |token: &str, status: u16| {
        let definition = all.app.patch("/cache/definitions/courses").json(json!({"soft": 5}));
        for asked in [
            all.app.delete(&format!("/cache/courses/{}", all.course)),
            all.app.delete("/cache/namespaces/courses"),
            all.app.delete("/cache/tags/courses"),
            all.app.delete("/cache?confirm=all"),
            all.app.post("/cache/warm"),
            all.app.post("/cache/test"),
            all.app.post("/api/v3/system/redis/test"),
            definition,
        ] {
            asked.bearer(token).await.refused(status);
        }
    };
    writes(&all.ada.token, 403).await;
    // A token that was signed for an admin, of somebody who is none any more.
    writes(&all.app.token(all.ada.id, Role::Admin), 403).await;
    writes(&all.app.token(424_242, Role::Admin), 401).await;
    assert_eq!(all.states().await, "hhhhh");
    assert_eq!(all.log().await, [""; 0]);
    for path in ["/cache/definitions", "/cache/entries?key=course:detail@1:1", "/cache/stats"] {
        all.app.get(path).await.refused(401);
        all.app.get(path).by(&all.ada).await.refused(403);
    }
}

#[tokio::test]
async fn a_clear_that_names_nothing_is_refused() {
    let all = Catalogue::of(TestApp::start().await).await;
    for (path, status) in [
        ("/cache", 422),
        ("/cache?confirm=yes", 422),
        ("/cache/namespaces/coursez", 404),
        ("/cache/tags/a%20b", 422),
        ("/cache/tags/a%0Ab", 422),
        ("/cache/courses/nine", 422),
    ] {
        all.clear(path).await.refused(status);
    }
    let long = format!("/cache/tags/{}", "a".repeat(300));
    all.clear(&long).await.refused(422);
    assert_eq!(all.states().await, "hhhhh");
}

async fn rules(app: TestApp) {
    let all = Catalogue::of(app).await;
    let (root, app) = (&all.root, &all.app);
    let edit =
        async |edit: Value| app.patch("/cache/definitions/courses").by(root).json(edit).await;
    let changed = edit(json!({"soft": 5, "hard": 10, "l1": 2})).await.expect(200).json();
    let shown = json!({"ns": "courses", "enabled": true, "soft": 5, "hard": 10, "l1": 2,
        "changed": ["soft", "hard", "l1"]});
    assert_eq!(changed, shown);
    assert_eq!(all.states().await, "hmhmh", "other namespaces keep what they have");
    let status = app.get(&all.paths()[1]).await.header("cache-status").to_owned();
    let ttl = status.split("ttl=").nth(1).and_then(|rest| rest.split(';').next());
    let ttl: u64 = ttl.expect("a ttl").parse().expect("a number");
    assert!(ttl <= 2, "{status}");

    edit(json!({"enabled": false})).await.expect(200);
    assert_eq!(all.states().await, "hmhmh");
    assert_eq!(all.states().await, "hmhmh", "nothing is kept");
    let again = edit(json!({"enabled": null, "soft": null, "hard": null, "l1": null})).await;
    let again = again.expect(200).json();
    assert_eq!((&again["soft"], &again["hard"]), (&json!(300), &json!(600)));
    assert_eq!(again["changed"], json!([]));
    all.prime().await;

    for (bad, field) in [
        (json!({"soft": 601}), "soft"),
        (json!({"hard": 0}), "hard"),
        (json!({"l1": -1}), "l1"),
        (json!({"hard": 2_592_001}), "hard"),
        (json!({"softer": 1}), "softer"),
    ] {
        let detail = edit(bad).await.refused(422);
        assert!(detail.contains(field), "{detail}");
    }
    app.patch("/cache/definitions/coursez").by(root).json(json!({})).await.refused(404);
    let all_of_them = app.get("/cache/definitions").by(root).await.expect(200).json();
    assert!(all_of_them.as_array().is_some_and(|rows| rows.len() >= 11), "{all_of_them}");
}

on_both!(
    rules,
    a_changed_rule_counts_from_the_next_read_on_with_sqlite,
    a_changed_rule_counts_from_the_next_read_on_with_postgresql
);

#[tokio::test]
async fn a_changed_rule_survives_a_restart() {
    let all = Catalogue::of(TestApp::start().await).await;
    let edit = json!({"hard": 77});
    all.app.patch("/cache/definitions/users").by(&all.root).json(edit).await.expect(200);
    let second = all.app.twin(Settings::default()).await;
    let rows = second.get("/cache/definitions").by(&all.root).await.expect(200).json();
    let rows = rows.as_array().expect("rows");
    let users = rows.iter().find(|row| row["ns"] == "users").expect("users");
    assert_eq!((&users["soft"], &users["hard"]), (&json!(77), &json!(77)));
}

/// Two servers as they are started in earnest, and an admin's token for both.
async fn two_servers(
    folder: &std::path::Path,
    variables: &[(&str, &str)],
) -> (Server, Server, String) {
    let a = Server::start(folder, variables).await;
    let b = Server::start(folder, variables).await;
    let login = json!({"email": "admin@campus.local", "password": "correct horse"});
    let session = a.api.post("/auth/login").json(login).await.expect(200).json();
    (a, b, session["access_token"].as_str().expect("a token").to_owned())
}

async fn a_rule_travels(variables: &[(&str, &str)]) {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let redis = Redis::start().await;
    let url = redis.url();
    let mut all = vec![
        ("REDIS_URL", url.as_str()),
        ("CAMPUS_SEED", "none"),
        ("CAMPUS_ADMIN_PASSWORD", "correct horse"),
        ("WARM_INTERVAL_SECS", "0"),
    ];
    all.extend(variables);
    let (a, b, token) = two_servers(folder.path(), &all).await;
    let connected = async |server: &Server| {
        let stats = server.api.get("/cache/stats").bearer(&token).await.expect(200).json();
        stats["redis"] == "up"
    };
    until("both use Redis", async || connected(&a).await && connected(&b).await).await;
    let edit = json!({"soft": 3, "hard": 4});
    a.api.patch("/cache/definitions/courses").bearer(&token).json(edit).await.expect(200);
    until("the other server follows", async || {
        let rows = b.api.get("/cache/definitions").bearer(&token).await.expect(200).json();
        let rows = rows.as_array().expect("rows");
        rows.iter().any(|row| row["ns"] == "courses" && row["hard"] == 4)
    })
    .await;
}

#[tokio::test]
async fn a_changed_rule_reaches_the_other_server_with_sqlite() {
    a_rule_travels(&[]).await;
}

#[tokio::test]
async fn a_changed_rule_reaches_the_other_server_with_postgresql() {
    let cluster = Postgres::start();
    let url = cluster.url();
    a_rule_travels(&[("DATABASE_URL", &url), ("JWT_SECRET", crate::support::SECRET)]).await;
}

#[tokio::test]
async fn a_clear_on_one_server_is_a_miss_on_the_other() {
    let redis = Redis::start().await;
    let all = Catalogue::of(TestApp::with(on_redis(&redis)).await.connected().await).await;
    let other = all.app.twin(on_redis(&redis)).await.connected().await;
    let path = &all.paths()[1];
    for clear in ["/cache/namespaces/courses", "/cache?confirm=all"] {
        until("a hit there", async || other.get(path).await.cache() == "HIT").await;
        let loads = async || other.counters(&all.root, "courses").await["loads"].as_u64();
        let before = loads().await;
        all.clear(clear).await.expect(200);
        until("a load there", async || {
            other.get(path).await.expect(200);
            loads().await > before
        })
        .await;
    }
}

#[tokio::test]
async fn a_key_is_explained_from_its_load_to_its_end() {
    let redis = Redis::start().await;
    let all = Catalogue::of(TestApp::with(on_redis(&redis)).await.connected().await).await;
    let key = format!("course:detail@1:{}", all.course);
    let entry = all.explain(&key).await;
    assert_eq!(entry, all.explain_ignoring_times(&format!("skillup:{key}"), &entry).await);
    assert_eq!((&entry["key"], &entry["ns"]), (&json!(key), &json!("courses")));
    assert_eq!(entry["tags"], json!([format!("course:{}", all.course)]));
    assert_eq!(
        (&entry["l1"]["verdict"], &entry["l2"]["verdict"]),
        (&json!("fresh"), &json!("fresh"))
    );
    assert!(entry["l2"]["hard_left_ms"].as_u64() > Some(500_000), "{entry}");
    assert_eq!((&entry["shown"], &entry["body"]["title"]), (&json!("body"), &json!("Mine")));

    all.clear(&format!("/cache/courses/{}", all.course)).await.expect(200);
    let ended = all.explain(&key).await;
    let by = json!(format!("tag course:{}", all.course));
    assert_eq!((&ended["l1"]["verdict"], &ended["l1"]["by"]), (&json!("invalidated"), &by));
    assert_eq!(ended["shown"], "nothing");
    all.app.get(&all.paths()[1]).await.expect(200);
    let miss = &all.explain(&key).await["last_miss"];
    assert_eq!((&miss["l1"], &miss["l1_by"]), (&json!("invalidated"), &by), "{miss}");
}

impl Catalogue {
    /// The same key asked again: what must be equal, with the times of the first answer.
    async fn explain_ignoring_times(&self, key: &str, first: &Value) -> Value {
        let mut again = self.explain(key).await;
        for tier in ["l1", "l2"] {
            for time in ["age_ms", "soft_left_ms", "hard_left_ms"] {
                again[tier][time] = first[tier][time].clone();
            }
        }
        again["last_miss"] = first["last_miss"].clone();
        again
    }
}

#[tokio::test]
async fn every_key_that_campus_stores_can_be_explained_and_what_is_not_public_is_not_shown() {
    let redis = Redis::start().await;
    let all = Catalogue::of(TestApp::with(on_redis(&redis)).await.connected().await).await;
    let sam = all.app.student("sam").await;
    all.app.write_content(&all.ada, all.course).await;
    all.app.enroll(&sam, all.course).await.expect(201);
    let id = all.course;
    for path in [
        format!("/courses/{id}/content"),
        format!("/courses/{id}/progress"),
        "/users/me/dashboard".to_owned(),
        "/users/me/session".to_owned(),
        format!("/users/{}", all.ada.id),
        "/courses?sort_by=popular&category=testing".to_owned(),
        "/courses?q=mine&limit=3".to_owned(),
        "/courses/categories".to_owned(),
    ] {
        all.app.get(&path).by(&sam).await.expect(200);
    }
    let article = json!({ "title": "T", "body": "B", "tags": ["a"], "published": true });
    let article = all.app.post("/articles").by(&all.ada).json(article).await.expect(201).json();
    for path in [
        "/articles".to_owned(),
        format!("/articles/{}", article["id"]),
        "/tags".to_owned(),
        format!("/api/v3/analytics/courses/{id}"),
        format!("/api/v3/analytics/students/{}", sam.id),
        "/api/v3/analytics/platform".to_owned(),
        "/api/v3/system/stats".to_owned(),
    ] {
        all.app.get(&path).by(&all.root).await.expect(200);
    }
    all.prime().await;
    let values = async || {
        let keys = redis.keys().await.into_iter();
        keys.filter(|key| key.contains('@')).collect::<Vec<_>>()
    };
    until("everything is stored", async || values().await.len() >= 21).await;
    let mut shown = Vec::new();
    for key in values().await {
        let entry = all.explain(&key).await;
        assert_eq!(format!("skillup:{}", entry["key"].as_str().expect("a key")), key);
        assert_eq!(entry["l2"]["verdict"], "fresh", "{entry}");
        if entry["shown"] == "body" {
            assert!(entry["body"].is_object() || entry["body"].is_array(), "{entry}");
            shown.push(entry["ns"].as_str().expect("a namespace").to_owned());
        } else {
            assert_eq!((&entry["shown"], &entry["body"]), (&json!("redacted"), &Value::Null));
        }
    }
    shown.sort();
    shown.dedup();
    let public = "articles articles_list courses courses_list enroll_count instructors search tags";
    assert_eq!(shown.join(" "), public);
}

#[tokio::test]
async fn a_key_that_campus_does_not_read_is_not_explained() {
    let all = Catalogue::of(TestApp::start().await).await;
    for key in [
        "",
        "course",
        "course:detail@1",
        "course:detail@1:",
        "course:detail@1:x",
        "course:detail@1:01",
        "course:detail@2:1",
        "course:detail@1:1:2",
        "~seq",
        "course:published@2:p:0:l:20:o:recent",
        "progress@1:1",
    ] {
        let path = format!("/cache/entries?key={key}");
        all.app.get(&path).by(&all.root).await.refused(404);
    }
    all.app.get("/cache/entries").by(&all.root).await.refused(422);
}

#[tokio::test]
async fn statistics_have_every_figure_of_both_tiers() {
    let redis = Redis::start().await;
    let all = Catalogue::of(TestApp::with(on_redis(&redis)).await.connected().await).await;
    until("the backplane is heard", async || {
        let stats = all.app.get("/cache/stats").by(&all.root).await.expect(200).json();
        stats["backplane"]["seq"].is_u64()
    })
    .await;
    let stats = all.app.get("/cache/stats").by(&all.root).await.expect(200).json();
    assert!(stats["redis_keys"].as_u64() > Some(5), "{stats}");
    assert!(stats["redis_memory_used"].is_string(), "{stats}");
    assert_eq!((&stats["redis"], &stats["breaker"]), (&json!("up"), &json!("closed")));
    assert_eq!(stats["backplane"]["epoch"].as_str().map(str::len), Some(16), "{stats}");
    assert!(stats["backplane"]["lag_ms"].is_u64() && stats["outbox_depth"].is_u64(), "{stats}");
    assert_eq!(stats["l1"]["evictions"], 0, "{stats}");
    let courses = all.app.counters(&all.root, "courses").await;
    assert!(courses["p50_us"].as_f64() > Some(0.0), "{courses}");
    assert!(courses["p99_us"].as_f64() >= courses["p50_us"].as_f64(), "{courses}");
    assert!(courses["latency"]["l1"]["p50_us"].is_f64(), "{courses}");
    assert!(courses["latency"]["loader"]["p50_us"].is_f64(), "{courses}");
    let sum: u64 = ["l1_hits", "l2_hits"].iter().filter_map(|n| courses[*n].as_u64()).sum();
    assert_eq!(stats["hits"]["courses"].as_u64(), Some(sum), "{stats}");
}

#[tokio::test]
async fn the_figures_of_redis_are_for_admins_only() {
    let redis = Redis::start().await;
    let app = TestApp::with(on_redis(&redis)).await.connected().await;
    let (root, ada) = (app.admin().await, app.instructor("ada").await);
    for answer in [app.get("/health/redis").await, app.get("/health/redis").by(&ada).await] {
        let health = answer.expect(200).json();
        assert_eq!(health["status"], "connected");
        assert!(health["latency_ms"].is_f64() && health.get("stats").is_none(), "{health}");
    }
    let stats = app.get("/health/redis").by(&root).await.expect(200).json()["stats"].clone();
    let fields = ["uptime_s", "connected_clients", "used_memory", "commands_processed"];
    assert!(fields.iter().all(|field| stats[*field].is_u64()), "{stats}");
    assert!(stats["version"].is_string() && stats["used_memory_human"].is_string(), "{stats}");
    let same = app.get("/api/v3/system/redis/stats").by(&root).await.expect(200).json();
    assert_eq!(same["version"], stats["version"]);
    let detailed = "/api/v3/system/health/detailed";
    let health = app.get(detailed).by(&root).await.expect(200).json();
    assert_eq!(health["status"], "healthy");
    for part in ["database", "redis", "documents"] {
        assert_eq!(health["components"][part]["status"], "healthy", "{health}");
    }
    assert!(health["components"]["redis"]["connected_clients"].is_u64(), "{health}");
    for path in [detailed, "/api/v3/system/redis/stats"] {
        app.get(path).await.refused(401);
        app.get(path).by(&ada).await.refused(403);
    }
    let test = app.post("/api/v3/system/redis/test").by(&root).await.expect(200).json();
    assert_eq!(test["ok"], true, "{test}");
    let ops: Vec<&str> = test["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|step| step["op"].as_str())
        .collect();
    assert_eq!(ops, ["set", "get", "delete"]);
}

#[tokio::test]
async fn a_redis_that_is_away_is_told_as_degraded_and_fails_its_test() {
    let mut redis = Redis::start().await;
    let app = TestApp::with(on_redis(&redis)).await.connected().await;
    let root = app.admin().await;
    redis.kill();
    let path = "/api/v3/system/health/detailed";
    until("it is noticed", async || app.get(path).by(&root).await.json()["status"] == "degraded")
        .await;
    let health = app.get(path).by(&root).await.expect(200).json();
    assert_eq!(health["components"]["redis"]["used_memory"], Value::Null);
    app.get("/api/v3/system/redis/stats").by(&root).await.refused(503);
    let test = app.post("/api/v3/system/redis/test").by(&root).await.expect(200).json();
    assert_eq!((&test["ok"], &test["steps"][0]["ok"]), (&json!(false), &json!(false)));
    let stats = app.get("/cache/stats").by(&root).await.expect(200).json();
    assert_eq!((&stats["breaker"], &stats["redis_keys"]), (&json!("open"), &Value::Null));
}

#[tokio::test]
async fn without_redis_there_is_nothing_to_test_and_the_cache_passes_its_own_test() {
    let app = TestApp::start().await;
    let root = app.admin().await;
    app.get("/api/v3/system/redis/stats").by(&root).await.refused(404);
    app.post("/api/v3/system/redis/test").by(&root).await.refused(404);
    let test = app.post("/cache/test").by(&root).await.expect(200).json();
    assert_eq!(test["ok"], true, "{test}");
    assert_eq!(test["steps"].as_array().map(Vec::len), Some(4), "{test}");
    let off = Settings { cache_enabled: Some("false".to_owned()), ..Settings::default() };
    let off = app.twin(off).await;
    let test = off.post("/cache/test").by(&root).await.expect(200).json();
    assert_eq!(test["ok"], true, "{test}");
}

#[tokio::test]
async fn warming_makes_first_visits_hits() {
    let app = TestApp::demo().await;
    let root = app.admin().await;
    let warmed = app.post("/cache/warm").by(&root).await.expect(200).json();
    assert_eq!((&warmed["failed"], &warmed["warmed"]), (&json!(0), &json!(25)), "{warmed}");
    assert_eq!(warmed["loaded"], 25);
    let platform = app.get("/api/v3/analytics/platform").by(&root).await.expect(200);
    assert_eq!(platform.cache(), "HIT");
    for sort in ["recent", "popular", "top_rated"] {
        let path = format!("/courses?limit=12&sort_by={sort}");
        assert_eq!(app.get(&path).await.expect(200).cache(), "HIT", "{path}");
    }
    let popular = app.get("/courses?limit=12&sort_by=popular").await.json();
    for item in popular["items"].as_array().expect("items").iter().take(10) {
        let path = format!("/courses/{}", item["id"]);
        assert_eq!(app.get(&path).await.expect(200).cache(), "HIT", "{path}");
    }
    let again = app.post("/cache/warm").by(&root).await.expect(200).json();
    assert_eq!((&again["warmed"], &again["loaded"]), (&json!(25), &json!(0)));
    let stats = app.get("/cache/stats").by(&root).await.expect(200).json();
    assert_eq!(stats["warming"], json!({"runs": 2, "reads": 50, "failed": 0}));
}

#[tokio::test]
async fn a_server_warms_itself_when_it_starts() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let variables = [("WARM_TOP", "2"), ("WARM_PAGE_SIZE", "7")];
    let server = Server::start(folder.path(), &variables).await;
    until("the page is warm", async || {
        server.api.get("/courses?limit=7").await.expect(200).cache() == "HIT"
    })
    .await;
    let checked = run(folder.path(), &variables, &["config", "check"]);
    assert!(!String::from_utf8_lossy(&checked.stdout).contains("no effect"), "{checked:?}");
}

on_both!(
    edits_at_once,
    two_who_change_one_definition_at_once_both_have_their_way_on_sqlite,
    two_who_change_one_definition_at_once_both_have_their_way_on_postgresql
);

async fn edits_at_once(app: TestApp) {
    let root = app.admin().await;
    let path = "/cache/definitions/courses";
    let edit = async |body: Value| app.patch(path).by(&root).json(body).await.expect(200);
    for round in 1..=12 {
        tokio::join!(edit(json!({"soft": round})), edit(json!({"l1": 100 + round})));
        let rows = app.get("/cache/definitions").by(&root).await.expect(200).json();
        let rows = rows.as_array().cloned().unwrap_or_default();
        let row = rows.into_iter().find(|row| row["ns"] == "courses").expect("a definition");
        assert_eq!((&row["soft"], &row["l1"]), (&json!(round), &json!(100 + round)));
        // From nothing again: the first change of a namespace makes its row.
        if round == 6 {
            edit(json!({"soft": null, "l1": null})).await;
        }
    }
    edit(json!({"soft": null, "enabled": false})).await;
    let log = app.get("/cache/audit?limit=1").by(&root).await.expect(200).json();
    let newest = &log["items"][0];
    assert_eq!(newest["target"], "courses enabled=false soft=configured");
    let by = (&newest["by"], &newest["admin_id"], &newest["action"]);
    assert_eq!(by, (&json!("admin"), &json!(root.id), &json!("cache.define")));
}

with_sql!(
    bounded_log,
    the_audit_log_is_read_in_pages_and_keeps_ten_thousand_entries_of_a_year_on_sqlite,
    the_audit_log_is_read_in_pages_and_keeps_ten_thousand_entries_of_a_year_on_postgresql
);

async fn bounded_log(app: TestApp, sql: Sql) {
    let root = app.admin().await;
    let now = app.clock.now().0;
    let fill = async |at: i64, count: u32| {
        sql.run(&format!(
            "INSERT INTO audit_log (at, actor_id, action, target) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             SELECT {at}, 7, 'cache.clear', 'old' FROM n"
        ))
        .await;
    };
    let year: i64 = 366 * 24 * 3600 * 1_000_000;
    fill(now - year, 3).await;
    app.delete("/cache/tags/course:1").by(&root).await.expect(200);
    assert_eq!(sql.number("SELECT COUNT(*) FROM audit_log").await, 1, "three were too old");
    fill(now, 10_050).await;
    app.delete("/cache/tags/course:2").by(&root).await.expect(200);
    assert_eq!(sql.number("SELECT COUNT(*) FROM audit_log").await, 10_000);
    let first = app.get("/cache/audit?limit=2").by(&root).await.expect(200);
    assert_eq!(first.header("x-total-count"), "10000");
    let items = first.json()["items"].clone();
    assert_eq!(
        (&items[0]["target"], &items[0]["admin_id"]),
        (&json!("tag course:2"), &json!(root.id))
    );
    assert_eq!(items[1]["target"], "old");
    let last = app.get("/cache/audit?skip=9999&limit=2").by(&root).await.expect(200).json();
    assert_eq!(last["items"].as_array().map(Vec::len), Some(1));
    app.get("/cache/audit?limit=0").by(&root).await.refused(422);
}
