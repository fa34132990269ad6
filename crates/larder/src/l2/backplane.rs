//! The backplane: a connection that hears the other processes' invalidations and proves, heartbeat
//! by heartbeat, that none was missed.
//!
//! The task that applies messages is the task that extends the window, and both come over one
//! connection: that order is what the proof in [`crate::protocol::window`] needs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, ProtocolVersion, PushInfo, PushKind,
    Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{self, MissedTickBehavior},
};

#[cfg(larder_bugs)]
use crate::protocol::bugs::{Bug, is_seeded};

use super::{
    Fault,
    link::{self, Link, Log},
    reply,
};
use crate::{
    clock::{Clock, millis},
    entry::Nonce,
    error::ConfigError,
    protocol::{
        feed::{Feed, Verdict},
        message::Message,
        stamps::Stamps,
        window::{DELTA_MS, Window},
    },
    stats::{BackplaneCounts, Proof},
};

const HEARTBEAT_EVERY: Duration = Duration::from_millis(250);
/// A heartbeat that takes longer is a lost connection: the window would close anyway.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(500);
/// Messages that may wait to be applied. More is a gap: the connection starts anew.
const MOST_WAITING: usize = 10_000;
/// Gives Redis a sequence that cannot repeat an earlier one, in place of none or a broken one.
const NUMBER: &str = "local s = redis.pcall('GET', KEYS[1]) \
    if type(s) == 'string' and #s < 19 and string.find(s, '^%d+$') then return s end \
    redis.call('UNLINK', KEYS[1]) \
    local t = redis.call('TIME') \
    return redis.call('SET', KEYS[1], string.format('%.0f', t[1] * 1000000 + t[2]))";

/// What messages act on.
pub(crate) struct Ears {
    pub(crate) instance: Nonce,
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) window: Arc<Window>,
    pub(crate) clock: Clock,
    pub(crate) counts: Arc<BackplaneCounts>,
    /// How long L1 may answer while Redis is away; below Δ it is Δ.
    pub(crate) degraded_life: Duration,
}

/// The names of what the backplane uses in Redis.
pub(super) struct Names {
    pub(super) channel: String,
    pub(super) sequence: String,
    pub(super) heartbeat: String,
}

pub(super) struct Backplane {
    task: AbortHandle,
}

impl Backplane {
    pub(super) fn start(
        info: ConnectionInfo,
        names: Names,
        ears: Ears,
        link: Arc<Link>,
        patience: Duration,
    ) -> Result<Self, ConfigError> {
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings).set_tcp_settings(link::tcp()))
            .map_err(ConfigError::redis)?;
        #[cfg(larder_bugs)]
        tokio::spawn(extend_elsewhere(Arc::clone(&ears.window), ears.clock.clone()));
        let feed = Feed::default();
        let listener = Listener { client, names, ears, link, patience, feed, proven: 0 };
        Ok(Self { task: tokio::spawn(listener.listen()).abort_handle() })
    }
}

impl Drop for Backplane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Listener {
    client: Client,
    names: Names,
    ears: Ears,
    link: Arc<Link>,
    /// How long connecting may take.
    patience: Duration,
    feed: Feed,
    /// When the last heartbeat was sent that proved something.
    proven: u64,
}

/// A subscribed connection.
struct Line {
    connection: MultiplexedConnection,
    epoch: u64,
    pushes: mpsc::Receiver<PushInfo>,
    has_lost_some: Arc<AtomicBool>,
}

impl Listener {
    async fn listen(mut self) {
        let mut log = Log::new("the backplane", "L1 does not answer without it");
        loop {
            let fault = match self.connect().await {
                Ok(line) => {
                    log.up();
                    self.follow(line).await
                }
                Err(fault) => fault,
            };
            log.down(&fault);
            self.hold_without_redis();
            time::sleep(link::pause_after(&fault)).await;
        }
    }

    /// Redis away altogether is told from a backplane that is cut off alone: then the other
    /// processes go on writing, and the window must close.
    fn hold_without_redis(&self) {
        let life = millis(self.ears.degraded_life).max(DELTA_MS);
        let life = if self.link.is_connected() { DELTA_MS } else { life };
        if self.proven > 0 {
            self.ears.window.hold(self.proven, life);
        }
    }

    async fn connect(&self) -> Result<Line, Fault> {
        let (sender, pushes) = mpsc::channel(MOST_WAITING);
        let has_lost_some = Arc::new(AtomicBool::new(false));
        let lost = Arc::clone(&has_lost_some);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience))
            .set_response_timeout(None)
            .set_push_sender(move |push| {
                sender.try_send(push).inspect_err(|_| lost.store(true, Relaxed))
            });
        let mut epoch = redis::pipe();
        epoch.cmd("EVAL").arg(link::EPOCH).arg(0);
        let connecting = async {
            let mut connection = self
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map_err(|error| reply::fault_on_arrival(&error))?;
            connection
                .subscribe(&self.names.channel)
                .await
                .map_err(|error| reply::fault_on_arrival(&error))?;
            let answers = ask(&connection, &epoch).await?;
            let epoch = answers.first().map_or(Err(Fault::Broken), reply::epoch)?;
            Ok(Line { connection, epoch, pushes, has_lost_some })
        };
        time::timeout(self.patience, connecting).await.unwrap_or(Err(Fault::TimedOut))
    }

    /// Applies messages and sends heartbeats until the connection is lost, and says why.
    async fn follow(&mut self, mut line: Line) -> Fault {
        self.feed.subscribed(line.epoch);
        let mut beats = time::interval(HEARTBEAT_EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                push = line.pushes.recv() => match push {
                    Some(push) => if let Err(fault) = self.apply(&push) { return fault },
                    None => return Fault::Broken,
                },
                _ = beats.tick() => match self.beat(&mut line).await {
                    Ok(Verdict::NoSequence) => beats.reset_immediately(),
                    Ok(Verdict::InStep | Verdict::Missed) => {}
                    Err(fault) => return fault,
                },
            }
        }
    }

    /// One heartbeat.
    async fn beat(&mut self, line: &mut Line) -> Result<Verdict, Fault> {
        let mut question = link::heartbeat(&self.names.heartbeat);
        question.cmd("GET").arg(&self.names.sequence);
        let sent = self.ears.clock.real();
        self.feed.asking();
        let asking = time::timeout(HEARTBEAT_TIMEOUT, ask(&line.connection, &question));
        tokio::pin!(asking);
        let answers = loop {
            tokio::select! {
                biased;
                Some(push) = line.pushes.recv() => self.apply(&push)?,
                answers = &mut asking => break answers.unwrap_or(Err(Fault::TimedOut))?,
            }
        };
        // What came before the answer is in the queue by now.
        while let Ok(push) = line.pushes.try_recv() {
            self.apply(&push)?;
        }
        if line.has_lost_some.load(Relaxed) {
            return Err(Fault::Broken);
        }
        let [_, epoch, sequence] = <[Value; 3]>::try_from(answers).map_err(|_| Fault::Broken)?;
        if reply::epoch(&epoch)? != line.epoch {
            return Err(Fault::Broken);
        }
        if self.link.is_elsewhere(line.epoch) {
            // Two servers behind one address: neither connection proves anything for the other.
            self.link.reconnect();
            return Err(Fault::Broken);
        }
        let sequence = reply::sequence(&sequence);
        let verdict = self.feed.beat(sequence);
        match verdict {
            Verdict::InStep => self.prove(sent, line.epoch, sequence),
            Verdict::Missed => {
                self.flush();
                self.prove(sent, line.epoch, sequence);
            }
            Verdict::NoSequence => {
                self.flush();
                self.number(&line.connection).await?;
            }
        }
        Ok(verdict)
    }

    async fn number(&self, connection: &MultiplexedConnection) -> Result<(), Fault> {
        let mut number = redis::pipe();
        number.cmd("EVAL").arg(NUMBER).arg(1).arg(&self.names.sequence);
        let numbering = ask(connection, &number);
        let answers = time::timeout(HEARTBEAT_TIMEOUT, numbering).await;
        match answers.unwrap_or(Err(Fault::TimedOut))?.first() {
            // No memory: L1 stays closed until there is some.
            Some(Value::ServerError(_)) | None => Err(Fault::Refused("ERR")),
            Some(_) => Ok(()),
        }
    }

    fn prove(&mut self, sent: u64, epoch: u64, sequence: Option<u64>) {
        self.proven = sent;
        let proof = sequence.map(|sequence| Proof { epoch, sequence, at: sent });
        *self.ears.counts.proof.lock() = proof;
        self.ears.window.prove(sent);
    }

    fn flush(&self) {
        self.ears.stamps.flush();
        self.ears.counts.flushes.fetch_add(1, Relaxed);
    }

    /// Applies what another process has invalidated. Our own names were stamped when Redis had
    /// acknowledged them; they only count.
    fn apply(&mut self, push: &PushInfo) -> Result<(), Fault> {
        match push.kind {
            PushKind::Message => {}
            PushKind::Disconnection | PushKind::Unsubscribe => return Err(Fault::Broken),
            _ => return Ok(()),
        }
        let Some(message) = reply::message(&push.data).and_then(Message::read) else {
            self.ears.counts.foreign.fetch_add(1, Relaxed);
            return Ok(());
        };
        self.ears.counts.messages.fetch_add(1, Relaxed);
        if message.sender != self.ears.instance {
            self.ears.stamps.bump(&message.names);
        }
        if self.feed.heard(message.sequence) != Verdict::InStep {
            self.flush();
        }
        Ok(())
    }
}

/// A seeded bug: the window is extended by a task that applies no messages.
#[cfg(larder_bugs)]
async fn extend_elsewhere(window: Arc<Window>, clock: Clock) {
    while is_seeded(Bug::WindowElsewhere) {
        window.prove(clock.real());
        time::sleep(HEARTBEAT_EVERY).await;
    }
}

async fn ask(connection: &MultiplexedConnection, question: &Pipeline) -> Result<Vec<Value>, Fault> {
    let answers = connection
        .clone()
        .send_packed_commands(question, 0, question.len())
        .await
        .map_err(|error| reply::fault(&error))?;
    answers.iter().find_map(reply::outage).map_or(Ok(answers), Err)
}
