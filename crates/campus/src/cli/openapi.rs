//! `campus openapi`: prints the description that the server serves as `/openapi.json`.

use super::{Failure, Output};
use crate::http;

pub(super) fn run(out: &mut Output) -> Result<(), Failure> {
    out.line(&http::openapi().to_pretty_json()?)?;
    Ok(())
}
