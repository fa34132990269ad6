//! Campus through its HTTP interface and its program, on databases and Redis servers of each test's own.

mod accounts;
mod bad_input;
mod caching;
mod concurrency;
mod demo_catalogue;
mod learners;
mod learning;
mod lists;
mod one_file;
mod openapi;
mod operations;
mod outage;
mod outbox;
mod postgres;
mod process;
mod races;
mod real_data;
mod scripts;
mod shared_tier;
mod support;
mod tidy;
mod visibility;
