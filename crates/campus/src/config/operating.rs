//! What operators set about warming and metrics.

use std::net::SocketAddr;
use std::time::Duration;

use super::Secret;
use super::resolve::{Check, set};

/// What is read before anybody asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmConfig {
    /// Absent: only when an admin asks for it.
    pub every: Option<Duration>,
    /// How many of the most popular courses.
    pub top: u32,
    /// Of the first pages of the lists.
    pub page_size: u32,
}

/// Who may read the metrics, and where.
#[derive(Debug, Clone)]
pub struct MetricsConfig {
    /// A listener of their own; the main one then does not serve them.
    pub addr: Option<SocketAddr>,
    /// What the main listener asks for. Without one it serves this machine only.
    pub token: Option<Secret>,
}

impl Check<'_> {
    pub(super) fn warm(&mut self) -> WarmConfig {
        let s = self.settings;
        let every = self.number("WARM_INTERVAL_SECS", &s.warm_interval_secs, 600, 0..=86_400);
        let top = self.number("WARM_TOP", &s.warm_top, 10, 0..=1000);
        let page_size = self.number("WARM_PAGE_SIZE", &s.warm_page_size, 12, 1..=100);
        WarmConfig {
            every: (every > 0).then(|| Duration::from_secs(every)),
            top: top as u32,
            page_size: page_size as u32,
        }
    }

    pub(super) fn metrics(&mut self) -> MetricsConfig {
        let s = self.settings;
        let addr = set(&s.metrics_addr).and_then(|text| {
            let addr = text.parse().ok();
            if addr.is_none() {
                let problem = "is not an address such as 127.0.0.1:9100";
                self.problems.push(format!("METRICS_ADDR: '{text}' {problem}"));
            }
            addr
        });
        let token = set(&s.metrics_token);
        if token.is_some_and(|token| token.len() < 16) {
            self.problems.push("METRICS_TOKEN must have at least 16 bytes".to_owned());
        }
        MetricsConfig { addr, token: token.map(Secret::new) }
    }
}
