//! Campus through its HTTP interface and its program, on databases and Redis servers of each test's own.

mod caching;
mod demo_catalogue;
mod operations;
mod support;
mod visibility;
