//! Profiles: who may look at whom.

use std::sync::Arc;

use super::accounts::{NO_INSTRUCTOR, NO_USER};
use super::{Learning, Result, found};
use crate::model::{Principal, Refusal, Role};
use crate::reads::{PlainAnswer, ProfileAnswer, Read, Via};

impl Learning {
    /// A person's public profile; anonymous visitors see instructors only.
    pub async fn profile(
        &self,
        viewer: Option<Principal>,
        via: Via,
        id: i64,
    ) -> Result<Read<Arc<ProfileAnswer>>> {
        let read = self.reads.profile(via, id).await?;
        let is_public = read.value.as_ref().is_some_and(|p| p.role == Role::Instructor);
        if viewer.is_none() && !is_public {
            // Whether an id is taken is not for strangers to find out.
            return Err(Refusal::Unauthenticated("Sign in first").into());
        }
        found(read, NO_USER)
    }

    /// An instructor's profile, for everybody.
    pub async fn instructor(&self, via: Via, id: i64) -> Result<Read<Arc<PlainAnswer>>> {
        found(self.reads.instructor(via, id).await?, NO_INSTRUCTOR)
    }
}
