//! Kept pods: who is taken back, who has to go, and what is answered to made-up ones.

use super::*;
use crate::adoption::{Verdict, ensure_key};
use crate::lineage::begin_another;
use holdfast_core::Timestamp;
use holdfast_store::{Op, RangeRequest, Txn};

const KEY: &str = "/v1/pods/default/a";

/// The pod as its node has it.
async fn item(cluster: &Cluster, node: &str, key: &str) -> (Json, Revision) {
    let item = build(&*cluster.store, &cluster.links.shared.views, node, &NodeView::default())
        .await
        .unwrap()
        .get(key)
        .unwrap();
    (serde_json::from_slice(&item.body).unwrap(), item.revision)
}

/// What its node says of it after a restore.
fn kept((object, revision): &(Json, Revision)) -> Json {
    json!({
        "uid": object["metadata"]["uid"], "status": {"phase": "Running", "podIP": "10.0.0.1"}, "object": object,
        "assigned": {"lineage": Lineage(1).to_string(), "revision": revision},
    })
}

impl Cluster {
    async fn put(&self, ops: Vec<Op>) {
        self.store.txn(Txn { checks: Vec::new(), ops }).await.unwrap();
    }

    /// As if a backup of this moment had been restored.
    async fn restored(&self) {
        let all = self.store.range(RangeRequest::default()).await.unwrap();
        let records = all.records.iter().map(|record| (&*record.key, &record.value));
        let now = Timestamp::from_wall(self.env.wall().0);
        let writes = begin_another(records, all.revision, Lineage(2), now).unwrap();
        self.put(writes.into_iter().map(|(key, value)| Op::Put { key, value }).collect()).await;
    }

    /// As if something had happened in the part of the history that is lost.
    async fn forget(&self, key: &str) {
        self.put(vec![Op::Delete { key: key.into() }]).await;
    }

    async fn told(&self, writer: &FactWriter, seq: u64, key: &str, body: &Json) -> Option<Verdict> {
        writer.all(vec![fact(seq, FactSort::State, key, body)]).await.unwrap();
        assert_eq!(self.mark(&writer.node_uid).await, Seq(seq));
        let told = std::mem::take(&mut *writer.verdicts.lock().unwrap());
        told.into_values().next().map(|(_, verdict)| verdict)
    }
}

async fn sealing_cluster() -> Cluster {
    let cluster = cluster().await;
    let world: World = cluster.env.clone();
    ensure_key(&*cluster.store, &world).await.unwrap();
    cluster.put(vec![Op::Put { key: crate::lineage::KEY.into(), value: Lineage(1).to_string().into() }]).await;
    cluster
}

#[tokio::test]
async fn a_kept_pod_comes_back_as_it_was_and_once() {
    let cluster = sealing_cluster().await;
    let (_, _, writer) = cluster.node("edge").await;
    let pod = cluster.pod("a", "edge", json!({"nodeSelector": {"disk": "ssd"}})).await;
    let word = kept(&item(&cluster, "edge", KEY).await);
    cluster.forget("/registry/core/pods/default/a").await;
    let verdict = cluster.told(&writer, 1, KEY, &word).await;
    assert!(matches!(verdict, Some(Verdict::Kept(why)) if why.contains("was not restored")), "no restore, no adoption");
    cluster.restored().await;
    // The backup was older than the pod.
    let mut late = word.clone();
    late["assigned"]["revision"] = json!(u64::from(u32::MAX));
    assert_eq!(cluster.told(&writer, 2, KEY, &late).await, Some(Verdict::Adopted(Vec::new())));
    let back = cluster.get("pods", "default", "a").await.unwrap();
    let before = pod.to_json();
    for field in ["uid", "creationTimestamp", "labels", "annotations"] {
        assert_eq!(back["metadata"][field], before["metadata"][field], "{field}");
    }
    assert_eq!(back["spec"], before["spec"]);
    assert_eq!((&back["status"]["phase"], &back["status"]["podIP"]), (&json!("Running"), &json!("10.0.0.1")));
    assert!(back.get(holdfast_core::meta::SEAL).is_none());
    // What the node has is what it gets.
    let (mut now, mut then) = (item(&cluster, "edge", KEY).await.0, word["object"].clone());
    for pod in [&mut now, &mut then] {
        // Fields may have changed their order under it.
        assert!(pod.as_object_mut().unwrap().remove(holdfast_core::meta::SEAL).is_some());
    }
    assert_eq!(now, then);
    // Said again it is a status; deleted it stays dead, whoever says what.
    assert_eq!(cluster.told(&writer, 3, KEY, &late).await, None);
    cluster.forget("/registry/core/pods/default/a").await;
    let verdict = cluster.told(&writer, 4, KEY, &late).await;
    assert!(matches!(verdict, Some(Verdict::Ended(why)) if why.contains("deleted since")), "its end is a deletion");
    assert_eq!(cluster.get("pods", "default", "a").await.unwrap_err().code(), 404);
}

#[tokio::test]
async fn what_was_deleted_stays_deleted() {
    let cluster = sealing_cluster().await;
    let (_, _, writer) = cluster.node("edge").await;
    cluster.pod("a", "edge", json!({})).await;
    cluster.pod("b", "edge", json!({})).await;
    let (a, b) = (item(&cluster, "edge", KEY).await, item(&cluster, "edge", "/v1/pods/default/b").await);
    // One before the backup, one since the restore of it.
    cluster.forget("/registry/core/pods/default/a").await;
    cluster.restored().await;
    cluster.forget("/registry/core/pods/default/b").await;
    let verdict = cluster.told(&writer, 1, KEY, &kept(&a)).await;
    assert!(matches!(verdict, Some(Verdict::Ended(why)) if why.contains("when the hub's backup was made")));
    let mut b = kept(&b);
    // Changed after the backup, so that only what the restore noted tells.
    b["assigned"]["revision"] = json!(u64::from(u32::MAX));
    let verdict = cluster.told(&writer, 2, "/v1/pods/default/b", &b).await;
    assert!(matches!(verdict, Some(Verdict::Ended(why)) if why.contains("since the hub was restored")));
    assert!(
        build(&*cluster.store, &cluster.links.shared.views, "edge", &NodeView::default())
            .await
            .unwrap()
            .entries()
            .all(|(key, _)| !key.starts_with("/v1/pods/"))
    );
}

#[tokio::test]
async fn a_node_gets_nothing_by_made_up_pods() {
    let cluster = sealing_cluster().await;
    let (_, _, writer) = cluster.node("edge").await;
    let (_, _, other) = cluster.node("other").await;
    cluster.restored().await;
    cluster.pod("a", "edge", json!({})).await;
    let mut word = kept(&item(&cluster, "edge", KEY).await);
    word["assigned"]["revision"] = json!(u64::from(u32::MAX));
    cluster.forget("/registry/core/pods/default/a").await;
    let refused = async |writer: &FactWriter, seq, key: &str, body: &Json| {
        let verdict = cluster.told(writer, seq, key, body).await;
        let Some(Verdict::Kept(why)) = verdict else { panic!("{verdict:?}") };
        assert_eq!(cluster.get("pods", "default", "a").await.unwrap_err().code(), 404);
        why
    };
    let mut changed = word.clone();
    changed["object"]["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": "of-others"}}]);
    assert!(refused(&writer, 1, KEY, &changed).await.contains("seal"));
    let mut moved = word.clone();
    moved["object"]["spec"]["nodeName"] = json!("other");
    assert!(refused(&other, 1, KEY, &moved).await.contains("seal"), "another node's");
    assert!(refused(&other, 2, KEY, &word).await.contains("seal"), "another node's");
    assert!(refused(&writer, 2, "/v1/pods/default/b", &word).await.contains("seal"), "under another name");
    let mut unsealed = word.clone();
    unsealed["object"].as_object_mut().unwrap().remove(holdfast_core::meta::SEAL);
    assert!(refused(&writer, 3, KEY, &unsealed).await.contains("seal"));
}

#[tokio::test]
async fn what_stands_in_the_way_is_said() {
    let cluster = sealing_cluster().await;
    let (_, _, writer) = cluster.node("edge").await;
    cluster.create("namespaces", "", json!({"metadata": {"name": "gone"}})).await;
    cluster.create("serviceaccounts", "gone", json!({"metadata": {"name": "default"}})).await;
    let config = cluster.create("configmaps", "default", json!({"metadata": {"name": "owner"}})).await;
    let owner = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid});
    let owners = json!([owner("owner", &config.meta.uid), owner("lost", "u-1"), owner("owner", "u-2")]);
    let spec = json!({"nodeName": "edge", "containers": [{"name": "main", "image": "app:1"}]});
    cluster
        .create("pods", "default", json!({"metadata": {"name": "a", "ownerReferences": owners}, "spec": spec}))
        .await;
    cluster.create("pods", "gone", json!({"metadata": {"name": "b"}, "spec": spec})).await;
    cluster.pod("c", "edge", json!({})).await;
    cluster.pod("d", "edge", json!({})).await;
    let mut words = Vec::new();
    for key in [KEY, "/v1/pods/gone/b", "/v1/pods/default/c", "/v1/pods/default/d"] {
        let mut word = kept(&item(&cluster, "edge", key).await);
        word["assigned"]["revision"] = json!(u64::from(u32::MAX));
        words.push(word);
    }
    for key in ["pods/default/a", "pods/gone/b", "pods/default/c", "pods/default/d", "namespaces/gone"] {
        cluster.forget(&format!("/registry/core/{key}")).await;
    }
    cluster.restored().await;
    // Owners that are no more would hand it to the garbage collector.
    let verdict = cluster.told(&writer, 1, KEY, &words[0]).await;
    assert_eq!(verdict, Some(Verdict::Adopted(vec!["ConfigMap lost".into(), "ConfigMap owner".into()])));
    let back = cluster.get("pods", "default", "a").await.unwrap();
    assert_eq!(back["metadata"]["ownerReferences"], json!([owner("owner", &config.meta.uid)]));
    let verdict = cluster.told(&writer, 2, "/v1/pods/gone/b", &words[1]).await;
    assert!(matches!(&verdict, Some(Verdict::Kept(why)) if why.contains("\"gone\" not found")), "{verdict:?}");
    // Another of its name on another node, and on this one.
    cluster.pod("c", "elsewhere", json!({})).await;
    let verdict = cluster.told(&writer, 3, "/v1/pods/default/c", &words[2]).await;
    assert!(matches!(&verdict, Some(Verdict::Ended(why)) if why.contains("another pod has its name")), "{verdict:?}");
    cluster.pod("d", "edge", json!({})).await;
    assert_eq!(cluster.told(&writer, 4, "/v1/pods/default/d", &words[3]).await, None, "the sync puts it in its place");
    let mut deleting = words[3].clone();
    deleting["object"]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    cluster.forget("/registry/core/pods/default/d").await;
    let verdict = cluster.told(&writer, 5, "/v1/pods/default/d", &deleting).await;
    assert!(matches!(&verdict, Some(Verdict::Ended(_))), "{verdict:?}");
}

#[tokio::test]
async fn what_has_to_go_is_dropped_in_the_session_that_reports_it() {
    let cluster = sealing_cluster().await;
    let (host, session, _) = cluster.node("edge").await;
    cluster.pod("a", "edge", json!({})).await;
    let word = kept(&item(&cluster, "edge", KEY).await);
    cluster.forget("/registry/core/pods/default/a").await;
    cluster.restored().await;
    host.apply_facts(session, OUTBOX, vec![fact(1, FactSort::State, KEY, &word)]).await.unwrap();
    let ended = || {
        let mut ended = Vec::new();
        host.with_view(&mut |view| ended = view.ended().map(str::to_string).collect());
        ended
    };
    assert_eq!(ended(), [KEY]);
    // People are told once; and a view that is built anew does not forget it.
    host.apply_facts(session, OUTBOX, vec![fact(2, FactSort::State, KEY, &word)]).await.unwrap();
    host.grant(&hello("edge", host.node_uid(), session.0)).await.unwrap();
    assert_eq!(ended(), [KEY]);
    let name = format!("edge.podended.{}", word["uid"].as_str().unwrap());
    let event = cluster.get("events", "default", &name).await.unwrap();
    assert_eq!((&event["reason"], &event["type"]), (&json!("PodEnded"), &json!("Warning")));
}
