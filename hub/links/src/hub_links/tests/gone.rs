//! Nodes whose Node is deleted: nothing is left of them, and nothing of them takes effect any more.

use super::*;
use crate::{certificates, leftovers};
use holdfast_registry::node_records;
use holdfast_store::RangeRequest;

impl Cluster {
    /// Keys of all records of nodes.
    async fn records(&self) -> Vec<String> {
        let mut found = Vec::new();
        for prefix in node_records::PREFIXES {
            let request = RangeRequest { prefix: prefix.into(), ..RangeRequest::default() };
            let records = self.store.range(request).await.unwrap().records;
            found.extend(records.iter().map(|record| record.key.to_string()));
        }
        found
    }

    async fn delete_node(&self, name: &str) {
        let delete = Operation::Delete(holdfast_core::DeleteOptions::default());
        self.links.shared.call(target("nodes", "", name), delete).await.unwrap();
    }
}

fn keys(uid: &str) -> [String; 3] {
    [node_records::session(uid), node_records::mark(uid), node_records::certificates(uid)]
}

/// A node that is linked, and has said something.
async fn talking(cluster: &Cluster) -> (Arc<NodeSession>, Session, FactWriter, Arc<Object>) {
    let (host, session, writer) = cluster.node("edge").await;
    let pod = cluster.pod("a", "edge", json!({})).await;
    writer.all(vec![status(1, &pod, "Running")]).await.unwrap();
    (host, session, writer, pod)
}

fn status(seq: u64, pod: &Object, phase: &str) -> WireFact {
    let body = json!({"uid": pod.meta.uid, "status": {"phase": phase}});
    fact(seq, FactSort::State, &format!("/v1/pods/default/{}", pod.meta.name), &body)
}

#[tokio::test]
async fn what_is_kept_of_a_node_goes_with_it_and_with_that_its_word() {
    let cluster = cluster().await;
    let (host, session, writer, pod) = talking(&cluster).await;
    let uid = host.node_uid().to_string();
    assert_eq!(cluster.records().await, keys(&uid));
    let certificate = b"a certificate".to_vec();
    cluster.delete_node("edge").await;
    assert_eq!(cluster.records().await, [""; 0]);
    // Before anybody has told the connection.
    assert!(cluster.links.shared.session_at("edge", session).is_some());
    assert_eq!(writer.all(vec![status(2, &pod, "Failed")]).await.unwrap_err(), "the session was replaced");
    let missing = vec![fact(3, FactSort::State, "/v1/pods/default/none", &json!({"uid": "x", "status": {}}))];
    assert_eq!(writer.all(missing).await.unwrap_err(), "the session was replaced");
    assert_eq!(cluster.get("pods", "default", "a").await.unwrap()["status"]["phase"], "Running");
    // Nor does what is left of its connection make a record again.
    let refused = host.online(session, Arc::new(Wire)).await.unwrap_err();
    assert_eq!(refused.code, "Replaced");
    certificates::confirmed(&*cluster.store, &writer.node_uid, writer.session_at, &certificate).await.unwrap();
    assert!(!certificates::renewed(&*cluster.store, &writer.node_uid, &certificate, b"next").await.unwrap());
    assert_eq!(host.grant(&hello("edge", &uid, session.0)).await.unwrap_err().code, "UnknownNode");
    assert_eq!(cluster.records().await, [""; 0]);
}

#[tokio::test]
async fn a_node_of_the_same_name_begins_anew_and_hears_nothing_of_the_old_one() {
    let cluster = cluster().await;
    let (old_host, old_session, old, pod) = talking(&cluster).await;
    cluster.delete_node("edge").await;
    let (host, session, writer) = cluster.node("edge").await;
    assert_ne!(host.node_uid(), old_host.node_uid());
    assert_eq!((session, cluster.mark(&writer.node_uid).await), (Session(1), Seq(0)));
    let before = cluster.records().await;
    // The old machine's words, whichever came to the hub when.
    assert_eq!(old.all(vec![status(2, &pod, "Failed")]).await.unwrap_err(), "the session was replaced");
    let again = old_host.grant(&hello("edge", old_host.node_uid(), old_session.0)).await.unwrap_err();
    assert_eq!(again.code, "UnknownNode");
    assert_eq!(cluster.records().await, before);
    writer.all(vec![status(1, &pod, "Succeeded")]).await.unwrap();
    assert_eq!(cluster.get("pods", "default", "a").await.unwrap()["status"]["phase"], "Succeeded");
    assert_eq!(cluster.mark(&writer.node_uid).await, Seq(1));
}

#[tokio::test]
async fn a_session_is_issued_only_while_the_node_is_there() {
    let cluster = cluster().await;
    let (_, session, writer, _) = talking(&cluster).await;
    let uid = writer.node_uid.clone();
    let alive = cluster.links.shared.live("edge", &uid.0).await.unwrap();
    // Deleted between the look at the Node and the transaction.
    cluster.delete_node("edge").await;
    let hello = hello("edge", &uid.0, session.0);
    let issued = issue(&*cluster.store, Lineage(1), &uid, &alive, &hello).await.unwrap();
    assert_eq!(issued, Issued::NodeChanged);
    assert!(!certificates::issued(&*cluster.store, &uid, &alive, b"a certificate").await.unwrap());
    // Another of its name does not help it.
    let (other, ..) = cluster.node("edge").await;
    let issued = issue(&*cluster.store, Lineage(1), &uid, &alive, &hello).await.unwrap();
    assert_eq!(issued, Issued::NodeChanged);
    assert!(cluster.records().await.iter().all(|key| key.ends_with(other.node_uid())));
}

#[tokio::test]
async fn what_earlier_releases_left_behind_is_removed_once() {
    let store = holdfast_store::testing::memory_store().unwrap();
    let put = |key: String, value: &'static str| Op::Put { key, value: Bytes::from_static(value.as_bytes()) };
    let mut ops = vec![put("/registry/core/nodes/edge".into(), r#"{"metadata":{"name":"edge","uid":"here"}}"#)];
    // One has only a mark, and what a record says does not matter.
    ops.extend(keys("here").into_iter().chain(keys("gone")).map(|key| put(key, "{")));
    ops.push(put(node_records::mark("gone-2"), "{"));
    store.txn(Txn { checks: Vec::new(), ops }).await.unwrap();
    assert_eq!(leftovers::sweep(&*store).await, Ok(2));
    let all = store.range(RangeRequest::default()).await.unwrap().records;
    let mut left: Vec<String> = all.iter().map(|record| record.key.to_string()).collect();
    assert_eq!(left.pop().unwrap(), "/registry/core/nodes/edge");
    left.sort_unstable();
    let mut expected = keys("here");
    expected.sort_unstable();
    assert_eq!(left, expected);
    assert_eq!(leftovers::sweep(&*store).await, Ok(0));
    // What it does not understand, it leaves alone.
    let ops = vec![put("/registry/core/nodes/edge".into(), "{"), put(node_records::mark("gone"), "{}")];
    store.txn(Txn { checks: Vec::new(), ops }).await.unwrap();
    assert!(leftovers::sweep(&*store).await.unwrap_err().to_string().contains("/registry/core/nodes/edge"));
    assert!(store.get(&node_records::mark("gone")).await.unwrap().is_some());
}
