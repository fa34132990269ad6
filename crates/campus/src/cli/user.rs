//! `campus user`: accounts, for operators at the machine.

use clap::{Args, Subcommand};

use super::beside::{self, CacheState, REDIS_AWAY};
use super::{Failure, Output};
use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, Secret};
use crate::learning::accounts::Registration;
use crate::model::{Role, Window};

#[derive(Args)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Create an account; the password is read from standard input
    Add {
        username: String,
        email: String,
        #[arg(long, default_value = "student")]
        role: Role,
        #[arg(long)]
        full_name: Option<String>,
    },
    /// Set a password, read from standard input; every session of the account ends
    Passwd { id: i64 },
    /// Change a role: student, instructor or admin
    Role { id: i64, role: Role },
    /// List accounts
    List {
        #[arg(long, default_value_t = 0)]
        skip: i64,
        #[arg(long, default_value_t = 100)]
        limit: i64,
    },
}

pub(super) async fn run(
    args: &UserArgs,
    config: &Config,
    clock: Clock,
    out: &mut Output,
) -> Result<(), Failure> {
    // A running server would go on showing the account as it was. Passwords it never shows.
    let _lock = match args.what {
        What::Add { .. } | What::Role { .. } => beside::lock(config, "campus user")?,
        What::Passwd { .. } | What::List { .. } => None,
    };
    let app = App::build(config, clock).await?;
    match &args.what {
        What::Add { username, email, role, full_name } => {
            let who = Registration {
                username: username.clone(),
                email: email.clone(),
                password: password()?.expose().to_owned(),
                full_name: full_name.clone().unwrap_or_else(|| username.clone()),
            };
            let user = app.learning.create_user(who, *role).await.map_err(told)?;
            out.line(&format!("{} {} {}", user.id, user.username, user.role))?;
        }
        What::Passwd { id } => {
            let password = password()?.expose().to_owned();
            app.learning.set_password(*id, password).await.map_err(told)?;
            out.line("the password is set")?;
        }
        What::Role { id, role } => {
            let user = app.learning.set_role(*id, *role).await.map_err(told)?;
            out.line(&format!("{} {} {}", user.id, user.username, user.role))?;
        }
        What::List { skip, limit } => {
            let window = Window { skip: *skip.max(&0), limit: *limit.max(&0) };
            for user in app.store().users(window).await? {
                let email = user.email.as_deref().unwrap_or("-");
                let line = format!("{}\t{}\t{}\t{email}", user.id, user.role, user.username);
                out.line(&line)?;
            }
        }
    }
    if beside::redis_told(&app.reads).await == CacheState::MayBeOld {
        out.line(REDIS_AWAY)?;
    }
    app.store().close().await?;
    Ok(())
}

/// One line from standard input: an argument would be seen by everybody on the machine.
fn password() -> Result<Secret, Failure> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err("give the password on standard input".into());
    }
    Ok(Secret::new(password))
}

/// A refusal names its fields for API clients; a person at a terminal needs them as text.
fn told(error: crate::learning::Error) -> Failure {
    use crate::learning::Error::Refused;
    use crate::model::Refusal::Invalid;
    match error {
        Refused(Invalid(fields)) => {
            let fields = fields.iter().map(|f| format!("{} {}", f.field, f.message));
            fields.collect::<Vec<String>>().join("; ").into()
        }
        other => other.into(),
    }
}
