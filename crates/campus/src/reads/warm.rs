//! Warming: the reads that nearly everybody makes, made before anybody has to wait for them.
//!
//! They go the way of every read, so that they share the loads of others, are bounded like them,
//! and cannot store what has been invalidated meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;

use super::{CourseQuery, Origin, Reads, Result, Via};
use crate::clock::Clock;
use crate::model::{CourseFilter, CourseSort, Timestamp, Window};

/// Reads at a time: people come first.
const AT_A_TIME: usize = 4;

/// What is warmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warming {
    /// How many of the most popular courses.
    pub top: u32,
    /// Of the first pages of the lists.
    pub page_size: u32,
}

/// What one warming came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Reads that were made.
    pub reads: u64,
    /// Those that had to load; the others were in the cache.
    pub loaded: u64,
    pub failed: u64,
    pub took: Duration,
}

/// Sums over all warmings of this process.
#[derive(Debug, Default)]
pub(super) struct WarmCounts {
    runs: AtomicU64,
    reads: AtomicU64,
    failed: AtomicU64,
}

/// The same, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmReport {
    pub runs: u64,
    pub reads: u64,
    pub failed: u64,
}

impl WarmCounts {
    pub(super) fn report(&self) -> WarmReport {
        WarmReport {
            runs: self.runs.load(Ordering::Relaxed),
            reads: self.reads.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

type Done = Result<Origin>;

impl Reads {
    /// Makes the reads that are asked for most. A failure fails nothing but itself.
    pub async fn warm(&self, what: Warming, clock: &Clock) -> Warmed {
        let began = Instant::now();
        let pages = [CourseSort::Recent, CourseSort::Popular, CourseSort::TopRated]
            .map(|sort| self.first_page(sort, what.page_size));
        let mut warmed = Warmed::default();
        let others = [self.all_categories(), self.overview(clock.now())];
        warmed.make(pages.into_iter().chain(others).collect()).await;
        match self.most_popular(what.top).await {
            Ok(ids) => {
                let courses = ids.into_iter().flat_map(|id| [self.one(id), self.its_seats(id)]);
                warmed.make(courses.collect()).await;
            }
            Err(error) => warmed.fail(&error),
        }
        warmed.took = began.elapsed();
        self.warming.runs.fetch_add(1, Ordering::Relaxed);
        self.warming.reads.fetch_add(warmed.reads, Ordering::Relaxed);
        self.warming.failed.fetch_add(warmed.failed, Ordering::Relaxed);
        warmed
    }

    /// Warms at once and then every so often, for as long as this server runs.
    pub async fn keep_warm(&self, what: Warming, every: Duration, clock: &Clock) {
        loop {
            let warmed = self.warm(what, clock).await;
            tracing::debug!(?warmed, "warmed the cache");
            tokio::time::sleep(every).await;
        }
    }

    fn first_page(&self, sort: CourseSort, page_size: u32) -> BoxFuture<'_, Done> {
        let window = Window { skip: 0, limit: i64::from(page_size) };
        let query = CourseQuery { filter: CourseFilter::default(), sort, window };
        Box::pin(async move { Ok(self.courses(Via::Cache, query).await?.origin) })
    }

    fn all_categories(&self) -> BoxFuture<'_, Done> {
        Box::pin(async move { Ok(self.categories(Via::Cache).await?.origin) })
    }

    fn overview(&self, now: Timestamp) -> BoxFuture<'_, Done> {
        Box::pin(async move { Ok(self.platform(Via::Cache, now).await?.origin) })
    }

    fn one(&self, id: i64) -> BoxFuture<'_, Done> {
        Box::pin(async move { Ok(self.course(Via::Cache, id).await?.origin) })
    }

    fn its_seats(&self, id: i64) -> BoxFuture<'_, Done> {
        Box::pin(async move { Ok(self.seats(Via::Cache, id).await?.origin) })
    }

    async fn most_popular(&self, top: u32) -> Result<Vec<i64>> {
        if top == 0 {
            return Ok(Vec::new());
        }
        let window = Window { skip: 0, limit: i64::from(top) };
        let filter = CourseFilter::default();
        let (courses, _) =
            self.store.published_courses(&filter, CourseSort::Popular, window).await?;
        Ok(courses.into_iter().map(|course| course.id).collect())
    }
}

impl Warmed {
    async fn make(&mut self, reads: Vec<BoxFuture<'_, Done>>) {
        let mut done = stream::iter(reads).buffer_unordered(AT_A_TIME);
        while let Some(read) = done.next().await {
            match read {
                Ok(origin) => {
                    self.reads += 1;
                    self.loaded += u64::from(!matches!(origin, Origin::Cache { .. }));
                }
                Err(error) => self.fail(&error),
            }
        }
    }

    fn fail(&mut self, error: &super::Error) {
        self.failed += 1;
        tracing::warn!(%error, "a read could not be warmed");
    }
}
