//! `campus migrate`: brings the schema up to date and says what it did.

use super::{Failure, Output};
use crate::config::Config;
use crate::store::Store;

pub(super) async fn run(config: &Config, out: &mut Output) -> Result<(), Failure> {
    let store = Store::connect(&config.database_url.0).await?;
    let applied = store.migrate().await?;
    let location = store.location().to_string();
    store.close().await?;
    out.line(&match applied {
        0 => format!("{location} is up to date"),
        1 => format!("{location}: applied 1 migration"),
        many => format!("{location}: applied {many} migrations"),
    })?;
    Ok(())
}
