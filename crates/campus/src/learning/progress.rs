//! What students do in their courses, and what they get for doing all of it.

use std::sync::Arc;
use std::time::Duration;

use super::courses::{NO_COURSE, visible};
use super::enrollment::{NO_ENROLLMENT, only, shown};
use super::lessons::NOT_ENROLLED;
use super::{Error, GONE, Learning, Result, found, held, overtaken};
use crate::model::{
    Certificate, CertificateCode, CourseStatus, Enrollment, EnrollmentDetail, EnrollmentStatus,
    Fields, Outline, Principal, Refusal, Visit, Window,
};
use crate::reads::{Ending, Learned, Milestone, PlainAnswer, Read, Via};
use crate::store::Tx;

const NO_LESSON: Refusal = Refusal::NotFound("Lesson not found");
const NO_CERTIFICATE: Refusal = Refusal::NotFound("Certificate not found");

/// How exactly it is known when somebody was last here who did nothing new.
const VISITS_APART: Duration = Duration::from_secs(3600);

/// The most minutes that one report may have: a day.
pub const MOST_MINUTES: i64 = 24 * 60;

/// What a student reports: a lesson done, a whole module done, time spent.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProgressReport {
    pub lesson_id: Option<i64>,
    pub module_id: Option<i64>,
    pub time_spent_minutes: Option<i64>,
}

impl Learning {
    /// How far somebody is in a course that they are enrolled in.
    pub async fn progress(
        &self,
        by: Principal,
        via: Via,
        course_id: i64,
    ) -> Result<Read<Arc<PlainAnswer>>> {
        let Read { value: course, origin } =
            found(self.reads.course(via, course_id).await?, NO_COURSE)?;
        let is_open = course.status == CourseStatus::Published;
        let refusal = || {
            if is_open || by.governs(course.instructor_id) {
                Error::from(NOT_ENROLLED)
            } else {
                Error::Absent(NO_COURSE, origin)
            }
        };
        if !self.reads.is_enrolled(by.id, course_id).await? {
            return Err(refusal());
        }
        let Read { value, origin } = self.reads.progress(via, by.id, course_id).await?;
        let value = value.ok_or_else(refusal)?;
        Ok(Read { value, origin })
    }

    pub async fn my_dashboard(&self, by: Principal, via: Via) -> Result<Read<Arc<PlainAnswer>>> {
        found(self.reads.dashboard(via, by.id).await?, GONE)
    }

    /// Where somebody is enrolled and how far they are there, in short.
    pub async fn my_session(&self, by: Principal, via: Via) -> Result<Read<Arc<PlainAnswer>>> {
        found(self.reads.session(via, by.id).await?, GONE)
    }

    /// Notes a lesson as done. One that is done already stays as it was.
    pub async fn complete_lesson(
        &self,
        by: Principal,
        course_id: i64,
        lesson_id: i64,
    ) -> Result<EnrollmentDetail> {
        let tx = self.store.begin().await?;
        let place = self.place(&tx, by, course_id).await?;
        let module_id = tx.outline(course_id).await?.module_of(lesson_id).ok_or(NO_LESSON)?;
        let fresh = tx.complete_lessons(&place, [(module_id, lesson_id)], self.clock.now()).await?;
        let detail = only(tx.details(vec![place]).await?)?;
        if fresh == 0 && !is_to_finish(&detail) {
            return Ok(detail);
        }
        let visit = Visit { lesson_id: Some(lesson_id), minutes: 0 };
        self.visited(tx, detail.enrollment, visit, Milestone::of(fresh)).await
    }

    /// Takes that back. A certificate that was given for it stays.
    pub async fn uncomplete_lesson(
        &self,
        by: Principal,
        course_id: i64,
        lesson_id: i64,
    ) -> Result<EnrollmentDetail> {
        let tx = self.store.begin().await?;
        let place = self.place(&tx, by, course_id).await?;
        if tx.uncomplete_lesson(place.id, lesson_id).await? {
            return self.visited(tx, place, Visit::default(), Milestone::Nothing).await;
        }
        tx.outline(course_id).await?.module_of(lesson_id).ok_or(NO_LESSON)?;
        only(tx.details(vec![place]).await?)
    }

    /// Of what changes nothing, as an empty report, nothing is written and nobody is told.
    pub async fn report_progress(
        &self,
        by: Principal,
        id: i64,
        report: ProgressReport,
    ) -> Result<EnrollmentDetail> {
        let minutes = report.time_spent_minutes.unwrap_or(0);
        let mut fields = Fields::default();
        fields.range("time_spent_minutes", minutes, 0, MOST_MINUTES);
        fields.finish()?;
        let tx = self.store.begin().await?;
        let place = self.own_place(&tx, by, id).await?;
        let outline = tx.outline(place.course_id).await?;
        let lessons = reported(&outline, report)?;
        let fresh = tx.complete_lessons(&place, lessons, self.clock.now()).await?;
        let visit = Visit { lesson_id: report.lesson_id, minutes };
        if fresh > 0 || minutes > 0 {
            return self.visited(tx, place, visit, Milestone::of(fresh)).await;
        }
        // Who comes back to a lesson is there again: known to the hour, so that repeats write little.
        let long_ago =
            place.last_accessed_at.is_none_or(|at| at.plus(VISITS_APART) <= self.clock.now());
        let is_elsewhere =
            visit.lesson_id.is_some() && (visit.lesson_id != place.last_lesson_id || long_ago);
        let detail = only(tx.details(vec![place]).await?)?;
        if !is_elsewhere && !is_to_finish(&detail) {
            return Ok(detail);
        }
        self.visited(tx, detail.enrollment, visit, Milestone::Visit).await
    }

    pub async fn my_certificates(
        &self,
        by: Principal,
        window: Window,
    ) -> Result<(Vec<Certificate>, i64)> {
        Ok(self.store.certificates_of(by.id, window).await?)
    }

    /// A certificate, for whom it is about, the course's owner and admins.
    pub async fn certificate(&self, by: Principal, id: i64) -> Result<Certificate> {
        let certificate = self.store.certificate(id).await?.ok_or(NO_CERTIFICATE)?;
        let is_shown = certificate.student_id == by.id || by.governs(certificate.instructor_id);
        if is_shown { Ok(certificate) } else { Err(NO_CERTIFICATE.into()) }
    }

    /// The certificate that has this code, for everybody who was shown it.
    pub async fn verify_certificate(&self, code: &str) -> Result<Option<Certificate>> {
        match CertificateCode::parse(code) {
            Some(code) => Ok(self.store.certificate_with(&code).await?),
            None => Ok(None),
        }
    }

    /// One's place in a course. Holds whoever asks until the commit.
    async fn place(&self, tx: &Tx, by: Principal, course_id: i64) -> Result<Enrollment> {
        let by = held(tx, by).await?;
        visible(tx, by, tx.course(course_id).await?).await?;
        Ok(tx.place(by.id, course_id).await?.ok_or(NOT_ENROLLED)?)
    }

    /// The same by the id of the enrollment.
    async fn own_place(&self, tx: &Tx, by: Principal, id: i64) -> Result<Enrollment> {
        let by = held(tx, by).await?;
        let enrollment = tx.enrollment(id).await?.ok_or(NO_ENROLLMENT)?;
        let course = tx.course(enrollment.course_id).await?;
        shown(by, &enrollment, course.as_ref())?;
        if enrollment.student_id != by.id {
            return Err(Refusal::Forbidden("Only the student may report progress").into());
        }
        if enrollment.status == EnrollmentStatus::Dropped {
            return Err(Refusal::conflict("The enrollment was dropped").into());
        }
        Ok(enrollment)
    }

    /// Notes the visit; whoever has done everything by now has completed the course.
    async fn visited(
        &self,
        tx: Tx,
        place: Enrollment,
        visit: Visit,
        mut milestone: Milestone,
    ) -> Result<EnrollmentDetail> {
        let now = self.clock.now();
        let place = tx.note_visit(place.id, visit, now).await?.ok_or_else(overtaken)?;
        let mut detail = only(tx.details(vec![place]).await?)?;
        let Enrollment { id, student_id, course_id, .. } = detail.enrollment;
        if is_to_finish(&detail) {
            detail.enrollment = tx.finish(id, now).await?.ok_or_else(overtaken)?;
            tx.insert_certificate(id, &random_code(), now).await?;
            milestone = Milestone::Course;
        }
        let progress_percent = detail.completion_percentage();
        let lesson_id = visit.lesson_id;
        let learned = Learned { student_id, course_id, lesson_id, progress_percent, milestone };
        self.reads.commit(tx, Ending::learned(&learned)).await?;
        Ok(detail)
    }
}

fn is_to_finish(detail: &EnrollmentDetail) -> bool {
    detail.is_whole() && detail.enrollment.status == EnrollmentStatus::Active
}

/// The lessons of a report, each with its module.
fn reported(outline: &Outline, report: ProgressReport) -> Result<Vec<(i64, i64)>> {
    let mut lessons = Vec::new();
    if let Some(id) = report.lesson_id {
        let module = outline.module_of(id);
        let absent = || Refusal::invalid("lesson_id", "there is no such lesson in the course");
        lessons.push((module.ok_or_else(absent)?, id));
    }
    if let Some(id) = report.module_id {
        let module = outline.module(id);
        let absent = || Refusal::invalid("module_id", "there is no such module in the course");
        lessons.extend(module.ok_or_else(absent)?.iter().map(|lesson| (id, *lesson)));
    }
    Ok(lessons)
}

fn random_code() -> CertificateCode {
    let mut bytes = [0u8; 20];
    #[expect(clippy::expect_used, reason = "nothing can be done safely without randomness")]
    getrandom::fill(&mut bytes).expect("the system has a random source");
    CertificateCode::new(bytes)
}
