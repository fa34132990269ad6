//! What each write ends: no read shows the old state afterwards, and nothing else is lost.
//!
//! Every row runs on one server and on two, which may have lost sight of each other. The reads
//! that a row does not name must still be hits.

use std::collections::BTreeSet;

use campus::config::Settings;
use serde_json::{Value, json};

use crate::support::{
    Answer, Person, Postgres, Proxy, Redis, Sql, TestApp, content, course, on_redis,
    on_redis_alone, until,
};

/// Two teachers with a course and an article each, a student in the first course, and every read
/// of them in the cache.
struct World {
    app: TestApp,
    ada: Person,
    bob: Person,
    sam: Person,
    eve: Person,
    root: Person,
    course: i64,
    other: i64,
    article: i64,
    other_article: i64,
    beside: Option<Beside>,
    servers: Servers,
}

/// What the applications stand on, for as long as they do.
type Servers = (Option<Redis>, Option<Postgres>);

/// A second server on the same database and Redis.
struct Beside {
    app: TestApp,
    /// Its way to Redis, if that can be cut.
    line: Option<Proxy>,
}

#[derive(Debug, Clone, Copy)]
enum Tiers {
    /// One server without Redis.
    L1,
    /// One server that keeps nothing itself.
    L2,
    /// Two servers, each with an L1 of its own.
    Two,
    TwoOnPostgres,
    /// Of two servers, the one that only reads hears nothing of what the other one writes.
    TwoCut,
}

const TIERS: [Tiers; 5] = [Tiers::L1, Tiers::L2, Tiers::Two, Tiers::TwoOnPostgres, Tiers::TwoCut];

impl Tiers {
    async fn start(self) -> (TestApp, Option<Beside>, Servers) {
        if matches!(self, Self::L1) {
            return (TestApp::with(Settings::default()).await, None, (None, None));
        }
        let redis = Redis::start().await;
        if matches!(self, Self::L2) {
            let app = TestApp::with(on_redis_alone(&redis)).await.connected().await;
            return (app, None, (Some(redis), None));
        }
        let cluster = matches!(self, Self::TwoOnPostgres).then(Postgres::start);
        let database_url = cluster.as_ref().map(Postgres::url);
        let settings = || Settings { database_url: database_url.clone(), ..on_redis(&redis) };
        let app = TestApp::with(settings()).await.connected().await;
        let line = match self {
            Self::TwoCut => Some(Proxy::before(redis.port()).await),
            _ => None,
        };
        let url = line.as_ref().map_or_else(|| redis.url(), |line| line.url());
        let beside = app.twin(Settings { redis_url: Some(url), ..settings() });
        let beside = Beside { app: beside.await.connected().await, line };
        (app, Some(beside), (Some(redis), cluster))
    }
}

impl World {
    async fn on(tiers: Tiers) -> Self {
        let (app, beside, servers) = tiers.start().await;
        let (ada, bob) = (app.instructor("ada").await, app.instructor("bob").await);
        let (sam, eve) = (app.student("sam").await, app.student("eve").await);
        let root = app.admin().await;
        let course = app.published(&ada, "Mine").await;
        let other = app.published(&bob, "Other").await;
        for (teacher, id) in [(&ada, course), (&bob, other)] {
            app.write_content(teacher, id).await;
        }
        app.enroll(&sam, course).await.expect(201);
        let article = app.article(&ada, "My article").await;
        let other_article = app.article(&bob, "Other article").await;
        let world = Self {
            app,
            ada,
            bob,
            sam,
            eve,
            root,
            course,
            other,
            article,
            other_article,
            beside,
            servers,
        };
        world.prime().await;
        world
    }

    /// Every cached read, by name.
    fn reads(&self) -> [(&'static str, String, Option<&Person>); 19] {
        let Self { course, other, ada, sam, .. } = self;
        [
            ("list", "/courses".to_owned(), None),
            ("popular", "/courses?sort_by=popular".to_owned(), None),
            ("search", "/courses?q=mine".to_owned(), None),
            ("course", format!("/courses/{course}"), None),
            ("content", format!("/courses/{course}/content"), Some(ada)),
            ("seats", format!("/courses/{course}/seats"), None),
            ("teacher", format!("/users/{}", ada.id), None),
            ("instructor", format!("/instructors/{}", ada.id), None),
            ("student", format!("/users/{}", sam.id), Some(ada)),
            ("progress", format!("/courses/{course}/progress"), Some(sam)),
            ("dashboard", "/users/me/dashboard".to_owned(), Some(sam)),
            ("session", "/users/me/session".to_owned(), Some(sam)),
            ("articles", "/articles".to_owned(), None),
            ("article", format!("/articles/{}", self.article), None),
            ("tags", "/tags".to_owned(), None),
            ("other course", format!("/courses/{other}"), None),
            ("other content", format!("/courses/{other}/content"), Some(&self.bob)),
            ("other seats", format!("/courses/{other}/seats"), None),
            ("other article", format!("/articles/{}", self.other_article), None),
        ]
    }

    async fn read(&self, name: &str) -> Answer {
        self.read_by(&self.app, name).await
    }

    async fn read_by(&self, app: &TestApp, name: &str) -> Answer {
        let (_, path, by) = self.reads().into_iter().find(|(read, ..)| *read == name).unwrap();
        match by {
            Some(person) => app.get(&path).by(person).await,
            None => app.get(&path).await,
        }
    }

    async fn json(&self, name: &str) -> Value {
        self.read(name).await.expect(200).json()
    }

    /// The reads that the cache of a server does not answer now.
    async fn missed(&self, app: &TestApp) -> BTreeSet<&'static str> {
        let mut missed = BTreeSet::new();
        for (name, ..) in self.reads() {
            let answer = self.read_by(app, name).await;
            // A 404 may be a hit too: of the course behind it, read a moment ago.
            if answer.status != 200 || answer.cache() != "HIT" {
                missed.insert(name);
            }
        }
        missed
    }

    /// Redis is filled behind the answer, so a hit may take a moment to come.
    async fn prime(&self) {
        if self.servers.0.is_some() {
            self.app.settled().await;
        }
        let primed = async || {
            let beside = match &self.beside {
                Some(beside) => self.missed(&beside.app).await,
                None => BTreeSet::new(),
            };
            beside.is_empty() && self.missed(&self.app).await.is_empty()
        };
        until("every read is a hit", primed).await;
        if let Some(line) = self.beside.as_ref().and_then(|beside| beside.line.as_ref()) {
            line.backplane().hold();
        }
    }

    /// Checks that exactly these reads were lost, and that the server beside shows in them what
    /// this one shows, as soon as it has heard of it or knows that it hears nothing.
    async fn lost(&self, lost: &[&str]) {
        let expected: BTreeSet<&str> = lost.iter().copied().collect();
        assert_eq!(self.missed(&self.app).await, expected);
        let Some(beside) = &self.beside else {
            return;
        };
        if let Some(line) = &beside.line {
            self.alike(&beside.app, lost).await;
            until("what hears nothing does not trust its own memory", async || {
                let seen = self.read_by(&beside.app, "other course").await;
                !seen.header("cache-status").ends_with("detail=L1")
            })
            .await;
            line.backplane().heal();
            return;
        }
        let kept = self.reads().into_iter().map(|(name, ..)| name);
        for name in kept.filter(|name| !lost.contains(name)) {
            assert_eq!(self.read_by(&beside.app, name).await.cache(), "HIT", "{name}");
        }
        self.alike(&beside.app, lost).await;
    }

    /// Only for reads that must be new: the others may lag, and not on both servers alike.
    async fn alike(&self, beside: &TestApp, names: &[&str]) {
        for name in names {
            let here = self.read(name).await;
            until(&format!("the other server shows the same {name}"), async || {
                let there = self.read_by(beside, name).await;
                (there.status, &there.body) == (here.status, &here.body)
            })
            .await;
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/courses/{}{rest}", self.course)
    }
}

#[tokio::test]
async fn o1_registering_ends_the_memory_that_there_was_nobody() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let next = world.root.id + 1;
        let path = format!("/users/{next}");
        for _ in 0..2 {
            world.app.get(&path).by(&world.sam).await.refused(404);
        }
        let new = json!({"username": "nina", "email": "nina@example.org",
            "password": "correct horse battery", "full_name": "Nina"});
        let nina = world.app.post("/auth/register").json(new).await.expect(201);
        assert_eq!(nina.id(), next);
        let seen = world.app.get(&path).by(&world.sam).await.expect(200);
        assert_eq!(seen.json()["username"], "nina", "{tiers:?}");
        world.lost(&[]).await;
    }
}

#[tokio::test]
async fn o2_a_new_name_of_a_teacher_is_in_the_profile_and_in_their_courses() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let edit = json!({"full_name": "Ada King"});
        let path = format!("/users/{}", world.ada.id);
        world.app.put(&path).by(&world.ada).json(edit).await.expect(200);
        // Lists show the name too; they lag by their TTL, which is declared.
        world.lost(&["course", "content", "seats", "teacher", "instructor", "article"]).await;
        assert_eq!(world.json("article").await["author"]["full_name"], "Ada King");
        assert_eq!(world.json("teacher").await["full_name"], "Ada King", "{tiers:?}");
        assert_eq!(world.json("instructor").await["full_name"], "Ada King");
        assert_eq!(world.json("course").await["instructor"]["full_name"], "Ada King");
    }
}

#[tokio::test]
async fn o2_a_student_who_becomes_an_instructor_has_a_public_profile_at_once() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let path = format!("/users/{}", world.sam.id);
        world.app.get(&path).await.refused(401);
        let role = json!({"role": "instructor"});
        let change = world.app.patch(&format!("{path}/role")).by(&world.root).json(role);
        change.await.expect(200);
        world.lost(&["student", "dashboard", "session"]).await;
        assert_eq!(world.app.get(&path).await.expect(200).json()["role"], "instructor");
    }
}

#[tokio::test]
async fn o3_a_deleted_student_is_gone_and_gives_the_seat_back() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        assert_eq!(world.json("seats").await["enrolled"], 1);
        world.app.get(&world.path("/content")).by(&world.sam).await.expect(200);
        let path = format!("/users/{}", world.sam.id);
        world.app.delete(&path).by(&world.root).await.expect(204);
        let own = ["progress", "dashboard", "session"];
        world.lost(&[&["student", "seats"][..], &own].concat()).await;
        world.read("student").await.refused(404);
        assert_eq!(world.json("seats").await["enrolled"], 0, "{tiers:?}");
        world.app.get(&world.path("/content")).by(&world.sam).await.refused(403);
    }
}

#[tokio::test]
async fn o3_a_deleted_teachers_name_is_gone_from_their_courses() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let path = format!("/users/{}", world.ada.id);
        world.app.delete(&path).by(&world.root).await.expect(204);
        let lists = ["list", "popular", "search", "articles", "tags"];
        let own = ["course", "content", "seats", "teacher", "instructor", "article"];
        world.lost(&[&lists[..], &own].concat()).await;
        world.app.get(&path).by(&world.bob).await.refused(404);
        for read in ["course", "list", "article", "articles"] {
            let shown = world.json(read).await;
            assert!(!shown.to_string().contains("ada"), "{tiers:?}: {shown}");
        }
    }
}

#[tokio::test]
async fn o4_an_instructors_profile_is_new_at_once() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let edit = json!({"headline": "Counts engines", "expertise": ["looms"]});
        let path = format!("/instructors/{}", world.ada.id);
        world.app.put(&path).by(&world.bob).json(edit.clone()).await.refused(403);
        world.lost(&[]).await;
        world.prime().await;
        world.app.put(&path).by(&world.ada).json(edit).await.expect(200);
        world.lost(&["teacher", "instructor"]).await;
        assert_eq!(world.json("instructor").await["expertise"], json!(["looms"]), "{tiers:?}");
    }
}

#[tokio::test]
async fn o5_a_new_draft_ends_only_the_memory_that_it_did_not_exist() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let path = format!("/courses/{}", world.other + 1);
        for _ in 0..2 {
            world.app.get(&path).by(&world.ada).await.refused(404);
        }
        let new = world.app.post("/courses").by(&world.ada).json(course("New")).await.expect(201);
        assert_eq!(new.id(), world.other + 1);
        assert_eq!(new.header("location"), path);
        world.app.get(&path).by(&world.ada).await.expect(200);
        world.lost(&[]).await;
    }
}

#[tokio::test]
async fn o6_an_edit_of_a_published_course_is_in_every_read_that_shows_it() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let edit = json!({"title": "Mine, improved", "max_students": 7});
        world.app.put(&world.path("")).by(&world.ada).json(edit).await.expect(200);
        world.lost(&["list", "popular", "search", "course", "content", "seats"]).await;
        assert_eq!(world.json("course").await["title"], "Mine, improved", "{tiers:?}");
        assert_eq!(world.json("search").await["items"][0]["title"], "Mine, improved");
        assert_eq!(world.json("seats").await["max_students"], 7);
    }
}

#[tokio::test]
async fn o6_an_edit_of_a_draft_leaves_the_lists_alone() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let draft = world.app.draft(&world.ada, "Draft").await;
        let edit = json!({"title": "Draft 2"});
        world.app.put(&format!("/courses/{draft}")).by(&world.ada).json(edit).await.expect(200);
        world.lost(&[]).await;
    }
}

#[tokio::test]
async fn o7_a_status_change_moves_a_course_out_of_the_lists_and_back() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let lost = ["list", "popular", "search", "course", "content", "seats"];
        world.app.set_status(&world.ada, world.course, "archived").await.expect(200);
        world.lost(&lost).await;
        assert_eq!(world.json("list").await["total"], 1, "{tiers:?}");
        assert_eq!(world.json("search").await["total"], 0, "{tiers:?}");
        world.read("course").await.refused(404);
        world.read("seats").await.refused(404);
        world.app.set_status(&world.ada, world.course, "published").await.expect(200);
        assert_eq!(world.json("list").await["total"], 2, "{tiers:?}");
        assert_eq!(world.json("search").await["total"], 1, "{tiers:?}");
        world.read("course").await.expect(200);
    }
}

#[tokio::test]
async fn o8_a_deleted_course_is_nowhere_and_its_slug_is_free() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        world.app.get(&world.path("/content")).by(&world.sam).await.expect(200);
        world.app.delete(&world.path("")).by(&world.ada).await.expect(204);
        let lost = ["list", "popular", "search", "course", "content", "seats", "progress"];
        world.lost(&lost).await;
        assert_eq!(world.json("list").await["total"], 1, "{tiers:?}");
        for read in ["course", "content", "seats", "progress"] {
            world.read(read).await.refused(404);
        }
        world.app.get(&world.path("/content")).by(&world.sam).await.refused(404);
        let again = world.app.post("/courses").by(&world.bob).json(course("Mine")).await;
        assert_eq!(again.expect(201).json()["slug"], "mine");
    }
}

#[tokio::test]
async fn o9_a_rating_is_on_the_courses_page_at_once_and_in_lists_later() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let stars = json!({"stars": 5});
        let rate = |by| world.app.put(&world.path("/rating")).by(by).json(stars.clone());
        rate(&world.eve).await.refused(403);
        rate(&world.sam).await.expect(200);
        world.lost(&["course", "content", "seats"]).await;
        let rating = &world.json("course").await["rating"];
        assert_eq!(*rating, json!({"average": 5.0, "count": 1}), "{tiers:?}");
    }
}

#[tokio::test]
async fn o10_every_edit_of_the_content_is_in_the_next_read_of_it() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let (app, ada) = (&world.app, &world.ada);
        let count = async || {
            let document = world.json("content").await;
            let totals = &document["metadata"];
            (totals["total_modules"].as_i64().unwrap(), totals["total_lessons"].as_i64().unwrap())
        };
        assert_eq!(count().await, (2, 3));
        let ended = async || {
            world.lost(&["content", "progress"]).await;
            world.prime().await;
        };
        let module = json!({"title": "Three"});
        let path = world.path("/content/modules");
        let added = app.post(&path).by(ada).json(module).await.expect(201).json();
        ended().await;
        assert_eq!(count().await, (3, 3), "{tiers:?}");
        let path = format!("{path}/{}", added["modules"][2]["id"]);
        let lesson = json!({"title": "Fourth", "body": "New."});
        let lessons = format!("{path}/lessons");
        let added = app.post(&lessons).by(ada).json(lesson).await.expect(201).json();
        ended().await;
        assert_eq!(count().await, (3, 4), "{tiers:?}");
        let lesson = format!("{lessons}/{}", added["modules"][2]["lessons"][0]["id"]);
        app.delete(&lesson).by(ada).await.expect(204);
        ended().await;
        assert_eq!(count().await, (3, 3), "{tiers:?}");
        app.delete(&path).by(ada).await.expect(204);
        ended().await;
        assert_eq!(count().await, (2, 3), "{tiers:?}");
        app.put(&world.path("/content")).by(ada).json(content()).await.expect(200);
        ended().await;
        app.delete(&world.path("/content")).by(ada).await.expect(204);
        world.lost(&["content", "progress"]).await;
        world.read("content").await.refused(404);
    }
}

#[tokio::test]
async fn o11_enrolling_is_in_the_seats_and_opens_the_content_and_leaves_the_lists() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let content = world.path("/content");
        world.app.get(&content).by(&world.eve).await.refused(403);
        world.app.enroll(&world.eve, world.course).await.expect(201);
        world.lost(&["seats"]).await;
        assert_eq!(world.json("seats").await["enrolled"], 2, "{tiers:?}");
        world.app.get(&content).by(&world.eve).await.expect(200);
    }
}

/// What a student reads of what they do.
const OWN: [&str; 3] = ["progress", "dashboard", "session"];

#[tokio::test]
async fn o12_what_a_student_does_is_in_everything_that_shows_how_far_they_are() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let (app, sam) = (&world.app, &world.sam);
        let document = world.json("content").await;
        let lesson = &document["modules"][0]["lessons"][0]["id"];
        let done = world.path(&format!("/lessons/{lesson}/complete"));
        let percent = async || world.json("progress").await["progress_percent"].clone();
        app.post(&done).by(sam).await.expect(200);
        world.lost(&OWN).await;
        assert_eq!(percent().await, 33.33, "{tiers:?}");
        assert_eq!(world.json("dashboard").await["enrollments"][0]["progress_percent"], 33.33);
        world.prime().await;
        app.delete(&done).by(sam).await.expect(200);
        world.lost(&OWN).await;
        assert_eq!(percent().await, 0.0, "{tiers:?}");
        world.prime().await;
        let places = app.get("/enrollments/my-enrollments").by(sam).await.expect(200).json();
        let report = format!("/enrollments/{}/progress", places["items"][0]["id"]);
        let minutes = json!({"time_spent_minutes": 7});
        app.patch(&report).by(sam).json(minutes).await.expect(200);
        world.lost(&OWN).await;
        assert_eq!(world.json("dashboard").await["totals"]["time_spent_minutes"], 7, "{tiers:?}");
    }
}

#[tokio::test]
async fn o13_a_dropped_place_is_free_and_closed_and_gone_from_what_the_student_sees() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let (app, sam) = (&world.app, &world.sam);
        let content = world.path("/content");
        app.get(&content).by(sam).await.expect(200);
        let places = app.get("/enrollments/my-enrollments").by(sam).await.expect(200).json();
        let place = format!("/enrollments/{}", places["items"][0]["id"]);
        app.delete(&place).by(sam).await.expect(200);
        world.lost(&[&["seats"][..], &OWN].concat()).await;
        assert_eq!(world.json("seats").await["enrolled"], 0, "{tiers:?}");
        assert_eq!(world.json("session").await["enrolled"], json!([]), "{tiers:?}");
        assert_eq!(world.json("dashboard").await["enrollments"], json!([]), "{tiers:?}");
        world.read("progress").await.refused(403);
        app.get(&content).by(sam).await.refused(403);
    }
}

#[tokio::test]
async fn o14_a_new_article_is_in_the_lists_only_if_it_is_published() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let (app, ada) = (&world.app, &world.ada);
        let next = world.other_article + 1;
        let path = format!("/articles/{next}");
        for _ in 0..2 {
            app.get(&path).by(ada).await.refused(404);
        }
        let new = |title: &str, published: bool| json!({"title": title, "body": "", "tags": ["testing"], "published": published});
        let draft = app.post("/articles").by(ada).json(new("Draft", false)).await.expect(201);
        assert_eq!(draft.header("location"), path);
        app.get(&path).by(ada).await.expect(200);
        world.lost(&[]).await;
        app.get(&format!("/articles/{}", next + 1)).await.refused(404);
        world.prime().await;
        app.post("/articles").by(ada).json(new("Public", true)).await.expect(201);
        world.lost(&["articles", "tags"]).await;
        assert_eq!(world.json("articles").await[0]["title"], "Public", "{tiers:?}");
        assert_eq!(world.json("tags").await, json!([{"name": "testing", "count": 3}]));
        app.get(&format!("/articles/{}", next + 1)).await.expect(200);
    }
}

#[tokio::test]
async fn o15_an_edited_article_is_new_everywhere_and_the_tags_are_if_they_changed() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let path = format!("/articles/{}", world.article);
        let put =
            async |edit: Value| world.app.put(&path).by(&world.ada).json(edit).await.expect(200);
        put(json!({"title": "Rewritten"})).await;
        world.lost(&["article", "articles"]).await;
        assert_eq!(world.json("article").await["title"], "Rewritten", "{tiers:?}");
        assert_eq!(world.json("articles").await[1]["title"], "Rewritten", "{tiers:?}");
        world.prime().await;
        put(json!({"tags": ["rope"]})).await;
        world.lost(&["article", "articles", "tags"]).await;
        let tags = json!([{"name": "testing", "count": 1}, {"name": "rope", "count": 1}]);
        assert_eq!(world.json("tags").await, tags, "{tiers:?}");
        world.prime().await;
        put(json!({"published": false})).await;
        world.lost(&["article", "articles", "tags"]).await;
        world.read("article").await.refused(404);
        assert_eq!(world.json("articles").await.as_array().map(Vec::len), Some(1), "{tiers:?}");
        assert_eq!(world.json("tags").await, json!([{"name": "testing", "count": 1}]));
        put(json!({"published": true})).await;
        world.read("article").await.expect(200);
        assert_eq!(world.json("tags").await, tags, "{tiers:?}");
    }
}

#[tokio::test]
async fn o16_a_deleted_article_is_nowhere() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let path = format!("/articles/{}", world.article);
        world.app.delete(&path).by(&world.bob).await.refused(403);
        world.lost(&[]).await;
        world.prime().await;
        world.app.delete(&path).by(&world.root).await.expect(204);
        world.lost(&["article", "articles", "tags"]).await;
        world.read("article").await.refused(404);
        assert_eq!(world.json("articles").await.as_array().map(Vec::len), Some(1), "{tiers:?}");
        assert_eq!(world.json("tags").await, json!([{"name": "testing", "count": 1}]));
    }
}

#[tokio::test]
async fn o19_a_redis_that_was_flushed_or_restarted_brings_nothing_old_back() {
    for tiers in [Tiers::L2, Tiers::Two, Tiers::TwoOnPostgres] {
        let mut world = World::on(tiers).await;
        for how in ["flushed", "restarted"] {
            let redis = world.servers.0.as_mut().expect("a Redis");
            if how == "flushed" {
                redis.command::<()>(&["FLUSHALL"]).await;
            } else {
                redis.kill();
                redis.restart().await;
            }
            let title = format!("Mine, {how}");
            let edit = json!({ "title": title });
            world.app.put(&world.path("")).by(&world.ada).json(edit).await.expect(200);
            assert_eq!(world.json("course").await["title"], title, "{tiers:?}");
            assert_eq!(world.json("search").await["items"][0]["title"], title, "{tiers:?}");
            if let Some(beside) = &world.beside {
                world.alike(&beside.app, &["course", "list", "search", "seats"]).await;
            }
            world.prime().await;
            assert_eq!(world.json("course").await["title"], title, "{tiers:?}");
        }
    }
}

impl World {
    /// Changes what a read shows behind the back of the cache, which goes on showing the old.
    async fn behind(&self, statement: &str) {
        let url = match (&self.servers.1, self.app.app.store().file()) {
            (Some(cluster), _) => cluster.url(),
            (None, Some(file)) => format!("sqlite://{}", file.display()),
            (None, None) => panic!("an SQLite file or a cluster"),
        };
        Sql::open(&url).await.run(statement).await;
    }

    async fn retitle(&self, title: &str) {
        let before = self.json("course").await["title"].clone();
        let id = self.course;
        self.behind(&format!("UPDATE courses SET title = '{title}' WHERE id = {id}")).await;
        assert_eq!(self.json("course").await["title"], before, "nobody has ended it yet");
    }

    async fn clear(&self, what: &str) {
        let cleared = self.app.delete(&format!("/cache{what}")).by(&self.root).await;
        cleared.expect(200);
    }

    /// Who counted the figures of the course, and when.
    async fn figures(&self, app: &TestApp) -> Answer {
        let path = format!("/api/v3/analytics/courses/{}", self.course);
        app.get(&path).by(&self.ada).await.expect(200)
    }

    fn every_app(&self) -> impl Iterator<Item = &TestApp> {
        [&self.app].into_iter().chain(self.beside.as_ref().map(|beside| &beside.app))
    }
}

/// What is cached of the first course.
const OF_COURSE: [&str; 7] =
    ["list", "popular", "search", "course", "content", "seats", "progress"];

#[tokio::test]
async fn o17_a_course_that_an_admin_clears_is_new_everywhere_its_figures_too() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        for app in world.every_app() {
            until("figures are a hit", async || world.figures(app).await.cache() == "HIT").await;
        }
        let before = world.figures(&world.app).await.json()["generated_at"].clone();
        world.retitle("Behind").await;
        world.clear(&format!("/courses/{}", world.course)).await;
        world.lost(&OF_COURSE).await;
        // Hard, though marks of writes are soft: they are counted anew at once.
        let figures = world.figures(&world.app).await;
        assert_eq!((figures.cache(), &figures.json()["title"]), ("MISS", &json!("Behind")));
        for read in ["list", "search"] {
            let shown = world.json(read).await.to_string();
            assert!(shown.contains("Behind"), "{tiers:?}: {shown}");
        }
        assert_eq!(world.json("course").await["title"], "Behind", "{tiers:?}");
        for app in world.every_app() {
            until("nobody shows the old figures", async || {
                world.figures(app).await.json()["generated_at"] != before
            })
            .await;
        }
    }
}

#[tokio::test]
async fn o18_what_an_admin_clears_is_new_and_the_rest_is_kept() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let all = world.reads().map(|(name, ..)| name);
        let by_tag = format!("/tags/course:{}", world.course);
        for (title, what, lost) in [
            ("By namespace", "/namespaces/courses", &["course", "other course"][..]),
            ("By tag", by_tag.as_str(), &["course", "content", "seats"]),
            ("Everything", "?confirm=all", &all),
        ] {
            world.retitle(title).await;
            world.clear(what).await;
            world.lost(lost).await;
            assert_eq!(world.json("course").await["title"], title, "{tiers:?}: {what}");
            world.prime().await;
        }
    }
}

#[tokio::test]
async fn o20_a_changed_rule_holds_for_the_next_reads_of_every_server_and_of_its_namespace_alone() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let following: Vec<_> = world
            .every_app()
            .map(|app| {
                let reads = app.app.reads.clone();
                tokio::spawn(async move { reads.follow_rules().await })
            })
            .collect();
        let edit = async |edit: Value| {
            let path = "/cache/definitions/articles";
            world.app.patch(path).by(&world.root).json(edit).await.expect(200);
        };
        edit(json!({"enabled": false})).await;
        let id = world.article;
        world.behind(&format!("UPDATE articles SET title = 'Behind' WHERE id = {id}")).await;
        for app in world.every_app() {
            until("a namespace that is off is read from the database", async || {
                world.read_by(app, "article").await.json()["title"] == "Behind"
            })
            .await;
        }
        world.lost(&["article", "other article"]).await;
        edit(json!({"enabled": null})).await;
        world.prime().await;
        // A smaller hard TTL counts for what is stored already.
        edit(json!({"soft": 1, "hard": 1})).await;
        for app in world.every_app() {
            until("an entry ends with its new life", async || {
                world.read_by(app, "other article").await.cache() != "HIT"
            })
            .await;
        }
        following.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
