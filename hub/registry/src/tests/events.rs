//! Old Events go.

use super::*;
use crate::event_expiry::sweep;

#[tokio::test]
async fn events_go_an_hour_after_they_were_told_last() {
    let cluster = cluster().await;
    let now = cluster.registry.engine().now();
    for (name, last) in [("old", "2020-01-01T00:00:00Z".to_string()), ("fresh", now.to_string())] {
        let doc = json!({
            "metadata": { "name": name }, "involvedObject": { "kind": "Pod", "name": "a", "namespace": "default" },
            "lastTimestamp": last, "reason": "Started", "type": "Normal",
        });
        cluster.create("events", "default", doc).await.unwrap();
    }
    // The old one was stored just now: the time of its creation counts too.
    let hour = Duration::from_secs(3600);
    assert_eq!(sweep(cluster.registry.engine(), hour).await.unwrap(), 0);
    assert_eq!(sweep(cluster.registry.engine(), Duration::ZERO).await.unwrap(), 2);
    assert_eq!(cluster.get("events", "default", "old").await.unwrap_err().code(), 404);
}
