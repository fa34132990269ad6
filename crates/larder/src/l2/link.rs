//! The connection to Redis: opened and reopened in the background, given up by the breaker, never
//! waited for by a request.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, Value, aio::MultiplexedConnection,
};
use tokio::{sync::Notify, task::AbortHandle, time};

use super::{Fault, reply};
use crate::{error::ConfigError, protocol::breaker::Breaker};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two attempts to connect, ±50 %.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// The same where Redis answers but refuses us (password, permissions, maxclients).
const PROBE_REFUSED_EVERY: Duration = Duration::from_millis(700);
/// An outage is logged when it begins and then this often.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// The first 16 hex digits of the data set's identity; another one after a restart or failover.
const EPOCH: &str =
    "return string.sub(string.match(redis.call('INFO','replication'),'master_replid:(%x+)'),1,16)";

pub(crate) struct Link {
    shared: Arc<Shared>,
    reconnect: AbortHandle,
}

struct Shared {
    client: Client,
    op_timeout: Duration,
    live: ArcSwapOption<Live>,
    breaker: Mutex<Breaker>,
    lost: Notify,
}

/// A connection that has passed its probe.
struct Live {
    connection: MultiplexedConnection,
    epoch: u64,
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
            breaker: Mutex::default(),
            lost: Notify::new(),
        });
        let task = tokio::spawn(stay_connected(Arc::clone(&shared), connected));
        Ok(Self { shared, reconnect: task.abort_handle() })
    }

    pub(crate) fn is_up(&self) -> bool {
        self.shared.live.load().is_some()
    }

    /// Sends a pipeline and waits for all its answers, at most `within`. Errors of single commands
    /// stand among the answers.
    pub(crate) async fn send(
        &self,
        pipeline: &Pipeline,
        within: Duration,
    ) -> Result<Answers, Fault> {
        let live = self.shared.live.load_full().ok_or(Fault::Down)?;
        let mut connection = live.connection.clone();
        let sent = connection.send_packed_commands(pipeline, 0, pipeline.len());
        let fault = match time::timeout(within, sent).await {
            Ok(Ok(values)) => match values.iter().find_map(reply::outage) {
                None => {
                    self.shared.breaker.lock().record(Ok(()));
                    return Ok(Answers { values, epoch: live.epoch });
                }
                Some(outage) => outage,
            },
            Ok(Err(error)) => reply::fault(&error),
            Err(_) => Fault::TimedOut,
        };
        self.shared.failed(&live, &fault);
        Err(fault)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reconnect.abort();
    }
}

impl Shared {
    /// Counts a fault, and hands the connection to the reconnect loop if it is broken, belongs to
    /// a replica, or the breaker says so.
    fn failed(&self, live: &Arc<Live>, fault: &Fault) {
        let opens = self.breaker.lock().record(Err(()));
        if !opens && !fault.needs_new_connection() {
            return;
        }
        let current = self.live.load_full();
        if current.is_some_and(|current| Arc::ptr_eq(&current, live)) {
            self.live.store(None);
            tracing::warn!(%fault, "redis is given up until it answers a probe");
            self.lost.notify_one();
        }
    }

    /// Connects and probes: the connection counts only if Redis answers as fast as a read needs it.
    async fn connect(&self) -> Result<Live, Fault> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT));
        let opening = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = match time::timeout(CONNECT_TIMEOUT, opening).await {
            Ok(opened) => opened.map_err(|error| reply::fault(&error))?,
            Err(_) => return Err(Fault::TimedOut),
        };
        let mut probe = redis::pipe();
        probe.cmd("EVAL").arg(EPOCH).arg(0);
        for script in super::SCRIPTS {
            probe.cmd("SCRIPT").arg("LOAD").arg(script);
        }
        let answers = connection.send_packed_commands(&probe, 0, probe.len());
        match time::timeout(self.op_timeout, answers).await {
            Ok(answers) => {
                let values = answers.map_err(|error| reply::fault(&error))?;
                let epoch = values.first().map_or(Err(Fault::Broken), reply::epoch)?;
                Ok(Live { connection, epoch })
            }
            Err(_) => Err(Fault::TimedOut),
        }
    }
}

async fn stay_connected(shared: Arc<Shared>, connected: impl Fn(u64)) {
    let mut last_log: Option<time::Instant> = None;
    loop {
        match shared.connect().await {
            Ok(live) => {
                connected(live.epoch);
                *shared.breaker.lock() = Breaker::default();
                shared.live.store(Some(Arc::new(live)));
                tracing::info!("redis is connected");
                last_log = None;
                shared.lost.notified().await;
            }
            Err(fault) => {
                if last_log.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
                    tracing::warn!(%fault, "redis is unavailable; reads load without it");
                    last_log = Some(time::Instant::now());
                }
                let pause = if fault.is_refusal() { PROBE_REFUSED_EVERY } else { PROBE_EVERY };
                time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            }
        }
    }
}
