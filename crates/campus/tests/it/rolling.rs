//! Two servers that are replaced one after the other while they are used.
//!
//! In front of them stands what a proxy does, and no more: it asks each server for its readiness
//! and sends requests to those that are ready. A connection is used until the server says
//! `Connection: close`. One that is refused, or that was closed before the request was written to
//! it, is no failure: another one is taken. A request that was written and got no answer is a
//! failure, whatever its method, and so is every answer that is not the expected one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, header};
use campus::config::Settings;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::{
    Api, Person, Postgres, Redis, SECRET, School, Server, Sql, TestApp, on_redis, until, until_some,
};

/// Whoever waits so long for an answer counts as one who got none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which servers take requests.
#[derive(Clone, Default)]
struct Balancer {
    nodes: Arc<Mutex<BTreeMap<SocketAddr, bool>>>,
    turn: Arc<AtomicU64>,
}

impl Balancer {
    fn add(&self, address: SocketAddr) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).insert(address, false);
    }

    fn remove(&self, address: SocketAddr) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
    }

    fn all(&self) -> BTreeMap<SocketAddr, bool> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks each of them, again and again.
    async fn watch(self) {
        loop {
            for address in self.all().into_keys() {
                let ready = Api::new(format!("http://{address}")).get("/health/ready").attempt();
                let ready = tokio::time::timeout(Duration::from_secs(1), ready).await;
                let is_ready = matches!(ready, Ok(Ok(answer)) if answer.status == 200);
                let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
                nodes.entry(address).and_modify(|ready| *ready = is_ready);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One that is ready, in turn.
    async fn next(&self) -> SocketAddr {
        loop {
            let ready: Vec<SocketAddr> =
                self.all().into_iter().filter(|(_, ready)| *ready).map(|(at, _)| at).collect();
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
            if let Some(address) = turn.checked_rem(ready.len()).and_then(|at| ready.get(at)) {
                return *address;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Sends requests one after the other, over connections that it keeps.
struct Sender {
    balancer: Balancer,
    open: BTreeMap<SocketAddr, SendRequest<Full<Bytes>>>,
}

impl Sender {
    fn through(balancer: &Balancer) -> Self {
        Self { balancer: balancer.clone(), open: BTreeMap::new() }
    }

    /// The status, or how a request that was sent got no answer.
    async fn send(&mut self, asked: &Ask) -> Result<u16, String> {
        loop {
            let address = self.balancer.next().await;
            let Some(mut line) = self.line(address).await else {
                continue;
            };
            let sent = line.try_send_request(asked.to(address));
            let Ok(answer) = tokio::time::timeout(PATIENCE, sent).await else {
                return Err(format!("{asked:?}: no answer by {address}"));
            };
            let answer = match answer {
                Ok(answer) => answer,
                // It is given back: nothing of it was sent.
                Err(mut error) => match error.take_message() {
                    // It is given back: nothing of it was sent.
                    Some(_) => continue,
                    None => return Err(format!("{asked:?}: {}", error.into_error())),
                },
            };
            let status = answer.status().as_u16();
            let closes = answer.headers().get(header::CONNECTION).is_some_and(|c| c == "close");
            let body = answer.into_body().collect().await;
            body.map_err(|error| format!("{asked:?}: the answer ends: {error}"))?;
            if !closes {
                self.open.insert(address, line);
            }
            return Ok(status);
        }
    }

    /// An open connection; nothing if the server takes none.
    async fn line(&mut self, address: SocketAddr) -> Option<SendRequest<Full<Bytes>>> {
        if let Some(mut line) = self.open.remove(&address)
            && line.ready().await.is_ok()
        {
            return Some(line);
        }
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut line, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        line.ready().await.ok()?;
        Some(line)
    }
}

/// A request, as often as it is to be made.
#[derive(Debug, Clone)]
struct Ask {
    method: Method,
    path: String,
    token: String,
    body: Option<Value>,
}

impl Ask {
    fn get(path: &str, by: &Person) -> Self {
        let (method, path) = (Method::GET, path.to_owned());
        Self { method, path, token: by.token.clone(), body: None }
    }

    fn to(&self, address: SocketAddr) -> Request<Full<Bytes>> {
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(header::HOST, address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .expect("a well-formed request")
    }
}

/// What a client did until it was told to stop.
#[derive(Debug, Default)]
struct Done {
    answered: u64,
    failures: Vec<String>,
}

/// Everybody who uses the servers at once.
struct Load {
    balancer: Balancer,
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Load {
    fn client(&self, asks: Vec<Ask>) -> JoinHandle<Done> {
        let mut sender = Sender::through(&self.balancer);
        let (ends, answered) = (Arc::clone(&self.ends), Arc::clone(&self.answered));
        tokio::spawn(async move {
            let mut done = Done::default();
            for ask in asks.iter().cycle() {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                match sender.send(ask).await {
                    Ok(200) => done.answered += 1,
                    Ok(status) => done.failures.push(format!("{ask:?}: {status}")),
                    Err(problem) => done.failures.push(problem),
                }
                answered.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
            done
        })
    }

    /// Waits until so many more requests were answered.
    async fn goes_on(&self) {
        let goal = self.answered.load(Ordering::Relaxed) + 200;
        let reached = async || self.answered.load(Ordering::Relaxed) >= goal;
        until("two hundred more requests are answered", reached).await;
    }
}

/// What somebody heard who comes back whenever their stream ends.
#[derive(Default)]
struct Heard {
    /// After which id the first stream began.
    began: Option<i64>,
    ids: Vec<i64>,
    ended: u64,
    broke: u64,
}

async fn listen(balancer: Balancer, by: Person, heard: Arc<Mutex<Heard>>) {
    let mut last: Option<i64> = None;
    loop {
        let api = Api::new(format!("http://{}", balancer.next().await));
        let asked = api.get("/events?topics=platform").by(&by);
        let asked = match last {
            Some(id) => asked.header("last-event-id", id.to_string()),
            None => asked,
        };
        let mut stream = asked.listen().await;
        last = last.or(stream.began);
        lock(&heard).began.get_or_insert(last.unwrap_or(0));
        while let Some(event) = stream.next().await {
            assert_eq!(event.event, "platform_update");
            last = event.id.or(last);
            lock(&heard).ids.extend(event.id);
        }
        let mut heard = lock(&heard);
        heard.ended += 1;
        heard.broke += u64::from(stream.is_broken);
    }
}

/// An installation, and three students of a course who use it.
struct Site {
    school: School,
    learners: Vec<(Person, i64)>,
    folder: TempDir,
    balancer: Balancer,
    cluster: Postgres,
    redis: Redis,
}

impl Site {
    async fn start() -> Self {
        let (cluster, redis) = (Postgres::start(), Redis::start().await);
        let settings = Settings { database_url: Some(cluster.url()), ..on_redis(&redis) };
        let school = School::on(TestApp::with(settings).await.connected().await).await;
        let mut learners = Vec::new();
        for name in ["sam", "tim", "eve"] {
            learners.push(school.enrolled(name).await);
        }
        let folder = TempDir::new().expect("a temporary folder");
        Self { school, learners, folder, balancer: Balancer::default(), cluster, redis }
    }

    /// A server that is sent requests as soon as it is ready.
    async fn server(&self) -> Server {
        let (database, redis) = (self.cluster.url(), self.redis.url());
        let variables = [
            ("DATABASE_URL", database.as_str()),
            ("REDIS_URL", redis.as_str()),
            ("JWT_SECRET", SECRET),
            ("CAMPUS_SEED", "none"),
            // Far longer than it takes to see that a server is not ready, on a busy machine too.
            ("CAMPUS_SHUTDOWN_DELAY_MS", "2000"),
        ];
        let server = Server::start(self.folder.path(), &variables).await;
        let address = server.address.parse().expect("an address");
        self.balancer.add(address);
        until("it takes requests", async || self.balancer.all()[&address]).await;
        server
    }

    /// Asks a server to end, waits until it has, and starts another one.
    async fn replace(&self, server: Server, load: &Load) -> Server {
        let address = server.address.parse().expect("an address");
        server.terminate();
        let ended = tokio::task::spawn_blocking(move || server.ended()).await.expect("it ends");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        self.balancer.remove(address);
        load.goes_on().await;
        let new = self.server().await;
        load.goes_on().await;
        new
    }

    /// Each student reports a minute at a time.
    fn writers(&self, load: &Load) -> Vec<JoinHandle<Done>> {
        let reports = self.learners.iter().map(|(student, id)| {
            let (path, token) = (format!("/enrollments/{id}/progress"), student.token.clone());
            let body = Some(json!({"time_spent_minutes": 1}));
            vec![Ask { method: Method::PATCH, path, token, body }]
        });
        reports.map(|report| load.client(report)).collect()
    }

    /// As many others read what everybody reads and what those reports change.
    fn readers(&self, load: &Load) -> Vec<JoinHandle<Done>> {
        let course = format!("/courses/{}", self.school.course);
        let progress = format!("{course}/progress");
        let paths = ["/courses", &course, &progress, "/users/me/dashboard"];
        let reads =
            self.learners.iter().map(|(student, _)| paths.map(|path| Ask::get(path, student)));
        reads.map(|asks| load.client(asks.to_vec())).collect()
    }

    async fn minutes(&self, (student, id): &(Person, i64)) -> u64 {
        let path = format!("/enrollments/{id}");
        let place = self.school.app.get(&path).by(student).await.expect(200).json();
        place["time_spent_minutes"].as_u64().expect("a number")
    }

    /// The events since this one, as the database has them.
    async fn told(&self, first: i64) -> BTreeSet<i64> {
        let told =
            format!("SELECT id FROM outbox WHERE id > {first} AND event LIKE '%platform_update%'");
        Sql::open(&self.cluster.url()).await.column(&told).await.into_iter().collect()
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_are_replaced_under_load_without_a_failed_request_or_a_lost_event() {
    let site = Site::start().await;
    let balancer = &site.balancer;
    let watching = tokio::spawn(balancer.clone().watch());
    let servers = [site.server().await, site.server().await];
    let heard = Arc::new(Mutex::new(Heard::default()));
    let root = site.school.root.clone();
    let listening = tokio::spawn(listen(balancer.clone(), root, Arc::clone(&heard)));
    let first = until_some("the first stream begins", || lock(&heard).began).await;
    let load = Load { balancer: balancer.clone(), ends: Arc::default(), answered: Arc::default() };
    let (writing, reading) = (site.writers(&load), site.readers(&load));
    load.goes_on().await;

    let mut replaced = Vec::new();
    for server in servers {
        replaced.push(site.replace(server, &load).await);
    }
    load.ends.store(true, Ordering::Relaxed);

    for client in reading {
        let done = client.await.expect("a client");
        assert_eq!(done.failures, [""; 0], "after {} answers", done.answered);
    }
    for (client, learner) in writing.into_iter().zip(&site.learners) {
        let done = client.await.expect("a client");
        assert_eq!(done.failures, [""; 0], "after {} answers", done.answered);
        assert_eq!(site.minutes(learner).await, done.answered, "a write was lost, or made twice");
    }
    let told = site.told(first).await;
    assert!(!told.is_empty());
    until("every event is heard", async || {
        let ids = &lock(&heard).ids;
        told.iter().all(|id| ids.contains(id))
    })
    .await;
    watching.abort();
    listening.abort();
    let heard = lock(&heard);
    assert_eq!(heard.broke, 0, "a stream was cut off");
    assert!(heard.ended > 0, "no stream has ended");
}
