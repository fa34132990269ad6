//! Requests to the server at the configured address, small enough not to need an HTTP client.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Failure;
use crate::config::Config;

/// What came back.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
}

/// One request without a body.
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) patience: Duration,
}

/// Asks the server that runs with this configuration.
pub(super) async fn ask(config: &Config, question: Question<'_>) -> Result<Reply, Failure> {
    let addr = here(config.addr);
    let patience = question.patience;
    let reply = timeout(patience, exchange(addr, question)).await;
    let reply =
        reply.map_err(|_| format!("no answer from {addr} within {} s", patience.as_secs()))?;
    let text = reply.map_err(|e| format!("no answer from {addr}: {e}"))?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no HTTP answer from {addr}"))?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(Reply { status, body: body.to_owned() })
}

/// A server that listens everywhere listens here too.
fn here(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

async fn exchange(addr: SocketAddr, question: Question<'_>) -> std::io::Result<String> {
    let Question { method, path, token, .. } = question;
    let mut connection = TcpStream::connect(addr).await?;
    let login = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let login = login.unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\
         Content-Length: 0\r\n{login}\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}
