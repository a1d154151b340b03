//! The life of an object of each kind: what every client does with it, in that order.

use crate::hub::{Hub, WatchedBody, version};
use crate::kinds::{Kind, all};
use holdfast_core::Json;
use holdfast_server::codec::protobuf;
use serde_json::json;

const LABEL: &str = "of=a-life";
/// In `apiVersion: meta/v1` of discovery, for every kind here.
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Kinds whose annotations a write of the status may change; others keep theirs.
const BY_STATUS: [&str; 4] = ["CertificateSigningRequest", "CronJob", "Ingress", "Service"];

/// What was asked for is in an object; objects are compared by the fields that `part` has.
fn has(doc: &Json, part: &Json) -> bool {
    match (doc, part) {
        (Json::Object(doc), Json::Object(part)) => {
            part.iter().all(|(key, value)| doc.get(key).is_some_and(|own| has(own, value)))
        }
        (Json::Array(doc), Json::Array(part)) => {
            doc.len() == part.len() && doc.iter().zip(part).all(|(own, value)| has(own, value))
        }
        (doc, part) => doc == part,
    }
}

struct Life<'a> {
    hub: &'a Hub,
    kind: &'a Kind,
}

impl Life<'_> {
    /// The collection in a namespace, or of all when there is none.
    fn collection(&self, namespace: &str) -> String {
        match self.kind.namespaced && !namespace.is_empty() {
            true => format!("{}/namespaces/{namespace}/{}", self.kind.at, self.kind.plural),
            false => format!("{}/{}", self.kind.at, self.kind.plural),
        }
    }

    fn named(&self, name: &str) -> String {
        format!("{}/{name}", self.collection("one"))
    }

    fn body(&self, name: &str, namespace: &str) -> Json {
        let doc = self.kind.doc.to_string().replace("NAMESPACE", namespace);
        let mut doc: Json = serde_json::from_str(&doc).unwrap();
        doc["kind"] = self.kind.kind.into();
        doc["apiVersion"] = self.kind.at.trim_start_matches("/apis/").trim_start_matches("/api/").into();
        doc["metadata"] = json!({"name": name});
        doc
    }

    async fn is_discovered(&self) {
        let of_kind = |list: &Json| {
            let resources = list["resources"].as_array().unwrap().clone();
            let find = |name: String| resources.iter().find(|resource| resource["name"] == name).cloned();
            (find(self.kind.plural.into()), find(format!("{}/status", self.kind.plural)))
        };
        if let Some((group, version)) = self.kind.at.trim_start_matches("/apis/").split_once('/')
            && self.kind.at.starts_with("/apis/")
        {
            let served = |group: &Json| {
                group["versions"].as_array().is_some_and(|all| all.iter().any(|one| one["version"] == version))
            };
            let groups = self.hub.get("/apis").await.ok();
            let found = groups["groups"].as_array().unwrap().iter().find(|one| one["name"] == group);
            assert!(found.is_some_and(served), "{group} is not in /apis");
            assert!(served(&self.hub.get(&format!("/apis/{group}")).await.ok()), "{version} is not in /apis/{group}");
        }
        let (resource, status) = of_kind(&self.hub.get(self.kind.at).await.ok());
        let resource = resource.unwrap_or_else(|| panic!("{} is not discovered", self.kind.plural));
        assert_eq!(
            (&resource["kind"], &resource["namespaced"]),
            (&json!(self.kind.kind), &json!(self.kind.namespaced))
        );
        let verbs: Vec<&str> = resource["verbs"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
        assert!(VERBS.iter().all(|verb| verbs.contains(verb)), "{}: {verbs:?}", self.kind.plural);
        assert_eq!(status.is_some(), self.kind.status.is_some(), "{}/status", self.kind.plural);
    }

    /// Two in a namespace and one in another, with a label; one without.
    async fn begins(&self) -> Json {
        let [first, second, third, other] = self.kind.names;
        let mut made = Json::Null;
        for (name, namespace) in [(first, "one"), (second, "one"), (third, "two"), (other, "one")] {
            let mut body = self.body(name, namespace);
            if name != other {
                body["metadata"]["labels"] = json!({"of": "a-life"});
            }
            let tried = self.hub.post(&format!("{}?dryRun=All", self.collection(namespace)), &body).await.ok();
            assert!(has(&tried, &self.body(name, namespace)), "{tried:#}");
            self.hub.get(&format!("{}/{name}", self.collection(namespace))).await.refused(404);
            let one = self.hub.create(&self.collection(namespace), body.clone()).await;
            assert!(has(&one, &self.body(name, namespace)), "{one:#}");
            let again = self.hub.post(&self.collection(namespace), &body).await.refused(409);
            assert!(again.ends_with("already exists"), "{again}");
            if name == first {
                made = one;
            }
        }
        let read = self.hub.get(&self.named(first)).await.ok();
        assert_eq!(read, made, "what is read is what was made");
        self.is_a_message_too(&made).await;
        let wrong = self.hub.get(&self.named("192.0.2.99")).await;
        assert!(wrong.refused(404).ends_with("not found"));
        made
    }

    /// What a client reads as protobuf and sends back unchanged is what there was. A message has fields that JSON may leave
    /// out: they get an owner and, as for now, count as a change of what is desired.
    async fn is_a_message_too(&self, made: &Json) {
        let path = self.named(self.kind.names[0]);
        let headers = [("accept", protobuf::MEDIA_TYPE), ("content-type", protobuf::MEDIA_TYPE)];
        let bytes = protobuf::document(made).unwrap();
        let mut message = protobuf::decode(&bytes).unwrap();
        assert_eq!(self.hub.send("GET", &path, &headers, "").await.ok(), message);
        let mut sent = self.hub.send("PUT", &format!("{path}?dryRun=All"), &headers, bytes).await.ok();
        for doc in [&mut sent, &mut message] {
            doc["metadata"]["managedFields"] = Json::Null;
            doc["metadata"]["generation"] = Json::Null;
        }
        assert_eq!(sent, message);
        self.hub.send("GET", &self.collection(""), &headers, "").await.ok();
    }

    /// Every verb that writes, with `dryRun`: it answers as ever and leaves everything as it is.
    async fn is_tried_and_stays(&self) {
        let named = self.named(self.kind.names[0]);
        let before = self.hub.get(&named).await.ok();
        let label = json!({"metadata": {"labels": {"tried": "yes"}}});
        let patched = self.hub.patch(&format!("{named}?dryRun=All"), "merge-patch", &label).await.ok();
        assert!(has(&patched, &label), "{patched:#}");
        let mut replaced = before.clone();
        replaced["metadata"]["labels"]["tried"] = json!("yes");
        let replaced = self.hub.put(&format!("{named}?dryRun=All"), &replaced).await.ok();
        assert!(has(&replaced, &label), "{replaced:#}");
        if let Some(status) = &self.kind.status {
            let body = json!({"status": status});
            let patched = self.hub.patch(&format!("{named}/status?dryRun=All"), "merge-patch", &body).await.ok();
            assert!(has(&patched["status"], status), "{patched:#}");
        }
        const AT_ONCE: &str = "dryRun=All&propagationPolicy=Background";
        self.hub.delete(&format!("{named}?{AT_ONCE}")).await.ok();
        self.hub.delete(&format!("{}?labelSelector={LABEL}&{AT_ONCE}", self.collection("one"))).await.ok();
        assert_eq!(self.hub.get(&named).await.ok(), before);
    }

    async fn is_listed(&self) -> Json {
        let [first, second, third, other] = self.kind.names;
        let sorted = async |path: String| {
            let mut names = self.hub.names(&path).await;
            names.sort();
            names
        };
        let mut labelled = vec![first, second, third];
        labelled.sort_unstable();
        let all = format!("{}?labelSelector={LABEL}", self.collection(""));
        assert_eq!(sorted(all.clone()).await, labelled);
        if self.kind.namespaced {
            assert_eq!(sorted(format!("{}?labelSelector={LABEL}", self.collection("one"))).await, [first, second]);
        }
        let everything = sorted(self.collection("")).await;
        assert!(everything.iter().any(|name| name == other), "{everything:?}");
        let list = self.hub.get(&all).await.ok();
        assert_eq!(list["kind"], format!("{}List", self.kind.kind));
        list
    }

    /// By each sort of patch and by a replacement; each is seen by the watch.
    async fn changes(&self, made: &Json, watch: &mut WatchedBody) {
        let first = self.kind.names[0];
        let mark = |word: &str| json!({"metadata": {"annotations": {word: "true"}}});
        let marked = |doc: &Json, word: &str| doc["metadata"]["annotations"][word] == "true";
        let mut patch = mark("patched");
        for (field, value) in self.kind.change.as_object().unwrap() {
            if field == "metadata" {
                patch["metadata"]["labels"] = value["labels"].clone();
            } else {
                patch[field] = value.clone();
            }
        }
        let patched = self.hub.patch(&self.named(first), "merge-patch", &patch).await.ok();
        assert!(has(&patched, &patch) && version(&patched) > version(made), "{patched:#}");
        assert_eq!(self.hub.get(&self.named(first)).await.ok(), patched);
        watch.until("MODIFIED", first, |doc| *doc == patched).await;

        let merged = self.hub.patch(&self.named(first), "strategic-merge-patch", &mark("merged")).await.ok();
        assert!(marked(&merged, "merged") && marked(&merged, "patched"), "{merged:#}");
        let operations = json!([{"op": "add", "path": "/metadata/annotations/json", "value": "true"}]);
        let operated = self.hub.patch(&self.named(first), "json-patch", &operations).await.ok();
        assert!(marked(&operated, "json"), "{operated:#}");

        let mut newer = operated.clone();
        newer["metadata"]["annotations"]["updated"] = json!("true");
        let updated = self.hub.put(&self.named(first), &newer).await.ok();
        assert!(["updated", "patched", "merged"].iter().all(|word| marked(&updated, word)), "{updated:#}");
        assert!(version(&updated) > version(&operated));
        watch.until("MODIFIED", first, |doc| marked(doc, "updated")).await;
        let stale = self.hub.put(&self.named(first), &operated).await.refused(409);
        assert!(stale.contains("the object has been modified"), "{stale}");

        let mut applied = mark("applied");
        applied["kind"] = updated["kind"].clone();
        applied["apiVersion"] = updated["apiVersion"].clone();
        let path = format!("{}?fieldManager=a-life", self.named(first));
        let applied = self
            .hub
            .send("PATCH", &path, &[("content-type", "application/apply-patch+yaml")], applied.to_string())
            .await;
        assert!(marked(&applied.ok(), "applied"));
    }

    async fn has_a_status(&self, status: &Json, watch: &mut WatchedBody) {
        let first = self.kind.names[0];
        let path = format!("{}/status", self.named(first));
        let before = self.hub.get(&path).await.ok();
        assert_eq!(before["kind"], self.kind.kind);
        let mut patch = json!({"status": status});
        if BY_STATUS.contains(&self.kind.kind) {
            patch["metadata"] = json!({"annotations": {"patchedstatus": "true"}});
        }
        let patched = self.hub.patch(&path, "merge-patch", &patch).await.ok();
        assert!(has(&patched, &patch), "{patched:#}");
        watch.until("MODIFIED", first, |doc| has(&doc["status"], status)).await;
        // A replacement of the status leaves the rest, and one of the rest leaves the status.
        let mut newer = patched.clone();
        newer["status"] = before["status"].clone();
        let updated = self.hub.put(&path, &newer).await.ok();
        assert!(!has(&updated["status"], status), "{updated:#}");
        let mut back = updated.clone();
        back["status"] = patched["status"].clone();
        let back = self.hub.put(&path, &back).await.ok();
        assert!(has(&back["status"], status), "{back:#}");
        assert_eq!(self.hub.get(&path).await.ok(), back);
        let mut bare = back.clone();
        bare.as_object_mut().unwrap().remove("status");
        bare["metadata"]["annotations"]["rest"] = json!("true");
        let kept = self.hub.put(&self.named(first), &bare).await.ok();
        assert!(has(&kept["status"], status), "{kept:#}");
    }

    async fn ends(&self, watch: &mut WatchedBody) {
        let [first, second, third, other] = self.kind.names;
        if self.kind.kind.starts_with("PersistentVolume") {
            // Nobody uses them, and no controller runs here to say so.
            let patch = json!({"metadata": {"finalizers": null}});
            for namespace in ["one", "two"] {
                for name in self.hub.names(&self.collection(namespace)).await {
                    let at = format!("{}/{name}", self.collection(namespace));
                    self.hub.patch(&at, "merge-patch", &patch).await.ok();
                }
            }
        }
        // Jobs and ReplicationControllers would wait for the garbage collector otherwise, which does not run here.
        const AT_ONCE: &str = "propagationPolicy=Background";
        self.hub.delete(&format!("{}?{AT_ONCE}", self.named(first))).await.ok();
        self.hub.get(&self.named(first)).await.refused(404);
        watch.until("DELETED", first, |_| true).await;
        let left = self.hub.names(&format!("{}?labelSelector={LABEL}", self.collection(""))).await;
        assert_eq!(left.len(), 2, "{left:?}");

        self.hub.delete(&format!("{}?labelSelector={LABEL}&{AT_ONCE}", self.collection("one"))).await.ok();
        watch.until("DELETED", second, |_| true).await;
        let left = self.hub.names(&format!("{}?labelSelector={LABEL}", self.collection(""))).await;
        match self.kind.namespaced {
            true => assert_eq!(left, [third], "another namespace's objects stay"),
            false => assert!(left.is_empty(), "{left:?}"),
        }
        self.hub.get(&self.named(other)).await.ok();
        for namespace in ["one", "two"] {
            for name in self.hub.names(&self.collection(namespace)).await {
                if self.kind.names.contains(&name.as_str()) {
                    self.hub.delete(&format!("{}/{name}?{AT_ONCE}", self.collection(namespace))).await.ok();
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_lives_as_clients_expect() {
    let hub = Hub::start().await;
    for kind in all() {
        eprintln!("{} of {}", kind.plural, kind.at);
        let life = Life { hub: &hub, kind: &kind };
        life.is_discovered().await;
        let made = life.begins().await;
        life.is_tried_and_stays().await;
        let list = life.is_listed().await;
        let from = list["metadata"]["resourceVersion"].as_str().unwrap();
        let path = format!("{}?watch=true&labelSelector={LABEL}&resourceVersion={from}", life.collection(""));
        let mut watch = hub.watch(&path).await;
        life.changes(&made, &mut watch).await;
        if let Some(status) = &kind.status {
            life.has_a_status(status, &mut watch).await;
        }
        life.ends(&mut watch).await;
    }
}
