//! Mirror pods, as a node's facts ask for them.

use super::*;

const KEY: &str = "/v1/pods/default/web-edge";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What a node says of a static pod that has no mirror.
fn word(node_uid: &str, hash: &str, image: &str, phase: &str) -> Json {
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "edge", "uid": node_uid, "controller": true});
    json!({
        "uid": hash,
        "mirror": {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "web-edge", "namespace": "default", "ownerReferences": [owner],
                "annotations": {MIRROR: hash, "kubernetes.io/config.source": "file"},
            },
            "spec": {
                "nodeName": "edge",
                "containers": [{"name": "c", "image": image}],
                "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
            },
        },
        "status": {"phase": phase},
    })
}

async fn tell(cluster: &Cluster, writer: &FactWriter, seq: u64, body: &Json) -> Result<Json, Status> {
    writer.all(vec![fact(seq, FactSort::State, KEY, body)]).await.unwrap();
    assert_eq!(cluster.mark(&writer.node_uid).await, Seq(seq));
    cluster.get("pods", "default", "web-edge").await
}

#[tokio::test]
async fn a_static_pod_has_a_mirror_that_is_replaced_when_it_is_stale_or_deleted() {
    let cluster = cluster().await;
    let (host, _, writer) = cluster.node("edge").await;
    let uid = host.node_uid().to_string();
    let first = tell(&cluster, &writer, 1, &word(&uid, "h1", "i:1", "Pending")).await.unwrap();
    assert_eq!(first["metadata"]["annotations"][MIRROR], "h1");
    assert_eq!((&first["spec"]["nodeName"], &first["status"]["phase"]), (&json!("edge"), &json!("Pending")));
    assert_eq!(first["metadata"]["ownerReferences"][0]["uid"], uid.as_str());
    let volumes = first["spec"].get("volumes").and_then(Json::as_array).map_or(0, Vec::len);
    assert_eq!((volumes, &first["spec"]["serviceAccountName"]), (0, &Json::Null), "no token is mounted");
    // The same again is its status, and so is a word about the mirror itself.
    let again = tell(&cluster, &writer, 2, &word(&uid, "h1", "i:1", "Running")).await.unwrap();
    assert_eq!((&again["metadata"]["uid"], &again["status"]["phase"]), (&first["metadata"]["uid"], &json!("Running")));
    let own = json!({"uid": again["metadata"]["uid"], "status": {"phase": "Running", "podIP": "10.0.0.9"}});
    assert_eq!(tell(&cluster, &writer, 3, &own).await.unwrap()["status"]["podIP"], "10.0.0.9");
    // Another content is another pod.
    let second = tell(&cluster, &writer, 4, &word(&uid, "h2", "i:2", "Running")).await.unwrap();
    assert_ne!(second["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(second["spec"]["containers"][0]["image"], "i:2");
    // Who deletes it with grace sees a new one as soon as the node hears of it.
    let delete = Operation::Delete(holdfast_core::DeleteOptions::default());
    cluster.links.shared.call(target("pods", "default", "web-edge"), delete).await.unwrap();
    assert!(cluster.get("pods", "default", "web-edge").await.unwrap()["metadata"]["deletionTimestamp"].is_string());
    let third = tell(&cluster, &writer, 5, &word(&uid, "h2", "i:2", "Running")).await.unwrap();
    assert_ne!(third["metadata"]["uid"], second["metadata"]["uid"]);
    assert_eq!(third["metadata"].get("deletionTimestamp"), None);
    // The file went.
    let gone = json!({"uid": third["metadata"]["uid"], "gone": true});
    assert_eq!(tell(&cluster, &writer, 6, &gone).await.unwrap_err().code(), 404);
}

#[tokio::test]
async fn a_node_gets_no_pod_by_calling_it_a_mirror() {
    let cluster = cluster().await;
    let (host, _, writer) = cluster.node("edge").await;
    let uid = host.node_uid().to_string();
    let mut secret = word(&uid, "h", "i", "Running");
    secret["mirror"]["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}]);
    assert_eq!(tell(&cluster, &writer, 1, &secret).await.unwrap_err().code(), 404);
    let mut elsewhere = word(&uid, "h", "i", "Running");
    elsewhere["mirror"]["spec"]["nodeName"] = json!("other");
    assert_eq!(tell(&cluster, &writer, 2, &elsewhere).await.unwrap_err().code(), 404);
    // An ordinary pod of that name stays as it is, on this node or on another.
    for (seq, node) in [(3, "edge"), (4, "other")] {
        let pod = cluster.pod("web-edge", node, json!({})).await;
        let after = tell(&cluster, &writer, seq, &word(&uid, "h", "i", "Failed")).await.unwrap();
        assert_eq!(after["metadata"]["uid"], pod.meta.uid.as_str());
        assert_ne!(after["status"]["phase"], "Failed");
        let options =
            holdfast_core::DeleteOptions { grace_period_seconds: Some(0), ..holdfast_core::DeleteOptions::default() };
        cluster.links.shared.call(target("pods", "default", "web-edge"), Operation::Delete(options)).await.unwrap();
    }
}
