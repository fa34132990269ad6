//! One run of a loader.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time;

use super::LONGEST_LOAD;
use crate::{
    Loaded,
    cache::Inner,
    error::Failure,
    stats::{Count, NamespaceId},
};

/// Runs a loader when it is its turn: its panic and its taking too long are failures like its
/// errors.
pub(crate) async fn run<V, F, L, E>(
    inner: &Inner,
    namespace: NamespaceId,
    load: impl FnOnce() -> F + Send,
    limit: Duration,
) -> Result<Option<Loaded<V>>, Failure>
where
    F: Future<Output = Result<Option<L>, E>> + Send,
    L: Into<Loaded<V>>,
    E: Send + Sync + 'static,
{
    let limit = limit.min(LONGEST_LOAD);
    let deadline = time::Instant::now() + limit;
    let guarded = AssertUnwindSafe(async move {
        let _turn = inner.namespaces.may_load(namespace).await;
        if time::Instant::now() >= deadline {
            // Its turn came too late: nothing is begun that nobody waits for.
            std::future::pending::<()>().await;
        }
        inner.namespaces.count(namespace, Count::Load);
        load().await.map(|loaded| loaded.map(Into::into))
    });
    match time::timeout(limit, guarded.catch_unwind()).await {
        Ok(Ok(Ok(loaded))) => Ok(loaded),
        Ok(Ok(Err(error))) => Err(Failure::Loader(Arc::new(error))),
        Ok(Err(_)) => Err(Failure::Panicked),
        Err(_) => Err(Failure::TimedOut(limit)),
    }
}
