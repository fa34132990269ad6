//! What files may look like, and how a bad row is told.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{ImportError, Part, demo, read};
use crate::model::{Catalogue, CourseStatus, Level, Timestamp};
use crate::store::{Imported, Store};

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "campus-import-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        fs::write(self.0.join(name), bytes).unwrap();
        self
    }

    fn read(&self) -> Result<Vec<Part>, ImportError> {
        read(std::slice::from_ref(&self.0))
    }

    fn catalogue(&self) -> Catalogue {
        let mut parts = self.read().unwrap();
        assert_eq!(parts.len(), 1);
        parts.remove(0).catalogue
    }

    async fn store(&self) -> Store {
        let url = format!("sqlite://{}", self.0.join("campus.db").display());
        let store = Store::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    async fn import(&self, store: &Store, rows: &str) -> Imported {
        let file = self.0.join("courses.ndjson");
        fs::write(&file, rows).unwrap();
        let parts = read(&[file]).unwrap();
        let tx = store.begin().await.unwrap();
        let catalogues = [&parts[0].catalogue];
        let imported = tx.import(&catalogues, Timestamp(0), &mut |_| {}).await.unwrap().remove(0);
        tx.commit().await.unwrap();
        imported
    }

    /// The bad rows without the path of the folder.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.0.display());
        match self.read() {
            Err(ImportError::BadRows(problems)) => {
                let told = problems.as_slice().iter();
                told.map(|problem| problem.to_string().replace(&folder, "")).collect()
            }
            other => panic!("not a list of bad rows: {other:?}"),
        }
    }

    fn error(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

const TWO: &str = concat!(
    r#"{"slug":"knots","title":"Knots","price":"4.50","level":"advanced","published_at":null}"#,
    "\n",
    r#"{"slug":"sails","title":"Sails","modules":[{"title":"Wind","lessons":[{"title":"Lee"}]}]}"#,
    "\n",
);

#[test]
fn plain_gzip_and_zstd_are_told_apart_by_their_first_bytes() {
    let zstd = zstd::encode_all(TWO.as_bytes(), 1).unwrap();
    for bytes in [TWO.as_bytes().to_vec(), gzip(TWO.as_bytes()), zstd] {
        let catalogue = Folder::new().with("misnamed.ndjson", bytes).catalogue();
        assert_eq!(catalogue.courses.len(), 2);
        assert_eq!(catalogue.courses[0].level, Level::Advanced);
    }
}

#[test]
fn a_byte_order_mark_crlf_and_blank_lines_are_tolerated() {
    let text = format!("\u{feff}\r\n{}", TWO.replace('\n', "\r\n\r\n"));
    assert_eq!(Folder::new().with("c.jsonl", text).catalogue().courses.len(), 2);
    let csv = "\u{feff}slug,title\r\n\r\nknots,Knots\r\n";
    assert_eq!(Folder::new().with("c.csv", csv).catalogue().courses.len(), 1);
}

#[test]
fn blank_lines_count_when_a_bad_line_is_named() {
    let text = format!("\n\n{TWO}\nnot json\n{{\"slug\":\"a\",\"title\":7}}\n");
    let problems = Folder::new().with("c.ndjson", text).problems();
    assert_eq!(problems[0], "c.ndjson:6: not valid JSON: expected ident (column 2)");
    assert_eq!(problems[1], "c.ndjson:7: title: invalid type: integer `7`, expected a string");
}

#[test]
fn an_absent_date_publishes_at_the_first_import_and_null_makes_a_draft() {
    let courses = Folder::new().with("c.ndjson", TWO).catalogue().courses;
    assert_eq!(courses[0].status, CourseStatus::Draft);
    assert_eq!(courses[1].status, CourseStatus::Published);
    assert_eq!(courses[1].published_at, None);
}

#[test]
fn a_row_of_an_array_is_named_by_its_line_and_the_path_of_its_field() {
    let text = r#"[
  {"slug": "a", "title": "A", "modules": [
    {"title": "M", "lessons": [
      {"title": "L", "kind": "text"},
      {"title": "L", "kind": "song"}
    ]}
  ]},
  {"slug": "a", "title": "Again"},
  {"title": "B"},
  {"slug": "c", "titel": "C"},
  {"slug": "Upper Case", "title": "D", "max_students": 0}
]"#;
    assert_eq!(
        Folder::new().with("c.json", text).problems(),
        [
            "c.json:5: modules[0].lessons[1].kind: unknown variant `song`, \
             expected one of `text`, `video`, `exercise`, `quiz`",
            "c.json:9: slug: missing field `slug`",
            "c.json:10: titel: unknown field `titel`, expected one of `slug`, `title`, \
             `description`, `category`, `level`, `price`, `max_students`, `published_at`, `tags`, \
             `instructor`, `modules`",
            "c.json:11: slug: must have 1 to 200 lower-case letters, digits or inner hyphens",
            "c.json:11: max_students: must be between 1 and 1000000",
        ]
    );
}

#[test]
fn a_slug_given_twice_names_the_first_place_even_in_another_file() {
    let folder = Folder::new().with("a.ndjson", TWO).with("b.csv", "slug,title\nsails,Other\n");
    let problems = folder.problems();
    assert!(problems[0].starts_with("b.csv:2: slug: `sails` was given at "), "{problems:?}");
    assert!(problems[0].ends_with("a.ndjson:2 already"), "{problems:?}");
}

#[test]
fn one_user_name_cannot_be_two_instructors() {
    let row = |slug: &str, name: &str| {
        format!(
            "{{\"slug\":\"{slug}\",\"title\":\"T\",\
             \"instructor\":{{\"username\":\"ada\",\"full_name\":\"{name}\"}}}}\n"
        )
    };
    let same = row("a", "Ada Park") + &row("b", "Ada Park");
    assert_eq!(Folder::new().with("c.ndjson", same).catalogue().people.len(), 1);
    let two = row("a", "Ada Park") + &row("b", "Ada Lane");
    assert_eq!(
        Folder::new().with("c.ndjson", two).problems(),
        ["c.ndjson:2: instructor.username: `ada` is Ada Park in another row"]
    );
}

#[test]
fn csv_fields_may_hold_quotes_commas_and_newlines() {
    let csv = "slug,title,price,instructor,tags,module,lesson,minutes,body\n\
               knots,\"Knots, \"\"fast\"\"\",4.50,Ada Park,rope; sea,Basics,Bowline,5,\"one\ntwo\"\n\
               knots,,,,,Basics,Reef,7,\n\
               knots,,,,,More,Hitch,,\n";
    let catalogue = Folder::new().with("c.csv", csv).catalogue();
    let course = &catalogue.courses[0];
    assert_eq!(course.title, "Knots, \"fast\"");
    assert_eq!(course.tags, ["rope", "sea"]);
    assert_eq!(course.instructor, "ada-park");
    let sizes: Vec<usize> = course.modules.iter().map(|module| module.lessons.len()).collect();
    assert_eq!(sizes, [2, 1]);
    assert_eq!(course.modules[0].lessons[0].body, "one\ntwo");
}

#[test]
fn a_bad_csv_row_is_named_by_the_line_on_which_it_begins() {
    let csv = "slug,title,level,price,minutes,lesson\r\n\
               a,\"two\r\nlines\",expert,,,\r\n\
               \r\n\
               b,B,,4.505,,\r\n\
               c,C,,,many,L\r\n\
               d,D\r\n\
               a,late,,,,\r\n";
    assert_eq!(
        Folder::new().with("c.csv", csv).problems()[..4],
        [
            "c.csv:2: level: 'expert' is not a level (beginner, intermediate, advanced)",
            "c.csv:5: price: `4.505` is not an amount such as 49.00",
            "c.csv:6: minutes: `many` is not a whole number of minutes",
            "c.csv:7: the row has 2 fields, the header 6",
        ]
    );
}

#[test]
fn a_csv_column_that_is_not_known_is_named() {
    let problems = Folder::new().with("c.csv", "slug,title,prise\n").problems();
    assert!(problems[0].starts_with("c.csv:1: prise: this column is not known"), "{problems:?}");
}

#[test]
fn reading_stops_after_twenty_bad_rows() {
    let problems = Folder::new().with("c.ndjson", "{\"slug\":1}\n".repeat(50)).problems();
    assert_eq!(problems.len(), 20);
}

#[test]
fn a_line_that_is_too_long_is_refused_without_reading_on() {
    let mut text = TWO.to_owned() + "{\"slug\":\"";
    text.push_str(&"x".repeat(9 << 20));
    let problems = Folder::new().with("c.ndjson", zstd::encode_all(text.as_bytes(), 1).unwrap());
    assert_eq!(problems.problems(), ["c.ndjson:3: the line is longer than 8 MiB"]);
}

#[test]
fn a_lesson_over_one_mebibyte_is_refused() {
    let body = "x".repeat((1 << 20) + 1);
    let row = format!(
        "{{\"slug\":\"a\",\"title\":\"A\",\"modules\":[{{\"title\":\"M\",\
         \"lessons\":[{{\"title\":\"L\",\"body\":\"{body}\"}}]}}]}}"
    );
    assert_eq!(
        Folder::new().with("c.ndjson", row).problems(),
        ["c.ndjson:1: modules[0].lessons[0].body: must have at most 1 MiB"]
    );
}

#[test]
fn a_packed_bomb_ends_in_an_error_and_not_in_memory() {
    let mut packer = zstd::Encoder::new(Vec::new(), 1).unwrap();
    packer.write_all(b"[").unwrap();
    for _ in 0..80 {
        packer.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let folder = Folder::new().with("c.json", packer.finish().unwrap());
    let problems = folder.problems();
    assert!(problems[0].contains("larger than 64 MiB"), "{problems:?}");
}

#[test]
fn a_damaged_archive_and_foreign_bytes_are_named() {
    let mut packed = gzip(TWO.as_bytes());
    packed.truncate(packed.len() - 12);
    let cut = Folder::new().with("c.ndjson.gz", packed).problems();
    assert!(cut.iter().any(|problem| problem.contains("cannot be read further")), "{cut:?}");
    let latin = b"{\"slug\":\"a\",\"title\":\"\xe9\"}\n".as_slice();
    let latin = Folder::new().with("c.ndjson", [TWO.as_bytes(), latin].concat()).problems();
    assert_eq!(latin, ["c.ndjson:3: the text is not UTF-8 (byte 22)"]);
}

#[test]
fn what_is_missing_or_unknown_is_said_with_the_layouts_that_exist() {
    let missing = read(&[PathBuf::from("/no/such/place")]).unwrap_err().to_string();
    assert_eq!(missing, "/no/such/place: there is no such file or folder");
    for error in [
        Folder::new().error(),
        Folder::new().with("notes.csv", "day,clicks\n1,2\n").error(),
        Folder::new().with("other.ndjson", "{\"day\":1}\n").error(),
    ] {
        assert!(error.contains("Microsoft Learn layout"), "{error}");
    }
    let half = Folder::new().with("modules.ndjson", "{}").error();
    assert!(half.contains("units.ndjson is missing beside modules.ndjson"), "{half}");
}

#[test]
fn a_module_becomes_a_course_and_a_unit_a_lesson_in_the_order_of_positions() {
    let folder = mslearn(
        r#"{"uid":"p","title":"Path","modules":["m1"]}"#,
        concat!(
            r#"{"uid":"m1","slug":"one","title":"One","author":"Ann","date":"None"}"#,
            "\n",
            r#"{"uid":"m2","title":"Two","author":"ann","date":"9/24/2018","levels":["advanced"]}"#,
        ),
        concat!(
            r#"{"module_uid":"m1","position":2,"uid":"u2","title":"Exercise - later"}"#,
            "\n",
            r#"{"module_uid":"m1","position":1,"uid":"u1","title":"First","body_markdown":"a\r\nb"}"#,
        ),
    );
    let catalogue = folder.catalogue();
    let [one, two] = catalogue.courses.as_slice() else { panic!("two courses") };
    assert_eq!((one.category.as_str(), two.category.as_str()), ("Path", "General"));
    assert_eq!(one.published_at, None);
    assert_eq!(two.published_at.unwrap().to_string(), "2018-09-24T00:00:00Z");
    assert_eq!((two.slug.as_str(), two.level), ("two", Level::Advanced));
    let lessons = &one.modules[0].lessons;
    assert_eq!((lessons[0].title.as_str(), lessons[0].body.as_str()), ("First", "a\nb"));
    assert_eq!(lessons[1].kind, "exercise");
    assert_eq!(catalogue.people.len(), 1);
    assert!(one.origin.attribution.as_ref().unwrap().contains("CC BY 4.0"));
}

#[test]
fn a_quiz_is_set_as_text_with_its_answers_after_the_questions() {
    let folder = mslearn(
        "",
        r#"{"uid":"m","title":"M"}"#,
        concat!(
            r#"{"module_uid":"m","position":1,"uid":"u","title":"Check","quiz":[{"question":"Why?","#,
            r#""choices":[{"text":"No","correct":false,"explanation":"It is not."},"#,
            r#"{"text":"Yes","correct":true}]}]}"#,
        ),
    );
    let lesson = &folder.catalogue().courses[0].modules[0].lessons[0];
    assert_eq!(lesson.kind, "quiz");
    assert_eq!(
        lesson.body,
        "## Check your knowledge\n\n1. Why?\n   - **A.** No\n   - **B.** Yes\n\n\
         ### Answers\n\n1. **B.**\n   - A: It is not.\n"
    );
}

#[test]
fn a_bad_module_is_named_once_and_not_again_for_each_of_its_units() {
    let modules = "{\"uid\":\"m\",\"title\":\"M\",\"date\":\"24.9.2018\"}";
    let units = r#"{"module_uid":"m","position":1,"uid":"u","title":"U"}"#;
    assert_eq!(
        mslearn("", modules, units).problems(),
        ["modules.ndjson:1: date: `24.9.2018` is neither M/D/Y nor None"]
    );
}

#[test]
fn a_unit_of_no_module_is_named_by_line() {
    let units = r#"{"module_uid":"x","position":1,"uid":"u","title":"U"}"#;
    assert_eq!(
        mslearn("", r#"{"uid":"m","title":"M"}"#, units).problems(),
        ["units.ndjson:1: module_uid: there is no module `x`"]
    );
}

#[test]
fn an_article_may_lack_an_author_and_a_body_and_share_a_slug() {
    let rows = concat!(
        r#"{"id":"1","site":"s","slug":"Same Slug","title":"A","published_at":"2011-01-01T00:00:00Z","#,
        r#""authors":["jo-doe","al"],"tags":["Open Data","open-data"],"body_markdown":"text"}"#,
        "\n",
        r#"{"id":"2","site":"s","slug":"same-slug","title":"B","published_at":"2012-01-01T00:00:00Z","#,
        r#""summary":"short"}"#,
        "\n",
    );
    let folder = Folder::new()
        .with("articles.ndjson", rows)
        .with("authors.s.ndjson", r#"{"site":"s","slug":"al","display_name":"Al Ito"}"#);
    let catalogue = folder.catalogue();
    let [a, b] = catalogue.articles.as_slice() else { panic!("two articles") };
    assert_eq!((a.author.as_deref(), b.author.as_deref()), (Some("s/jo-doe"), None));
    assert_eq!(catalogue.people[0].full_name, "Jo Doe");
    assert_eq!(a.tags, ["open-data"]);
    assert_eq!(b.body, "short");
    assert!(a.origin.attribution.as_ref().unwrap().starts_with("By Jo Doe, Al Ito."));
}

#[tokio::test]
async fn a_second_import_updates_what_changed_and_inserts_nothing() {
    let folder = Folder::new();
    let store = folder.store().await;
    let first = folder.import(&store, TWO).await;
    assert_eq!((first.courses.inserted, first.lessons), (2, 1));
    let again = folder.import(&store, &TWO.replace("Knots", "More knots")).await;
    let counts = again.courses;
    assert_eq!((counts.inserted, counts.updated, counts.unchanged), (0, 1, 1));
    assert_eq!(again.course_ids.len(), 1);
}

#[tokio::test]
async fn the_demo_goes_into_a_database_without_courses_only() {
    let folder = Folder::new();
    let store = folder.store().await;
    let now = Timestamp(1_800_000_000_000_000);
    let tx = store.begin().await.unwrap();
    let first = demo(&tx, now).await.unwrap().unwrap();
    assert!(first.courses.inserted >= 60 && first.enrollments.inserted > 1000);
    assert!(demo(&tx, now).await.unwrap().is_none());
}

#[tokio::test]
async fn a_catalogue_imported_before_the_first_start_is_not_mixed_with_the_demo() {
    let folder = Folder::new();
    let store = folder.store().await;
    folder.import(&store, TWO).await;
    let tx = store.begin().await.unwrap();
    assert!(demo(&tx, Timestamp(0)).await.unwrap().is_none());
}

#[test]
fn the_examples_of_the_guide_can_be_imported() {
    let guide = include_str!("../../../../docs/importing.md");
    let mut seen = 0;
    for fence in ["json", "csv"] {
        for example in guide.split(&format!("```{fence}\n")).skip(1) {
            let text = example.split("```").next().unwrap();
            let folder = Folder::new().with(&format!("c.{fence}"), text);
            assert_eq!(folder.catalogue().courses[0].slug, "first-knots");
            seen += 1;
        }
    }
    assert_eq!(seen, 3);
}

#[test]
fn the_real_catalogues_are_read_whole() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folders = [data.join("courses-mslearn"), data.join("articles")];
    if folders.iter().any(|folder| !folder.is_dir()) {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {} is not there; the real catalogues were not tested",
            data.display()
        );
        return;
    }
    let parts = read(&folders).unwrap();
    let (learn, articles) = (&parts[0].catalogue, &parts[1].catalogue);
    let lessons = learn.courses.iter().flat_map(|course| &course.modules);
    assert_eq!(learn.courses.len(), 65);
    assert_eq!(lessons.map(|module| module.lessons.len()).sum::<usize>(), 470);
    assert_eq!(articles.articles.len(), 2587);
}

fn mslearn(paths: &str, modules: &str, units: &str) -> Folder {
    Folder::new()
        .with("paths.ndjson", paths)
        .with("modules.ndjson", modules)
        .with("units.ndjson", units)
}
