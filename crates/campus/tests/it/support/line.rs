//! A way to Redis on which the connection of the backplane, the one that subscribes, can be cut.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Redis;

pub(crate) struct Line {
    pub(crate) url: String,
    is_cut: Arc<watch::Sender<bool>>,
}

impl Line {
    pub(crate) async fn before(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let is_cut = Arc::new(watch::Sender::new(false));
        let (cut, to) = (Arc::clone(&is_cut), redis.port());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await {
                    tokio::spawn(carry(client, server, cut.subscribe()));
                }
            }
        });
        Self { url: format!("redis://127.0.0.1:{port}/"), is_cut }
    }

    /// From now on the backplane hears nothing and is not told so.
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, mut is_cut: watch::Receiver<bool>) {
    let (mut up, mut down) = ([0; 16 << 10], [0; 16 << 10]);
    let mut subscribes = false;
    loop {
        let passes = !(subscribes && *is_cut.borrow_and_update());
        tokio::select! {
            changed = is_cut.changed() => if changed.is_err() {
                return;
            },
            Ok(read @ 1..) = client.read(&mut up) => {
                subscribes |= up[..read].windows(9).any(|word| word == b"SUBSCRIBE");
                let passes = !(subscribes && *is_cut.borrow());
                if passes && server.write_all(&up[..read]).await.is_err() {
                    return;
                }
            }
            Ok(read @ 1..) = server.read(&mut down), if passes => {
                if client.write_all(&down[..read]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}
