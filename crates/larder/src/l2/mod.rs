//! L2: the protocol's commands on Redis. Only this folder names the client library.

#[cfg(any(test, fuzzing))]
mod any_reply;
mod backplane;
mod fault;
mod link;
mod operator;
mod reply;

use std::{io::Write as _, sync::Arc, time::Duration};

use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline, RedisWrite, ToRedisArgs,
    Value,
};
use tokio::{sync::watch, time::Instant};

#[cfg(any(test, fuzzing))]
pub(crate) use self::any_reply::read_in_every_way;
use self::{
    backplane::Backplane,
    link::{Answers, Link},
};
pub(crate) use self::{
    backplane::Ears,
    fault::Fault,
    link::{Opening, Patience, Undrained},
};
use crate::{
    clock::millis,
    entry::{HEAD_BYTES, Head, Nonce},
    error::ConfigError,
    key::{Name, joined},
    protocol::{
        bugs::{Bug, is_seeded},
        fetch::Event,
    },
};

const PUT: &str = include_str!("put.lua");
const INVALIDATE: &str = include_str!("invalidate.lua");
const SCRIPTS: [&str; 2] = [PUT, INVALIDATE];

/// How long one attempt to invalidate may take.
const INVALIDATE_TIMEOUT: Duration = Duration::from_millis(250);
/// Room for the generation keys of an entry with a few tags, so that the command seldom grows.
const GENERATION_KEYS_BYTES: usize = 256;
/// What an envelope adds to its payload at most: head, key, names, checksum.
const ENVELOPE_BYTES: usize = 2048;

/// How long one read may wait for Redis in all, whatever the number of commands.
pub(crate) struct Budget {
    left: Duration,
}

impl Budget {
    pub(crate) fn new(left: Duration) -> Self {
        Self { left }
    }
}

/// Redis under one prefix.
pub(crate) struct L2 {
    link: Arc<Link>,
    _backplane: Backplane,
    prefix: String,
    database: i64,
    sequence: String,
    channel: String,
    max_entry_bytes: usize,
    put_sha: String,
    invalidate_sha: String,
}

/// Where an entry lives in Redis.
#[derive(Debug)]
pub(crate) struct Place {
    /// The full value key.
    pub(crate) value: String,
    /// Those whose generations it depends on, hard names first.
    names: Vec<Name>,
}

/// The full key of a name's generation, written where the command is built.
struct GenerationKey<'a> {
    prefix: &'a str,
    name: &'a Name,
}

impl ToRedisArgs for GenerationKey<'_> {
    fn write_redis_args<W: RedisWrite + ?Sized>(&self, out: &mut W) {
        let mut key = out.writer_for_next_arg();
        for part in [self.prefix, self.name.kind.generation(), &self.name.text] {
            // Commands are built in memory, where writing cannot fail.
            let _ = key.write_all(part.as_bytes());
        }
    }
}

/// The bytes of one look; judged by [`crate::protocol::sight`].
pub(crate) struct RawLook {
    pub(crate) stored: Vec<u8>,
    pub(crate) generations: Vec<Option<Nonce>>,
    pub(crate) epoch: u64,
}

/// The answer to an attempt to get a lease.
pub(crate) struct Grant {
    pub(crate) event: Event,
    pub(crate) epoch: u64,
}

/// What a lease attempt needs to know.
pub(crate) struct Ask<'a> {
    pub(crate) place: &'a Place,
    /// The lease's id, and the generation for every name that has none.
    pub(crate) id: Nonce,
    pub(crate) lease: Duration,
    pub(crate) generation_ttl: Duration,
}

impl L2 {
    pub(crate) fn start(
        info: ConnectionInfo,
        prefix: String,
        max_entry_bytes: usize,
        patience: Patience,
        opening: Opening,
        ears: Ears,
    ) -> Result<Self, ConfigError> {
        // Pub/Sub ignores SELECT, so the database is part of the channel's name.
        let database = info.redis_settings().db();
        let channel = format!("{prefix}~inv:{database}");
        let sequence = format!("{prefix}~seq");
        let names = backplane::Names {
            channel: channel.clone(),
            sequence: sequence.clone(),
            heartbeat: format!("{prefix}~hb"),
        };
        let heartbeat = names.heartbeat.clone();
        let link = Arc::new(Link::start(info.clone(), heartbeat, patience, opening)?);
        Ok(Self {
            _backplane: Backplane::start(info, names, ears, Arc::clone(&link), patience.connect)?,
            link,
            sequence,
            channel,
            prefix,
            database,
            max_entry_bytes,
            put_sha: redis::Script::new(PUT).get_hash().to_owned(),
            invalidate_sha: redis::Script::new(INVALIDATE).get_hash().to_owned(),
        })
    }

    /// Whether Redis may be read from.
    pub(crate) fn is_up(&self) -> bool {
        self.link.is_open()
    }

    /// The connection, if it still waits to be opened.
    pub(crate) fn undrained(&self) -> Option<Undrained> {
        self.link.undrained()
    }

    /// Changes whenever a connection comes or goes.
    pub(crate) fn connections(&self) -> watch::Receiver<bool> {
        self.link.connections()
    }

    /// Waits until Redis is connected, for at most `limit`.
    pub(crate) async fn up_within(&self, limit: Duration) {
        self.link.up_within(limit).await;
    }

    pub(crate) fn place(&self, key: &str, names: Vec<Name>) -> Place {
        Place { value: joined(&[&self.prefix, key]), names }
    }

    fn generation<'a>(&'a self, name: &'a Name) -> GenerationKey<'a> {
        GenerationKey { prefix: &self.prefix, name }
    }

    /// Where the claim to refresh a value stands.
    fn claim_key(&self, place: &Place) -> String {
        joined(&[&self.prefix, "~r:", &place.value[self.prefix.len()..]])
    }

    /// Reads the value and the generations of its names.
    pub(crate) async fn look(&self, place: &Place, budget: &mut Budget) -> Result<RawLook, Fault> {
        let Answers { mut values, epoch } = self.send(&self.question(place), budget).await?;
        if is_seeded(Bug::X5c) {
            values.reverse();
        }
        let [stored, generations] = <[Value; 2]>::try_from(values).map_err(|_| Fault::Broken)?;
        Ok(RawLook {
            stored: reply::stored(stored),
            generations: reply::generations(&generations, place.names.len()),
            epoch,
        })
    }

    /// Asks for the value, then for the generations of its names: in this order a value is never
    /// judged by generations older than itself.
    fn question(&self, place: &Place) -> Pipeline {
        // One byte more than may be stored: a longer value shows as a broken one and is never
        // allocated whole.
        let cap = self.max_entry_bytes + ENVELOPE_BYTES;
        let mut value = Cmd::with_capacity(4, place.value.len() + 32);
        value.arg("GETRANGE").arg(&place.value).arg(0).arg(cap);
        let mut generations = Cmd::with_capacity(1 + place.names.len(), GENERATION_KEYS_BYTES);
        generations.arg("MGET");
        for name in &place.names {
            generations.arg(self.generation(name));
        }
        let mut pipeline = Pipeline::with_capacity(2);
        if is_seeded(Bug::X5c) {
            pipeline.add_command(generations).add_command(value);
        } else {
            pipeline.add_command(value).add_command(generations);
        }
        pipeline
    }

    /// Gives a generation to every name that has none, then puts our marker where `seen` was: in
    /// this order a marker whose generations are missing belongs to an invalidated load.
    /// `generations` holds those of the look and is completed in place.
    pub(crate) async fn acquire(
        &self,
        ask: &Ask<'_>,
        seen: Head,
        generations: &mut [Option<Nonce>],
        budget: &mut Budget,
    ) -> Result<Grant, Fault> {
        let marker = Head::lease(ask.id);
        let mut pipeline = redis::pipe();
        let is_deleted = is_seeded(Bug::X5) && seen != Head::default();
        if is_deleted {
            self.unlink([ask.place.value.as_str()], budget).await?;
        }
        let seen = if is_deleted { Head::default() } else { seen };
        self.create_generations(&mut pipeline, ask, generations);
        self.put(&mut pipeline, &ask.place.value, seen, marker.as_bytes(), ask.lease);
        let mut answers = self.send(&pipeline, budget).await?;
        if answers.values.last().is_some_and(reply::is_no_script) {
            let mut again = redis::pipe();
            put_with(&mut again, "EVAL", PUT, &ask.place.value, seen, marker.as_bytes(), ask.lease);
            answers.values.pop();
            answers.values.extend(self.send(&again, budget).await?.values);
        }
        self.granted(answers, ask, generations, reply::put, budget).await
    }

    /// Asks to be the only process that refreshes the value with the head `seen`. If it has been
    /// replaced since, its refresh is over, and the claim with it.
    pub(crate) async fn claim(
        &self,
        ask: &Ask<'_>,
        seen: Head,
        generations: &mut [Option<Nonce>],
        budget: &mut Budget,
    ) -> Result<Grant, Fault> {
        let mut pipeline = redis::pipe();
        self.create_generations(&mut pipeline, ask, generations);
        let claim = self.claim_key(ask.place);
        pipeline.cmd("SET").arg(&claim).arg(&ask.id).arg("NX").arg("GET");
        pipeline.arg("PX").arg(millis(ask.lease).max(1));
        pipeline.cmd("GETRANGE").arg(&ask.place.value).arg(0).arg(HEAD_BYTES - 1);
        let mut answers = self.send(&pipeline, budget).await?;
        let head = answers.values.pop().map(|value| Head::of(&reply::stored(value)));
        if answers.values.last().is_some_and(reply::is_wrong_type) {
            self.unlink([claim.as_str()], budget).await?;
        }
        let grant = self.granted(answers, ask, generations, reply::claim, budget).await?;
        if grant.event == Event::Granted && head != Some(seen) {
            self.remove(&claim, Head::of(&ask.id), budget).await?;
            return Ok(Grant { event: Event::Lost, ..grant });
        }
        Ok(grant)
    }

    /// Reads the generations that were created, and last the answer to the attempt itself.
    async fn granted(
        &self,
        mut answers: Answers,
        ask: &Ask<'_>,
        generations: &mut [Option<Nonce>],
        read: fn(&Value) -> Event,
        budget: &mut Budget,
    ) -> Result<Grant, Fault> {
        let event = answers.values.pop().as_ref().map_or(Event::Refused, read);
        let missing = generations.iter_mut().zip(&ask.place.names);
        let missing = missing.filter(|(known, _)| known.is_none());
        let mut foreign = Vec::new();
        for ((generation, name), value) in missing.zip(&answers.values) {
            *generation = reply::created(value, new_generation(ask.id));
            if generation.is_none() && reply::is_foreign_generation(value) {
                foreign.push(self.generation(name));
            }
        }
        if !foreign.is_empty() {
            // It would keep every key with this name from being filled. Removing costs misses only.
            self.unlink(foreign, budget).await?;
        }
        // A generation that is unknown (OOM, foreign): nothing may be filled under it.
        let are_known = generations.iter().all(Option::is_some);
        let event = if event == Event::Granted && !are_known { Event::Refused } else { event };
        Ok(Grant { event, epoch: answers.epoch })
    }

    fn create_generations(&self, pipeline: &mut Pipeline, ask: &Ask<'_>, known: &[Option<Nonce>]) {
        for (name, known) in ask.place.names.iter().zip(known) {
            if known.is_none() {
                let nonce = new_generation(ask.id);
                pipeline.cmd("SET").arg(self.generation(name)).arg(&nonce).arg("NX").arg("GET");
                pipeline.arg("PX").arg(millis(ask.generation_ttl).max(1));
            }
        }
    }

    /// Stores `envelope` where `expected` is, and renews the generations that it records. `true`
    /// if it is stored.
    pub(crate) async fn fill(
        &self,
        ask: &Ask<'_>,
        expected: Head,
        envelope: &[u8],
        ttl: Duration,
        budget: &mut Budget,
    ) -> Result<bool, Fault> {
        let mut pipeline = redis::pipe();
        self.put(&mut pipeline, &ask.place.value, expected, envelope, ttl);
        for name in &ask.place.names {
            // GT: a tag is shared by entries of several lives.
            pipeline
                .cmd("PEXPIRE")
                .arg(self.generation(name))
                .arg(millis(ask.generation_ttl).max(1))
                .arg("GT");
        }
        // A refresh is over when its value is stored.
        self.put(&mut pipeline, &self.claim_key(ask.place), Head::of(&ask.id), b"", Duration::ZERO);
        let answers = self.send(&pipeline, budget).await?;
        let Some(answer) = answers.values.first() else { return Ok(false) };
        if !reply::is_no_script(answer) {
            return Ok(reply::put(answer) == Event::Granted);
        }
        let mut again = redis::pipe();
        put_with(&mut again, "EVAL", PUT, &ask.place.value, expected, envelope, ttl);
        let retried = self.send(&again, budget).await?.values;
        Ok(retried.first().map(reply::put) == Some(Event::Granted))
    }

    /// Takes our marker and our claim away.
    pub(crate) async fn release(&self, ask: &Ask<'_>, budget: &mut Budget) -> Result<(), Fault> {
        self.remove(&self.claim_key(ask.place), Head::of(&ask.id), budget).await?;
        self.remove(&ask.place.value, Head::lease(ask.id), budget).await
    }

    /// Removes the value with this head.
    pub(crate) async fn remove_value(
        &self,
        ask: &Ask<'_>,
        head: Head,
        budget: &mut Budget,
    ) -> Result<(), Fault> {
        self.remove(&ask.place.value, head, budget).await
    }

    async fn remove(&self, key: &str, head: Head, budget: &mut Budget) -> Result<(), Fault> {
        let mut pipeline = redis::pipe();
        self.put(&mut pipeline, key, head, b"", Duration::ZERO);
        let answers = self.send(&pipeline, budget).await?;
        if answers.values.first().is_some_and(reply::is_no_script) {
            pipeline.clear();
            put_with(&mut pipeline, "EVAL", PUT, key, head, b"", Duration::ZERO);
            self.send(&pipeline, budget).await?;
        }
        Ok(())
    }

    async fn unlink(
        &self,
        keys: impl IntoIterator<Item = impl ToRedisArgs>,
        budget: &mut Budget,
    ) -> Result<(), Fault> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("UNLINK");
        for key in keys {
            pipeline.arg(key);
        }
        self.send(&pipeline, budget).await.map(drop)
    }

    /// Lets the next refresh be claimed after `pause`.
    pub(crate) async fn retire_claim(
        &self,
        ask: &Ask<'_>,
        pause: Duration,
        budget: &mut Budget,
    ) -> Result<(), Fault> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("PEXPIRE").arg(self.claim_key(ask.place)).arg(millis(pause));
        self.send(&pipeline, budget).await.map(drop)
    }

    fn put(&self, pipeline: &mut Pipeline, key: &str, expected: Head, new: &[u8], ttl: Duration) {
        if is_seeded(Bug::A) || is_seeded(Bug::B) {
            let naive = PUT.replace("if head ~= ARGV[1] then return 0 end", "");
            return put_with(pipeline, "EVAL", &naive, key, expected, new, ttl);
        }
        put_with(pipeline, "EVALSHA", &self.put_sha, key, expected, new, ttl);
    }

    /// Removes the values and generations of `names` and tells the other processes, in one atomic
    /// script whatever the number of entries under a tag.
    pub(crate) async fn invalidate(
        &self,
        names: &[Name],
        values: &[String],
        message: &str,
    ) -> Result<(), Fault> {
        let mut pipeline = redis::pipe();
        self.invalidation(&mut pipeline, "EVALSHA", &self.invalidate_sha, names, values, message);
        let answers = self.link.tell(&pipeline, INVALIDATE_TIMEOUT).await?;
        let mut answer = answers.values.into_iter().next();
        if answer.as_ref().is_some_and(reply::is_no_script) {
            pipeline.clear();
            self.invalidation(&mut pipeline, "EVAL", INVALIDATE, names, values, message);
            answer = self.link.tell(&pipeline, INVALIDATE_TIMEOUT).await?.values.into_iter().next();
        }
        match answer {
            Some(Value::Int(_)) => Ok(()),
            _ => Err(Fault::Refused("ERR")),
        }
    }

    fn invalidation(
        &self,
        pipeline: &mut Pipeline,
        command: &str,
        script: &str,
        names: &[Name],
        values: &[String],
        message: &str,
    ) {
        let values = if is_seeded(Bug::D) { &[] } else { values };
        if is_seeded(Bug::PublishOutside) {
            let text = format!("0 {message}");
            pipeline.cmd("PUBLISH").arg(&self.channel).arg(text);
        }
        pipeline.cmd(command).arg(script).arg(names.len() + values.len() + 1);
        for value in values {
            pipeline.arg(joined(&[&self.prefix, value]));
        }
        for name in names {
            pipeline.arg(self.generation(name));
        }
        pipeline.arg(&self.sequence).arg(&self.channel).arg(message);
    }

    async fn send(&self, pipeline: &Pipeline, budget: &mut Budget) -> Result<Answers, Fault> {
        if budget.left.is_zero() {
            return Err(Fault::TimedOut);
        }
        let asked = Instant::now();
        let answers = self.link.read(pipeline, budget.left).await;
        budget.left = budget.left.saturating_sub(asked.elapsed());
        answers
    }
}

/// What becomes of a name that has no generation: as random as the id of the attempt.
fn new_generation(id: Nonce) -> Nonce {
    if is_seeded(Bug::T2) { [1; 16] } else { id }
}

fn put_with(
    pipeline: &mut Pipeline,
    command: &str,
    script: &str,
    key: &str,
    expected: Head,
    new: &[u8],
    ttl: Duration,
) {
    pipeline.cmd(command).arg(script).arg(1).arg(key);
    pipeline.arg(expected.as_bytes()).arg(new).arg(millis(ttl).max(1));
}

/// Parses a Redis URL (`redis://`, `rediss://`, `unix://`).
pub(crate) fn connection_info(url: &str) -> Result<ConnectionInfo, ConfigError> {
    let info = url.into_connection_info().map_err(ConfigError::redis)?;
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        // The first TLS connection panics in a process without a provider. One that the
        // application has installed already is left alone.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    Ok(info)
}
