//! Campus through its HTTP interface and its program, on databases and Redis servers of each test's own.

mod accounts;
mod analytics;
mod articles;
mod bad_input;
mod browsers;
mod caching;
#[cfg(feature = "mongo")]
mod compared;
mod concurrency;
mod contents;
mod demo_catalogue;
mod events;
mod learners;
mod learning;
mod lists;
mod logs;
mod metrics;
#[cfg(feature = "mongo")]
mod mongo;
mod one_file;
mod openapi;
mod operating;
mod operations;
mod operator_cli;
mod outage;
mod outbox;
mod plans;
mod postgres;
mod process;
mod races;
mod ratings;
mod real_data;
mod requirements;
#[cfg(feature = "mongo")]
mod restored;
mod rolling;
mod scenarios;
mod scripts;
mod services;
mod shared_tier;
mod statements;
mod support;
mod texts;
mod tidy;
#[cfg(feature = "otel")]
mod traces;
mod upgrades;
mod viewers;
mod visibility;
