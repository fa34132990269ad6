//! What each write ends: no read shows the old state afterwards, and nothing else is lost.
//!
//! Every row runs on all tiers. The reads that a row does not name must still be hits.

use std::collections::BTreeSet;

use campus::config::Settings;
use serde_json::{Value, json};

use crate::support::{
    Answer, Person, Redis, TestApp, content, course, on_redis, on_redis_alone, until,
};

/// Two teachers with a course each, a student in the first one, and every read of them in the cache.
struct World {
    app: TestApp,
    ada: Person,
    bob: Person,
    sam: Person,
    eve: Person,
    root: Person,
    course: i64,
    other: i64,
    _redis: Option<Redis>,
}

#[derive(Debug, Clone, Copy)]
enum Tiers {
    L1,
    Both,
    L2,
}

const TIERS: [Tiers; 3] = [Tiers::L1, Tiers::Both, Tiers::L2];

impl World {
    async fn on(tiers: Tiers) -> Self {
        let (app, redis) = match tiers {
            Tiers::L1 => (TestApp::with(Settings::default()).await, None),
            Tiers::Both | Tiers::L2 => {
                let redis = Redis::start().await;
                let settings = match tiers {
                    Tiers::L2 => on_redis_alone(&redis),
                    Tiers::L1 | Tiers::Both => on_redis(&redis),
                };
                (TestApp::with(settings).await.connected().await, Some(redis))
            }
        };
        let (ada, bob) = (app.instructor("ada").await, app.instructor("bob").await);
        let (sam, eve) = (app.student("sam").await, app.student("eve").await);
        let root = app.admin().await;
        let course = app.published(&ada, "Mine").await;
        let other = app.published(&bob, "Other").await;
        for (teacher, id) in [(&ada, course), (&bob, other)] {
            app.write_content(teacher, id).await;
        }
        app.enroll(&sam, course).await.expect(201);
        let world = Self { app, ada, bob, sam, eve, root, course, other, _redis: redis };
        world.prime().await;
        world
    }

    /// Every cached read, by name.
    fn reads(&self) -> [(&'static str, String, Option<&Person>); 12] {
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
            ("other course", format!("/courses/{other}"), None),
            ("other content", format!("/courses/{other}/content"), Some(&self.bob)),
            ("other seats", format!("/courses/{other}/seats"), None),
        ]
    }

    async fn read(&self, name: &str) -> Answer {
        let (_, path, by) = self.reads().into_iter().find(|(read, ..)| *read == name).unwrap();
        match by {
            Some(person) => self.app.get(&path).by(person).await,
            None => self.app.get(&path).await,
        }
    }

    async fn json(&self, name: &str) -> Value {
        self.read(name).await.expect(200).json()
    }

    /// The reads that the cache does not answer now.
    async fn missed(&self) -> BTreeSet<&'static str> {
        let mut missed = BTreeSet::new();
        for (name, ..) in self.reads() {
            let answer = self.read(name).await;
            // A 404 may be a hit too: of the course behind it, read a moment ago.
            if answer.status != 200 || answer.cache() != "HIT" {
                missed.insert(name);
            }
        }
        missed
    }

    /// Redis is filled behind the answer, so a hit may take a moment to come.
    async fn prime(&self) {
        until("every read is a hit", async || self.missed().await.is_empty()).await;
    }

    #[track_caller]
    fn assert_lost(&self, missed: &BTreeSet<&str>, lost: &[&str]) {
        assert_eq!(*missed, lost.iter().copied().collect());
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
        world.assert_lost(&world.missed().await, &[]);
    }
}

#[tokio::test]
async fn o2_a_new_name_of_a_teacher_is_in_the_profile_and_in_their_courses() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let edit = json!({"full_name": "Ada King"});
        let path = format!("/users/{}", world.ada.id);
        world.app.put(&path).by(&world.ada).json(edit).await.expect(200);
        let missed = world.missed().await;
        // Lists show the name too; they lag by their TTL, which is declared.
        world.assert_lost(&missed, &["course", "content", "seats", "teacher", "instructor"]);
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
        world.assert_lost(&world.missed().await, &["student"]);
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
        world.assert_lost(&world.missed().await, &["student", "seats"]);
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
        let missed = {
            world.app.delete(&path).by(&world.root).await.expect(204);
            world.missed().await
        };
        let lists = ["list", "popular", "search"];
        let own = ["course", "seats", "teacher", "instructor"];
        let lost: Vec<&str> = lists.into_iter().chain(own).chain(["content"]).collect();
        world.assert_lost(&missed, &lost);
        world.app.get(&path).by(&world.bob).await.refused(404);
        for shown in [world.json("course").await, world.json("list").await] {
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
        world.assert_lost(&world.missed().await, &[]);
        world.app.put(&path).by(&world.ada).json(edit).await.expect(200);
        world.assert_lost(&world.missed().await, &["teacher", "instructor"]);
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
        world.assert_lost(&world.missed().await, &[]);
    }
}

#[tokio::test]
async fn o6_an_edit_of_a_published_course_is_in_every_read_that_shows_it() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let edit = json!({"title": "Mine, improved", "max_students": 7});
        world.app.put(&world.path("")).by(&world.ada).json(edit).await.expect(200);
        let missed = world.missed().await;
        let lost = ["list", "popular", "search", "course", "content", "seats"];
        world.assert_lost(&missed, &lost);
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
        world.assert_lost(&world.missed().await, &[]);
    }
}

#[tokio::test]
async fn o7_a_status_change_moves_a_course_out_of_the_lists_and_back() {
    for tiers in TIERS {
        let world = World::on(tiers).await;
        let lost = ["list", "popular", "search", "course", "content", "seats"];
        world.app.set_status(&world.ada, world.course, "archived").await.expect(200);
        world.assert_lost(&world.missed().await, &lost);
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
        let lost = ["list", "popular", "search", "course", "content", "seats"];
        world.assert_lost(&world.missed().await, &lost);
        assert_eq!(world.json("list").await["total"], 1, "{tiers:?}");
        for read in ["course", "content", "seats"] {
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
        world.assert_lost(&world.missed().await, &["course", "content", "seats"]);
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
            world.assert_lost(&world.missed().await, &["content"]);
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
        world.assert_lost(&world.missed().await, &["content"]);
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
        world.assert_lost(&world.missed().await, &["seats"]);
        assert_eq!(world.json("seats").await["enrolled"], 2, "{tiers:?}");
        world.app.get(&content).by(&world.eve).await.expect(200);
    }
}
