//! Requests to the server at the configured address, small enough not to need an HTTP client.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Failure;
use crate::config::Config;
use crate::http::{CHALLENGE, PROOF};
use crate::token::TokenKey;

/// For questions that cost the server nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What came back.
pub(super) struct Reply {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut fields = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.next().map(|(_, value)| value.trim())
    }
}

/// One request without a body.
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// A header, with its value.
    pub(super) header: Option<(&'a str, &'a str)>,
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
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Ok(Reply { status, head: head.to_owned(), body: body.to_owned() })
}

/// Finds out whether the server at the configured address has the secret of this installation:
/// any program may listen there while Campus does not.
pub(super) async fn recognise(config: &Config, key: &TokenKey) -> Result<(), Failure> {
    let mut bytes = [0u8; 24];
    getrandom::fill(&mut bytes).map_err(|e| format!("the system has no random source: {e}"))?;
    let challenge = URL_SAFE_NO_PAD.encode(bytes);
    let question = Question {
        method: "GET",
        path: "/health/live",
        header: Some((CHALLENGE, &challenge)),
        patience: PATIENCE,
    };
    let reply = ask(config, question).await?;
    let is_ours = reply.header(PROOF).is_some_and(|proof| key.is_proof(&challenge, proof));
    if is_ours { Ok(()) } else { Err(foreign(config)) }
}

fn foreign(config: &Config) -> Failure {
    let addr = here(config.addr);
    format!(
        "the server at {addr} does not know the secret of this installation: it is another one, or \
         no Campus at all, or JWT_SECRET is not the server's"
    )
    .into()
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
    let Question { method, path, header, .. } = question;
    let mut connection = TcpStream::connect(addr).await?;
    let header = header.map(|(name, value)| format!("{name}: {value}\r\n"));
    let header = header.unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\
         Content-Length: 0\r\n{header}\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}
