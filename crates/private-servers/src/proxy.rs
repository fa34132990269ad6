//! A TCP proxy before a redis-server that delays, holds, cuts and edits, and tells the connection
//! of the backplane (it says SUBSCRIBE) from those that carry data.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::pushes::{Pushes, edited};

/// Read at a time: all of a small message at once.
const CHUNK: usize = 64 << 10;

/// What is wrong with a line just now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Replies come later by this much, give or take the jitter.
    pub delay: Duration,
    pub jitter: Duration,
    /// A black hole: nothing passes in either direction, nothing is closed.
    pub holds: bool,
    pub pushes: Pushes,
}

/// All connections of one kind.
pub struct Line {
    faults: watch::Sender<Faults>,
    /// How many more bytes of replies pass before the connection is reset.
    passes: AtomicUsize,
    /// Connections that the client has closed.
    left: AtomicUsize,
}

impl Line {
    fn new() -> Self {
        Self {
            faults: watch::Sender::new(Faults::default()),
            passes: AtomicUsize::new(usize::MAX),
            left: AtomicUsize::new(0),
        }
    }

    pub fn set(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    pub fn heal(&self) {
        self.set(Faults::default());
    }

    pub fn hold(&self) {
        self.set(Faults { holds: true, ..Faults::default() });
    }

    /// How many connections the client has closed.
    pub fn left(&self) -> usize {
        self.left.load(SeqCst)
    }

    /// Resets the first connection that has got this many bytes of replies from now on.
    pub fn cut_after(&self, bytes: usize) {
        self.passes.store(bytes, SeqCst);
    }
}

/// What all connections share.
struct Lines {
    data: Line,
    backplane: Line,
    target: AtomicU16,
    /// How many there have been. Each has a number.
    connections: AtomicUsize,
    /// Those with a lower number are reset.
    cut_before: watch::Sender<usize>,
    /// How many there are.
    carried: AtomicUsize,
}

/// Carries connections as long as it lives.
pub struct Proxy {
    port: u16,
    lines: Arc<Lines>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Leads to this port of this host.
    pub async fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let lines = Arc::new(Lines {
            data: Line::new(),
            backplane: Line::new(),
            target: AtomicU16::new(target),
            connections: AtomicUsize::new(0),
            cut_before: watch::Sender::new(0),
            carried: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&lines);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let lines = Arc::clone(&shared);
                lines.carried.fetch_add(1, SeqCst);
                tokio::spawn(async move {
                    let _ = serve(client, &lines).await;
                    lines.carried.fetch_sub(1, SeqCst);
                });
            }
        });
        Self { port, lines, accepting: accepting.abort_handle() }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn data(&self) -> &Line {
        &self.lines.data
    }

    pub fn backplane(&self) -> &Line {
        &self.lines.backplane
    }

    /// Leads new connections to another server and resets those that there are.
    pub fn lead_to(&self, port: u16) {
        self.lines.target.store(port, SeqCst);
        self.reset();
    }

    /// Resets all connections, and new ones at once.
    pub fn cut(&self) {
        self.lines.cut_before.send_replace(usize::MAX);
    }

    /// Waits until no connection is left of those that a cut ends.
    pub async fn emptied(&self) {
        while self.lines.carried.load(SeqCst) > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Everything passes again.
    pub fn mend(&self) {
        self.data().heal();
        self.backplane().heal();
        if *self.lines.cut_before.borrow() == usize::MAX {
            self.reset();
        }
    }

    /// Resets the connections that there are.
    fn reset(&self) {
        self.lines.cut_before.send_replace(self.lines.connections.load(SeqCst));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Carries one connection until either side ends it or it is cut.
async fn serve(mut client: TcpStream, lines: &Lines) -> io::Result<()> {
    let number = lines.connections.fetch_add(1, SeqCst);
    let mut cuts = lines.cut_before.subscribe();
    tokio::select! {
        biased;
        _ = cuts.wait_for(|before| number < *before) => {}
        ended = carry(&mut client, lines) => return ended,
    }
    client.set_zero_linger()
}

async fn carry(client: &mut TcpStream, lines: &Lines) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", lines.target.load(SeqCst))).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut line, mut faults) = (&lines.data, lines.data.faults.subscribe());
    let (mut asked, mut reply) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
    let (mut replies, mut kept, mut has_left) = (VecDeque::new(), None, false);
    loop {
        let now = *faults.borrow_and_update();
        let due = replies.front().map_or_else(Instant::now, |(due, _): &(Instant, Vec<u8>)| *due);
        tokio::select! {
            changed = faults.changed() => changed.map_err(io::Error::other)?,
            read = client.read_buf(&mut asked), if !has_left => if !matches!(read, Ok(1..)) {
                line.left.fetch_add(1, SeqCst);
                has_left = true;
            },
            read = server.read_buf(&mut reply), if !now.holds => if read? == 0 { return Ok(()) },
            () = sleep_until(due), if !now.holds && !replies.is_empty() => {
                let (_, reply) = replies.pop_front().unwrap_or((due, Vec::new()));
                let passes = line.passes.load(SeqCst);
                client.write_all(&reply[..reply.len().min(passes)]).await?;
                if passes < reply.len() {
                    line.passes.store(usize::MAX, SeqCst);
                    return client.set_zero_linger();
                }
                if passes < usize::MAX {
                    line.passes.store(passes - reply.len(), SeqCst);
                }
            }
        }
        if asked.windows(9).any(|bytes| bytes == b"SUBSCRIBE") {
            (line, faults) = (&lines.backplane, lines.backplane.faults.subscribe());
        }
        if !faults.borrow().holds && !asked.is_empty() {
            server.write_all(&asked).await?;
            asked.clear();
        }
        // What it has asked for is on its way, and arrives once the line lets it pass.
        if has_left && asked.is_empty() {
            return Ok(());
        }
        if !reply.is_empty() {
            let jitter = now.jitter.mul_f64(2.0 * fastrand::f64());
            let due = Instant::now() + (now.delay + jitter).saturating_sub(now.jitter);
            let due = replies.back().map_or(due, |(before, _)| due.max(*before));
            replies.push_back((due, edited(&reply, now.pushes, &mut kept)));
            reply.clear();
        }
    }
}
