//! Events live for an hour. Upstream gives them a lease in etcd; here a task sweeps them, so that a store needs
//! no clock. Task: one, started by [`crate::HubRegistry::start_event_expiry`] and ended by its owner.

use crate::engine::{Engine, decode, known, store_error};
use crate::keys;
use crate::limits::{EVENT_SWEEP, FILTER_PAGE};
use holdfast_core::json::str_at;
use holdfast_core::{Gvr, Json, Status, Timestamp};
use holdfast_store::{Check, Condition, Op, RangeRequest, Txn};
use std::time::Duration;

/// Sweeps for ever.
pub(crate) async fn run(engine: &Engine, ttl: Duration) {
    loop {
        engine.env.sleep(EVENT_SWEEP.min(ttl)).await;
        if let Err(err) = sweep(engine, ttl).await {
            tracing::warn!(%err, "Could not remove old events");
        }
    }
}

/// Removes what is older than `ttl`; returns how many Events that were.
pub(crate) async fn sweep(engine: &Engine, ttl: Duration) -> Result<usize, Status> {
    let prefix = keys::prefix(known(&Gvr::new("", "v1", "events"))?);
    let now = engine.now();
    let (mut after, mut removed) = (None, 0);
    loop {
        let request = RangeRequest { prefix: prefix.clone(), after, limit: FILTER_PAGE, at: None };
        let range = engine.store.range(request).await.map_err(store_error)?;
        for record in &range.records {
            if now.since(last_seen(&decode(record)?.to_json())) < ttl {
                continue;
            }
            let key = record.key.to_string();
            let check = Check { key: key.clone(), condition: Condition::ModifiedAt(record.modified) };
            // One that was counted up meanwhile stays.
            let txn = Txn { checks: vec![check], ops: vec![Op::Delete { key }] };
            engine.store.txn(txn).await.map_err(store_error)?;
            removed += 1;
        }
        if range.remaining == 0 {
            return Ok(removed);
        }
        after = range.records.last().map(|record| record.key.to_string());
    }
}

/// The last time that an Event was told.
fn last_seen(event: &Json) -> Timestamp {
    [&["series", "lastObservedTime"][..], &["lastTimestamp"], &["eventTime"], &["metadata", "creationTimestamp"]]
        .into_iter()
        .filter_map(|path| str_at(event, path).and_then(Timestamp::parse))
        .max()
        .unwrap_or_default()
}
