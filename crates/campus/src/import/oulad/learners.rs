//! Enrollments from registrations and results; completions from scores and first visits.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::super::problem::{ImportError, Problem, Problems};
use super::super::table::{Row, rows};
use super::course::{Courses, Spot};
use super::{Log, Until, learner, person};
use crate::model::{
    CompletionImport, EnrollmentImport, EnrollmentStatus, PersonImport, Role, Timestamp,
};

/// The score from which on the university counts an assessment as passed.
const PASSED: f32 = 40.0;

pub(super) struct Learners<'a> {
    courses: &'a Courses,
    until: Until<'a>,
    /// In the order of the table, which decides about ids.
    places: Vec<Place>,
    by_key: HashMap<(u32, u32), u32>,
    /// The day of the first visit or submission, by place and lesson.
    done: HashMap<(u32, u32), i32>,
}

/// Somebody's registration for a course.
struct Place {
    student: u32,
    course: u32,
    status: EnrollmentStatus,
    registered: Option<i32>,
    unregistered: Option<i32>,
    last: Option<i32>,
    clicks: i64,
}

impl<'a> Learners<'a> {
    pub(super) fn new(courses: &'a Courses, until: Until<'a>) -> Self {
        let (places, by_key, done) = (Vec::new(), HashMap::new(), HashMap::new());
        Self { courses, until, places, by_key, done }
    }

    fn is_wanted(&self, course: u32) -> bool {
        match self.until {
            Until::TheEnd => true,
            Until::TheStartOf(one) => self.courses.all[course as usize].presentation() == one,
        }
    }

    pub(super) fn read_results(
        &mut self,
        path: &Path,
        problems: &mut Problems,
    ) -> Result<(), ImportError> {
        let columns = ["code_module", "code_presentation", "id_student", "final_result"];
        rows(path, &columns, problems, |row| {
            let (course, student) = (self.courses.named(row)?, row.number(2)?);
            let status = self.status(row)?;
            if !self.is_wanted(course) {
                return Ok(());
            }
            if self.by_key.insert((course, student), self.places.len() as u32).is_some() {
                return Err(row.problem(2, format!("the learner {student} is in it already")));
            }
            let (registered, unregistered, last, clicks) = (None, None, None, 0);
            let place = Place { student, course, status, registered, unregistered, last, clicks };
            self.places.push(place);
            Ok(())
        })
    }

    fn status(&self, row: &Row<'_>) -> Result<EnrollmentStatus, Problem> {
        let status = match row.text(3)? {
            "Withdrawn" => EnrollmentStatus::Dropped,
            "Pass" | "Distinction" => EnrollmentStatus::Completed,
            "Fail" => EnrollmentStatus::Active,
            other => {
                let known = "Pass, Distinction, Fail, Withdrawn";
                return Err(row.problem(3, format!("`{other}` is not a result ({known})")));
            }
        };
        Ok(if self.until == Until::TheEnd { status } else { EnrollmentStatus::Active })
    }

    pub(super) fn read_registrations(
        &mut self,
        path: &Path,
        problems: &mut Problems,
    ) -> Result<(), ImportError> {
        let columns = [
            "code_module",
            "code_presentation",
            "id_student",
            "date_registration",
            "date_unregistration",
        ];
        rows(path, &columns, problems, |row| {
            let course = self.courses.named(row)?;
            let (registered, unregistered) = (row.day(3)?, row.day(4)?);
            if !self.is_wanted(course) {
                return Ok(());
            }
            let place = self.place(row, 2, course)?;
            let place = &mut self.places[place as usize];
            (place.registered, place.unregistered) = (registered, unregistered);
            Ok(())
        })
    }

    /// Who passed an assessment has done it, on the day of the submission.
    pub(super) fn read_scores(
        &mut self,
        path: &Path,
        problems: &mut Problems,
    ) -> Result<(), ImportError> {
        let columns = ["id_assessment", "id_student", "date_submitted", "score"];
        rows(path, &columns, problems, |row| {
            let id: u32 = row.number(0)?;
            let spot = self.courses.assessments.get(&id).copied();
            let spot = spot.ok_or_else(|| {
                row.problem(0, format!("the assessment {id} is not in assessments.csv"))
            })?;
            let place = self.place(row, 1, spot.course)?;
            let day = row.day(2)?.ok_or_else(|| row.problem(2, "is empty"))?;
            let score: Option<f32> = row.optional(3)?;
            if score.is_some_and(|score| score >= PASSED) {
                self.note(place, spot, day);
            }
            Ok(())
        })
    }

    /// A row is a learner's clicks on one site on one day.
    pub(super) fn read_clicks(
        &mut self,
        log: &Log,
        problems: &mut Problems,
    ) -> Result<(), ImportError> {
        let mut columns = vec!["code_module", "id_student", "id_site", "sum_click"];
        columns.push(if log.presentation.is_some() { "day" } else { "date" });
        rows(&log.path, &columns, problems, |row| {
            let id: u32 = row.number(2)?;
            let spot = self.courses.sites.get(&id).copied();
            let spot =
                spot.ok_or_else(|| row.problem(2, format!("the site {id} is not in vle.csv")))?;
            let course = &self.courses.all[spot.course as usize];
            if log.presentation.as_ref().is_some_and(|known| known != course.presentation()) {
                return Err(row.problem(2, format!("the site {id} is of another presentation")));
            }
            let place = self.place(row, 1, spot.course)?;
            let clicks: u32 = row.number(3)?;
            let day = row.day(4)?.ok_or_else(|| row.problem(4, "is empty"))?;
            self.places[place as usize].clicks += i64::from(clicks);
            self.note(place, spot, day);
            Ok(())
        })
    }

    fn place(&self, row: &Row<'_>, column: usize, course: u32) -> Result<u32, Problem> {
        let student: u32 = row.number(column)?;
        self.by_key.get(&(course, student)).copied().ok_or_else(|| {
            let course = self.courses.all[course as usize].external_id();
            row.problem(
                column,
                format!("the learner {student} of {course} is not in studentInfo.csv"),
            )
        })
    }

    fn note(&mut self, place: u32, spot: Spot, day: i32) {
        let first = self.done.entry((place, spot.lesson)).or_insert(day);
        *first = day.min(*first);
        let last = &mut self.places[place as usize].last;
        *last = Some(last.map_or(day, |last| last.max(day)));
    }

    /// Everybody once, and all their enrollments.
    pub(super) fn finish(self) -> (Vec<PersonImport>, Vec<EnrollmentImport>) {
        let students: BTreeSet<u32> = self.places.iter().map(|place| place.student).collect();
        let people = students.into_iter().map(|id| {
            let (username, name) = (format!("oulad-{id}"), format!("Learner {id}"));
            person(learner(id), username, name, Role::Student)
        });
        let mut done: Vec<(u32, i32, u32)> =
            self.done.iter().map(|(&(place, lesson), &day)| (place, day, lesson)).collect();
        done.sort_unstable();
        let mut rest = done.as_slice();
        let mut enrollments = Vec::with_capacity(self.places.len());
        for (number, place) in self.places.iter().enumerate() {
            let mine = rest.iter().take_while(|(of, ..)| *of as usize == number).count();
            let (mine, others) = rest.split_at(mine);
            rest = others;
            enrollments.push(self.enrollment(place, mine));
        }
        (people.collect(), enrollments)
    }

    fn enrollment(&self, place: &Place, done: &[(u32, i32, u32)]) -> EnrollmentImport {
        let course = &self.courses.all[place.course as usize];
        // Where the day is not known, whoever registered did so by the first one.
        let enrolled_at = course.midnight(place.registered.unwrap_or(0));
        let last = match place.status {
            EnrollmentStatus::Active => place.last.map(|day| course.midnight(day)),
            EnrollmentStatus::Completed => Some(course.end()),
            EnrollmentStatus::Dropped => {
                place.unregistered.or(place.last).map(|day| course.midnight(day))
            }
        };
        let completion = |&(_, day, lesson): &(u32, i32, u32)| CompletionImport {
            lesson: course.lessons[lesson as usize].external_id.clone(),
            at: course.midnight(day),
        };
        EnrollmentImport {
            student: learner(place.student),
            course: course.external_id(),
            status: place.status,
            enrolled_at,
            last_accessed_at: last.map_or(enrolled_at, |last: Timestamp| last.max(enrolled_at)),
            completions: done.iter().map(completion).collect(),
            // The tables count clicks and no time: a click stands for a minute.
            time_spent_minutes: place.clicks,
        }
    }
}
