//! `campus serve`: everything from the lock to the last answer.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Failure, Output, company};
use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, Seed, Service, TracesConfig};
use crate::http;
use crate::import;
use crate::reads::Ending;
#[cfg(feature = "mongo")]
use crate::store::ContentStore;
use crate::store::Location;
use crate::store::lock::{self, Claim, DatabaseLock};

/// From a signal to the end, with the delay before: many supervisors kill after 10 s.
const LEAVING: Duration = Duration::from_secs(9);

/// What was begun has this long to end, whatever the delay is.
const LEAST_DRAIN: Duration = Duration::from_secs(2);

pub(super) async fn run(config: &Config, clock: Clock, out: &mut Output) -> Result<(), Failure> {
    let mut lock = take_lock(config)?;
    let listener = listen(config.addr, "--addr or CAMPUS_ADDR").await?;
    let metrics = match config.metrics.addr {
        Some(addr) => Some(listen(addr, "--metrics-addr or METRICS_ADDR").await?),
        None => None,
    };
    let url = format!("http://{}", listener.local_addr()?);
    if let Some(lock) = &mut lock {
        lock.announce(&url)?;
    }
    let app = Arc::new(App::build(config, clock).await?);
    let ours = company::meet(config, &app.reads).await?;
    let place = match lock {
        Some(_) => None,
        None => Some(company::join(config, app.store(), &url).await?),
    };
    let admin_password = first_start(config, &app).await?;
    // Before anybody can know that it runs: from here on a signal is a clean end.
    let signals = Signals::listen()?;
    greet(config, &app, &url, admin_password.as_deref(), out)?;
    let (warm_every, tended) = (config.warm.every, Arc::clone(&app));
    let tending = tokio::spawn(async move { tend(&tended, warm_every, place, &ours).await });
    let measured = metrics.map(|listener| {
        let service = http::metrics_service(Arc::clone(&app));
        tokio::spawn(http::serve(listener, service, std::future::pending()))
    });
    let traces = config.traces.as_ref().map_or(Duration::ZERO, |_| TracesConfig::LAST);
    serve(listener, &app, config.shutdown_delay, LEAVING - traces, signals).await;
    tending.abort();
    if let Some(measured) = measured {
        measured.abort();
    }
    if let Some(place) = place {
        company::leave(app.store(), place).await;
    }
    app.store().close().await?;
    tracing::info!("stopped");
    // Held until here: nobody else may open the file while requests were still running.
    drop(lock);
    Ok(())
}

/// What a server does beside its requests.
async fn tend(app: &App, warm_every: Option<Duration>, place: Option<i64>, ours: &str) {
    let warming = async {
        if let (Some(what), Some(every)) = (app.warming, warm_every) {
            app.reads.keep_warm(what, every, &app.clock).await;
        }
    };
    let staying = async {
        if let Some(place) = place {
            company::stay(app.store(), place).await;
        }
    };
    let watching = company::watch(&app.reads, ours);
    let carrying = app.store().keep_carrying_content();
    let (outbox, rules) = (app.reads.tend_outbox(), app.reads.follow_rules());
    tokio::join!(outbox, rules, warming, staying, watching, carrying);
}

/// One server per SQLite file, unless they share a Redis to tell each other through.
fn take_lock(config: &Config) -> Result<Option<DatabaseLock>, Failure> {
    let location = Location::parse(&config.database_url.0)?;
    let Some(file) = location.file() else {
        return Ok(None);
    };
    let sharing = company::sharing(config);
    let claim = lock::claim(file, &sharing).map_err(|e| unwritable(file, &e))?;
    let file = file.display();
    match claim {
        Claim::Granted(lock) => {
            for other in &lock.beside {
                tracing::info!(
                    "{file} is served by {other} too; both hear of writes through Redis"
                );
            }
            Ok(Some(lock))
        }
        Claim::HeldBy(holders) => Err(format!(
            "{file} is already in use by {holders} with {}, and this server is to have {sharing}; \
             servers on one SQLite file need the same REDIS_URL and REDIS_KEY_PREFIX",
            holders.sharing
        )
        .into()),
    }
}

fn unwritable(database: &Path, error: &io::Error) -> Failure {
    let (database, lock) = (database.display(), lock::path(database));
    let lock = lock.display();
    format!(
        "cannot open the database {database}: its lock {lock} cannot be written: {error} (see \
         DATABASE_URL)"
    )
    .into()
}

async fn listen(addr: SocketAddr, setting: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(addr).await.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{addr} is in use by another program; choose another one with {setting}").into()
        }
        _ => format!("cannot listen on {addr}: {e} (see {setting})").into(),
    })
}

/// What an empty database gets: the demo catalogue, unless told otherwise, and an
/// admin, whose password is answered if it was made up here. The admin comes last:
/// a start that is cut short must not leave one whose password nobody has seen.
async fn first_start(config: &Config, app: &App) -> Result<Option<String>, Failure> {
    let first = app.learning.is_first_start().await?;
    if first && config.seed == Seed::Demo {
        import_demo(app).await?;
    }
    let given = config.auth.admin_password.as_ref();
    let password = given.map(|password| password.expose().to_owned());
    let created = app.learning.create_first_admin(password).await?;
    Ok(created.filter(|_| given.is_none()))
}

async fn import_demo(app: &App) -> Result<(), Failure> {
    let tx = app.store().begin().await?;
    let Some(imported) = import::demo(&tx, app.clock.now()).await? else {
        return Ok(());
    };
    let ending = Ending::imported(std::slice::from_ref(&imported));
    app.reads.commit(tx, ending).await?;
    tracing::info!(
        courses = imported.courses.inserted,
        lessons = imported.lessons,
        enrollments = imported.enrollments.inserted,
        "imported the demo catalogue"
    );
    Ok(())
}

fn greet(
    config: &Config,
    app: &App,
    url: &str,
    admin_password: Option<&str>,
    out: &mut Output,
) -> io::Result<()> {
    out.line(&format!("Campus    {url}"))?;
    out.line(&format!("API docs  {url}/docs"))?;
    if config.service != Service::All {
        out.line(&format!("Service   {} (--only)", config.service.name()))?;
    }
    out.line(&format!("Database  {}", app.store().location()))?;
    #[cfg(feature = "mongo")]
    if let ContentStore::Mongo(documents) = app.store().content_store() {
        out.line(&format!("Content   {documents}"))?;
    }
    out.line(&format!("Cache     {}", app.tiers))?;
    if let Some(password) = admin_password {
        out.line("")?;
        out.line("First start. Log in as the admin (shown only this once):")?;
        out.line("  e-mail    admin@campus.local")?;
        out.line(&format!("  password  {password}"))?;
    }
    if !config.addr.ip().is_loopback() {
        tracing::info!("listening on more than the loopback interface; put TLS in front");
    }
    Ok(())
}

/// Serves until a signal, then lets what was begun come to its end: requests, writes
/// whose clients went away, and what Redis has to hear of them.
///
/// After SIGTERM new requests are served for a while, so that whoever sends them can hear that
/// this server is not ready any more. Another signal ends that.
async fn serve(
    listener: TcpListener,
    app: &Arc<App>,
    delay: Duration,
    leaving_for: Duration,
    mut signals: Signals,
) {
    let leaving = app.leaving.clone();
    let stop = async move {
        let asked = signals.wait().await;
        leaving.begin();
        if asked == Asked::ByTerm && !delay.is_zero() {
            tracing::info!("stopping: not ready any more");
            let _ = timeout(delay, signals.wait()).await;
        }
        tracing::info!("stopping: open requests may end");
    };
    let draining = http::serve(listener, http::service(Arc::clone(app)), stop).await;
    let deadline = Instant::now() + leaving_for.saturating_sub(delay).max(LEAST_DRAIN);
    app.learning.end_streams();
    if timeout_at(deadline, draining.finished()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    let rest = deadline.saturating_duration_since(Instant::now());
    let untold = app.reads.invalidations_told(rest).await;
    if untold > 0 {
        tracing::warn!(
            untold,
            "Redis could not be told of the last writes; the outbox keeps them for the next server \
             that reaches it"
        );
    }
}

/// Who wants it to end: what runs it, or a person at a keyboard.
#[derive(PartialEq, Eq)]
enum Asked {
    ByTerm,
    ByInt,
}

/// The signals that ask this process to end.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::ByTerm,
            _ = self.int.recv() => Asked::ByInt,
        }
    }
}
