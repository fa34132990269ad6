//! What a server executes.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::support::Redis;

/// Everything that a server executes, as MONITOR tells it.
pub(crate) struct Monitor {
    line: TcpStream,
}

impl Monitor {
    pub(crate) fn start(redis: &Redis) -> Self {
        let url = redis.url();
        let address = url.trim_start_matches("redis://").trim_end_matches('/');
        let mut line = TcpStream::connect(address).expect("redis listens");
        line.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        line.write_all(b"MONITOR\r\n").expect("redis listens");
        let mut ok = [0; 5];
        line.read_exact(&mut ok).expect("redis answers");
        Self { line }
    }

    /// All up to a command and the rest of its line.
    pub(crate) async fn until(mut self, command: &'static str) -> String {
        let listening = tokio::task::spawn_blocking(move || {
            let (mut said, mut bytes) = (String::new(), [0; 4096]);
            while !(said.contains(command) && said.ends_with('\n')) {
                let read = self.line.read(&mut bytes).expect("redis tells");
                said.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
            said
        });
        listening.await.expect("it hears the command")
    }
}
