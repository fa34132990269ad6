//! Where spans are sent, and of which requests.

use std::time::Duration;

use super::resolve::{Check, set};
use super::serving::is_origin;

/// A collector that takes OTLP over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesConfig {
    /// Where it takes traces.
    pub endpoint: String,
    pub service_name: String,
    pub sampler: Sampler,
}

impl TracesConfig {
    /// How long a server that leaves goes on sending.
    pub const LAST: Duration = Duration::from_secs(1);
}

/// Which requests are traced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    pub heeds: Heeds,
    /// The share of those that nobody has decided about.
    pub share: f64,
}

/// Whose decision counts for a request that is a part of a trace already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heeds {
    /// Whoever began the trace has decided.
    Caller,
    Nobody,
}

/// What the share is for the samplers that do not take it from OTEL_TRACES_SAMPLER_ARG.
const SAMPLERS: [(&str, (Heeds, Option<f64>)); 6] = [
    ("parentbased_always_on", (Heeds::Caller, Some(1.0))),
    ("parentbased_always_off", (Heeds::Caller, Some(0.0))),
    ("parentbased_traceidratio", (Heeds::Caller, None)),
    ("always_on", (Heeds::Nobody, Some(1.0))),
    ("always_off", (Heeds::Nobody, Some(0.0))),
    ("traceidratio", (Heeds::Nobody, None)),
];

impl Check<'_> {
    /// The variables belong to everybody: platforms set them for whatever they run, so without a
    /// use for them none is an error.
    pub(super) fn traces(&mut self) -> Option<TracesConfig> {
        let s = self.settings;
        let url = set(&s.otel_exporter_otlp_endpoint)?;
        if !cfg!(feature = "otel") {
            self.warnings.push(
                "OTEL_EXPORTER_OTLP_ENDPOINT has no effect: this build sends no traces; build it \
                 with `cargo build --release --features otel`"
                    .to_owned(),
            );
            return None;
        }
        let endpoint = endpoint(url).unwrap_or_else(|problem| {
            self.problems.push(format!("OTEL_EXPORTER_OTLP_ENDPOINT {problem}"));
            String::new()
        });
        let service_name = set(&s.otel_service_name).unwrap_or("campus").to_owned();
        Some(TracesConfig { endpoint, service_name, sampler: self.sampler() })
    }

    fn sampler(&mut self) -> Sampler {
        let s = self.settings;
        let (heeds, fixed) = self.choice("OTEL_TRACES_SAMPLER", &s.otel_traces_sampler, &SAMPLERS);
        let given = set(&s.otel_traces_sampler_arg).unwrap_or("1.0");
        let share = given.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            let problem = "is not a number from 0 to 1";
            self.problems.push(format!("OTEL_TRACES_SAMPLER_ARG: '{given}' {problem}"));
        }
        Sampler { heeds, share: fixed.or(share).unwrap_or(1.0) }
    }
}

/// The collector's path for traces. The problems do not quote the URL: a password may stand there.
fn endpoint(url: &str) -> Result<String, &'static str> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Err("must start with http://; where TLS is asked for, send to a collector nearby \
                    that passes it on");
    };
    let end = rest.find('/').unwrap_or(rest.len());
    if !is_origin(&url[..url.len() - rest.len() + end]) {
        return Err("is not a URL such as http://127.0.0.1:4318; a login belongs into \
                    OTEL_EXPORTER_OTLP_HEADERS");
    }
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if !rest[end..].bytes().all(is_plain) {
        return Err("has more in its path than letters, digits, /, -, ., _ and ~");
    }
    Ok(format!("{}/v1/traces", url.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::endpoint;
    #[cfg(feature = "otel")]
    use super::{Heeds, Sampler};
    use crate::config::{Config, ConfigError, Settings};

    fn resolved(url: &str, sampler: &str, arg: &str) -> Result<Config, ConfigError> {
        let settings = Settings {
            otel_exporter_otlp_endpoint: Some(url.to_owned()),
            otel_traces_sampler: Some(sampler.to_owned()),
            otel_traces_sampler_arg: Some(arg.to_owned()),
            ..Settings::default()
        };
        Config::resolve(&settings, &BTreeMap::new())
    }

    #[test]
    fn traces_go_to_their_path_of_the_collector() {
        for (given, used) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://tempo:4318/", "http://tempo:4318/v1/traces"),
            ("http://[::1]:4318/otlp/", "http://[::1]:4318/otlp/v1/traces"),
        ] {
            assert_eq!(endpoint(given).as_deref(), Ok(used));
        }
    }

    #[cfg(feature = "otel")]
    #[test]
    fn a_collector_that_cannot_be_one_is_refused_without_its_password() {
        for url in [
            "collector:4318",
            "grpc://collector:4317",
            "https://collector:4318",
            "http://",
            "http://a:port",
            "http://user:s3cret@collector:4318",
            "http://collector:4318?token=s3cret",
            "http://collector:4318/otlp?token=s3cret",
        ] {
            let problem = resolved(url, "", "").unwrap_err().to_string();
            assert!(problem.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{url}: {problem}");
            assert!(!problem.contains("s3cret"), "{url}: {problem}");
        }
    }

    #[cfg(feature = "otel")]
    #[test]
    fn a_sampler_needs_a_name_and_a_share() {
        let problem = resolved("http://127.0.0.1:4318", "sometimes", "2").unwrap_err().to_string();
        assert!(problem.contains("OTEL_TRACES_SAMPLER: 'sometimes' is not one of: parentbased"));
        assert!(problem.contains("OTEL_TRACES_SAMPLER_ARG: '2' is not a number from 0 to 1"));
    }

    #[cfg(not(feature = "otel"))]
    #[test]
    fn a_build_without_traces_says_how_to_make_one_with_them() {
        let config = resolved("https://set-by-the-platform", "xray", "").unwrap();
        assert_eq!(config.traces, None);
        assert!(config.warnings[0].contains("--features otel"), "{:?}", config.warnings);
    }

    #[test]
    fn without_a_collector_nothing_is_sent_and_nothing_is_wrong() {
        let config = resolved("", "xray", "").unwrap();
        assert_eq!((config.traces, config.warnings), (None, Vec::new()));
    }

    #[cfg(feature = "otel")]
    #[test]
    fn the_sampler_takes_its_share_only_where_it_has_one() {
        for (name, heeds, share) in [
            ("", Heeds::Caller, 1.0),
            ("always_off", Heeds::Nobody, 0.0),
            ("traceidratio", Heeds::Nobody, 0.25),
            ("parentbased_traceidratio", Heeds::Caller, 0.25),
        ] {
            let config = resolved("http://127.0.0.1:4318", name, "0.25").unwrap();
            let traces = config.traces.unwrap();
            assert_eq!(traces.sampler, Sampler { heeds, share }, "{name}");
            assert_eq!(traces.service_name, "campus");
        }
    }
}
