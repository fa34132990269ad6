//! `campus health`: asks the server at the configured address; for container health checks.

use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Failure, Output};
use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(3);

/// Exit code 0 for healthy and degraded, 1 for unhealthy or no answer.
pub(super) async fn run(config: &Config, out: &mut Output) -> Result<ExitCode, Failure> {
    let mut addr = config.addr;
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let answer = timeout(PATIENCE, ask(addr)).await;
    let answer = answer.map_err(|_| format!("no answer from {addr} within 3 s"))?;
    let answer = answer.map_err(|e| format!("no answer from {addr}: {e}"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    out.line(body)?;
    let well = answer.starts_with("HTTP/1.1 200");
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A request small enough not to need an HTTP client.
async fn ask(addr: std::net::SocketAddr) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(addr).await?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}
