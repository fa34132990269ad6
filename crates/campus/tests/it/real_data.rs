//! The real catalogues, imported by the program and served by it.
//!
//! They lie beside the repository and are not part of it; without them there is nothing to test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Server, Sql, run, run_for};

/// The folder, or nothing and a word about it.
fn data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if folder.join("courses-mslearn").is_dir() {
        return Some(folder);
    }
    let _ = writeln!(
        std::io::stderr(),
        "not applicable: {} does not exist, nothing was tested",
        folder.display()
    );
    None
}

fn seed(folder: &Path, data: &Path) -> Value {
    let paths = ["courses-mslearn", "articles"].map(|name| data.join(name).display().to_string());
    let arguments = ["seed", "catalogue", "--json", &paths[0], &paths[1]];
    let output = run(folder, &[], &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A counter of both sources together, for example `courses.inserted`.
fn sum(report: &Value, kind: &str, change: &str) -> i64 {
    let sources = report["sources"].as_array().expect("sources");
    sources.iter().filter_map(|source| source["changes"][kind][change].as_i64()).sum()
}

#[tokio::test]
async fn the_real_catalogues_are_imported_once_and_served_from_the_cache() {
    let Some(data) = data() else {
        return;
    };
    let folder = TempDir::new().expect("a temporary folder");
    let first = seed(folder.path(), &data);
    let courses = sum(&first, "courses", "inserted");
    assert_eq!(courses, 65);
    let articles = sum(&first, "articles", "inserted");
    assert!(articles > 0, "{first}");
    for source in first["sources"].as_array().unwrap() {
        assert!(source["attribution"].as_str().is_some_and(|text| !text.is_empty()), "{source}");
    }
    let lessons: i64 =
        first["sources"].as_array().unwrap().iter().filter_map(|s| s["lessons"].as_i64()).sum();
    assert_eq!(lessons, 470);
    let second = seed(folder.path(), &data);
    for kind in ["courses", "articles", "people"] {
        assert_eq!(sum(&second, kind, "inserted"), 0, "{kind}: {second}");
        assert_eq!(sum(&second, kind, "updated"), 0, "{kind}: {second}");
        assert_eq!(sum(&second, kind, "unchanged"), sum(&first, kind, "inserted"), "{kind}");
    }
    // Warming would make first visits hits.
    let server = Server::start(folder.path(), &[("WARM_INTERVAL_SECS", "0")]).await;
    let api = &server.api;
    let list = api.get("/courses/?limit=12").await.expect(200);
    assert_eq!(list.header("x-total-count"), courses.to_string());
    assert_eq!(api.get("/courses/?limit=12").await.cache(), "HIT");
    for course in list.json()["items"].as_array().unwrap() {
        let path = format!("/courses/{}", course["id"]);
        let miss = api.get(&path).await.expect(200);
        let hit = api.get(&path).await.expect(200);
        assert_eq!((miss.cache(), hit.cache()), ("MISS", "HIT"), "{path}");
        assert_eq!(miss.body, hit.body, "{path}");
        assert_eq!(miss.json(), *course, "{path}");
        api.get(&format!("{path}/content")).await.refused(401);
    }
    for path in ["/articles?limit=12", "/tags"] {
        let (miss, hit) = (api.get(path).await.expect(200), api.get(path).await.expect(200));
        assert_eq!((miss.cache(), hit.cache()), ("MISS", "HIT"), "{path}");
        assert_eq!(miss.body, hit.body, "{path}");
    }
    let list = api.get("/articles?limit=12").await.expect(200);
    assert_eq!(list.header("x-total-count"), articles.to_string());
    for article in list.json().as_array().unwrap() {
        let path = format!("/articles/{}", article["id"]);
        assert_eq!(api.get(&path).await.expect(200).json(), *article, "{path}");
    }
    let tags = api.get("/tags").await.expect(200).json();
    let counts = tags.as_array().unwrap().iter().map(|tag| tag["count"].as_i64());
    assert!(counts.clone().count() > 100 && counts.is_sorted_by(|a, b| a >= b), "{tags}");
    assert!(server.stop().status.success());
}

/// The tables with the log of one module: the whole one takes a debug build too long.
#[tokio::test]
async fn the_real_learners_are_imported_with_what_they_have_done() {
    let Some(data) = data() else {
        return;
    };
    let home = TempDir::new().expect("a temporary folder");
    let tables = home.path().join("tables");
    std::fs::create_dir(&tables).expect("a folder");
    for entry in std::fs::read_dir(data.join("oulad")).expect("the tables").flatten() {
        if entry.file_name() != "clicks_2014J.csv.zst" {
            let here = tables.join(entry.file_name());
            std::os::unix::fs::symlink(entry.path().canonicalize().unwrap(), here).unwrap();
        }
    }
    let tables = tables.display().to_string();
    let arguments = ["seed", "oulad", "--json", &tables];
    let limit = Duration::from_secs(300);
    let output = run_for(limit, home.path(), &[], &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // 28,785 learners and seven module teams.
    assert_eq!(sum(&report, "people", "inserted"), 28_792);
    assert_eq!(sum(&report, "courses", "inserted"), 22);
    assert_eq!(sum(&report, "enrollments", "inserted"), 32_593);
    assert_eq!(report["sources"][0]["lessons"], 6_364 + 206);
    let sql = Sql::file(&home.path().join("data/campus.db")).await;
    let sites = "SELECT COUNT(*) FROM lesson_completions l \
         JOIN enrollments e ON e.id = l.enrollment_id JOIN courses c ON c.id = e.course_id \
         WHERE c.external_id = 'AAA-2014J'";
    assert!(sql.number(sites).await > 10_000);
    let overbooked = "SELECT COUNT(*) FROM courses c WHERE enrolled_count <> \
         (SELECT COUNT(*) FROM enrollments e WHERE e.course_id = c.id AND e.status <> 'dropped')";
    assert_eq!(sql.number(overbooked).await, 0);
}
