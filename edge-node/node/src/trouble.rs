//! A disk that takes no writes: it is said by an event and, when it will not do so again for this process, by the node's condition;
//! what runs goes on.
//!
//! Task: one; it also tries again on a disk that was full.

use crate::main_loop::Running;
use crate::store::DiskTrouble;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often a disk that took no writes is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(10);

/// What conditions and events say of it.
pub(crate) fn message(trouble: &DiskTrouble) -> String {
    format!("the node's disk takes no writes: {}", trouble.why)
}

/// Tells trouble and its end until dropped; the node's status is told anew with both.
pub(crate) async fn tell(node: Arc<Running>, report: Arc<Notify>) {
    let env = node.parts.env.clone();
    let uid = &node.parts.config.node_uid;
    let mut trouble = node.store.trouble();
    let mut told = None;
    loop {
        let now = trouble.borrow_and_update().clone();
        if told != now {
            match &now {
                Some(trouble) => node.events.node(uid, true, "DiskTakesNoWrites", &message(trouble)).await,
                None => node.events.node(uid, false, "DiskTakesWrites", "the node's disk takes writes again").await,
            }
            report.notify_one();
            told.clone_from(&now);
        }
        let is_full = now.is_some_and(|trouble| !trouble.is_last);
        tokio::select! {
            biased;
            changed = trouble.changed() => if changed.is_err() { return },
            () = env.sleep(RETRY), if is_full => node.store.try_again().await,
        }
    }
}
