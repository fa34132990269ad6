//! The bundled demo catalogue, and the learners who make it look lived in.
//!
//! Everything is computed from fixed lists and one seed: two first starts give the same database.
//! Only operations that every machine rounds alike are used (no powers, no exponentials).

use std::collections::HashSet;

use super::courses::{Courses, read_text};
use super::problem::{ImportError, Problems};
use crate::model::{
    Catalogue, CompletionImport, CourseImport, EnrollmentImport, EnrollmentStatus, Origin,
    PersonImport, RatingImport, Role, Timestamp,
};

const SOURCE: &str = "demo";

const FILES: [(&str, &str); 8] = [
    ("demo/business.json", include_str!("../../demo/business.json")),
    ("demo/data-science.json", include_str!("../../demo/data-science.json")),
    ("demo/design.json", include_str!("../../demo/design.json")),
    ("demo/everyday-skills.json", include_str!("../../demo/everyday-skills.json")),
    ("demo/languages.json", include_str!("../../demo/languages.json")),
    ("demo/mathematics.json", include_str!("../../demo/mathematics.json")),
    ("demo/programming.json", include_str!("../../demo/programming.json")),
    ("demo/science.json", include_str!("../../demo/science.json")),
];

const LEARNERS: usize = 240;
/// How many take the most popular course.
const MOST: f64 = 119.0;
/// What is left of the learners from one course to the next less popular one.
const FALL: f64 = 0.94;
const DAY: i64 = 24 * 60 * 60 * 1_000_000;
/// When a course without a date of its own would have begun.
const SPRING: Timestamp = Timestamp(1_772_323_200_000_000);

const GIVEN: [&str; 40] = [
    "Amara", "Anika", "Arjun", "Beatriz", "Bram", "Camila", "Chidi", "Dalia", "Darius", "Elena",
    "Emeka", "Farah", "Felix", "Freya", "Giulia", "Hana", "Hugo", "Imani", "Ivan", "Jada", "Jonas",
    "Kaito", "Leila", "Linh", "Mateo", "Mei", "Milan", "Nadia", "Noah", "Oluchi", "Oscar", "Priya",
    "Quinn", "Rania", "Rafael", "Sofia", "Tariq", "Tomas", "Yara", "Zofia",
];

const FAMILY: [&str; 40] = [
    "Abebe",
    "Alvarez",
    "Andersen",
    "Bakker",
    "Banerjee",
    "Bianchi",
    "Castillo",
    "Chen",
    "Costa",
    "Dubois",
    "Eriksen",
    "Farouk",
    "Fischer",
    "Garcia",
    "Haddad",
    "Horvat",
    "Ito",
    "Jansen",
    "Kamau",
    "Khan",
    "Kovacs",
    "Larsen",
    "Lindqvist",
    "Martin",
    "Mbeki",
    "Mori",
    "Nair",
    "Novak",
    "Nwosu",
    "Okafor",
    "Park",
    "Petrov",
    "Quispe",
    "Rossi",
    "Santos",
    "Silva",
    "Tanaka",
    "Tran",
    "Weber",
    "Yilmaz",
];

/// The courses with their instructors, learners, enrollments and ratings.
pub(super) fn catalogue(now: Timestamp) -> Result<Catalogue, ImportError> {
    let mut catalogue = courses()?;
    let mut random = Random(0x5EED_CA3F);
    let mut learners: Vec<PersonImport> = (0..LEARNERS).map(learner).collect();
    let ranks = shuffled(catalogue.courses.len(), &mut random);
    let (mut enrollments, mut ratings) = (Vec::new(), Vec::new());
    for (course, rank) in catalogue.courses.iter().zip(ranks) {
        let class = Class::of(course, rank, now, &mut random);
        class.fill(&learners, &mut random, &mut enrollments, &mut ratings);
    }
    catalogue.people.append(&mut learners);
    catalogue.enrollments = enrollments;
    catalogue.ratings = ratings;
    Ok(catalogue)
}

fn courses() -> Result<Catalogue, ImportError> {
    let mut courses = Courses::new(SOURCE);
    let mut problems = Problems::default();
    for (file, text) in FILES {
        read_text(text, file, &mut courses, &mut problems);
    }
    if problems.as_slice().is_empty() {
        Ok(courses.finish())
    } else {
        Err(ImportError::BadRows(problems))
    }
}

/// The family names move on by one with each round of given names, so no full name repeats.
fn learner(number: usize) -> PersonImport {
    let (given, round) = (number % GIVEN.len(), number / GIVEN.len());
    let name = [GIVEN[given], FAMILY[(given * 7 + round) % FAMILY.len()]];
    PersonImport {
        origin: Origin {
            source: SOURCE.to_owned(),
            external_id: format!("learner-{:03}", number + 1),
            attribution: None,
        },
        username: name.join(".").to_lowercase(),
        full_name: name.join(" "),
        role: Role::Student,
        headline: None,
        bio: None,
        expertise: Vec::new(),
    }
}

/// Who takes one course, and how well they like it.
struct Class<'a> {
    course: &'a CourseImport,
    opened: Timestamp,
    now: Timestamp,
    /// How many hold a place.
    size: usize,
    /// How many gave theirs up.
    dropped: usize,
    /// What a rating tends to, in stars.
    quality: f64,
}

impl<'a> Class<'a> {
    /// Popularity has a long tail: a few full courses, many small ones, some nobody has found yet.
    fn of(course: &'a CourseImport, rank: usize, now: Timestamp, random: &mut Random) -> Self {
        let share = (0..rank).fold(1.0, |share, _| share * FALL);
        let wanted = (MOST * share - 2.0).round().max(0.0) as usize;
        let seats = course.max_students.and_then(|seats| usize::try_from(seats).ok());
        Self {
            course,
            opened: course.published_at.unwrap_or(SPRING).min(now),
            now,
            size: seats.map_or(wanted, |seats| wanted.min(seats)),
            dropped: wanted / 12,
            quality: 3.3 + 1.5 * random.unit(),
        }
    }

    fn fill(
        &self,
        learners: &[PersonImport],
        random: &mut Random,
        enrollments: &mut Vec<EnrollmentImport>,
        ratings: &mut Vec<RatingImport>,
    ) {
        let places = pick(self.size + self.dropped, learners.len(), random);
        for (place, index) in places.into_iter().enumerate() {
            let status = match random.unit() {
                _ if place >= self.size => EnrollmentStatus::Dropped,
                chance if chance < 0.3 => EnrollmentStatus::Completed,
                _ => EnrollmentStatus::Active,
            };
            let student = &learners[index].origin.external_id;
            if let Some(stars) = self.stars(status, random) {
                ratings.push(RatingImport {
                    student: student.clone(),
                    course: self.course.origin.external_id.clone(),
                    stars,
                });
            }
            enrollments.push(self.enrollment(student.clone(), status, random));
        }
    }

    fn enrollment(
        &self,
        student: String,
        status: EnrollmentStatus,
        random: &mut Random,
    ) -> EnrollmentImport {
        let lessons = || self.course.modules.iter().flat_map(|module| &module.lessons);
        // Who is active has not finished, who gave up did not get far.
        let all = lessons().count();
        let lessons_done = match status {
            EnrollmentStatus::Completed => all,
            EnrollmentStatus::Active => (random.unit() * all as f64) as usize,
            EnrollmentStatus::Dropped => (random.unit() * 0.4 * all as f64) as usize,
        };
        let enrolled_at = self.enrolled_at(random);
        let days = lessons_done as f64 * (0.5 + random.unit());
        let last = Timestamp(enrolled_at.0 + (days * DAY as f64) as i64).min(self.now);
        // Spread evenly from enrolling to the last visit.
        let pace = (last.0 - enrolled_at.0) / lessons_done.max(1) as i64;
        let completions = (1..).zip(lessons().take(lessons_done));
        let completions = completions.map(|(nth, lesson)| CompletionImport {
            lesson: lesson.external_id.as_str().into(),
            at: Timestamp(enrolled_at.0 + pace * nth),
        });
        EnrollmentImport {
            student,
            course: self.course.origin.external_id.clone(),
            status,
            enrolled_at,
            last_accessed_at: last,
            completions: completions.collect(),
            time_spent_minutes: lessons().take(lessons_done).map(|l| l.duration_minutes).sum(),
        }
    }

    /// Most come soon after the opening, all within two months, nobody in the future.
    fn enrolled_at(&self, random: &mut Random) -> Timestamp {
        let share = random.unit() * random.unit();
        Timestamp(self.opened.0 + (share * 60.0 * DAY as f64) as i64).min(self.now)
    }

    /// Who finished a course rates it more often than who is still on the way.
    fn stars(&self, status: EnrollmentStatus, random: &mut Random) -> Option<i16> {
        let willing = match status {
            EnrollmentStatus::Completed => 0.8,
            EnrollmentStatus::Active => 0.35,
            EnrollmentStatus::Dropped => 0.0,
        };
        let mood = random.unit() + random.unit() + random.unit() - 1.5;
        (random.unit() < willing).then(|| (self.quality + mood).round().clamp(1.0, 5.0) as i16)
    }
}

/// `count` different numbers below `below`. Low ones come up more often: some people learn a lot.
fn pick(count: usize, below: usize, random: &mut Random) -> Vec<usize> {
    let mut seen = HashSet::new();
    let mut picked = Vec::with_capacity(count);
    while picked.len() < count.min(below) {
        let at = random.unit();
        let index = (at * (0.4 + 0.6 * at) * below as f64) as usize;
        if index < below && seen.insert(index) {
            picked.push(index);
        }
    }
    picked
}

fn shuffled(count: usize, random: &mut Random) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let other = (random.unit() * (last + 1) as f64) as usize;
        order.swap(last, other.min(last));
    }
    order
}

/// SplitMix64: small, and the same on every machine and in every version.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number from 0 up to but not including 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::{ImportError, LEARNERS};
    use crate::model::{Catalogue, EnrollmentStatus, Timestamp};

    fn catalogue() -> Result<Catalogue, ImportError> {
        super::catalogue(Timestamp(1_800_000_000_000_000))
    }

    #[test]
    fn the_demo_is_the_same_every_time() {
        let (a, b) = (catalogue().unwrap(), catalogue().unwrap());
        assert_eq!(
            serde_json::to_string(&(&a.people, &a.enrollments, &a.ratings)).unwrap(),
            serde_json::to_string(&(&b.people, &b.enrollments, &b.ratings)).unwrap(),
        );
    }

    #[test]
    fn no_two_people_of_the_demo_share_a_name() {
        let people = catalogue().unwrap().people;
        let names: HashSet<&str> = people.iter().map(|person| person.username.as_str()).collect();
        assert_eq!(names.len(), people.len());
        assert!(people.len() > LEARNERS);
    }

    #[test]
    fn popularity_has_a_long_tail_and_no_course_is_overbooked() {
        let demo = catalogue().unwrap();
        let mut held: HashMap<&str, i64> = HashMap::new();
        let mut pairs = HashSet::new();
        for enrollment in &demo.enrollments {
            assert!(pairs.insert((&enrollment.student, &enrollment.course)));
            let taken = i64::from(enrollment.status != EnrollmentStatus::Dropped);
            *held.entry(&enrollment.course).or_default() += taken;
        }
        let size = |course: &str| held.get(course).copied().unwrap_or(0);
        for course in &demo.courses {
            assert!(
                course.max_students.is_none_or(|seats| size(&course.slug) <= seats),
                "{}",
                course.slug
            );
        }
        let sizes: Vec<i64> = demo.courses.iter().map(|course| size(&course.slug)).collect();
        assert!(sizes.iter().any(|&size| size > 90), "{sizes:?}");
        assert!(sizes.iter().filter(|&&size| size <= 3).count() >= 5, "{sizes:?}");
    }

    #[test]
    fn only_who_holds_a_place_rates_and_only_once() {
        let demo = catalogue().unwrap();
        let holds: HashSet<_> = demo
            .enrollments
            .iter()
            .filter(|enrollment| enrollment.status != EnrollmentStatus::Dropped)
            .map(|enrollment| (&enrollment.student, &enrollment.course))
            .collect();
        let mut rated = HashSet::new();
        for rating in &demo.ratings {
            assert!((1..=5).contains(&rating.stars));
            assert!(holds.contains(&(&rating.student, &rating.course)));
            assert!(rated.insert((&rating.student, &rating.course)));
        }
        assert!(rated.len() > 200);
    }
}
