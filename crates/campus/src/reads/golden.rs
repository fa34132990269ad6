//! What other servers find in Redis, byte by byte. Two versions share one Redis during a rolling
//! deploy: whoever changes a shape raises the `VERSION` of its key and adds a file here.

use std::fs;
use std::path::Path;

use larder::CacheKey;

use super::answers::{
    ArticleAnswer, ContentAnswer, CourseAnswer, ListAnswer, PlainAnswer, ProfileAnswer,
};
use super::articles::{ArticleKey, ArticleListKey, TagsKey};
use super::keys::{
    CategoriesKey, ContentKey, CourseKey, DashboardKey, EnrolledKey, InstructorKey, ListKey,
    ProfileKey, ProgressKey, SearchKey, SeatsKey, SessionKey,
};
use super::{Body, plain};
use crate::model::{
    Article, Author, Certificate, CertificateCode, Content, Course, CourseStatus, Enrollment,
    EnrollmentDetail, EnrollmentStatus, InstructorProfile, InstructorRef, Learner, LessonDraft,
    Level, ModuleDraft, Money, Place, Rating, Role, Timestamp, User,
};
use crate::wire;

const NOON: Timestamp = Timestamp(1_780_000_000_000_000);

/// `tests/golden/{key}@{version}.txt` has the bytes, those that are no ASCII escaped.
fn check<K: CacheKey>(value: &K::Value) {
    let file = format!("{}@{}.txt", K::NAME.replace(':', "-"), K::VERSION);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(&file);
    let stored = rmp_serde::to_vec_named(value).unwrap();
    let found = stored.escape_ascii().to_string();
    let golden = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(golden, format!("{found}\n"), "{file}");
    let read: K::Value = rmp_serde::from_slice(&stored).unwrap();
    assert_eq!(rmp_serde::to_vec_named(&read).unwrap(), stored, "{file}");
}

fn article() -> Article {
    Article {
        id: 7,
        slug: "knots".to_owned(),
        title: "Knots 🪢".to_owned(),
        body: "Over, under.".to_owned(),
        author: Some(Author { id: 3, full_name: "Ada".to_owned() }),
        tags: vec!["rope".to_owned()],
        published: true,
        created_at: NOON,
        updated_at: NOON,
        version: 2,
    }
}

fn detail() -> EnrollmentDetail {
    let enrollment = Enrollment {
        id: 5,
        course_id: 9,
        student_id: 4,
        status: EnrollmentStatus::Active,
        payment_amount: None,
        payment_status: None,
        source: "web".to_owned(),
        enrolled_at: NOON,
        started_at: Some(NOON),
        completed_at: None,
        dropped_at: None,
        last_accessed_at: Some(NOON),
        last_lesson_id: Some(2),
        time_spent_minutes: 30,
        version: 2,
    };
    EnrollmentDetail {
        enrollment,
        completed_lessons: vec![2],
        completed_modules: Vec::new(),
        total_lessons: 3,
    }
}

fn user() -> User {
    User {
        id: 4,
        username: "sam".to_owned(),
        email: Some("sam@example.org".to_owned()),
        full_name: "Sam".to_owned(),
        role: Role::Student,
        bio: None,
        created_at: NOON,
        version: 1,
    }
}

fn learner() -> Learner {
    let place = Place {
        detail: detail(),
        course_title: "Sailing".to_owned(),
        course_slug: "sailing".to_owned(),
    };
    let certificate = Certificate {
        id: 1,
        code: CertificateCode::new([0; 20]),
        course_id: 8,
        course_title: "Rowing".to_owned(),
        instructor_id: 3,
        student_id: 4,
        student_name: "Sam".to_owned(),
        issued_at: NOON,
    };
    Learner { user: user(), places: vec![place], certificates: vec![certificate] }
}

fn course() -> Course {
    Course {
        id: 9,
        slug: "sailing".to_owned(),
        title: "Sailing".to_owned(),
        description: "At sea.".to_owned(),
        category: "Sport".to_owned(),
        level: Level::Beginner,
        price: Money::from_cents(1990).unwrap(),
        status: CourseStatus::Published,
        instructor: InstructorRef { id: 3, full_name: "Ada".to_owned() },
        max_students: Some(20),
        enrolled_count: 1,
        rating: Rating { sum: 9, count: 2 },
        published_at: Some(NOON),
        created_at: NOON,
        updated_at: NOON,
        version: 2,
    }
}

fn content() -> Content {
    let lesson = LessonDraft {
        id: None,
        title: "Bowline".to_owned(),
        kind: "text".to_owned(),
        duration_minutes: 10,
        body: "A loop.".to_owned(),
        external_id: None,
    };
    let module = ModuleDraft {
        id: None,
        title: "Knots".to_owned(),
        position: None,
        lessons: vec![lesson],
        external_id: None,
    };
    let mut content = Content::default();
    content.add_module(module).unwrap();
    content
}

fn rendered(value: &impl serde::Serialize) -> PlainAnswer {
    plain(value).unwrap()
}

#[test]
fn what_courses_leave_in_redis_is_what_their_versions_stand_for() {
    let course = course();
    check::<CourseKey>(&CourseAnswer::public(&course).unwrap());
    check::<ContentKey>(&ContentAnswer::render(9, &content(), 1).unwrap());
    check::<SeatsKey>(&rendered(&wire::Seats { enrolled: 1, max_students: Some(20) }));
    check::<EnrolledKey>(&true);
    check::<CategoriesKey>(&rendered(&[wire::Category { name: "Sport".to_owned(), count: 1 }]));
    let items = vec![wire::Course::from(&course)];
    let body = Body::render(&wire::CourseList { items, total: 1, skip: 0, limit: 20 }).unwrap();
    let list = ListAnswer { body, count: 1, total: 1 };
    check::<ListKey>(&list);
    check::<SearchKey>(&list);
}

#[test]
fn what_people_leave_in_redis_is_what_their_versions_stand_for() {
    let body = Body::render(&wire::User::from(&user())).unwrap();
    check::<ProfileKey>(&ProfileAnswer { body, version: 1, role: Role::Student });
    let profile = InstructorProfile {
        user_id: 3,
        full_name: "Ada".to_owned(),
        headline: None,
        bio: Some("Sails.".to_owned()),
        expertise: vec!["knots".to_owned()],
    };
    check::<InstructorKey>(&rendered(&wire::Instructor::from(&profile)));
}

#[test]
fn what_articles_and_tags_leave_in_redis_is_what_their_versions_stand_for() {
    let article = article();
    check::<ArticleKey>(&ArticleAnswer::public(&article).unwrap());
    let body = Body::render(&[wire::Article::from(&article)]).unwrap();
    check::<ArticleListKey>(&ListAnswer { body, count: 1, total: 1 });
    check::<TagsKey>(&rendered(&[wire::TagCount { name: "rope".to_owned(), count: 1 }]));
}

#[test]
fn what_learning_leaves_in_redis_is_what_its_versions_stand_for() {
    check::<ProgressKey>(&rendered(&wire::Progress::from(&detail())));
    check::<DashboardKey>(&rendered(&wire::Dashboard::from(&learner())));
    check::<SessionKey>(&rendered(&wire::Session::from(&learner())));
}
