//! Ratings: who may rate, and that a course has each person's last word once.

use serde_json::{Value, json};

use crate::support::{Answer, Person, TestApp, on_both};

on_both!(
    voters,
    a_course_is_rated_by_those_who_have_a_place_in_it_on_sqlite,
    a_course_is_rated_by_those_who_have_a_place_in_it_on_postgresql
);

async fn voters(app: TestApp) {
    let (ada, root) = (app.instructor("ada").await, app.admin().await);
    let (sam, eve, dan) =
        (app.student("sam").await, app.student("eve").await, app.student("dan").await);
    let id = app.published(&ada, "Rust").await;
    app.write_content(&ada, id).await;
    let (course, path) = (format!("/courses/{id}"), format!("/courses/{id}/rating"));
    let rate = async |by: &Person, stars: Value| -> Answer {
        app.put(&path).by(by).json(json!({ "stars": stars })).await
    };
    let rating = async || app.get(&course).await.expect(200).json()["rating"].clone();
    let place = app.enroll(&dan, id).await.expect(201).id();
    for student in [&sam, &eve] {
        app.enroll(student, id).await.expect(201);
    }
    app.delete(&format!("/enrollments/{place}")).by(&dan).await.expect(200);
    app.put(&path).json(json!({"stars": 5})).await.refused(401);
    for outsider in [&ada, &root, &dan] {
        let refused = rate(outsider, json!(5)).await.refused(403);
        assert_eq!(refused, "Only enrolled students may rate a course");
    }
    for stars in [json!(0), json!(6), json!(-1), json!(4.5), json!("5"), json!(1_i64 << 40)] {
        rate(&sam, stars).await.refused(422);
    }
    app.put(&path).by(&sam).json(json!({})).await.refused(422);
    app.put("/courses/424242/rating").by(&sam).json(json!({"stars": 5})).await.refused(404);
    assert_eq!(rating().await, json!({"average": null, "count": 0}));
    let answered = rate(&sam, json!(1)).await.expect(200).json();
    assert_eq!(answered["rating"], json!({"average": 1.0, "count": 1}));
    rate(&eve, json!(4)).await.expect(200);
    assert_eq!(rating().await, json!({"average": 2.5, "count": 2}));
    rate(&sam, json!(5)).await.expect(200);
    assert_eq!(
        rating().await,
        json!({"average": 4.5, "count": 2}),
        "the second replaces the first"
    );
    let version = app.get(&course).await.json()["version"].clone();
    assert_eq!(version, answered["version"], "a vote is no edit of the course");
    // Who has completed the course still has a place in it, and an archived one is theirs to rate.
    let content = app.get(&format!("{course}/content")).by(&sam).await.expect(200).json();
    let modules = content["modules"].as_array().cloned().unwrap_or_default();
    for lesson in modules.iter().flat_map(|module| module["lessons"].as_array().cloned()).flatten()
    {
        let done = format!("{course}/lessons/{}/complete", lesson["id"]);
        app.post(&done).by(&sam).await.expect(200);
    }
    rate(&sam, json!(2)).await.expect(200);
    assert_eq!(rating().await, json!({"average": 3.0, "count": 2}));
    app.set_status(&ada, id, "archived").await.expect(200);
    rate(&eve, json!(3)).await.expect(200);
    rate(&dan, json!(1)).await.refused(404);
    app.set_status(&ada, id, "published").await.expect(200);
    assert_eq!(rating().await, json!({"average": 2.5, "count": 2}));
    app.delete(&course).by(&ada).await.expect(204);
    rate(&sam, json!(5)).await.refused(404);
}
