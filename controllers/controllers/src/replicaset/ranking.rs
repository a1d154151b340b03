//! Which pods a ReplicaSet gives up first (upstream's `ActivePodsWithRanks`).

use super::Pod;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

/// Sorts `pods`, the first to go first. `crowd` says how many related pods are on a node: of equals, those in the
/// largest crowd go first.
pub(super) fn sort(pods: &mut [Pod], crowd: &BTreeMap<String, usize>) {
    pods.sort_by(|a, b| compare(a, b, crowd));
}

fn compare(a: &Pod, b: &Pod, crowd: &BTreeMap<String, usize>) -> Ordering {
    let rank = |pod: &Pod| crowd.get(&pod.value.node).copied().unwrap_or(0);
    let (va, vb) = (&a.value, &b.value);
    // Not placed; pending before unknown before running; not ready; cheap to delete.
    let worth = |pod: &Pod| (!pod.value.node.is_empty(), pod.value.phase, pod.value.ready, pod.value.deletion_cost);
    worth(a)
        .cmp(&worth(b))
        .then_with(|| rank(b).cmp(&rank(a)))
        .then_with(|| match va.ready && vb.ready {
            // Ready for a shorter time goes first.
            true => vb.ready_since.cmp(&va.ready_since),
            false => Ordering::Equal,
        })
        .then_with(|| Reverse(va.restarts).cmp(&Reverse(vb.restarts)))
        .then_with(|| b.meta.creation_timestamp.cmp(&a.meta.creation_timestamp))
        .then_with(|| a.meta.name.cmp(&b.meta.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::{Phase, PodView};
    use holdfast_controller::Item;
    use holdfast_core::{ObjectMeta, Revision, Timestamp};
    use std::sync::Arc;

    fn pod(name: &str, created: i64, value: PodView) -> Pod {
        let meta = ObjectMeta {
            name: name.into(),
            creation_timestamp: Some(Timestamp::from_secs(created)),
            ..ObjectMeta::default()
        };
        Arc::new(Item { meta, revision: Revision(1), value })
    }

    #[test]
    fn the_least_valuable_goes_first() {
        let ready = |node: &str, since: i64| PodView {
            node: node.into(),
            phase: Phase::Running,
            ready: true,
            ready_since: Some(Timestamp::from_secs(since)),
            ..PodView::default()
        };
        let mut pods = vec![
            pod("old-ready", 1, ready("n1", 10)),
            pod("new-ready", 1, ready("n1", 20)),
            pod("crowded", 1, ready("n2", 5)),
            pod("precious", 1, PodView { deletion_cost: 5, ..ready("n2", 50) }),
            pod("restarting", 1, PodView { ready: false, restarts: 3, ..ready("n1", 0) }),
            pod("starting", 1, PodView { ready: false, ..ready("n1", 0) }),
            pod("pending", 1, PodView { node: "n1".into(), ..PodView::default() }),
            pod("unplaced", 1, PodView::default()),
            pod("younger", 2, PodView::default()),
        ];
        sort(&mut pods, &[("n2".to_string(), 2), ("n1".to_string(), 1)].into());
        let names: Vec<&str> = pods.iter().map(|pod| pod.meta.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "younger",
                "unplaced",
                "pending",
                "restarting",
                "starting",
                "crowded",
                "new-ready",
                "old-ready",
                "precious"
            ]
        );
    }
}
