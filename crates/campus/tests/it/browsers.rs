//! What browsers are told: what not to do with an answer, and which sites may read it.

use campus::config::Settings;

use crate::support::{Answer, TestApp};

const SITE: &str = "https://shop.example.org";

async fn open_to_one_site() -> TestApp {
    let origins = format!("{SITE}, http://localhost:3000");
    TestApp::with(Settings { cors_origins: Some(origins), ..Settings::default() }).await
}

fn allowed(answer: &Answer) -> &str {
    assert_eq!(answer.header("access-control-allow-credentials"), "", "no cookie is needed");
    answer.header("access-control-allow-origin")
}

/// Whether caches are told that other sites get other answers.
fn varies_by_origin(answer: &Answer) -> bool {
    let vary = answer.headers.get_all("vary").iter();
    vary.filter_map(|value| value.to_str().ok()).any(|value| value.contains("Origin"))
}

#[tokio::test]
async fn every_answer_is_protected_whatever_it_is() {
    let app = TestApp::start().await;
    let ada = app.instructor("ada").await;
    let course = app.published(&ada, "Rust").await;
    let roster = format!("/courses/{course}/enrollments?format=csv");
    for answer in [
        app.get("/courses").await,
        app.get(&format!("/courses/{course}")).await,
        app.get(&roster).by(&ada).await.expect(200),
        app.get("/no/such/path").await,
        app.get("/auth/me").await,
        app.post("/auth/login").body("text/plain", "x").await,
        app.get("/health").await,
        app.get("/metrics").await,
        app.get("/openapi.json").await,
    ] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{answer:?}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{answer:?}");
        let policy = answer.header("content-security-policy");
        assert_eq!(policy, "default-src 'none'; frame-ancestors 'none'", "{answer:?}");
        assert_eq!(answer.header("strict-transport-security"), "", "that is the proxy's promise");
    }
    for path in ["/", "/docs/"] {
        let page = app.get(path).await.expect(200);
        let policy = page.header("content-security-policy");
        for part in ["default-src 'self'", "object-src 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("script-src"), "no inline script: {policy}");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
    }
    let page = app.get("/").await;
    let same = app.get("/").header("if-none-match", page.etag()).await.expect(304);
    assert_eq!(same.header("content-security-policy"), "", "the stored one stays");
}

#[tokio::test]
async fn no_page_of_ours_needs_an_inline_script() {
    let app = TestApp::start().await;
    for path in ["/", "/docs/"] {
        let page = app.get(path).await.expect(200).text();
        for script in page.split("<script").skip(1) {
            let tag = script.split('>').next().unwrap_or("");
            assert!(tag.contains("src="), "{path}: {tag}");
        }
        assert!(!page.contains(" onclick=") && !page.contains("javascript:"), "{path}");
    }
}

#[tokio::test]
async fn no_other_site_may_read_anything_unless_it_is_named() {
    let app = TestApp::start().await;
    let answer = app.get("/courses").header("origin", SITE).await.expect(200);
    assert_eq!(allowed(&answer), "");
    assert!(!varies_by_origin(&answer));
    let preflight = app.ask("OPTIONS".parse().expect("a method"), "/courses");
    let preflight = preflight.header("origin", SITE);
    let preflight = preflight.header("access-control-request-method", "GET").await;
    assert_eq!((preflight.status, allowed(&preflight)), (405, ""));
}

#[tokio::test]
async fn a_named_site_may_read_answers_and_their_headers() {
    let app = open_to_one_site().await;
    for path in ["/courses", "/no/such/path", "/auth/me"] {
        let answer = app.get(path).header("origin", SITE).await;
        assert_eq!(allowed(&answer), SITE, "{path}");
        assert!(varies_by_origin(&answer), "{path}");
        let shown = answer.header("access-control-expose-headers");
        for name in ["etag", "x-total-count", "retry-after", "x-cache"] {
            assert!(shown.contains(name), "{name} in {shown}");
        }
    }
    let plain = app.get("/courses").await.expect(200);
    assert!(allowed(&plain).is_empty() && varies_by_origin(&plain));
}

#[tokio::test]
async fn only_the_exact_origin_counts() {
    let app = open_to_one_site().await;
    for other in [
        "https://shop.example.org.evil.example",
        "https://evil.example",
        "http://shop.example.org",
        "https://shop.example.org:8443",
        "https://example.org",
        "https://SHOP.example.org/",
        "null",
        "*",
    ] {
        let answer = app.get("/courses").header("origin", other).await.expect(200);
        assert_eq!(allowed(&answer), "", "{other}");
        assert!(varies_by_origin(&answer), "{other}");
        let asked = app.ask("OPTIONS".parse().expect("a method"), "/courses");
        let asked = asked.header("origin", other).header("access-control-request-method", "POST");
        assert_eq!(allowed(&asked.await), "", "{other}");
    }
}

#[tokio::test]
async fn a_browser_may_ask_before_it_writes() {
    let app = open_to_one_site().await;
    let asked = app.ask("OPTIONS".parse().expect("a method"), "/courses/1/status");
    let asked = asked.header("origin", SITE).header("access-control-request-method", "PATCH");
    let answer = asked.header("access-control-request-headers", "authorization").await.expect(204);
    assert_eq!(allowed(&answer), SITE);
    assert!(answer.header("access-control-allow-methods").contains("PATCH"));
    for name in ["authorization", "content-type", "if-match", "last-event-id"] {
        assert!(answer.header("access-control-allow-headers").contains(name), "{name}");
    }
    assert_eq!(answer.header("access-control-max-age"), "600");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.body.is_empty() && !answer.header("x-request-id").is_empty());
    // Without what makes it a preflight it is a request as any other.
    let plain = app.ask("OPTIONS".parse().expect("a method"), "/courses").header("origin", SITE);
    plain.await.expect(405);
}
