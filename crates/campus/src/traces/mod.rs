//! Spans of requests and of the cache's reads, sent to a collector: OTLP over HTTP.
//!
//! What is sent is listed here by its targets, and nothing else ever is. A collector that is away,
//! slow or hanging costs spans, and never a request or the end of the server.

mod post;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, ShouldSample};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{Heeds, Sampler, TracesConfig};
use crate::reads::SPANS;
use post::Post;

/// The target of the spans of requests; those of the cache are below them.
pub const REQUEST: &str = "campus::request";

/// What is sent, and by what.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Begins to send, a batch at a time, from a queue that drops what it has no room for.
    ///
    /// # Errors
    /// The exporter cannot be built from the configuration and OpenTelemetry's own variables.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(config: &TracesConfig) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Post::by(Handle::current()))
            .with_endpoint(&config.endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(post::PATIENCE)
            .build()?;
        let resource = Resource::builder()
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler(config.sampler))
            .with_resource(resource)
            .build();
        Ok(Self { provider })
    }

    /// Collects the spans. Neither lines of the log nor anything of other libraries is among them.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let ours = Targets::new()
            .with_target(REQUEST, LevelFilter::DEBUG)
            .with_target(SPANS, LevelFilter::DEBUG);
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("campus"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(ours.and(filter_fn(|of| of.is_span())))
    }

    /// Sends what waits, for as long as a server that leaves may.
    pub async fn end(self) {
        let limit = TracesConfig::LAST;
        let ended = spawn_blocking(move || self.provider.shutdown_with_timeout(limit)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the last traces could not be sent");
        }
    }
}

fn sampler(of: Sampler) -> Box<dyn ShouldSample> {
    use opentelemetry_sdk::trace::Sampler;
    let undecided = Sampler::TraceIdRatioBased(of.share);
    Box::new(match of.heeds {
        Heeds::Caller => Sampler::ParentBased(Box::new(undecided)),
        Heeds::Nobody => undecided,
    })
}
