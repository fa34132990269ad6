//! The write path: names, Redis, own stamps, in this order; and what waits while Redis is away.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time};

use crate::{
    Cache, CacheKey, Public, Tag,
    cache::Inner,
    entry::Nonce,
    key::{Name, NameHash, NameKind, is_rendered, render_key},
    l2::{Fault, L2},
    protocol::{
        backlog::{Backlog, MOST_ROWS, Overflow},
        bugs::{Bug, is_seeded},
        message::{MOST_NAMES, Message},
        stamps::Stamps,
        write::{Act, Event, Write},
    },
};

/// The sender of what the relay sends; no instance's nonce.
const NOBODY: Nonce = [0; 16];
/// How long an attempt waits for the connection that replaces a broken one.
const RECONNECT_WAIT: Duration = Duration::from_millis(250);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What a write has changed: keys, tags, namespaces, or everything. Invalidated together.
///
/// ```
/// use larder::{Names, Tag};
///
/// let names = Names::new().tag(Tag::new("course", 42)).tag(Tag::named("courses"));
/// assert_eq!(names.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    names: Vec<Name>,
    /// Value keys of the named keys, without prefix and in their order: they are removed as well.
    values: Vec<String>,
    /// Where the outbox has them.
    row: Option<i64>,
}

impl Names {
    /// Names nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names one public key.
    #[must_use]
    pub fn key<K: CacheKey<Scope = Public>>(self, key: &K) -> Self {
        self.scoped_key(&Public, key)
    }

    /// Names one key of a tenant or user.
    #[must_use]
    pub fn scoped_key<K: CacheKey>(mut self, scope: &K::Scope, key: &K) -> Self {
        // A key that cannot be rendered was never cached.
        if let Some(rendered) = render_key(key, scope) {
            self.names.push(Name::key(&rendered));
            self.values.push(rendered);
        }
        self
    }

    /// Names every entry with this tag.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.names.push(Name::tag(tag));
        self
    }

    /// Names every entry of a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &'static str) -> Self {
        self.names.push(Name::namespace(namespace));
        self
    }

    /// Names every entry of the installation.
    pub fn everything() -> Self {
        Self { names: vec![Name::root()], ..Self::default() }
    }

    /// Says that these names stand in row `id` of the [`Outbox`](crate::Outbox), which is marked
    /// done once they are invalidated.
    #[must_use]
    pub fn row(mut self, id: i64) -> Self {
        self.row = Some(id);
        self
    }

    /// Adds all that `other` names; its row stays behind.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.names.extend(other.names);
        self.values.extend(other.values);
        self
    }

    /// The names as printable text, one a line, for a row of the [`Outbox`](crate::Outbox).
    ///
    /// ```
    /// use larder::{Names, Tag};
    ///
    /// let names = Names::new().tag(Tag::new("course", 42)).tag(Tag::named("courses"));
    /// assert_eq!(names.encode(), "t course:42\nt courses");
    /// assert_eq!(Names::parse(&names.encode()), Ok(names));
    /// ```
    pub fn encode(&self) -> String {
        let values = self.values.iter().map(|value| format!("k {value}"));
        let others = self.names.iter().filter_map(|name| match name.kind {
            NameKind::Key => None,
            NameKind::Tag => Some(format!("t {}", on_one_line(&name.text))),
            NameKind::Namespace => Some(format!("n {}", on_one_line(&name.text))),
            NameKind::Root => Some("r".to_owned()),
        });
        values.chain(others).collect::<Vec<_>>().join("\n")
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If a line is nothing that `encode` writes. Whoever relays such a row invalidates
    /// [`everything`](Self::everything): it may have named anything.
    pub fn parse(text: &str) -> Result<Self, UnreadableNames> {
        let mut names = Self::new();
        for (at, line) in text.lines().enumerate() {
            let unreadable = UnreadableNames { line: at + 1 };
            match (line.split_at_checked(2).ok_or(unreadable), line) {
                (_, "r") => names.names.push(Name::root()),
                (Ok(("k ", key)), _) if is_rendered(key) => {
                    names.names.push(Name::key(key));
                    names.values.push(key.to_owned());
                }
                (Ok(("t ", tag)), _) => {
                    names.names.push(Name::tag(Tag::parsed(off_one_line(tag))));
                }
                (Ok(("n ", name)), _) => {
                    names.names.push(Name::namespace(off_one_line(name)));
                }
                _ => return Err(unreadable),
            }
        }
        Ok(names)
    }

    /// How many names these are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// A text that [`Names::encode`] did not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableNames {
    line: usize,
}

impl fmt::Display for UnreadableNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} names no key, tag or namespace", self.line)
    }
}

impl std::error::Error for UnreadableNames {}

fn on_one_line(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

fn off_one_line(line: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(line.len()), line.chars());
    while let Some(char) = rest.next() {
        match char {
            '\\' => text.push(match rest.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            }),
            _ => text.push(char),
        }
    }
    text
}

impl From<Tag> for Names {
    fn from(tag: Tag) -> Self {
        Self::new().tag(tag)
    }
}

impl FromIterator<Tag> for Names {
    fn from_iter<T: IntoIterator<Item = Tag>>(tags: T) -> Self {
        tags.into_iter().fold(Self::new(), Self::tag)
    }
}

/// How far an invalidation has come when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ack {
    /// Redis (if there is one) and this process have it: no later read gets the old value, through
    /// this cache or through Redis.
    Applied,
    /// Redis could not be reached. No later read through this cache gets the old value: those
    /// names bypass both tiers until the queued invalidation is applied, which is retried with
    /// back-off. Other processes may read the old value from Redis until then. With an
    /// [`Outbox`](crate::Outbox) any process applies it, within half a second where Redis can be
    /// reached; without one it dies with this cache, and the old value lives until its TTL.
    Queued,
}

impl Cache {
    /// Makes what `names` names unservable (more than 10,000 names count as everything): call it
    /// after the database has committed, and acknowledge the write after it returns.
    ///
    /// The order is Redis, then this process, then the answer. The cost is one script in Redis,
    /// whatever the number of entries under a tag. Reads that began before may still return the
    /// old value; what they loaded is not stored.
    ///
    /// Other processes' L1 hears of it at once, as a message; where the message is lost or late,
    /// L1 stops answering within a second.
    ///
    /// # Panics
    /// Outside of a tokio runtime, if Redis is configured.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the invalidation.
    ///
    /// ```
    /// # use larder::*; use std::time::Duration;
    /// # struct Course(i64); impl CacheKey for Course { type Value = u32; type Scope = Public;
    /// # const NAMESPACE: &'static str = "n"; const NAME: &'static str = "course"; const VERSION: u16 = 1;
    /// # fn policy() -> Policy { Policy::new(Duration::from_secs(60), Duration::from_secs(60)) }
    /// # fn segments(&self, key: &mut KeyWriter) { key.push(self.0); }
    /// # fn tags(&self, _: &Public, tags: &mut Tags) { tags.add(Tag::new("course", self.0)); } }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = Cache::builder().build()?;
    /// cache.get_or_load(&Course(42), || async { Ok::<_, std::io::Error>(1) }).await?;
    /// assert_eq!(cache.invalidate(Tag::new("course", 42)).await, Ack::Applied);
    /// let read = cache.get_or_load(&Course(42), || async { Ok::<_, std::io::Error>(2) }).await?;
    /// assert_eq!(*read.value, 2);
    /// # Ok(()) }
    /// ```
    pub async fn invalidate(&self, names: impl Into<Names>) -> Ack {
        let row = Row::new(names.into());
        self.inner.invalidations.asked();
        if self.inner.l2.is_none() || row.names.is_empty() {
            self.inner.applied(&row);
            return Ack::Applied;
        }
        let inner = Arc::clone(&self.inner);
        let applying = tokio::spawn(async move { inner.apply_or_queue(row).await });
        // Only a runtime that shuts down ends the task early; the names then die with the process.
        applying.await.unwrap_or(Ack::Queued)
    }
}

/// One invalidation, with the hashes of its names.
pub(crate) struct Row {
    names: Vec<Name>,
    values: Vec<String>,
    pub(crate) hashes: Vec<NameHash>,
    outbox_id: Option<i64>,
}

impl Row {
    pub(crate) fn new(names: Names) -> Arc<Self> {
        let Names { mut names, mut values, row: outbox_id } = names;
        if names.len() > MOST_NAMES {
            tracing::warn!(
                names = names.len(),
                "too many names at once; everything is invalidated"
            );
            (names, values) = (vec![Name::root()], Vec::new());
        }
        let hashes = names.iter().map(|name| name.hash).collect();
        Arc::new(Self { names, values, hashes, outbox_id })
    }
}

/// Unapplied invalidations of one cache.
pub(crate) struct Invalidations {
    /// Who sends: receivers must know their own messages.
    instance: Nonce,
    backlog: Mutex<Backlog<Arc<Row>>>,
    queued: Notify,
    asked: AtomicU64,
}

impl Invalidations {
    pub(crate) fn new(instance: Nonce) -> Self {
        let backlog = Mutex::new(Backlog::new(MOST_ROWS));
        Self { instance, backlog, queued: Notify::new(), asked: AtomicU64::new(0) }
    }

    /// An application asks for one.
    pub(crate) fn asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn pending(&self) -> usize {
        self.backlog.lock().len()
    }

    /// Applies queued rows, oldest first, for as long as the cache lives.
    pub(crate) fn retry_in_background(inner: &Arc<Inner>) {
        let weak = Arc::downgrade(inner);
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            while let Some(inner) = weak.upgrade() {
                match inner.apply_oldest().await {
                    Some(Ok(())) => pause = FIRST_PAUSE,
                    Some(Err(_)) => {
                        drop(inner);
                        time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                    // Woken by the next row; looked at now and then, to notice the cache's end.
                    None => {
                        let queued = inner.invalidations.queued.notified();
                        let _ = time::timeout(LONGEST_PAUSE, queued).await;
                    }
                }
            }
        });
    }
}

impl Inner {
    pub(crate) async fn apply_or_queue(&self, row: Arc<Row>) -> Ack {
        let Some(l2) = &self.l2 else {
            self.applied(&row);
            return Ack::Applied;
        };
        let (mut write, mut act) = Write::begin();
        loop {
            let mut event = Event::Done;
            match act {
                Act::Send => event = self.try_to_send(l2, &row).await,
                Act::Reconnect => l2.up_within(RECONNECT_WAIT).await,
                Act::Soil => self.stamps.soil(&row.hashes),
                Act::Bump => self.stamps.bump(&row.hashes),
                Act::Mark => self.mark(&row),
                Act::Queue => self.queue(Arc::clone(&row)),
                Act::Acknowledge(ack) => return ack,
            }
            act = write.next(event);
        }
    }

    async fn try_to_send(&self, l2: &L2, row: &Row) -> Event {
        match self.send(l2, row).await {
            Ok(()) => Event::Sent,
            Err(Fault::Down) => Event::Down,
            Err(fault) => {
                tracing::debug!(%fault, "an invalidation was not acknowledged");
                Event::Failed
            }
        }
    }

    /// Redis (if there is one) has acknowledged.
    fn applied(&self, row: &Row) {
        self.stamps.bump(&row.hashes);
        self.mark(row);
    }

    fn mark(&self, row: &Row) {
        if let Some(id) = row.outbox_id {
            self.relay.applied(id);
        }
    }

    async fn send(&self, l2: &L2, row: &Row) -> Result<(), Fault> {
        self.send_as(self.invalidations.instance, l2, row).await
    }

    /// Sends what another process has written. It is nobody's own message, so that this process
    /// hears it too: if the answer is lost, no stamp of ours says that Redis has it.
    pub(crate) async fn send_for_another(&self, l2: &L2, row: &Row) -> Result<(), Fault> {
        let is_deaf = is_seeded(Bug::RelayDeaf);
        let sender = if is_deaf { self.invalidations.instance } else { NOBODY };
        self.send_as(sender, l2, row).await
    }

    async fn send_as(&self, sender: Nonce, l2: &L2, row: &Row) -> Result<(), Fault> {
        let message = Message::body(sender, &row.hashes);
        if is_seeded(Bug::B) {
            l2.invalidate(&row.names, &row.values, &message).await?;
        }
        l2.invalidate(&row.names, &row.values, &message).await
    }

    /// Keeps a row, whose names are dirty already, until Redis takes it.
    fn queue(&self, row: Arc<Row>) {
        let mut backlog = self.invalidations.backlog.lock();
        let overflow = backlog.push(row, || Row::new(Names::everything()));
        if let Overflow::Collapsed(rows) = overflow {
            tracing::warn!(
                rows = rows.len(),
                "too many invalidations wait for redis; they become one of everything"
            );
            swap_dirt(&self.stamps, &Row::new(Names::everything()), &rows);
        }
        drop(backlog);
        self.invalidations.queued.notify_one();
    }

    /// `None` if nothing waits.
    async fn apply_oldest(&self) -> Option<Result<(), Fault>> {
        let l2 = self.l2.as_ref()?;
        let (id, row) = self.invalidations.backlog.lock().oldest()?;
        let sent = self.send(l2, &row).await;
        if sent.is_ok() {
            self.applied(&row);
            if let Some(row) = self.invalidations.backlog.lock().applied(id) {
                self.stamps.clean(&row.hashes);
            }
        }
        Some(sent)
    }
}

/// Everything becomes dirty before the single names become clean.
fn swap_dirt(stamps: &Stamps, everything: &Row, rows: &[Arc<Row>]) {
    stamps.soil(&everything.hashes);
    stamps.bump(&everything.hashes);
    rows.iter().for_each(|row| stamps.clean(&row.hashes));
}
