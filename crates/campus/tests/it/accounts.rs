//! Signing up, in and out; what a token is worth, and when it stops being worth anything.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campus::clock::Clock;
use campus::model::{Role, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

use crate::support::{Answer, Person, SECRET, TestApp, run};

const PASSWORD: &str = "correct horse battery";
const START: Timestamp = Timestamp(1_780_000_000_000_000);

/// An account that a person made themselves.
async fn register(app: &TestApp, name: &str) -> i64 {
    let new = json!({"username": name, "email": format!("{name}@example.org"),
        "password": PASSWORD, "full_name": format!("{name} of the tests")});
    app.post("/auth/register").json(new).await.expect(201).id()
}

async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    app.post("/auth/login").json(json!({"email": email, "password": password})).await
}

/// A session that has begun: the answer of a login or a refresh.
async fn session(app: &TestApp, name: &str) -> Value {
    let session = login(app, &format!("{name}@example.org"), PASSWORD).await.expect(200);
    assert_eq!(session.header("cache-control"), "private, no-store");
    let session = session.json();
    assert_eq!(session["token_type"], "bearer");
    assert_eq!(session["expires_in"], 900);
    session
}

async fn refresh(app: &TestApp, session: &Value) -> Answer {
    app.post("/auth/refresh").json(json!({"refresh_token": session["refresh_token"]})).await
}

fn access(session: &Value) -> &str {
    session["access_token"].as_str().expect("an access token")
}

#[tokio::test]
async fn a_person_registers_logs_in_and_sees_their_own_account() {
    let app = TestApp::start().await;
    let new = json!({"username": "Nina_1", "email": "  Nina@Example.ORG ",
        "password": PASSWORD, "full_name": "Nina"});
    let answer = app.post("/auth/register").json(new).await.expect(201);
    let user = answer.json();
    assert_eq!(answer.header("location"), format!("/users/{}", user["id"]));
    assert_eq!((&user["role"], &user["bio"]), (&json!("student"), &Value::Null));
    assert!(user.get("email").is_none() && user.get("password").is_none(), "{user}");
    let session = login(&app, "NINA@example.org", PASSWORD).await.expect(200).json();
    let me = app.get("/auth/me").bearer(access(&session)).await.expect(200).json();
    assert_eq!(me["id"], user["id"]);
    assert_eq!((&me["username"], &me["email"]), (&json!("Nina_1"), &json!("nina@example.org")));
}

#[tokio::test]
async fn a_taken_name_or_address_is_a_conflict_that_says_which() {
    let app = TestApp::start().await;
    register(&app, "nina").await;
    let other = app.student("otto").await;
    for (username, email, taken) in [
        ("nina2", "NINA@example.org", "The e-mail address 'nina@example.org' is already taken"),
        ("nina", "other@example.org", "The user name 'nina' is already taken"),
        ("NiNa", "other@example.org", "The user name 'NiNa' is already taken"),
    ] {
        let new = json!({"username": username, "email": email,
            "password": PASSWORD, "full_name": "Nina"});
        assert_eq!(app.post("/auth/register").json(new).await.refused(409), taken);
    }
    let path = format!("/users/{}", other.id);
    for edit in [
        json!({"email": "nina@example.org"}),
        json!({"username": "nina"}),
        json!({"username": "Nina"}),
    ] {
        assert!(app.put(&path).by(&other).json(edit).await.refused(409).contains("taken"));
    }
    app.put(&path).by(&other).json(json!({"username": "OTTO"})).await.expect(200);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_answered_alike() {
    let app = TestApp::start().await;
    register(&app, "nina").await;
    let wrong = login(&app, "nina@example.org", "not the password").await.refused(401);
    let unknown = login(&app, "nobody@example.org", PASSWORD).await.refused(401);
    assert_eq!(wrong, unknown);
}

#[tokio::test]
async fn a_refresh_token_is_used_once_and_the_new_one_goes_on() {
    let app = TestApp::start().await;
    let id = register(&app, "nina").await;
    let first = session(&app, "nina").await;
    let second = refresh(&app, &first).await.expect(200).json();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let third = refresh(&app, &second).await.expect(200).json();
    let me = app.get("/auth/me").bearer(access(&third)).await.expect(200).json();
    assert_eq!(me["id"], id);
    refresh(&app, &json!({"refresh_token": "made up"})).await.refused(401);
}

#[tokio::test]
async fn a_refresh_token_used_twice_ends_its_session_and_no_other() {
    let app = TestApp::start().await;
    register(&app, "nina").await;
    let (first, elsewhere) = (session(&app, "nina").await, session(&app, "nina").await);
    let second = refresh(&app, &first).await.expect(200).json();
    refresh(&app, &first).await.refused(401);
    refresh(&app, &second).await.refused(401);
    refresh(&app, &elsewhere).await.expect(200);
}

#[tokio::test]
async fn logging_out_ends_the_session() {
    let app = TestApp::start().await;
    register(&app, "nina").await;
    let first = session(&app, "nina").await;
    let second = refresh(&app, &first).await.expect(200).json();
    let token = json!({"refresh_token": second["refresh_token"]});
    app.post("/auth/logout").json(token.clone()).await.expect(204);
    refresh(&app, &second).await.refused(401);
    app.post("/auth/logout").json(token).await.expect(204);
}

#[tokio::test]
async fn tokens_expire_when_they_say_so() {
    let app = TestApp::with_clock(Clock::manual(START)).await;
    register(&app, "nina").await;
    let first = session(&app, "nina").await;
    app.clock.advance(Duration::from_secs(899));
    app.get("/auth/me").bearer(access(&first)).await.expect(200);
    app.clock.advance(Duration::from_secs(1));
    let expired = app.get("/auth/me").bearer(access(&first)).await;
    assert_eq!(expired.refused(401), "The token has expired");
    let second = refresh(&app, &first).await.expect(200).json();
    app.get("/auth/me").bearer(access(&second)).await.expect(200);
    app.clock.advance(Duration::from_secs(7 * 86_400));
    refresh(&app, &second).await.refused(401);
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_ends_every_session() {
    let app = TestApp::start().await;
    register(&app, "nina").await;
    let (here, there) = (session(&app, "nina").await, session(&app, "nina").await);
    let change = |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        app.put("/users/me/password").bearer(access(&here)).json(body)
    };
    change("not the password", "a better password").await.refused(403);
    change(PASSWORD, "short").await.refused(422);
    refresh(&app, &there).await.expect(200);
    change(PASSWORD, "a better password").await.expect(204);
    for ended in [&here, &there] {
        refresh(&app, ended).await.refused(401);
    }
    login(&app, "nina@example.org", PASSWORD).await.refused(401);
    login(&app, "nina@example.org", "a better password").await.expect(200);
}

#[tokio::test]
async fn a_role_change_ends_the_sessions_and_counts_for_writes_at_once() {
    let app = TestApp::start().await;
    let root = app.admin().await;
    let id = register(&app, "nina").await;
    let student = session(&app, "nina").await;
    let role =
        |role: &str| app.patch(&format!("/users/{id}/role")).by(&root).json(json!({"role": role}));
    let as_student = Person { id, token: access(&student).to_owned() };
    app.patch(&format!("/users/{id}/role"))
        .by(&as_student)
        .json(json!({"role": "admin"}))
        .await
        .refused(403);
    assert_eq!(role("instructor").await.expect(200).json()["role"], "instructor");
    refresh(&app, &student).await.refused(401);
    let teacher = session(&app, "nina").await;
    let teacher = Person { id, token: access(&teacher).to_owned() };
    let course = app.published(&teacher, "Before").await;
    role("student").await.expect(200);
    // The token still says instructor; the database says otherwise, and a write asks it.
    let path = format!("/courses/{course}");
    app.put(&path).by(&teacher).json(json!({"title": "After"})).await.refused(403);
    app.post("/courses").by(&teacher).json(crate::support::course("New")).await.refused(403);
    role("pope").await.refused(422);
}

#[tokio::test]
async fn the_last_admin_stays() {
    let app = TestApp::start().await;
    let root = app.admin().await;
    let path = format!("/users/{}", root.id);
    let role = json!({"role": "student"});
    app.patch(&format!("{path}/role")).by(&root).json(role.clone()).await.refused(409);
    app.delete(&path).by(&root).await.refused(409);
    app.person("second", Role::Admin).await;
    app.patch(&format!("{path}/role")).by(&root).json(role).await.expect(200);
}

#[tokio::test]
async fn a_deleted_account_can_do_nothing_and_its_address_is_free() {
    let app = TestApp::start().await;
    let root = app.admin().await;
    let id = register(&app, "nina").await;
    let session = session(&app, "nina").await;
    let nina = Person { id, token: access(&session).to_owned() };
    let path = format!("/users/{id}");
    app.delete(&path).by(&nina).await.refused(403);
    app.delete(&path).by(&root).await.expect(204);
    app.get("/auth/me").by(&nina).await.refused(401);
    app.put(&path).by(&nina).json(json!({"bio": "Still here"})).await.refused(401);
    app.enroll(&nina, 1).await.refused(401);
    refresh(&app, &session).await.refused(401);
    login(&app, "nina@example.org", PASSWORD).await.refused(401);
    app.delete(&path).by(&root).await.refused(404);
    assert_ne!(register(&app, "nina").await, id);
}

#[tokio::test]
async fn nobody_can_take_the_name_that_a_deleted_account_will_have() {
    let app = TestApp::start().await;
    let root = app.admin().await;
    let id = register(&app, "nina").await;
    let name = format!("Deleted-{id}");
    let new = json!({"username": name, "email": "otto@example.org",
        "password": PASSWORD, "full_name": "Otto"});
    assert!(app.post("/auth/register").json(new).await.refused(422).starts_with("username:"));
    app.delete(&format!("/users/{id}")).by(&root).await.expect(204);
}

#[tokio::test]
async fn only_oneself_and_admins_change_an_account() {
    let app = TestApp::start().await;
    let (nina, otto, root) =
        (app.student("nina").await, app.student("otto").await, app.admin().await);
    let path = format!("/users/{}", nina.id);
    app.put(&path).by(&otto).json(json!({"bio": "Hacked"})).await.refused(403);
    let edit = json!({"bio": "Reads a lot", "email": "New@Example.org"});
    let mine = app.put(&path).by(&nina).json(edit).await.expect(200).json();
    assert_eq!((&mine["bio"], &mine["email"]), (&json!("Reads a lot"), &json!("new@example.org")));
    let kept = app.put(&path).by(&root).json(json!({"full_name": "Nina B."})).await.expect(200);
    assert_eq!(kept.json()["bio"], "Reads a lot");
    let cleared = app.put(&path).by(&nina).json(json!({"bio": null})).await.expect(200).json();
    assert_eq!((&cleared["bio"], &cleared["full_name"]), (&Value::Null, &json!("Nina B.")));
    app.put(&path).by(&nina).json(json!({"email": null})).await.refused(422);
}

/// A token with this header and these claims, signed with this key.
fn forged(header: &Value, claims: &Value, key: &str) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any key will do");
    let signature = mac.chain_update(&signed).finalize().into_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// With our own secret, but by an algorithm that is not ours.
fn signed_with_hs512(claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "HS512", "typ": "JWT"})), part(claims));
    let mac = Hmac::<Sha512>::new_from_slice(SECRET.as_bytes()).expect("any key will do");
    let signature = mac.chain_update(&signed).finalize().into_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Claims with one of them changed, or taken away.
fn with(claims: &Value, name: &str, value: Option<Value>) -> Value {
    let mut claims = claims.clone();
    let fields = claims.as_object_mut().expect("claims");
    match value {
        Some(value) => fields.insert(name.to_owned(), value),
        None => fields.remove(name),
    };
    claims
}

/// Good claims under headers and signatures that are not ours.
fn signed_otherwise(claims: &Value) -> Vec<(&'static str, String)> {
    let hs256 = json!({"alg": "HS256", "typ": "JWT"});
    let own_key = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": ""}, "kid": "/dev/null"});
    let good = forged(&hs256, claims, SECRET);
    let unsigned = forged(&json!({"alg": "none"}), claims, SECRET);
    let without_signature = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    vec![
        ("alg none, without a signature", without_signature),
        ("alg none, with a signature", unsigned),
        ("none in other letters", forged(&json!({"alg": "nOnE"}), claims, SECRET)),
        ("another algorithm in the header", forged(&json!({"alg": "HS512"}), claims, SECRET)),
        ("signed with HS512", signed_with_hs512(claims)),
        ("RS256 with the secret as its key", forged(&json!({"alg": "RS256"}), claims, SECRET)),
        ("no algorithm", forged(&json!({"typ": "JWT"}), claims, SECRET)),
        ("a header that is no object", forged(&json!("HS256"), claims, SECRET)),
        ("a critical extension", forged(&json!({"alg": "HS256", "crit": ["x"]}), claims, SECRET)),
        ("another key", forged(&hs256, claims, "a key of somebody else, just as long")),
        ("an empty key", forged(&hs256, claims, "")),
        ("a key that it brings along", forged(&own_key, claims, "")),
        ("claims that are no object", forged(&hs256, &json!([1, 2]), SECRET)),
        ("cut short", good[..good.len() - 3].to_owned()),
        ("garbage", "garbage".to_owned()),
        ("two dots", "..".to_owned()),
        ("very long", "a".repeat(4000)),
        ("nothing", String::new()),
    ]
}

/// What is wrong, the claim, and what stands there.
fn wrong_claims(now: i64) -> Vec<(&'static str, &'static str, Option<Value>)> {
    vec![
        ("a refresh token's type", "typ", Some(json!("refresh"))),
        ("expired", "exp", Some(json!(now))),
        ("a lifetime in text", "exp", Some(json!("9999999999"))),
        ("no expiry", "exp", Some(Value::Null)),
        ("from the future", "iat", Some(json!(now + 3600))),
        ("not valid yet", "nbf", Some(json!(now + 3600))),
        ("another issuer", "iss", Some(json!("elsewhere"))),
        ("for others", "aud", Some(json!(["elsewhere", "them"]))),
        ("an unknown role", "role", Some(json!("god"))),
        ("no number", "sub", Some(json!("me"))),
        ("huge", "x", Some(json!("a".repeat(20_000)))),
        ("without an expiry", "exp", None),
        ("without a subject", "sub", None),
        ("without a role", "role", None),
        ("without a type", "typ", None),
        ("without a time of issue", "iat", None),
    ]
}

#[tokio::test]
async fn a_token_that_this_server_did_not_sign_for_this_use_is_refused() {
    let app = TestApp::with_clock(Clock::manual(START)).await;
    let root = app.admin().await;
    let now = START.0 / 1_000_000;
    let claims = json!({"sub": root.id.to_string(), "role": "admin", "typ": "access",
        "iat": now, "exp": now + 900});
    let signed = |claims: &Value| forged(&json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET);
    let good = signed(&claims);
    app.get("/auth/me").bearer(&good).await.expect(200);
    let wrong = wrong_claims(now).into_iter();
    let wrong = wrong.map(|(what, name, value)| (what, signed(&with(&claims, name, value))));
    for (what, token) in signed_otherwise(&claims).into_iter().chain(wrong) {
        for path in ["/auth/me", "/courses", "/cache/stats"] {
            let answer = app.get(path).bearer(&token).await;
            assert_eq!(answer.status, 401, "{what} on {path}");
            answer.refused(401);
        }
    }
    app.get("/auth/me").header("authorization", format!("Basic {good}")).await.refused(401);
    app.get("/auth/me").header("authorization", format!("bearer {good}")).await.expect(200);
    // One that others have made for us, with our secret.
    let named = with(&claims, "aud", Some(json!(["elsewhere", "campus"])));
    app.get("/auth/me").bearer(&signed(&named)).await.expect(200);
    // Well-formed, and of somebody who does not exist.
    let stranger = with(&claims, "sub", Some(json!("999999")));
    app.get("/auth/me").bearer(&signed(&stranger)).await.refused(401);
}

#[tokio::test]
async fn ten_failures_close_an_account_to_everybody_for_a_while() {
    let app = TestApp::with_clock(Clock::manual(START)).await;
    register(&app, "nina").await;
    for _ in 0..10 {
        login(&app, "nina@example.org", "not the password").await.refused(401);
    }
    let closed = login(&app, "nina@example.org", PASSWORD).await;
    closed.refused(429);
    let seconds: u64 = closed.header("retry-after").parse().expect("Retry-After in seconds");
    assert!((1..=900).contains(&seconds), "{seconds}");
    app.clock.advance(Duration::from_secs(seconds));
    login(&app, "nina@example.org", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn ten_failures_from_one_address_close_it_for_other_accounts_too() {
    let app = TestApp::start().await;
    register(&app, "nina").await;
    for number in 0..10 {
        login(&app, &format!("guess{number}@example.org"), PASSWORD).await.refused(401);
    }
    login(&app, "nina@example.org", PASSWORD).await.refused(429);
}

#[tokio::test]
async fn logging_in_right_does_not_use_attempts_up() {
    let app = TestApp::start().await;
    register(&app, "nina").await;
    for _ in 0..12 {
        session(&app, "nina").await;
    }
}

#[tokio::test]
async fn an_operator_makes_accounts_from_the_command_line() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let list = run(folder.path(), &[], &["user", "list"]);
    assert!(list.status.success() && list.stdout.is_empty(), "{list:?}");
    // There is nobody to type the password: standard input is empty.
    let add = run(folder.path(), &[], &["user", "add", "nina", "nina@example.org"]);
    let text = String::from_utf8_lossy(&add.stderr).into_owned();
    assert!(!add.status.success() && text.contains("password"), "{text}");
}
