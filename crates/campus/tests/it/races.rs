//! Writes that race for one thing: the same winner takes it on SQLite and on PostgreSQL.

use campus::model::{Role, Window};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Person, TestApp, counts, on_both};

on_both!(
    last_seat,
    of_64_who_want_the_last_seat_one_gets_it_on_sqlite,
    of_64_who_want_the_last_seat_one_gets_it_on_postgresql
);

async fn last_seat(app: TestApp) {
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Popular").await;
    let path = format!("/courses/{id}");
    app.put(&path).by(&ada).json(json!({"max_students": 3})).await.expect(200);
    let mut takers = Vec::new();
    for number in 0..66 {
        takers.push(app.student(&format!("taker{number}")).await);
    }
    for taker in takers.drain(..2) {
        app.enroll(&taker, id).await.expect(201);
    }
    let answers = join_all(takers.iter().map(|taker| app.enroll(taker, id))).await;
    assert_eq!(counts(&answers, [201, 409]), [1, 63]);
    for refused in answers.iter().filter(|answer| answer.status == 409) {
        assert_eq!(refused.refused(409), "Course enrollment limit reached");
    }
    let seats = app.get(&format!("{path}/seats")).await.expect(200).json();
    assert_eq!(seats, json!({"enrolled": 3, "max_students": 3}));
}

on_both!(
    twenty_seats,
    of_200_who_want_one_of_20_seats_exactly_20_get_one_on_sqlite,
    of_200_who_want_one_of_20_seats_exactly_20_get_one_on_postgresql
);

async fn twenty_seats(app: TestApp) {
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Popular").await;
    let path = format!("/courses/{id}");
    app.put(&path).by(&ada).json(json!({"max_students": 20})).await.expect(200);
    let mut takers = Vec::new();
    for number in 0..200 {
        takers.push(app.student(&format!("taker{number}")).await);
    }
    let answers = join_all(takers.iter().map(|taker| app.enroll(taker, id))).await;
    assert_eq!(counts(&answers, [201, 409]), [20, 180]);
    let seats = app.get(&format!("{path}/seats")).await.expect(200).json();
    assert_eq!(seats, json!({"enrolled": 20, "max_students": 20}));
    let fresh = app.get("/courses?sort_by=popular").await.expect(200).json();
    assert_eq!(fresh["items"][0]["enrolled_count"], 20);
}

on_both!(
    enrolling_twice,
    a_student_who_enrolls_twice_at_once_is_enrolled_once_on_sqlite,
    a_student_who_enrolls_twice_at_once_is_enrolled_once_on_postgresql
);

async fn enrolling_twice(app: TestApp) {
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Rust").await;
    for round in 0..10 {
        let sam = app.student(&format!("sam{round}")).await;
        let (one, two) = tokio::join!(app.enroll(&sam, id), app.enroll(&sam, id));
        let (won, lost) = if one.status == 201 { (one, two) } else { (two, one) };
        won.expect(201);
        assert_eq!(lost.refused(409), "Already enrolled in this course");
        let seats = app.get(&format!("/courses/{id}/seats")).await.expect(200).json();
        assert_eq!(seats["enrolled"], round + 1, "a refused request takes no seat");
    }
}

on_both!(
    one_slug,
    two_who_want_one_slug_at_once_get_one_course_and_one_conflict_on_sqlite,
    two_who_want_one_slug_at_once_get_one_course_and_one_conflict_on_postgresql
);

async fn one_slug(app: TestApp) {
    let ada = app.instructor("ada").await;
    for round in 0..10 {
        let course = || crate::support::course(&format!("Round {round}"));
        let create = || app.post("/courses").by(&ada).json(course());
        let (one, two) = tokio::join!(create(), create());
        assert_eq!(counts(&[one, two], [201, 409]), [1, 1]);
    }
}

on_both!(
    one_refresh_token,
    a_refresh_token_used_by_many_at_once_works_once_and_ends_its_session_on_sqlite,
    a_refresh_token_used_by_many_at_once_works_once_and_ends_its_session_on_postgresql
);

async fn one_refresh_token(app: TestApp) {
    let password = "correct horse battery";
    let nina = json!({"username": "nina", "email": "nina@example.org", "password": password,
        "full_name": "Nina"});
    app.post("/auth/register").json(nina).await.expect(201);
    let refresh = |session: &Value| {
        app.post("/auth/refresh").json(json!({"refresh_token": session["refresh_token"]}))
    };
    for _ in 0..3 {
        let login = json!({"email": "nina@example.org", "password": password});
        let login = async || app.post("/auth/login").json(login.clone()).await.expect(200).json();
        let (session, elsewhere) = (login().await, login().await);
        let answers = join_all((0..8).map(|_| async { refresh(&session).await })).await;
        assert_eq!(counts(&answers, [200, 401]), [1, 7]);
        let won = answers.iter().find(|answer| answer.status == 200).expect("one worked").json();
        refresh(&won).await.refused(401);
        refresh(&elsewhere).await.expect(200);
    }
}

on_both!(
    votes,
    votes_at_the_same_time_are_all_counted_once_on_sqlite,
    votes_at_the_same_time_are_all_counted_once_on_postgresql
);

async fn votes(app: TestApp) {
    let ada = app.instructor("ada").await;
    let id = app.published(&ada, "Rust").await;
    let mut voters = Vec::new();
    for number in 0..30 {
        let voter = app.student(&format!("voter{number}")).await;
        app.enroll(&voter, id).await.expect(201);
        voters.push(voter);
    }
    let path = format!("/courses/{id}/rating");
    let vote =
        |voter: &Person, stars: usize| app.put(&path).by(voter).json(json!({ "stars": stars }));
    // Everybody votes twice at once; whichever comes last counts, and only that one.
    let all = voters.iter().enumerate().flat_map(|(number, voter)| {
        let stars = number % 4 + 1;
        [vote(voter, stars), vote(voter, stars + 1)]
    });
    let answers = join_all(all.map(|vote| async { vote.await })).await;
    assert_eq!(counts(&answers, [200]), [60]);
    let rating =
        async || app.get(&format!("/courses/{id}")).await.expect(200).json()["rating"].clone();
    assert_eq!(rating().await["count"], 30);
    // With everybody at the same stars, any vote lost or counted twice shows.
    let answers = join_all(voters.iter().map(|voter| async { vote(voter, 3).await })).await;
    assert_eq!(counts(&answers, [200]), [30]);
    assert_eq!(rating().await, json!({"average": 3.0, "count": 30}));
}

on_both!(
    last_admin,
    two_admins_who_remove_each_other_at_once_leave_one_on_sqlite,
    two_admins_who_remove_each_other_at_once_leave_one_on_postgresql
);

async fn last_admin(app: TestApp) {
    let (one, two) = (app.person("one", Role::Admin).await, app.person("two", Role::Admin).await);
    let role = |by: &Person, of: &Person, role: &str| {
        app.patch(&format!("/users/{}/role", of.id)).by(by).json(json!({ "role": role }))
    };
    for _ in 0..5 {
        let (first, second) =
            tokio::join!(role(&one, &two, "student"), role(&two, &one, "student"));
        let one_stays = first.status == 200;
        assert_eq!(counts(&[first, second], [200, 403, 409])[0], 1);
        assert_eq!(admins(&app).await, 1);
        let (left, gone) = if one_stays { (&one, &two) } else { (&two, &one) };
        role(left, gone, "admin").await.expect(200);
    }
    let delete = |by: &Person, of: &Person| app.delete(&format!("/users/{}", of.id)).by(by);
    let (first, second) = tokio::join!(delete(&one, &two), delete(&two, &one));
    assert_eq!(counts(&[first, second], [204, 401, 403, 409])[0], 1);
    assert_eq!(admins(&app).await, 1);
}

async fn admins(app: &TestApp) -> usize {
    let people = app.app.store().users(Window { skip: 0, limit: 10 }).await.expect("the people");
    people.iter().filter(|person| person.role == Role::Admin).count()
}
