//! The log of a server: lines for people, with the seeds' symbols, or JSON with the same fields.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::{FormatFields, Writer, format};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};
use tracing_subscriber::registry::LookupSpan;

use super::Failure;
use crate::config::{Config, LogFormat};
use crate::reads::SYMBOLS;

/// Configuration, start and everything else.
const OTHERS: &str = "🔧";

pub(super) fn start(config: &Config) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log_filter)
        .map_err(|e| format!("LOG_FILTER: {e}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Pretty => log.event_format(WithSymbol(format())).try_init()?,
        LogFormat::Json => log.json().try_init()?,
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// A line with its symbol before it.
struct WithSymbol<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithSymbol<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "{} ", symbol(event.metadata()))?;
        self.0.format_event(context, writer, event)
    }
}

fn symbol(line: &Metadata<'_>) -> &'static str {
    match *line.level() {
        Level::ERROR => "❌",
        Level::WARN => "⚠️",
        _ => {
            let known = SYMBOLS.iter().find(|(begin, _)| line.target().starts_with(begin));
            known.map_or(OTHERS, |(_, symbol)| symbol)
        }
    }
}
