//! Campus through its HTTP interface and its program, on databases and Redis servers of each test's own.

mod accounts;
mod analytics;
mod articles;
mod bad_input;
mod caching;
mod concurrency;
mod demo_catalogue;
mod learning;
mod lists;
mod one_file;
mod openapi;
mod operating;
mod operations;
mod outage;
mod outbox;
mod postgres;
mod process;
mod races;
mod ratings;
mod real_data;
mod scripts;
mod shared_tier;
mod support;
mod texts;
mod tidy;
mod visibility;
