//! The log of a server: lines for people, with the seeds' symbols, or JSON with the same fields.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::{FormatFields, Writer, format};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry};

use super::Failure;
use crate::config::{Config, LogFormat};
use crate::reads::SYMBOLS;
#[cfg(feature = "otel")]
use crate::traces::Traces;

/// Configuration, start and everything else.
const OTHERS: &str = "🔧";

/// Where a server says what it does: the log, and a collector of traces if there is one.
pub(super) struct Log {
    #[cfg(feature = "otel")]
    traces: Option<Traces>,
}

impl Log {
    pub(super) fn start(config: &Config) -> Result<Self, Failure> {
        // Spans stay out of the lines. Not only events: who asks whether a line is wanted asks of a hint.
        let wanted = EnvFilter::try_new(&config.log_filter)
            .map_err(|e| format!("LOG_FILTER: {e}"))?
            .and(filter_fn(|line| !line.is_span()).with_max_level_hint(LevelFilter::TRACE));
        let lines = tracing_subscriber::fmt::layer::<Registry>()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        let lines = match config.log_format {
            LogFormat::Pretty => lines.event_format(WithSymbol(format())).boxed(),
            LogFormat::Json => lines.json().boxed(),
        };
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(wanted));
        #[cfg(feature = "otel")]
        let traces = config.traces.as_ref().map(Traces::start).transpose()?;
        #[cfg(feature = "otel")]
        let subscriber = subscriber.with(traces.as_ref().map(Traces::layer));
        subscriber.try_init()?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        Ok(Self {
            #[cfg(feature = "otel")]
            traces,
        })
    }

    /// Sends what has not been sent yet, for a second at most.
    pub(super) async fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.end().await;
        }
    }
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
