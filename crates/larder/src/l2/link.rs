//! The connection to Redis: opened and reopened in the background, given up by the breaker, never
//! waited for by a request.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time,
};

use super::{Fault, reply};
use crate::{error::ConfigError, protocol::breaker::Breaker};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
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
const EPOCH: &str = "local i = redis.call('INFO', 'replication') \
    if not string.find(i, 'role:master', 1, true) then return {err = 'READONLY replica'} end \
    return string.sub(string.match(i, 'master_replid:(%x+)'), 1, 16)";

pub(crate) struct Link {
    shared: Arc<Shared>,
    reconnect: AbortHandle,
}

struct Shared {
    client: Client,
    op_timeout: Duration,
    live: ArcSwapOption<Live>,
    is_up: watch::Sender<bool>,
    lost: Notify,
}

/// A connection that has passed its probe. Faults count against the connection that had them.
struct Live {
    connection: MultiplexedConnection,
    epoch: u64,
    breaker: Mutex<Breaker>,
}

/// Answers of one pipeline, and the identity of the data set that gave them.
pub(crate) struct Answers {
    pub(crate) values: Vec<Value>,
    pub(crate) epoch: u64,
}

impl Link {
    /// Starts connecting. `connected` is told the epoch of every new connection before it is used.
    pub(crate) fn start(
        info: ConnectionInfo,
        op_timeout: Duration,
        connected: impl Fn(u64) + Send + 'static,
    ) -> Result<Self, ConfigError> {
        let settings = redis::io::tcp::TcpSettings::default()
            .set_nodelay(true)
            .set_user_timeout(Duration::from_secs(2));
        let client = Client::open(info.set_tcp_settings(settings)).map_err(ConfigError::redis)?;
        let shared = Arc::new(Shared {
            client,
            op_timeout,
            live: ArcSwapOption::empty(),
            is_up: watch::Sender::new(false),
            lost: Notify::new(),
        });
        let task = tokio::spawn(stay_connected(Arc::clone(&shared), connected));
        Ok(Self { shared, reconnect: task.abort_handle() })
    }

    pub(crate) fn is_up(&self) -> bool {
        self.shared.live.load().is_some()
    }

    /// Waits until there is a connection, for at most `limit`.
    pub(crate) async fn up_within(&self, limit: Duration) {
        let mut is_up = self.shared.is_up.subscribe();
        let _ = time::timeout(limit, is_up.wait_for(|up| *up)).await;
    }

    /// Sends a pipeline and waits for all its answers, at most `within`. Errors of single commands
    /// stand among the answers.
    pub(crate) async fn send(
        &self,
        pipeline: &Pipeline,
        within: Duration,
    ) -> Result<Answers, Fault> {
        let live = self.shared.live.load_full().ok_or(Fault::Down)?;
        let answered = live.send(pipeline, within).await;
        match &answered {
            Ok(_) => {
                live.breaker.lock().record(Ok(()));
            }
            // Too little was left of the budget to tell a slow server from a late question.
            Err(Fault::TimedOut) if within < self.shared.op_timeout / 2 => {}
            Err(fault) => self.shared.failed(live, fault),
        }
        answered
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reconnect.abort();
    }
}

impl Live {
    async fn send(&self, pipeline: &Pipeline, within: Duration) -> Result<Answers, Fault> {
        let mut connection = self.connection.clone();
        let sent = connection.send_packed_commands(pipeline, 0, pipeline.len());
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
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None);
        let opening = self.client.get_multiplexed_async_connection_with_config(&config);
        let connection = match time::timeout(CONNECT_TIMEOUT, opening).await {
            Ok(opened) => opened.map_err(|error| reply::fault(&error))?,
            Err(_) => return Err(Fault::TimedOut),
        };
        let mut live = Live { connection, epoch: 0, breaker: Mutex::default() };
        let mut probe = redis::pipe();
        probe.cmd("EVAL").arg(EPOCH).arg(0);
        for script in super::SCRIPTS {
            probe.cmd("SCRIPT").arg("LOAD").arg(script);
        }
        let answers = live.send(&probe, self.op_timeout.mul_f64(0.6)).await?;
        live.epoch = answers.values.first().map_or(Err(Fault::Broken), reply::epoch)?;
        Ok(live)
    }

    /// Returns when the connection was lost.
    async fn watch(&self, live: &Arc<Live>) {
        let mut question = redis::pipe();
        question.cmd("EVAL").arg(EPOCH).arg(0);
        loop {
            if time::timeout(VERIFY_EVERY, self.lost.notified()).await.is_ok() {
                return;
            }
            let answers = live.send(&question, self.op_timeout).await;
            let epoch = answers.and_then(|answers| {
                answers.values.first().map_or(Err(Fault::Broken), reply::epoch)
            });
            match epoch {
                Ok(epoch) if epoch == live.epoch => {
                    live.breaker.lock().record(Ok(()));
                }
                Ok(_) => self.give_up(Arc::clone(live), &Fault::Broken),
                Err(fault) => self.failed(Arc::clone(live), &fault),
            }
        }
    }
}

async fn stay_connected(shared: Arc<Shared>, connected: impl Fn(u64)) {
    let (mut log, mut short_lived) = (Log::default(), 0);
    loop {
        let pause = match shared.connect().await {
            Ok(live) => {
                connected(live.epoch);
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
                PROBE_REFUSED_EVERY
            }
            Err(fault) => {
                log.down(&fault);
                if fault.is_refusal() { PROBE_REFUSED_EVERY } else { PROBE_EVERY }
            }
        };
        time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
    }
}

/// Says that Redis went away, again only now and then, and once that it is back.
#[derive(Default)]
struct Log {
    last_down: Option<time::Instant>,
    said_up: bool,
}

impl Log {
    fn up(&mut self) {
        if !self.said_up {
            tracing::info!("redis is connected");
            self.said_up = true;
        }
    }

    fn down(&mut self, fault: &Fault) {
        if self.last_down.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            tracing::warn!(%fault, "redis is unavailable; reads load without it");
            self.last_down = Some(time::Instant::now());
            self.said_up = false;
        }
    }
}
