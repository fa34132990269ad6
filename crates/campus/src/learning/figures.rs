//! Figures: who may see whose.

use std::sync::Arc;

use super::accounts::NO_USER;
use super::courses::{NO_COURSE, NOT_OWNER};
use super::{Error, GONE, Learning, Result, found};
use crate::model::{CourseStatus, Principal, Refusal, Role};
use crate::reads::{PlainAnswer, Read, StudentAnswer, Via};

const NOT_YOURS: Refusal = Refusal::Forbidden("You may only see your own figures");
const NOT_TAUGHT: Refusal = Refusal::Forbidden("You teach none of this student's courses");

impl Learning {
    /// What a course's students have done in it, for its owner and admins.
    pub async fn course_figures(
        &self,
        by: Principal,
        via: Via,
        id: i64,
    ) -> Result<Read<Arc<PlainAnswer>>> {
        let Read { value: course, origin } = found(self.reads.course(via, id).await?, NO_COURSE)?;
        if !by.governs(course.instructor_id) {
            let is_visible = course.status == CourseStatus::Published
                || self.sees_unpublished(Some(by), id, &course).await?;
            let hidden = || Error::Absent(NO_COURSE, origin);
            return Err(if is_visible { NOT_OWNER.into() } else { hidden() });
        }
        found(self.reads.course_figures(via, id, self.clock.now()).await?, NO_COURSE)
    }

    /// What a student has done: all of it for themselves and admins, and for an instructor what
    /// was done in their own courses, which is cut from what is cached.
    pub async fn student_figures(
        &self,
        by: Principal,
        via: Via,
        id: i64,
    ) -> Result<Read<Arc<StudentAnswer>>> {
        let sees_all = by.id == id || by.is_admin();
        if !sees_all && by.role < Role::Instructor {
            return Err(NOT_YOURS.into());
        }
        let missing = if by.id == id { GONE } else { NO_USER };
        let read = self.reads.student_figures(via, id, self.clock.now()).await?;
        let Read { value, origin } = found(read, missing)?;
        if sees_all {
            return Ok(Read { value, origin });
        }
        let part = value.taught_by(by.id)?.ok_or(NOT_TAUGHT)?;
        Ok(Read { value: Arc::new(part), origin })
    }
}
