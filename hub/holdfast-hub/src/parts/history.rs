//! Forgets history once it is older than the configuration says.

use super::Shared;
use holdfast_core::Revision;
use holdfast_env::Task;
use holdfast_store::StoreError;

/// Looks at the clock so many times within the time that history is kept.
const STEPS: u32 = 4;

/// Starts the task.
pub(crate) fn start(shared: &Shared<'_>) -> Task {
    let (world, store) = (shared.world.clone(), shared.store.clone());
    let step = shared.config.history / STEPS;
    let work = async move {
        // The revisions of the last steps, oldest first.
        let mut seen: std::collections::VecDeque<Revision> = [store.revision()].into();
        let mut forgotten = Revision(0);
        loop {
            world.sleep(step).await;
            seen.push_back(store.revision());
            if seen.len() <= STEPS as usize {
                continue;
            }
            let Some(oldest) = seen.pop_front().filter(|oldest| *oldest > forgotten) else { continue };
            match store.compact(oldest).await {
                Ok(()) => forgotten = oldest,
                Err(StoreError::Closed) => return,
                Err(err) => tracing::warn!(%err, revision = %oldest, "Could not compact the store"),
            }
        }
    };
    shared.world.clone().spawn("history", Box::pin(work))
}
