//! What the volumes of pods are made of, as one number a pod: when it changes, the pod's volumes are compared with their sources at
//! once, and as long as it does not, nobody has to look.

use crate::objects::token_prefix;
use holdfast_edge_store::State;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The number of each pod that has such volumes, by UIDs.
pub(super) fn of(state: &State, pods: &[Arc<Pod>]) -> BTreeMap<String, u64> {
    let mut namespaces: BTreeMap<String, u64> = BTreeMap::new();
    let mut all = BTreeMap::new();
    for pod in pods.iter().filter(|pod| has_sources(pod)) {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let objects = || {
            let prefixes = ["configmaps", "secrets"].map(|resource| format!("/v1/{resource}/{namespace}/"));
            digest(state, &prefixes)
        };
        let objects = *namespaces.entry(namespace.clone()).or_insert_with(objects);
        let tokens = digest(state, &[token_prefix(&namespace, &uid)]);
        all.insert(uid, objects ^ tokens.rotate_left(1));
    }
    all
}

fn has_sources(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .into_iter()
        .any(|volume| volume.config_map.is_some() || volume.secret.is_some() || volume.projected.is_some())
}

fn digest(state: &State, prefixes: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for prefix in prefixes {
        for (key, item) in state.items_with_prefix(prefix) {
            key.hash(&mut hasher);
            item.hash.0.hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use holdfast_core::{Lineage, Revision, content_hash};
    use holdfast_edge_store::{Durability, EdgeStore, Item, Record};
    use holdfast_env::Env;
    use holdfast_env::host::HostEnv;
    use serde_json::{Value, json};

    fn item(key: &str, text: &str) -> Record {
        let body = Bytes::from(text.to_string());
        let item = Item { hash: content_hash(&body), lineage: Lineage(1), revision: Revision(1), body };
        Record::PutItem { key: key.into(), item }
    }

    fn pod(uid: &str, namespace: &str, volume: Value) -> Arc<Pod> {
        let document = json!({
            "metadata": {"uid": uid, "namespace": namespace},
            "spec": {"containers": [], "volumes": [volume]},
        });
        Arc::new(holdfast_pods::typed::pod(document).unwrap())
    }

    #[test]
    fn what_changes_for_a_pod_changes_its_number_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = EdgeStore::open(HostEnv::new(dir.path()).disk()).unwrap();
        let pods = [
            pod("1", "a", json!({"name": "v", "configMap": {"name": "c"}})),
            pod("2", "a", json!({"name": "v", "projected": {"sources": []}})),
            pod("3", "b", json!({"name": "v", "secret": {"secretName": "s"}})),
            pod("4", "a", json!({"name": "v", "emptyDir": {}})),
        ];
        let mut before = of(store.state(), &pods);
        assert_eq!(before.keys().collect::<Vec<_>>(), ["1", "2", "3"]);
        for (key, text, expected) in [
            ("/v1/configmaps/a/c", "one", vec!["1", "2"]),
            ("/v1/configmaps/a/c", "two", vec!["1", "2"]),
            ("/v1/configmaps/a/c", "two", vec![]),
            ("/v1/secrets/b/s", "one", vec!["3"]),
            ("/v1/pods/a/x", "one", vec![]),
            (&crate::objects::token_key("a", "2", "", 3600), "one", vec!["2"]),
        ] {
            store.commit(vec![item(key, text)], Durability::Lazy).unwrap();
            let now = of(store.state(), &pods);
            let changed: Vec<&str> = now
                .iter()
                .filter(|(uid, number)| before.get(*uid) != Some(*number))
                .map(|(uid, _)| uid.as_str())
                .collect();
            assert_eq!(changed, expected, "{key} {text}");
            before = now;
        }
    }
}
