//! What a write costs, for `bench/writes`: prints one JSON object.
//!
//! `REDIS_URL=… write_path [rounds] [largest power of ten of the key counts]`. The server is flushed.

use std::{
    convert::Infallible,
    io::Write as _,
    time::{Duration, Instant},
};

use larder::{Ack, Cache, CacheKey, KeyWriter, L2State, Names, Policy, Public, Tag, Tags};
use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection};

type Failure = Box<dyn std::error::Error>;

struct Doc(u64);

impl CacheKey for Doc {
    type Value = u64;
    type Scope = Public;
    const NAMESPACE: &'static str = "docs";
    const NAME: &'static str = "doc";
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        Policy::new(Duration::from_secs(3_600), Duration::from_secs(7_200))
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.0);
    }
    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::named("all"));
    }
}

async fn cache(url: &str) -> Result<Cache, Failure> {
    let cache = Cache::builder().redis(url)?.prefix("b:").build()?;
    while cache.stats().l2 != L2State::Up || !cache.stats().backplane.is_fresh {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(cache)
}

/// A client of its own with a subscriber beside it, as an application without Larder has.
async fn plain(url: &str) -> Result<(MultiplexedConnection, MultiplexedConnection), Failure> {
    let client = Client::open(format!("{url}?protocol=resp3"))?;
    let heard = AsyncConnectionConfig::new().set_push_sender(|push| {
        std::hint::black_box(push);
        Ok::<_, Infallible>(())
    });
    let mut subscriber = client.get_multiplexed_async_connection_with_config(&heard).await?;
    subscriber.subscribe("b:plain").await?;
    // KEYS over a million keys takes longer than a client waits by default.
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
    Ok((client.get_multiplexed_async_connection_with_config(&patient).await?, subscriber))
}

fn median(mut nanoseconds: Vec<u128>) -> u128 {
    nanoseconds.sort_unstable();
    nanoseconds[nanoseconds.len() / 2]
}

/// Medians of one invalidation and of DEL + PUBLISH in one pipeline, a round each in turn.
async fn one_key(url: &str, rounds: u64) -> Result<Vec<(u128, u128)>, Failure> {
    const CALLS: u64 = 2_000;
    let cache = cache(url).await?;
    let (mut connection, _subscriber) = plain(url).await?;
    let mut medians = Vec::new();
    for _ in 0..rounds {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for id in 0..CALLS {
            let asked = Instant::now();
            if cache.invalidate(Names::new().key(&Doc(id))).await != Ack::Applied {
                return Err("an invalidation was not applied".into());
            }
            ours.push(asked.elapsed().as_nanos());
        }
        for id in 0..CALLS {
            let asked = Instant::now();
            redis::pipe()
                .cmd("DEL")
                .arg(format!("b:doc:{id}"))
                .cmd("PUBLISH")
                .arg("b:plain")
                .arg(format!("doc:{id}"))
                .exec_async(&mut connection)
                .await?;
            theirs.push(asked.elapsed().as_nanos());
        }
        medians.push((median(ours), median(theirs)));
    }
    Ok(medians)
}

async fn fill(connection: &mut MultiplexedConnection, keys: u64) -> Result<(), Failure> {
    for start in (0..keys).step_by(1_000) {
        let mut pipe = redis::pipe();
        for id in start..(start + 1_000).min(keys) {
            pipe.cmd("SET").arg(format!("b:doc@1:{id}")).arg("a small value").ignore();
        }
        pipe.exec_async(connection).await?;
    }
    Ok(())
}

async fn scan_and_delete(connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    let mut cursor = 0_u64;
    loop {
        let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg("b:doc@1:*")
            .arg("COUNT")
            .arg(1_000)
            .query_async(connection)
            .await?;
        if !keys.is_empty() {
            redis::cmd("DEL").arg(keys).exec_async(connection).await?;
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

async fn keys_and_delete(connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    let keys: Vec<String> = redis::cmd("KEYS").arg("b:doc@1:*").query_async(connection).await?;
    for chunk in keys.chunks(100_000) {
        redis::cmd("DEL").arg(chunk).exec_async(connection).await?;
    }
    Ok(())
}

/// Microseconds to invalidate a tag of so many entries, with a tag, with SCAN and with KEYS.
async fn tag(url: &str, keys: u64) -> Result<[u128; 3], Failure> {
    let cache = cache(url).await?;
    let (mut connection, _subscriber) = plain(url).await?;
    fill(&mut connection, keys).await?;
    let mut ours = Vec::new();
    for _ in 0..51 {
        let asked = Instant::now();
        cache.invalidate(Tag::named("all")).await;
        ours.push(asked.elapsed().as_micros());
    }
    let asked = Instant::now();
    scan_and_delete(&mut connection).await?;
    let scan = asked.elapsed().as_micros();
    fill(&mut connection, keys).await?;
    let asked = Instant::now();
    keys_and_delete(&mut connection).await?;
    Ok([median(ours), scan, asked.elapsed().as_micros()])
}

/// Microseconds from an acknowledgement until another node's L1 has dropped the value: median,
/// 99th percentile and worst.
async fn propagation(url: &str, writes: u64) -> Result<[u128; 3], Failure> {
    let (a, b) = (cache(url).await?, cache(url).await?);
    let mut delays = Vec::new();
    for version in 1..=writes {
        let load = move || async move { Ok::<_, Infallible>(version) };
        b.get_or_load(&Doc(1), load).await?;
        a.invalidate(Names::new().key(&Doc(1))).await;
        let acknowledged = Instant::now();
        let load = move || async move { Ok::<_, Infallible>(version + 1) };
        while *b.get_or_load(&Doc(1), load).await?.value == version {
            // Redis shares this core: it must not wait for the end of our time slice.
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
        delays.push(acknowledged.elapsed().as_micros());
    }
    delays.sort_unstable();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    Ok([at(0.5), at(0.99), at(1.0)])
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = std::env::var("REDIS_URL").map_err(|_| "REDIS_URL names the server to use")?;
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(5), |rounds| rounds.parse())?;
    let largest: u32 = arguments.next().map_or(Ok(6), |largest| largest.parse())?;
    let one_key = one_key(&url, rounds).await?;
    let mut tags = Vec::new();
    for power in 2..=largest {
        let keys = 10_u64.pow(power);
        tags.push(format!(
            "{{\"keys\": {keys}, \"tag_scan_keys_us\": {:?}}}",
            tag(&url, keys).await?
        ));
    }
    let propagation = propagation(&url, 2_000).await?;
    let one_key: Vec<_> = one_key.iter().map(|(ours, theirs)| [ours, theirs]).collect();
    writeln!(
        std::io::stdout(),
        "{{\"one_key_ns\": {one_key:?}, \"tags\": [{}], \"propagation_us\": {propagation:?}}}",
        tags.join(", ")
    )?;
    Ok(())
}
