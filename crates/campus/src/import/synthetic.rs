//! Courses and learners that are made up: any number of them, and the same ones for the same seed.
//!
//! Each course and each learner is drawn from a number of its own, so a run with more learners has
//! all that one with fewer has. The times are fixed too: nothing here asks what time it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Part;
use super::demo::Random;
use crate::model::{
    Catalogue, CompletionImport, CourseImport, CourseStatus, EnrollmentImport, EnrollmentStatus,
    LessonImport, Level, ModuleImport, Money, Origin, PersonImport, RatingImport, Role, Timestamp,
};

/// How much to make.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub courses: u32,
    pub users: u32,
    pub seed: u64,
}

/// Midnight of 2026-01-01, when the youngest course was published.
const NEW_YEAR: i64 = 1_767_225_600_000_000;
const HOUR: i64 = 60 * 60 * 1_000_000;

const COURSES_PER_TEACHER: u32 = 20;
const MODULES: usize = 4;
const LESSONS: usize = 5;

const SUBJECTS: [&str; 12] = [
    "Algebra",
    "Botany",
    "Chemistry",
    "Drawing",
    "Ethics",
    "French",
    "Geology",
    "History",
    "Knitting",
    "Logic",
    "Music",
    "Navigation",
];
const WORDS: [&str; 16] = [
    "first", "steps", "practice", "question", "example", "measure", "compare", "repeat", "pattern",
    "detail", "answer", "reason", "method", "careful", "simple", "exercise",
];

/// Which numbers a thing is drawn from; never those of another thing.
#[derive(Clone, Copy)]
enum Kind {
    Course = 1,
    Learner = 2,
}

/// Everything is in memory: about 1 KB a course, 1 KB a learner.
pub fn make(size: Size) -> Part {
    let source = format!("synthetic-{}", size.seed);
    let teachers = (0..size.courses.div_ceil(COURSES_PER_TEACHER)).map(|n| teacher(&source, n));
    let mut catalogue = Catalogue {
        people: teachers.collect(),
        courses: (0..size.courses).map(|n| course(size, &source, n)).collect(),
        source: source.clone(),
        ..Catalogue::default()
    };
    for number in 0..size.users {
        learner(size, &source, number, &mut catalogue);
    }
    // A course's enrollments lie together, as imports like them.
    catalogue.enrollments.sort_by(|a, b| a.course.cmp(&b.course));
    Part { catalogue, notes: Vec::new(), attribution: None }
}

fn random(size: Size, kind: Kind, number: u32) -> Random {
    let mut random = Random(size.seed ^ (kind as u64) << 40 ^ u64::from(number));
    // The first number of neighbours is alike; what it is drawn from is not.
    Random((random.unit() * (1_u64 << 53) as f64) as u64)
}

fn below(random: &mut Random, end: usize) -> usize {
    ((random.unit() * end as f64) as usize).min(end.saturating_sub(1))
}

fn origin(source: &str, external_id: String) -> Origin {
    Origin { source: source.to_owned(), external_id, attribution: None }
}

fn teacher_id(number: u32) -> String {
    format!("teacher-{number:05}")
}

fn course_id(number: u32) -> String {
    format!("course-{number:06}")
}

fn lesson_id(number: usize) -> String {
    format!("lesson-{number:02}")
}

fn teacher(source: &str, number: u32) -> PersonImport {
    let mut person = person(source, teacher_id(number), format!("Teacher {number}"));
    person.role = Role::Instructor;
    person.headline = Some("Teaches what is made up".to_owned());
    person
}

fn person(source: &str, id: String, full_name: String) -> PersonImport {
    PersonImport {
        username: format!("{source}-{id}"),
        origin: origin(source, id),
        full_name,
        role: Role::Student,
        headline: None,
        bio: None,
        expertise: Vec::new(),
    }
}

fn course(size: Size, source: &str, number: u32) -> CourseImport {
    let mut random = random(size, Kind::Course, number);
    let subject = SUBJECTS[below(&mut random, SUBJECTS.len())];
    let age = below(&mut random, 20_000) as i64;
    CourseImport {
        origin: origin(source, course_id(number)),
        slug: format!("{source}-{}", course_id(number)),
        title: format!("{subject} {number}"),
        description: sentence(&mut random, 30),
        category: subject.to_owned(),
        level: [Level::Beginner, Level::Intermediate, Level::Advanced][below(&mut random, 3)],
        price: Money::default(),
        max_students: None,
        status: CourseStatus::Published,
        published_at: Some(Timestamp(NEW_YEAR - age * HOUR)),
        tags: vec![subject.to_lowercase()],
        instructor: teacher_id(number / COURSES_PER_TEACHER),
        modules: (0..MODULES).map(|module| self::module(&mut random, module)).collect(),
    }
}

fn module(random: &mut Random, number: usize) -> ModuleImport {
    let lesson = |place: usize| {
        let number = number * LESSONS + place;
        LessonImport {
            external_id: lesson_id(number),
            title: format!("Lesson {}", number + 1),
            kind: "text".to_owned(),
            duration_minutes: 5 + below(random, 40) as i64,
            body: sentence(random, 60),
        }
    };
    ModuleImport {
        external_id: format!("module-{number}"),
        title: format!("Part {}", number + 1),
        lessons: (0..LESSONS).map(lesson).collect(),
    }
}

/// One to four courses each, the first ones more often than the last.
fn learner(size: Size, source: &str, number: u32, catalogue: &mut Catalogue) {
    let mut random = random(size, Kind::Learner, number);
    let id = format!("learner-{number:07}");
    catalogue.people.push(person(source, id.clone(), format!("Learner {number}")));
    let wanted = 1 + below(&mut random, 4);
    let popular =
        |random: &mut Random| (random.unit() * random.unit() * f64::from(size.courses)) as u32;
    let courses: BTreeSet<u32> = (0..wanted).map(|_| popular(&mut random)).collect();
    for course in courses {
        let enrollment = enrollment(&mut random, &id, course);
        if enrollment.status == EnrollmentStatus::Completed {
            let (student, course) = (id.clone(), course_id(course));
            let stars = 1 + below(&mut random, 5) as i16;
            catalogue.ratings.push(RatingImport { student, course, stars });
        }
        catalogue.enrollments.push(enrollment);
    }
}

fn enrollment(random: &mut Random, student: &str, course: u32) -> EnrollmentImport {
    let all = MODULES * LESSONS;
    let (status, done) = match random.unit() {
        chance if chance < 0.05 => (EnrollmentStatus::Dropped, 0),
        chance if chance < 0.1 => (EnrollmentStatus::Completed, all),
        _ => (EnrollmentStatus::Active, below(random, all / 3 + 1)),
    };
    let enrolled_at = Timestamp(NEW_YEAR + below(random, 5_000) as i64 * HOUR);
    let at = |nth: usize| Timestamp(enrolled_at.0 + nth as i64 * 20 * HOUR);
    let completion =
        |nth: usize| CompletionImport { lesson: Arc::from(lesson_id(nth)), at: at(nth + 1) };
    EnrollmentImport {
        student: student.to_owned(),
        course: course_id(course),
        status,
        enrolled_at,
        last_accessed_at: at(done),
        completions: (0..done).map(completion).collect(),
        time_spent_minutes: 25 * done as i64,
    }
}

fn sentence(random: &mut Random, words: usize) -> String {
    let mut text = String::with_capacity(words * 8);
    for place in 0..words {
        text.push_str(if place == 0 { "" } else { " " });
        text.push_str(WORDS[below(random, WORDS.len())]);
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::{Size, make};

    const SIZE: Size = Size { courses: 30, users: 200, seed: 7 };

    fn text(size: Size) -> String {
        let made = make(size).catalogue;
        let parts = (&made.people, &made.courses, &made.enrollments, &made.ratings);
        serde_json::to_string(&parts).unwrap()
    }

    #[test]
    fn the_same_numbers_make_the_same_and_another_seed_makes_another() {
        assert_eq!(text(SIZE), text(SIZE));
        let other = make(Size { seed: 8, ..SIZE }).catalogue;
        assert_ne!(other.source, make(SIZE).catalogue.source);
        let descriptions = |size| {
            let courses = make(size).catalogue.courses.into_iter();
            courses.map(|course| course.description).collect::<Vec<_>>()
        };
        assert_ne!(descriptions(SIZE), descriptions(Size { seed: 8, ..SIZE }));
    }

    #[test]
    fn more_learners_are_added_to_those_there_were() {
        let few = make(SIZE).catalogue;
        let more = make(Size { users: 300, ..SIZE }).catalogue;
        let is_known = |id: &str| more.people.iter().any(|person| person.origin.external_id == id);
        assert!(few.people.iter().all(|person| is_known(&person.origin.external_id)));
        let key = |row: &crate::model::EnrollmentImport| {
            (row.student.clone(), row.course.clone(), row.completions.len())
        };
        let all: std::collections::HashSet<_> = more.enrollments.iter().map(key).collect();
        assert!(few.enrollments.iter().all(|row| all.contains(&key(row))));
        assert!(few.enrollments.iter().any(|row| !row.completions.is_empty()));
    }
}
