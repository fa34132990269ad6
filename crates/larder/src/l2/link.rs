//! The connection to Redis: opened and reopened in the background, given up by the breaker, never
//! waited for by a request.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, Value, aio::MultiplexedConnection,
    io::tcp::TcpSettings,
};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time,
};

use super::{Fault, reply};
use crate::{
    error::ConfigError,
    protocol::{
        breaker::Breaker,
        bugs::{Bug, is_seeded},
    },
};

/// Pause between two attempts to connect, ±50 %.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// The same where Redis answers but refuses us (password, permissions, maxclients).
const PROBE_REFUSED_EVERY: Duration = Duration::from_millis(700);
/// An outage is logged when it begins and then this often.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// A live connection is asked this often whether it still reaches the same data set: a server that
/// was promoted keeps its connections.
const VERIFY_EVERY: Duration = Duration::from_secs(1);
/// Connections that are lost sooner, one after the other, are no good: the next attempt waits.
const GOOD_AFTER: Duration = Duration::from_secs(1);
/// The first 16 hex digits of the data set's identity; another one after a restart or failover. A
/// replica has its master's, and would keep it when it is promoted: it is refused.
pub(super) const EPOCH: &str = "local i = redis.call('INFO', 'replication') \
    if not string.find(i, 'role:master', 1, true) then return {err = 'READONLY replica'} end \
    return string.sub(string.match(i, 'master_replid:(%x+)'), 1, 16)";

/// How long Redis is waited for.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) connect: Duration,
    /// By one read in all.
    pub(crate) read: Duration,
}

pub(crate) struct Link {
    shared: Arc<Shared>,
    reconnect: AbortHandle,
}

struct Shared {
    client: Client,
    /// A key that is never there.
    heartbeat: String,
    patience: Patience,
    live: ArcSwapOption<Live>,
    opening: Opening,
    is_up: watch::Sender<bool>,
    lost: Notify,
}

/// When a new connection may be read from; writing is allowed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    AtOnce,
    /// When everything that was committed while nobody could tell Redis is applied.
    AfterDrain,
}

/// A connection that has passed its probe. Faults count against the connection that had them.
struct Live {
    connection: MultiplexedConnection,
    epoch: u64,
    breaker: Mutex<Breaker>,
    is_open: AtomicBool,
}

/// A connection that must not be read from yet.
pub(crate) struct Undrained(Arc<Live>);

impl Undrained {
    /// Lets it be read from. If it has been replaced meanwhile, its successor stays closed.
    pub(crate) fn open(self) {
        self.0.is_open.store(true, Ordering::Release);
    }
}

/// Answers of one pipeline, and the identity of the data set that gave them.
pub(crate) struct Answers {
    pub(crate) values: Vec<Value>,
    pub(crate) epoch: u64,
}

impl Link {
    /// Starts connecting.
    pub(crate) fn start(
        info: ConnectionInfo,
        heartbeat: String,
        patience: Patience,
        opening: Opening,
    ) -> Result<Self, ConfigError> {
        let client = Client::open(info.set_tcp_settings(tcp())).map_err(ConfigError::redis)?;
        let shared = Arc::new(Shared {
            client,
            heartbeat,
            patience,
            live: ArcSwapOption::empty(),
            opening,
            is_up: watch::Sender::new(false),
            lost: Notify::new(),
        });
        let task = tokio::spawn(stay_connected(Arc::clone(&shared)));
        Ok(Self { shared, reconnect: task.abort_handle() })
    }

    /// Whether there is a connection that may be read from.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.live.load().as_ref().is_some_and(|live| live.is_open())
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.shared.live.load().is_some()
    }

    /// Whether there is a connection, and to another data set than this one.
    pub(crate) fn is_elsewhere(&self, epoch: u64) -> bool {
        self.shared.live.load().as_ref().is_some_and(|live| live.epoch != epoch)
    }

    /// Gives the connection up for a new one.
    pub(crate) fn reconnect(&self) {
        if let Some(live) = self.shared.live.load_full() {
            self.shared.give_up(live, &Fault::Broken);
        }
    }

    /// Waits until there is a connection, for at most `limit`.
    pub(crate) async fn up_within(&self, limit: Duration) {
        let mut is_up = self.shared.is_up.subscribe();
        let _ = time::timeout(limit, is_up.wait_for(|up| *up)).await;
    }

    /// Changes whenever a connection comes or goes.
    pub(crate) fn connections(&self) -> watch::Receiver<bool> {
        self.shared.is_up.subscribe()
    }

    /// The connection, if it still waits to be opened.
    pub(crate) fn undrained(&self) -> Option<Undrained> {
        self.shared.live.load_full().filter(|live| !live.is_open()).map(Undrained)
    }

    /// Sends a pipeline that reads or fills, and waits for all its answers, at most `within`.
    /// Errors of single commands stand among the answers.
    pub(crate) async fn read(
        &self,
        pipeline: &Pipeline,
        within: Duration,
    ) -> Result<Answers, Fault> {
        // Asked of the connection that is used: the next one may have an outage behind it.
        let live = self.shared.live.load_full().filter(|live| live.is_open());
        self.send_over(live, pipeline, within).await
    }

    /// The same for what needs no value to be trusted: invalidations and probes.
    pub(crate) async fn tell(
        &self,
        pipeline: &Pipeline,
        within: Duration,
    ) -> Result<Answers, Fault> {
        self.send_over(self.shared.live.load_full(), pipeline, within).await
    }

    /// The same for an operator's question. That its command is not permitted says nothing of those
    /// that reads and writes need.
    pub(crate) async fn ask(
        &self,
        pipeline: &Pipeline,
        within: Duration,
    ) -> Result<Answers, Fault> {
        let live = self.shared.live.load_full().ok_or(Fault::Down)?;
        let answered = live.send(pipeline, within).await;
        if !matches!(answered, Err(Fault::Refused("NOPERM"))) {
            self.count(live, &answered, within);
        }
        answered
    }

    async fn send_over(
        &self,
        live: Option<Arc<Live>>,
        pipeline: &Pipeline,
        within: Duration,
    ) -> Result<Answers, Fault> {
        let live = live.ok_or(Fault::Down)?;
        let answered = live.send(pipeline, within).await;
        self.count(live, &answered, within);
        answered
    }

    fn count(&self, live: Arc<Live>, answered: &Result<Answers, Fault>, within: Duration) {
        match answered {
            Ok(_) => {
                live.breaker.lock().record(Ok(()));
            }
            // Too little was left of the budget to tell a slow server from a late question.
            Err(Fault::TimedOut) if within < self.shared.patience.read / 2 => {}
            Err(fault) => self.shared.failed(live, fault),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reconnect.abort();
    }
}

pub(super) fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true).set_user_timeout(Duration::from_secs(2))
}

/// Asks whether this is a data set that may be written to, and which. One that refuses writes (no
/// replicas, no disk) would go on answering reads with what nobody can invalidate. UNLINK is
/// allowed when memory is out.
pub(super) fn heartbeat(key: &str) -> Pipeline {
    let mut question = redis::pipe();
    let write = if is_seeded(Bug::HeartbeatReads) { "EXISTS" } else { "UNLINK" };
    question.cmd(write).arg(key);
    question.cmd("EVAL").arg(EPOCH).arg(0);
    question
}

/// How long to wait after a fault before connecting again, with jitter.
pub(super) fn pause_after(fault: &Fault) -> Duration {
    let pause = if fault.is_refusal() { PROBE_REFUSED_EVERY } else { PROBE_EVERY };
    pause.mul_f64(0.5 + fastrand::f64())
}

impl Live {
    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    async fn send(&self, pipeline: &Pipeline, within: Duration) -> Result<Answers, Fault> {
        let mut connection = self.connection.clone();
        // Pinned where it is: it is large, and the timeout would move it twice.
        let sent = pin!(connection.send_packed_commands(pipeline, 0, pipeline.len()));
        let values = match time::timeout(within, sent).await {
            Ok(Ok(values)) => values,
            Ok(Err(error)) => return Err(reply::fault(&error)),
            Err(_) => return Err(Fault::TimedOut),
        };
        match values.iter().find_map(reply::outage) {
            None => Ok(Answers { values, epoch: self.epoch }),
            Some(outage) => Err(outage),
        }
    }
}

impl Shared {
    /// Counts a fault, and hands the connection to the reconnect loop if it is broken, belongs to
    /// a replica, or the breaker says so.
    fn failed(&self, live: Arc<Live>, fault: &Fault) {
        let opens = live.breaker.lock().record(Err(()));
        if opens || fault.needs_new_connection() {
            self.give_up(live, fault);
        }
    }

    /// Of all who find the connection bad, one takes it away.
    fn give_up(&self, live: Arc<Live>, fault: &Fault) {
        let live = Some(live);
        let previous = self.live.compare_and_swap(&live, None);
        let is_ours = match (&*previous, &live) {
            (Some(previous), Some(live)) => Arc::ptr_eq(previous, live),
            _ => false,
        };
        if is_ours {
            tracing::debug!(%fault, "redis is given up until it answers a probe");
            self.is_up.send_replace(false);
            self.lost.notify_one();
        }
    }

    /// Connects and probes: the connection counts only if Redis answers in little more than half of
    /// the time that a read has for it, since a read may have to ask twice.
    async fn connect(&self) -> Result<Live, Fault> {
        // Whoever waits for an answer has a timeout of their own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience.connect))
            .set_response_timeout(None);
        let opening = self.client.get_multiplexed_async_connection_with_config(&config);
        let connection = match time::timeout(self.patience.connect, opening).await {
            Ok(opened) => opened.map_err(|error| reply::fault_on_arrival(&error))?,
            Err(_) => return Err(Fault::TimedOut),
        };
        let mut live = Live {
            connection,
            epoch: 0,
            breaker: Mutex::default(),
            is_open: AtomicBool::new(self.opening == Opening::AtOnce),
        };
        let mut probe = heartbeat(&self.heartbeat);
        for script in super::SCRIPTS {
            probe.cmd("SCRIPT").arg("LOAD").arg(script);
        }
        let answers = match live.send(&probe, self.patience.read.mul_f64(0.6)).await {
            Err(Fault::Broken) => return Err(Fault::Refused("ERR")),
            answered => answered?,
        };
        live.epoch = answers.values.get(1).map_or(Err(Fault::Broken), reply::epoch)?;
        Ok(live)
    }

    /// Returns when the connection was lost.
    async fn watch(&self, live: &Arc<Live>) {
        let question = heartbeat(&self.heartbeat);
        loop {
            if time::timeout(VERIFY_EVERY, self.lost.notified()).await.is_ok() {
                return;
            }
            let answers = live.send(&question, self.patience.read).await;
            let epoch = answers
                .and_then(|answers| answers.values.get(1).map_or(Err(Fault::Broken), reply::epoch));
            match epoch {
                Ok(epoch) if epoch == live.epoch => {
                    live.breaker.lock().record(Ok(()));
                }
                Ok(_) => self.give_up(Arc::clone(live), &Fault::Broken),
                // Reads that succeed meanwhile would keep the breaker closed.
                Err(fault @ Fault::Refused(_)) => self.give_up(Arc::clone(live), &fault),
                Err(fault) => self.failed(Arc::clone(live), &fault),
            }
        }
    }
}

async fn stay_connected(shared: Arc<Shared>) {
    let (mut log, mut short_lived) = (Log::new("redis", "reads load without it"), 0);
    loop {
        let fault = match shared.connect().await {
            Ok(live) => {
                let (live, since) = (Arc::new(live), time::Instant::now());
                shared.live.store(Some(Arc::clone(&live)));
                shared.is_up.send_replace(true);
                log.up();
                shared.watch(&live).await;
                log.down(&Fault::Broken);
                short_lived = if since.elapsed() >= GOOD_AFTER { 0 } else { short_lived + 1 };
                if short_lived <= 1 {
                    continue;
                }
                // A server that drops us at once is as good as one that refuses us.
                Fault::Refused("ERR")
            }
            Err(fault) => {
                log.down(&fault);
                fault
            }
        };
        time::sleep(pause_after(&fault)).await;
    }
}

/// Says that something went away, again only now and then, and once that it is back.
pub(super) struct Log {
    what: &'static str,
    meanwhile: &'static str,
    last_down: Option<time::Instant>,
    said_up: bool,
}

impl Log {
    pub(super) fn new(what: &'static str, meanwhile: &'static str) -> Self {
        Self { what, meanwhile, last_down: None, said_up: false }
    }

    pub(super) fn up(&mut self) {
        if !self.said_up {
            tracing::info!("{} is connected", self.what);
            self.said_up = true;
        }
    }

    pub(super) fn down(&mut self, fault: &Fault) {
        if self.last_down.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            tracing::warn!(%fault, "{} is unavailable; {}", self.what, self.meanwhile);
            self.last_down = Some(time::Instant::now());
            self.said_up = false;
        }
    }
}
