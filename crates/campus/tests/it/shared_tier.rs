//! What lies in Redis: readable names, bounded lives, nothing private, and nothing that is trusted.

use std::collections::BTreeSet;

use axum::body::Bytes;
use campus::config::Settings;
use serde_json::json;

use crate::support::{Person, Redis, TestApp, on_redis, on_redis_alone, until};

/// How many values the reads of [`Shared`] leave in Redis.
const VALUES: usize = 15;

/// A teacher with one published course and an article, and everything of them that is cached.
struct Shared {
    app: TestApp,
    ada: Person,
    sam: Person,
    course: i64,
    article: i64,
}

impl Shared {
    async fn with(settings: Settings) -> Self {
        let app = TestApp::with(settings).await.connected().await;
        let (ada, sam) = (app.instructor("ada").await, app.student("sam").await);
        let course = app.published(&ada, "Rust").await;
        app.write_content(&ada, course).await;
        app.enroll(&sam, course).await.expect(201);
        let article = app.article(&ada, "Rust, at length").await;
        Self { app, ada, sam, course, article }
    }

    fn paths(&self) -> [String; 14] {
        let (course, ada) = (self.course, self.ada.id);
        [
            "/courses".to_owned(),
            "/courses?skip=2&limit=5&sort_by=popular&category=testing".to_owned(),
            "/courses?q=rust&limit=12".to_owned(),
            format!("/courses/{course}"),
            format!("/courses/{course}/content"),
            format!("/courses/{course}/seats"),
            format!("/users/{ada}"),
            format!("/instructors/{ada}"),
            format!("/courses/{course}/progress"),
            "/users/me/dashboard".to_owned(),
            "/users/me/session".to_owned(),
            "/articles?limit=5".to_owned(),
            format!("/articles/{}", self.article),
            "/tags".to_owned(),
        ]
    }

    /// The keys under which those reads are stored.
    fn keys(&self, prefix: &str) -> Vec<String> {
        let Self { course, ada, sam, .. } = self;
        let (teacher, student) = (ada.id, sam.id);
        [
            "course:published@2:p:0:l:20".to_owned(),
            "course:published@2:p:2:l:5:o:popular:h:".to_owned(),
            "course:search@2:".to_owned(),
            format!("course:detail@1:{course}"),
            format!("course:content@1:{course}"),
            format!("course:enrollment_count@2:{course}"),
            format!("course:enrolled@1:{student}:{course}"),
            format!("user:profile@1:{teacher}"),
            format!("user:instructor@1:{teacher}"),
            format!("progress@1:{student}:{course}"),
            format!("user:dashboard@1:{student}"),
            format!("user:session@1:{student}"),
            "article:list@2:0:5".to_owned(),
            format!("article:detail@1:{}", self.article),
            "tag:list@1".to_owned(),
        ]
        .map(|name| format!("{prefix}{name}"))
        .into()
    }

    async fn bodies(&self) -> Vec<Bytes> {
        let mut bodies = Vec::new();
        for path in self.paths() {
            bodies.push(self.app.get(&path).by(&self.sam).await.expect(200).body);
        }
        bodies
    }

    /// Reads everything until Redis has it: it is filled behind the answers, and a busy machine
    /// may hear of a write twice.
    async fn fill(&self, redis: &Redis, prefix: &str) {
        until("Redis has every read", async || {
            self.bodies().await;
            values(redis, prefix).await.len() == VALUES
        })
        .await;
    }
}

/// The keys that hold values, not the cache's own notes.
async fn values(redis: &Redis, prefix: &str) -> Vec<String> {
    let notes = format!("{prefix}~");
    let mut values = Vec::new();
    for key in redis.keys().await {
        // A lease marker has 18 bytes; the value that replaces it has more.
        if !key.starts_with(&notes) && redis.get(&key).await.len() > 18 {
            values.push(key);
        }
    }
    values
}

#[tokio::test]
async fn keys_in_redis_read_as_the_registry_lists_them() {
    let redis = Redis::start().await;
    let shared = Shared::with(on_redis(&redis)).await;
    shared.fill(&redis, "skillup:").await;
    let found = values(&redis, "skillup:").await;
    for key in shared.keys("skillup:") {
        // Hashes of filters stand at the end or between colons; they are 128 bits in hex.
        let matching: Vec<&String> =
            found.iter().filter(|k| **k == key || is_hashed(k, &key)).collect();
        assert_eq!(matching.len(), 1, "{key} in {found:?}");
    }
}

fn is_hashed(found: &str, name: &str) -> bool {
    let Some(rest) = found.strip_prefix(name).filter(|_| name.ends_with(':')) else {
        return false;
    };
    let hash = rest.split(':').next().unwrap_or("");
    let tail = &rest[hash.len()..];
    hash.len() == 32
        && hash.bytes().all(|b| b.is_ascii_hexdigit())
        && matches!(tail, "" | ":p:0:l:12")
}

#[tokio::test]
async fn everything_in_redis_expires_but_the_sequence() {
    let redis = Redis::start().await;
    let shared = Shared::with(on_redis(&redis)).await;
    shared.fill(&redis, "skillup:").await;
    let keys = redis.keys().await;
    let generations = keys.iter().filter(|key| key.starts_with("skillup:~g:"));
    assert!(generations.count() > 10, "{keys:?}");
    let tags = ["courses", "course:1", "content:1", "enrol:1", "member:2", "user:1", "learner:2"];
    for tag in tags.into_iter().chain(["articles", "article:1", "tags"]) {
        let key = format!("skillup:~g:t:{tag}");
        assert!(keys.contains(&key), "{key} in {keys:?}");
        assert_eq!(redis.get(&key).await.len(), 16, "{key}");
    }
    for key in keys {
        let ttl: i64 = redis.command(&["PTTL", &key]).await;
        if key == "skillup:~seq" {
            assert_eq!(ttl, -1, "{key}");
        } else {
            assert!((1..=4_000_000).contains(&ttl), "{key}: {ttl} ms");
        }
    }
}

#[tokio::test]
async fn every_key_begins_with_the_configured_prefix() {
    let redis = Redis::start().await;
    let settings = Settings { redis_key_prefix: Some("mine:".to_owned()), ..on_redis(&redis) };
    let shared = Shared::with(settings).await;
    shared.fill(&redis, "mine:").await;
    let keys = redis.keys().await;
    assert!(keys.iter().all(|key| key.starts_with("mine:")), "{keys:?}");
}

#[tokio::test]
async fn nothing_private_is_ever_in_redis() {
    let redis = Redis::start().await;
    let app = TestApp::with(on_redis(&redis)).await.connected().await;
    let (ada, root) = (app.instructor("ada").await, app.admin().await);
    let course = app.published(&ada, "Rust").await;
    let password = "a password nobody guesses";
    let new = json!({"username": "nina", "email": "nina.secret@mail.example",
        "password": password, "full_name": "Nina Public"});
    let id = app.post("/auth/register").json(new).await.expect(201).id();
    let login = json!({"email": "nina.secret@mail.example", "password": password});
    let session = app.post("/auth/login").json(login).await.expect(200).json();
    let token = session["access_token"].as_str().unwrap().to_owned();
    let first = session["refresh_token"].as_str().unwrap().to_owned();
    let nina = Person { id, token: token.clone() };
    let refresh = json!({"refresh_token": first});
    let second = app.post("/auth/refresh").json(refresh).await.expect(200).json();
    app.put(&format!("/users/{id}")).by(&nina).json(json!({"bio": "Hello"})).await.expect(200);
    app.get("/auth/me").by(&nina).await.expect(200);
    app.enroll(&nina, course).await.expect(201);
    app.write_content(&ada, course).await;
    app.article(&ada, "Public").await;
    let dashboard = format!("skillup:user:dashboard@1:{id}");
    let known = format!("skillup:user:profile@1:{id}");
    until("the profile is in Redis", async || {
        for path in ["", "/content", "/progress"] {
            app.get(&format!("/courses/{course}{path}")).by(&nina).await.expect(200);
        }
        for path in ["/courses", "/users/me/dashboard", "/users/me/session", "/articles", "/tags"] {
            app.get(path).by(&nina).await.expect(200);
        }
        for person in [&ada, &root, &nina] {
            app.get(&format!("/users/{}", person.id)).by(&nina).await.expect(200);
        }
        redis.get(&known).await.len() > 18 && redis.get(&dashboard).await.len() > 18
    })
    .await;
    let hash = app.app.store().credentials(id).await.unwrap().unwrap().password_hash.unwrap();
    let second = second["refresh_token"].as_str().unwrap().to_owned();
    let secrets =
        [password.to_owned(), hash, token, first, second, "nina.secret".into(), "argon2".into()];
    let profile = redis.get(&known).await;
    assert!(holds(&profile, "Nina Public"), "values are searched as they are stored");
    for key in redis.keys().await {
        let value = redis.get(&key).await;
        for secret in secrets.iter().map(String::as_str).chain(["@example.org", "@campus"]) {
            assert!(!key.contains(secret), "{secret} in the key {key}");
            assert!(!holds(&value, secret), "{secret} in the value of {key}");
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_second_server_is_answered_from_redis() {
    let redis = Redis::start().await;
    let shared = Shared::with(on_redis(&redis)).await;
    shared.fill(&redis, "skillup:").await;
    let second = shared.app.twin(on_redis(&redis)).await.connected().await;
    for path in shared.paths() {
        let here = shared.app.get(&path).by(&shared.sam).await.expect(200);
        let there = second.get(&path).by(&shared.sam).await.expect(200);
        assert_eq!(there.cache(), "HIT", "{path}");
        assert!(there.header("cache-status").ends_with("detail=L2"), "{path}");
        assert_eq!((there.etag(), &there.body), (here.etag(), &here.body), "{path}");
        until("L1 answers there", async || {
            let again = second.get(&path).by(&shared.sam).await.expect(200);
            assert_eq!(again.cache(), "HIT", "{path}");
            again.header("cache-status").ends_with("detail=L1")
        })
        .await;
    }
}

#[tokio::test]
async fn a_write_on_one_server_is_in_the_next_read_on_another_without_l1() {
    let redis = Redis::start().await;
    let shared = Shared::with(on_redis_alone(&redis)).await;
    let second = shared.app.twin(on_redis_alone(&redis)).await.connected().await;
    let path = format!("/courses/{}", shared.course);
    for round in 0..20 {
        second.get(&path).await.expect(200);
        second.get("/courses").await.expect(200);
        let edit = json!({"title": format!("Round {round}")});
        let written = shared.app.put(&path).by(&shared.ada).json(edit).await.expect(200).json();
        assert_eq!(second.get(&path).await.json(), written);
        assert_eq!(second.get("/courses").await.json()["items"][0], written);
    }
}

/// Puts something under a key that the cache did not write there.
async fn spoil(redis: &Redis, key: &str, how: &str, good: &[u8]) {
    match how {
        "garbage" => redis.set(key, b"\x00garbage\xff").await,
        "empty" => redis.set(key, b"").await,
        "truncated" => redis.set(key, &good[..good.len() / 2]).await,
        "flipped" => {
            let mut bytes = good.to_vec();
            bytes[good.len() - 20] ^= 1;
            redis.set(key, &bytes).await;
        }
        "json" => redis.set(key, br#"{"title":"of another program"}"#).await,
        "huge" => redis.set(key, &vec![b'V'; 8 << 20]).await,
        _ => {
            redis.command::<i64>(&["DEL", key]).await;
            redis.command::<i64>(&["RPUSH", key, "a", "list"]).await;
        }
    }
}

#[tokio::test]
async fn bytes_that_the_cache_did_not_write_are_misses_and_are_replaced() {
    let redis = Redis::start().await;
    let shared = Shared::with(on_redis_alone(&redis)).await;
    let root = shared.app.admin().await;
    shared.fill(&redis, "skillup:").await;
    let good = shared.bodies().await;
    for how in ["garbage", "empty", "truncated", "flipped", "json", "huge", "list"] {
        for key in values(&redis, "skillup:").await {
            let stored = redis.get(&key).await;
            spoil(&redis, &key, how, &stored).await;
        }
        let before = shared.app.counters(&root, "courses").await;
        assert_eq!(shared.bodies().await, good, "{how}");
        let after = shared.app.counters(&root, "courses").await;
        assert!(after["misses"].as_i64() > before["misses"].as_i64(), "{how}: {after}");
        let replaced = async || {
            let mut kinds = BTreeSet::new();
            for key in redis.keys().await {
                kinds.insert(redis.command::<String>(&["TYPE", &key]).await);
            }
            kinds.len() == 1 && values(&redis, "skillup:").await.len() == VALUES
        };
        until("the values are stored again", replaced).await;
        assert_eq!(shared.bodies().await, good, "{how}");
    }
}

#[tokio::test]
async fn the_value_of_another_key_is_not_taken_for_ones_own() {
    let redis = Redis::start().await;
    let shared = Shared::with(on_redis_alone(&redis)).await;
    let other = shared.app.published(&shared.ada, "Go").await;
    shared.fill(&redis, "skillup:").await;
    let path = format!("/courses/{other}");
    let right = shared.app.get(&path).await.expect(200);
    let (from, to) = (
        format!("skillup:course:detail@1:{}", shared.course),
        format!("skillup:course:detail@1:{other}"),
    );
    until("both are in Redis", async || {
        shared.app.get(&path).await.expect(200);
        redis.get(&to).await.len() > 18
    })
    .await;
    redis.command::<i64>(&["COPY", &from, &to, "REPLACE"]).await;
    let answer = shared.app.get(&path).await.expect(200);
    assert_eq!((answer.cache(), &answer.body), ("MISS", &right.body));
}
