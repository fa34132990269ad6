//! A way to PostgreSQL on which the answer to a COMMIT can be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Postgres;

pub(crate) struct LostAnswer {
    pub(crate) url: String,
    armed: Arc<AtomicBool>,
}

impl LostAnswer {
    pub(crate) async fn before(cluster: &Postgres) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let armed = Arc::new(AtomicBool::new(false));
        let (way, to) = (Arc::clone(&armed), cluster.port());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await {
                    tokio::spawn(carry(client, server, Arc::clone(&way)));
                }
            }
        });
        Self { url: cluster.url_by_way_of(port), armed }
    }

    /// The next COMMIT is made, and its connection ends before anybody hears of it.
    pub(crate) fn lose_the_next(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, armed: Arc<AtomicBool>) {
    let (mut up, mut down) = ([0; 16 << 10], [0; 16 << 10]);
    let mut is_losing = false;
    loop {
        tokio::select! {
            Ok(read @ 1..) = client.read(&mut up) => {
                let is_commit = up[..read].windows(6).any(|word| word == b"COMMIT");
                is_losing |= is_commit && armed.swap(false, Ordering::SeqCst);
                if server.write_all(&up[..read]).await.is_err() {
                    return;
                }
            }
            Ok(read @ 1..) = server.read(&mut down) => {
                // What it answers to the COMMIT goes no further.
                if is_losing || client.write_all(&down[..read]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}
