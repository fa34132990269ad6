//! Learners by the thousand: the Open University's tables and made-up ones, through the program.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Postgres, Redis, SECRET, Server, Sql, run};

/// The variables of a program that works on this database.
fn on(database: &str) -> [(&str, &str); 2] {
    [("DATABASE_URL", database), ("JWT_SECRET", SECRET)]
}

const COURSES: &str = "code_module,code_presentation,module_presentation_length
AAA,2013J,268
AAA,2014B,240
";

/// Quoted, and in another order of columns, as the publisher's own file is.
const SITES: &str = r#""id_site","code_module","code_presentation","activity_type","week_from","week_to"
"1","AAA","2013J","resource","?","?"
"2","AAA","2013J","oucontent","3","4"
"3","AAA","2014B","quiz","",""
"#;

const ASSESSMENTS: &str = "code_module,code_presentation,id_assessment,assessment_type,date,weight
AAA,2013J,10,TMA,19,10
AAA,2014B,11,Exam,,100
";

const RESULTS: &str = "code_module,code_presentation,id_student,gender,final_result
AAA,2013J,100,M,Pass
AAA,2013J,101,F,Withdrawn
AAA,2014B,101,F,Fail
";

const REGISTRATIONS: &str =
    "code_module,code_presentation,id_student,date_registration,date_unregistration
AAA,2013J,100,-30,
AAA,2013J,101,,12
AAA,2014B,101,-5,?
";

const SCORES: &str = "id_assessment,id_student,date_submitted,is_banked,score
10,100,18,0,78
10,101,10,0,39
11,101,200,0,
";

const CLICKS: &str = "code_module,code_presentation,id_student,id_site,date,sum_click
AAA,2013J,100,1,5,4
AAA,2013J,100,1,-2,2
AAA,2013J,100,2,20,1
AAA,2013J,101,1,3,1
AAA,2014B,101,3,0,9
";

/// A folder of tables, and beside it the folder of the program.
struct Tables {
    folder: TempDir,
}

impl Tables {
    fn new() -> Self {
        let tables = Self { folder: TempDir::new().expect("a temporary folder") };
        fs::create_dir(tables.path()).expect("a folder");
        for (name, text) in [
            ("courses.csv", COURSES),
            ("vle.csv", SITES),
            ("assessments.csv", ASSESSMENTS),
            ("studentInfo.csv", RESULTS),
            ("studentRegistration.csv", REGISTRATIONS),
            ("studentAssessment.csv", SCORES),
            ("studentVle.csv", CLICKS),
        ] {
            tables.write(name, text);
        }
        tables
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("tables")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), text).expect("a file");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path().join(name)).expect("it was there");
    }

    fn home(&self) -> &Path {
        self.folder.path()
    }

    fn sqlite(&self) -> String {
        format!("sqlite://{}", self.home().join("campus.db").display())
    }

    /// What `campus seed oulad` prints, good or bad, without the path of the folder.
    fn seed(&self, database: &str) -> (bool, Value) {
        let tables = self.path().display().to_string();
        let output = run(self.home(), &on(database), &["seed", "oulad", "--json", &tables]);
        let text = String::from_utf8_lossy(&output.stdout).replace(&format!("{tables}/"), "");
        let report = serde_json::from_str(&text);
        (output.status.success(), report.unwrap_or_else(|_| panic!("no JSON: {output:?}")))
    }

    fn problems(&self) -> Vec<String> {
        let (is_good, report) = self.seed(&self.sqlite());
        assert!(!is_good, "{report}");
        assert!(!self.home().join("campus.db").exists(), "something was stored");
        let problems = report["problems"].as_array().cloned().unwrap_or_default();
        let told = |problem: &Value| {
            let field = problem["field"].as_str().unwrap_or("");
            let (file, reason) = (problem["file"].as_str(), problem["reason"].as_str());
            format!("{}:{} {field}: {}", file.unwrap(), problem["line"], reason.unwrap())
        };
        problems.iter().map(told).collect()
    }

    fn error(&self) -> String {
        let (is_good, report) = self.seed(&self.sqlite());
        assert!(!is_good, "{report}");
        report["error"].as_str().unwrap_or_default().to_owned()
    }
}

fn changes<'a>(report: &'a Value, kind: &str) -> Vec<&'a Value> {
    let changes = &report["sources"][0]["changes"][kind];
    ["inserted", "updated", "unchanged"].map(|change| &changes[change]).to_vec()
}

/// What the tables say, as the database has it after the import.
async fn the_tables_are_stored_once(database: &str) {
    let tables = Tables::new();
    let (is_good, first) = tables.seed(database);
    assert!(is_good, "{first}");
    assert_eq!(changes(&first, "people"), [3, 0, 0]);
    assert_eq!(changes(&first, "courses"), [2, 0, 0]);
    assert_eq!(changes(&first, "enrollments"), [3, 0, 0]);
    let sql = Sql::open(database).await;
    let enrollments = "SELECT u.username || ' ' || c.external_id || ' ' || e.status || ' ' || \
         (e.enrolled_at / 86400000000) || ' ' || e.time_spent_minutes FROM enrollments e \
         JOIN users u ON u.id = e.student_id JOIN courses c ON c.id = e.course_id \
         WHERE c.source = 'oulad' ORDER BY e.id";
    // 2013-10-01 is day 15979, 2014-02-01 day 16102.
    let stored: Vec<String> = sql.column(enrollments).await;
    assert_eq!(
        stored,
        [
            "oulad-100 AAA-2013J completed 15949 7",
            "oulad-101 AAA-2013J dropped 15979 1",
            "oulad-101 AAA-2014B active 16097 9",
        ]
    );
    // The first visit of a site; an assessment that was passed, and none that was not.
    let completions = "SELECT u.external_id || ' ' || (l.completed_at / 86400000000) \
         FROM lesson_completions l JOIN enrollments e ON e.id = l.enrollment_id \
         JOIN users u ON u.id = e.student_id ORDER BY e.id, l.completed_at";
    let expected = [
        "learner-100 15977",
        "learner-100 15997",
        "learner-100 15999",
        "learner-101 15982",
        "learner-101 16102",
    ];
    assert_eq!(sql.column::<String>(completions).await, expected);
    let counts = "SELECT enrolled_count FROM courses WHERE source = 'oulad' ORDER BY external_id";
    assert_eq!(sql.column::<i64>(counts).await, [1, 1]);
    let known = "SELECT COUNT(*) FROM users WHERE source = 'oulad' AND \
         (email IS NOT NULL OR password_hash IS NOT NULL)";
    assert_eq!(sql.number(known).await, 0);

    let (is_good, again) = tables.seed(database);
    assert!(is_good, "{again}");
    for kind in ["people", "courses", "enrollments"] {
        let inserted = changes(&first, kind)[0];
        assert_eq!(changes(&again, kind), [&Value::from(0), &Value::from(0), inserted], "{kind}");
    }
    assert_eq!(sql.column::<String>(enrollments).await, stored);
    assert_eq!(sql.column::<String>(completions).await, expected);
}

#[tokio::test]
async fn the_open_universitys_tables_are_stored_once_on_sqlite() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("campus.db");
    the_tables_are_stored_once(&format!("sqlite://{}", file.display())).await;
}

#[tokio::test]
async fn the_open_universitys_tables_are_stored_once_on_postgresql() {
    let cluster = Postgres::start();
    the_tables_are_stored_once(&cluster.url()).await;
}

#[test]
fn tables_may_be_packed_and_a_log_may_be_of_one_presentation() {
    let tables = Tables::new();
    tables.remove("studentVle.csv");
    let clicks = "day,code_module,id_student,id_site,sum_click\n0,AAA,101,3,9\n";
    tables.write("clicks_2014B.csv.zst", zstd::encode_all(clicks.as_bytes(), 1).unwrap());
    // Of a part of the same rows, which must not be counted twice.
    tables.write("clicks_AAA_2014B.csv", clicks);
    let (is_good, report) = tables.seed(&tables.sqlite());
    assert!(is_good, "{report}");
    assert_eq!(report["sources"][0]["notes"].as_array().map(Vec::len), Some(1), "{report}");
    tables.write("clicks_2014B.csv.zst", zstd::encode_all(&b"day\n"[..], 1).unwrap());
    let (is_good, report) = tables.seed(&tables.sqlite());
    assert!(!is_good, "{report}");
    assert_eq!(report["problems"][0]["reason"], "this column is missing");
}

#[test]
fn bad_rows_are_told_with_file_line_and_column_and_nothing_is_stored() {
    let tables = Tables::new();
    tables.write("vle.csv", format!("{SITES}x,AAA,2013J,url,,\n1,AAA,2013J,url,,\n\n9,AAA,url\n"));
    tables
        .write("studentInfo.csv", format!("{RESULTS}AAA,2013J,102,M,Great\nBBB,2013J,1,M,Pass\n"));
    tables.write("studentVle.csv", format!("{CLICKS}AAA,2013J,999,1,5,1\nAAA,2013J,100,77,5,1\n"));
    tables.write("studentAssessment.csv", format!("{SCORES}10,100,90000,0,50\n"));
    let expected = [
        "vle.csv:5 id_site: `x` is not a number in range",
        "vle.csv:6 id_site: the site 1 was given already",
        "vle.csv:8 : the row has 3 fields, the header 6",
        "studentInfo.csv:5 final_result: `Great` is not a result (Pass, Distinction, Fail, \
         Withdrawn)",
        "studentInfo.csv:6 code_module: BBB 2013J is not in courses.csv",
        "studentAssessment.csv:5 date_submitted: `90000` is not a day near the course",
        "studentVle.csv:7 id_student: the learner 999 of AAA-2013J is not in studentInfo.csv",
        "studentVle.csv:8 id_site: the site 77 is not in vle.csv",
    ];
    assert_eq!(tables.problems(), expected);
}

#[test]
fn a_missing_or_empty_table_is_named() {
    let tables = Tables::new();
    tables.write("courses.csv", "");
    assert_eq!(tables.problems()[0], "courses.csv:1 : the table is empty: not even a header",);
    tables.write("courses.csv", "code_module,code_presentation\nAAA,2013J\n");
    let missing = "courses.csv:1 module_presentation_length: this column is missing";
    assert_eq!(tables.problems()[0], missing);
    tables.write("courses.csv", format!("{COURSES}AAA,2013X,1\n"));
    let reason = "`2013X` is no presentation such as 2013B or 2014J";
    assert_eq!(tables.problems()[0], format!("courses.csv:4 code_presentation: {reason}"));
    tables.write("courses.csv", COURSES);
    tables.remove("studentVle.csv");
    assert!(tables.error().contains("studentVle.csv (or clicks_<presentation>.csv) is missing"));
    tables.remove("vle.csv");
    assert!(tables.error().contains("vle.csv is missing beside courses.csv"));
    tables.remove("courses.csv");
    assert!(tables.error().contains("there is no courses.csv"));
}

fn synthetic(home: &Path, database: &str) -> Value {
    let numbers = ["--courses", "30", "--users", "200", "--random-seed", "7"];
    let arguments = [&["seed", "synthetic", "--json"][..], &numbers[..]].concat();
    let output = run(home, &on(database), &arguments);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test]
async fn made_up_learners_are_the_same_on_both_databases_and_every_time() {
    let folder = TempDir::new().expect("a temporary folder");
    let sqlite = format!("sqlite://{}", folder.path().join("campus.db").display());
    let cluster = Postgres::start();
    let mut seen = Vec::new();
    for database in [sqlite, cluster.url()] {
        let first = synthetic(folder.path(), &database);
        assert_eq!(changes(&first, "people"), [202, 0, 0]);
        assert_eq!(changes(&first, "courses"), [30, 0, 0]);
        let again = synthetic(folder.path(), &database);
        for kind in ["people", "courses", "enrollments", "ratings"] {
            assert_eq!(changes(&again, kind)[..2], [0, 0], "{kind}");
            assert_eq!(changes(&again, kind)[2], changes(&first, kind)[0], "{kind}");
        }
        let sql = Sql::open(&database).await;
        let courses: Vec<String> = sql
            .column(
                "SELECT slug || ' ' || enrolled_count || ' ' || rating_score FROM courses \
                 ORDER BY id",
            )
            .await;
        let done: Vec<String> = sql
            .column(
                "SELECT enrollment_id || ' ' || lesson_id || ' ' || completed_at \
                 FROM lesson_completions ORDER BY enrollment_id, lesson_id",
            )
            .await;
        assert!(courses.len() == 30 && done.len() > 500, "{}", done.len());
        seen.push((courses, done));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn imported_courses_are_listed_and_their_lessons_are_not_for_everybody() {
    let tables = Tables::new();
    let (is_good, report) = tables.seed(&tables.sqlite());
    assert!(is_good, "{report}");
    let database = tables.sqlite();
    let server = Server::start(tables.home(), &on(&database)).await;
    let list = server.api.get("/courses/?q=2013J").await.expect(200).json();
    assert_eq!(list["items"][0]["title"], "Module AAA, presentation 2013J");
    let path = format!("/courses/{}", list["items"][0]["id"]);
    assert_eq!(server.api.get(&format!("{path}/seats")).await.expect(200).json()["enrolled"], 1);
    server.api.get(&format!("{path}/content")).await.refused(401);
    assert!(server.stop().status.success());
}

#[test]
fn a_replay_counts_what_the_cache_was_good_for() {
    let tables = Tables::new();
    let mut log = "day,code_module,id_student,id_site,sum_click\n".to_owned();
    // Ten visits of one site: one completes it, so of ten reads of the progress two load.
    (0..10).for_each(|day| log.push_str(&format!("{day},AAA,101,3,1\n")));
    // Left out: 101 does not divide this learner.
    tables.write("studentInfo.csv", format!("{RESULTS}AAA,2014B,102,M,Pass\n"));
    tables.write("studentRegistration.csv", format!("{REGISTRATIONS}AAA,2014B,102,-5,\n"));
    log.push_str("9,AAA,102,3,1\n");
    tables.write("clicks_2014B.csv", log);
    let folder = tables.path().display().to_string();
    let database = tables.sqlite();
    let replay =
        ["replay", "oulad", &folder, "--log", "clicks_2014B", "--uncached", "5", "--every", "101"];
    let output = run(tables.home(), &on(&database), &replay);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.starts_with("10 requests, 1 of them write, L1 only"), "{text}");
    for row in [
        "| `progress` | 10 | 80.00 % | 80.00 % | 0.00 % | 2 |",
        "| `content` | 10 | 90.00 % | 90.00 % | 0.00 % | 1 |",
        "| `CACHE_ENABLED=false` | 15 | 35 | 2.333 |",
        "| TTL alone | 0.00 % | 0.00 % | 0.00 % | 0 |",
        "| what writes end, no TTL | 90.00 % | 90.00 % | 80.00 % | 0 |",
    ] {
        assert!(text.contains(row), "{row} is not in\n{text}");
    }
    let nobody = ["replay", "oulad", &folder, "--log", "clicks_2014B", "--every", "5000"];
    let nothing = run(tables.home(), &on(&database), &nobody);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("nothing to play"), "{nothing:?}");
    let again = run(tables.home(), &on(&database), &replay);
    assert!(!again.status.success());
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(told.contains("a replay needs a database of its own"), "{told}");
}

const MOODLE: &str = "ts,course,user_id,cm_id,component,event_name,class,write_scope
2017-03-05T05:28,Module 3,394,,System,Course viewed,read,
2017-03-05T05:29,Module 3,394,,System,Course viewed,read,
2017-03-05T05:31,Module 3,394,1480,File,Course module viewed,read,
2017-03-05T05:31,Module 3,394,,System,Course activity completion updated,write,learner
2017-03-05T05:32,Module 3,394,,System,Course viewed,read,
2017-03-05T05:33,Module 3,394,1480,File,Course module viewed,read,
2017-03-05T05:40,Module 3,7,1480,File,Course module updated,write,course
2017-03-05T05:41,Module 3,394,1480,File,Course module viewed,read,
2017-03-05T05:42,Module 3,7,,System,Course updated,write,course
2017-03-05T05:43,Module 3,394,,System,Course viewed,read,
2017-03-05T05:44,Module 3,394,,System,User unenrolment updated,write,enrolment
2017-03-05T05:45,Module 3,394,,System,Course viewed,read,
2017-03-05T05:46,Module 3,,,System,List Submissions,read,
2017-03-05T05:46,Module 3,,,System,Add Submission,write,learner
";

/// Of five views of the course's page two load it (the first, and the one after its edit), and four
/// the progress: at first, after the time spent, after the edit of the content, after coming back.
#[test]
fn a_replay_of_a_moodle_plays_the_writes_of_learners_and_teachers() {
    let home = TempDir::new().unwrap();
    let write = |text: &str| fs::write(home.path().join("events.csv"), text).unwrap();
    let folder = home.path().display().to_string();
    let database = format!("sqlite://{folder}/replay.db");
    let replay = || run(home.path(), &on(&database), &["replay", "edify", &folder]);
    write(&MOODLE.replace("write,enrolment", "write,nobody"));
    let refused = String::from_utf8_lossy(&replay().stderr).into_owned();
    assert!(refused.contains("events.csv:12: class: is neither a read nor a write"), "{refused}");
    write(MOODLE);
    let output = replay();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.starts_with("12 requests, 4 of them write, L1 only"), "{text}");
    for row in [
        "| `content` | 3 | 33.33 % | 33.33 % | 0.00 % | 2 |",
        "| `progress` | 5 | 20.00 % | 20.00 % | 0.00 % | 4 |",
        "| drop and enroll | 1 |",
        "| edit content | 1 |",
        "| edit course | 1 |",
        "| report time | 1 |",
        "| TTL alone | 60.00 % | 66.67 % | 60.00 % | 3 |",
        "| what writes end, no TTL | 60.00 % | 33.33 % | 20.00 % | 0 |",
    ] {
        assert!(text.contains(row), "{row} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_leaves_the_redis_of_another_database_alone() {
    let (redis, home, elsewhere) =
        (Redis::start().await, TempDir::new().unwrap(), TempDir::new().unwrap());
    let url = redis.url();
    let shared = [("REDIS_URL", url.as_str()), ("JWT_SECRET", SECRET)];
    let server =
        Server::start(home.path(), &[&shared[..], &[("CAMPUS_SEED", "none")]].concat()).await;
    fs::write(elsewhere.path().join("events.csv"), MOODLE).unwrap();
    let folder = elsewhere.path().display().to_string();
    let refused = run(elsewhere.path(), &shared, &["replay", "edify", &folder]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("Redis holds the answers of another database"), "{told}");
    assert!(server.stop().status.success());
}
