//! `campus openapi`: prints the description that the server serves as `/openapi.json`.

use super::{Failure, Output};
use crate::config::Service;
use crate::http;

pub(super) fn run(service: Service, out: &mut Output) -> Result<(), Failure> {
    out.line(&http::openapi(service).to_pretty_json()?)?;
    Ok(())
}
