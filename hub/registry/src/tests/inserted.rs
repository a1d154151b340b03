//! What admission puts into objects and asks of requests (documentation page "Admission Controllers", plug-in by plug-in):
//! TaintNodesByCondition, StorageObjectInUseProtection, PodTopologyLabels, and those of certificates.

use super::*;
use holdfast_server::{Attributes, Authorizer, Decision};

const REQUESTS: &str = "certificates.k8s.io/certificatesigningrequests";

#[tokio::test]
async fn a_new_node_takes_no_pods_yet() {
    let cluster = cluster().await;
    let taint = json!({ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" });
    let other = json!({ "key": "dedicated", "value": "x", "effect": "NoSchedule" });
    for (name, spec, expected) in [
        ("a", json!({}), json!([taint])),
        ("b", json!({ "taints": [other] }), json!([other, taint])),
        ("c", json!({ "taints": [taint] }), json!([taint])),
    ] {
        let doc = cluster.create("nodes", "", json!({ "metadata": { "name": name }, "spec": spec })).await.unwrap();
        assert_eq!(doc.to_json()["spec"]["taints"], expected, "{name}");
    }
}

#[tokio::test]
async fn claims_and_volumes_are_protected() {
    let cluster = cluster().await;
    let claim = json!({ "metadata": { "name": "data", "finalizers": ["example.com/own"] }, "spec": { "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": "1Gi" } } } });
    let doc = cluster.create("persistentvolumeclaims", "default", claim).await.unwrap().to_json();
    assert_eq!(doc["metadata"]["finalizers"], json!(["example.com/own", "kubernetes.io/pvc-protection"]));
    let volume = json!({ "metadata": { "name": "v" }, "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
        "hostPath": { "path": "/data" } } });
    let doc = cluster.create("persistentvolumes", "", volume).await.unwrap().to_json();
    assert_eq!(doc["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
    assert!(matches!(cluster.delete("persistentvolumes", "", "v").await.unwrap(), Deleted::Marked(_)));
    let none = json!({ "metadata": { "finalizers": null } });
    cluster.merge_cluster("persistentvolumes", "v", none).await;
    assert_eq!(cluster.get("persistentvolumes", "", "v").await.unwrap_err().code(), 404);
}

impl Cluster {
    async fn merge_cluster(&self, resource: &str, name: &str, body: Json) {
        let patch = Patch { patch_type: PatchType::Merge, body };
        self.registry.patch(&self.cx, &target(resource, "", name), patch, &WriteOptions::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_pod_carries_the_zone_of_its_node() {
    let cluster = cluster().await;
    let labels =
        json!({ "topology.kubernetes.io/zone": "north", "topology.kubernetes.io/region": "eu", "disk": "ssd" });
    cluster.create("nodes", "", json!({ "metadata": { "name": "n1", "labels": labels } })).await.unwrap();
    let mut own = pod("own");
    own["metadata"]["labels"] = json!({ "topology.kubernetes.io/zone": "mine" });
    for doc in [pod("plain"), own] {
        cluster.create("pods", "default", doc).await.unwrap();
    }
    for name in ["plain", "own"] {
        let binding = json!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": "n1" } });
        let at = target("pods", "default", name).with_subresource("binding");
        cluster.registry.create(&cluster.cx, &at, binding, &strict()).await.unwrap();
    }
    let mut placed = pod("placed");
    placed["spec"]["nodeName"] = json!("n1");
    cluster.create("pods", "default", placed).await.unwrap();
    let region = "eu";
    for (name, zone) in [("plain", "north"), ("own", "mine"), ("placed", "north")] {
        let doc = cluster.get("pods", "default", name).await.unwrap();
        let expected = json!({ "topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone });
        assert_eq!(doc["metadata"]["labels"], expected, "{name}");
    }
    let mut lost = pod("lost");
    lost["spec"]["nodeName"] = json!("gone");
    assert!(cluster.create("pods", "default", lost).await.unwrap().meta.labels.is_empty());
}

fn request(name: &str, signer: &str, pem: &str) -> Json {
    use base64::Engine as _;
    let request = base64::engine::general_purpose::STANDARD.encode(pem);
    json!({ "metadata": { "name": name }, "spec": { "request": request, "signerName": signer, "usages": ["client auth"] } })
}

#[tokio::test]
async fn nobody_signs_for_a_signer_that_is_not_his() {
    let cluster = cluster().await;
    let authorizer = cluster.registry.start_authorizer().await.unwrap();
    for (name, signers) in [("one", "example.com/one"), ("all", "example.com/*")] {
        let rule = |resource: &str, names: Json, verbs: Json| {
            json!({ "apiGroups": ["certificates.k8s.io"], "resources": [resource],
            "resourceNames": names, "verbs": verbs })
        };
        let role =
            json!({ "metadata": { "name": name }, "rules": [rule("signers", json!([signers]), json!(["sign"]))] });
        cluster.create("rbac.authorization.k8s.io/clusterroles", "", role).await.unwrap();
        let binding = json!({ "metadata": { "name": name }, "roleRef": { "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "User", "name": name }] });
        cluster.create("rbac.authorization.k8s.io/clusterrolebindings", "", binding).await.unwrap();
        let user = UserInfo::new(name, &[]);
        let at = Target::object(Gvr::new("certificates.k8s.io", "*", "signers"), "", signers);
        let attributes = Attributes { user: &user, verb: "sign", target: Some(&at), path: "" };
        let allowed = async {
            while authorizer.authorize(&attributes).await != Decision::Allow {
                tokio::task::yield_now().await;
            }
        };
        cluster.env.timeout(Duration::from_secs(5), allowed).await.expect("the binding was not seen");
    }
    for (user, signer, may) in [
        ("one", "example.com/one", true),
        ("one", "example.com/two", false),
        ("all", "example.com/two", true),
        ("all", "example.org/two", false),
        ("nobody", "example.com/one", false),
    ] {
        let name = format!("{user}-{}", signer.replace('/', "-"));
        let mut doc = cluster.create(REQUESTS, "", request(&name, signer, MASTERS)).await.unwrap().to_json();
        let cx = RequestContext::new(UserInfo::new(user, &[]), "test");
        let at = target(REQUESTS, "", &name).with_subresource("status");
        cluster.registry.update(&cx, &at, doc.clone(), &strict()).await.expect("nothing is signed by that");
        doc["status"] = json!({ "conditions": [{ "type": "Failed", "status": "True", "reason": "Test" }] });
        match cluster.registry.update(&cx, &at, doc, &strict()).await {
            Ok(_) => assert!(may, "{user} {signer}"),
            Err(refused) => {
                let text = format!(
                    "certificatesigningrequests.certificates.k8s.io {name:?} is forbidden: user not permitted to sign requests with signerName {signer:?}"
                );
                assert_eq!((may, refused.code(), refused.message()), (false, 403, text.as_str()));
            }
        }
    }
}

/// `openssl req -new -newkey ed25519 -nodes -keyout /dev/null -subj "/O=system:masters/CN=me"`.
const MASTERS: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIGlMFkCAQAwJjEXMBUGA1UECgwOc3lzdGVtOm1hc3RlcnMxCzAJBgNVBAMMAm1l
MCowBQYDK2VwAyEAWDMI8hly/jV82/g1V1Zr6CiGaquu0xKHTO6TXBgRvECgADAF
BgMrZXADQQC8oQ4Vn5vX8mKbF/JPtPQE4chd0T829QxCeQv4EKQmF6Mg03oGnIu/
ui61ZW5miYSj2V8h6FBpiDC23ooXBFUA
-----END CERTIFICATE REQUEST-----
";

#[tokio::test]
async fn nobody_asks_to_be_a_master() {
    let cluster = cluster().await;
    let signer = "kubernetes.io/kube-apiserver-client";
    for (name, signer, pem, expected) in [
        (
            "a",
            signer,
            MASTERS,
            "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
        ),
        ("b", "example.com/signer", MASTERS, ""),
    ] {
        match cluster.create(REQUESTS, "", request(name, signer, pem)).await {
            Ok(_) => assert_eq!(expected, "", "{name}"),
            Err(refused) => assert!(
                refused.code() == 403 && refused.message().ends_with(expected) && !expected.is_empty(),
                "{refused}"
            ),
        }
    }
}
