//! Places in courses: taking one, looking at it, giving it up.

use super::courses::{NO_COURSE, NOT_OWNER, visible};
use super::{Error, GONE, Learning, Result, overtaken};
use crate::model::{
    Course, CourseStatus, Enrollment, EnrollmentDetail, EnrollmentDraft, EnrollmentStatus, Fields,
    Money, Principal, Refusal, RosterEntry, Window,
};
use crate::reads::Ending;
use crate::store::Tx;

pub(super) const NO_ENROLLMENT: Refusal = Refusal::NotFound("Enrollment not found");
const ALREADY: &str = "Already enrolled in this course";

/// A request for a place, for oneself or (by the owner or an admin) for a student.
pub struct EnrollRequest {
    pub course_id: i64,
    pub student_id: Option<i64>,
    pub payment_amount: Option<Money>,
    pub source: Option<String>,
}

impl Learning {
    /// Takes a seat and notes who sits on it, in one transaction. Neither the
    /// count nor the duplicate check is ever taken from a cache.
    pub async fn enroll(&self, by: Principal, request: EnrollRequest) -> Result<EnrollmentDetail> {
        let source = request.source.unwrap_or_else(|| "web".to_owned());
        let mut fields = Fields::default();
        fields.text("enrollment_source", &source, 1, 50);
        fields.finish()?;
        let course_id = request.course_id;
        let student_id = request.student_id.unwrap_or(by.id);
        let tx = self.store.begin().await?;
        self.may_enroll(&tx, by, student_id, course_id).await?;
        if !tx.take_seat(course_id).await? {
            return Err(no_seat(&tx, student_id, course_id).await?);
        }
        let draft = EnrollmentDraft {
            course_id,
            student_id,
            payment_amount: request.payment_amount,
            source,
        };
        let enrollment = match tx.insert_enrollment(draft, self.clock.now()).await {
            Err(e) if e.is_duplicate() => return Err(Refusal::conflict(ALREADY).into()),
            enrollment => enrollment?,
        };
        // Before the commit: afterwards nothing may fail any more, for the seat is taken.
        let details = tx.details(vec![enrollment]).await?;
        let detail = only(details)?;
        self.reads.commit(tx, Ending::enrolled(student_id, course_id)).await?;
        Ok(detail)
    }

    async fn may_enroll(
        &self,
        tx: &Tx,
        by: Principal,
        student_id: i64,
        course_id: i64,
    ) -> Result<()> {
        let by = self.actor(tx, by).await?;
        // Held until the commit: whoever deletes the account waits, and then finds this place.
        let student = tx.user_to_edit(student_id).await?;
        if by.id == student_id {
            student.ok_or(GONE)?;
            return Ok(());
        }
        let course = visible(tx, by, tx.course(course_id).await?).await?;
        if !by.governs(course.instructor.id) {
            return Err(Refusal::Forbidden("You may only enroll yourself").into());
        }
        student.ok_or(Refusal::invalid("student_id", "there is no such user"))?;
        Ok(())
    }

    pub async fn my_enrollments(
        &self,
        by: Principal,
        window: Window,
    ) -> Result<(Vec<EnrollmentDetail>, i64)> {
        let (enrollments, total) = self.store.enrollments_of(by.id, window).await?;
        Ok((self.store.details(enrollments).await?, total))
    }

    /// One enrollment, for the student, the course's owner and admins. To others it does not
    /// exist, and with its course it is gone for all but admins: there may be a payment in it.
    pub async fn enrollment(&self, by: Principal, id: i64) -> Result<EnrollmentDetail> {
        let enrollment = self.store.enrollment(id).await?.ok_or(NO_ENROLLMENT)?;
        if !by.is_admin() {
            let course = self.store.course(enrollment.course_id).await?;
            shown(by, &enrollment, course.as_ref())?;
        }
        only(self.store.details(vec![enrollment]).await?)
    }

    /// Who has or had a place in a course, for its owner and admins.
    pub async fn roster(
        &self,
        by: Principal,
        course_id: i64,
        window: Window,
    ) -> Result<(Vec<RosterEntry>, i64)> {
        let course = self.store.course(course_id).await?.ok_or(NO_COURSE)?;
        if !by.governs(course.instructor.id) {
            let is_visible = match course.status {
                CourseStatus::Published => true,
                CourseStatus::Archived => self.store.is_enrolled(by.id, course_id).await?,
                CourseStatus::Draft => false,
            };
            return Err(if is_visible { NOT_OWNER } else { NO_COURSE }.into());
        }
        Ok(self.store.roster(course_id, window).await?)
    }

    /// Gives a place up; the seat is free in the same moment. Doing it twice is doing it once.
    pub async fn drop_enrollment(&self, by: Principal, id: i64) -> Result<EnrollmentDetail> {
        let tx = self.store.begin().await?;
        let by = self.actor(&tx, by).await?;
        let student_id = tx.enrollment(id).await?.ok_or(NO_ENROLLMENT)?.student_id;
        tx.user_to_edit(student_id).await?;
        let enrollment = tx.enrollment(id).await?.ok_or(NO_ENROLLMENT)?;
        if !by.is_admin() {
            let course = tx.course(enrollment.course_id).await?;
            shown(by, &enrollment, course.as_ref())?;
            if student_id != by.id {
                return Err(Refusal::Forbidden("Only the student may drop a course").into());
            }
        }
        let course_id = enrollment.course_id;
        match enrollment.status {
            EnrollmentStatus::Active => {}
            EnrollmentStatus::Dropped => return only(tx.details(vec![enrollment]).await?),
            EnrollmentStatus::Completed => {
                return Err(Refusal::conflict("A completed course cannot be dropped").into());
            }
        }
        let dropped = tx.drop_enrollment(id, self.clock.now()).await?.ok_or_else(overtaken)?;
        let detail = only(tx.details(vec![dropped]).await?)?;
        self.reads.commit(tx, Ending::dropped(student_id, course_id)).await?;
        Ok(detail)
    }
}

/// To those who have nothing to do with it, an enrollment does not exist.
pub(super) fn shown(by: Principal, enrollment: &Enrollment, course: Option<&Course>) -> Result<()> {
    let course = course.ok_or(NO_ENROLLMENT)?;
    let is_shown = enrollment.student_id == by.id || by.governs(course.instructor.id);
    if is_shown { Ok(()) } else { Err(NO_ENROLLMENT.into()) }
}

pub(super) fn only(details: Vec<EnrollmentDetail>) -> Result<EnrollmentDetail> {
    Ok(details.into_iter().next().ok_or(NO_ENROLLMENT)?)
}

/// Why a seat could not be taken, in the order in which a person would ask.
async fn no_seat(tx: &Tx, student_id: i64, course_id: i64) -> Result<Error> {
    let Some(course) = tx.course(course_id).await? else {
        return Ok(NO_COURSE.into());
    };
    let text = if course.status != CourseStatus::Published {
        "Course is not available for enrollment"
    } else if tx.has_place(student_id, course_id).await? {
        ALREADY
    } else {
        "Course enrollment limit reached"
    };
    Ok(Refusal::conflict(text).into())
}
