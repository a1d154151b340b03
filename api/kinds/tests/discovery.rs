//! The entries against the published discovery of Kubernetes 1.36, which stands outside of the repository:
//! `HOLDFAST_K8S_REFERENCE` says where. Without it this test says that it was skipped.

use holdfast_core::Json;
use std::collections::BTreeSet;

const REFERENCE: &str = "HOLDFAST_K8S_REFERENCE";

fn strings(value: &Json) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

fn set<'a>(list: &[&'a str]) -> BTreeSet<&'a str> {
    list.iter().copied().collect()
}

#[test]
fn discovery_says_what_upstream_says() {
    let Some(dir) = std::env::var_os(REFERENCE) else {
        eprintln!("skipped: {REFERENCE} is not set");
        return;
    };
    let path = std::path::Path::new(&dir).join("discovery-aggregated-v2.json");
    let published: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut compared = 0;
    for kind in holdfast_kinds::all() {
        let group = published["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|item| item["metadata"]["name"].as_str().unwrap_or_default() == kind.group);
        // The published document speaks of `/apis` only. The core group is compared by its paths, in `api/schema`; ours
        // is not published.
        let Some(group) = group else {
            assert!(kind.group.is_empty() || kind.group == "edge.holdfast.io", "{kind:?}: no such group");
            continue;
        };
        let version = group["versions"].as_array().unwrap().iter().find(|v| v["version"] == kind.version).unwrap();
        let resource = version["resources"].as_array().unwrap().iter().find(|r| r["resource"] == kind.plural).unwrap();
        assert_eq!(resource["responseKind"]["kind"], kind.kind);
        assert_eq!(resource["singularResource"], kind.singular);
        assert_eq!(resource["scope"], if kind.namespaced { "Namespaced" } else { "Cluster" }, "{kind:?}");
        assert_eq!(strings(&resource["shortNames"]), set(kind.short_names), "{kind:?}");
        assert_eq!(strings(&resource["categories"]), set(kind.categories), "{kind:?}");
        assert_eq!(strings(&resource["verbs"]), set(kind.verbs), "{kind:?}");
        for sub in kind.subresources {
            let theirs = resource["subresources"].as_array().unwrap().iter().find(|s| s["subresource"] == sub.name);
            let theirs = theirs.unwrap_or_else(|| panic!("{kind:?}/{}", sub.name));
            assert_eq!(theirs["responseKind"]["kind"], sub.kind, "{kind:?}/{}", sub.name);
            assert_eq!(strings(&theirs["verbs"]), set(sub.verbs), "{kind:?}/{}", sub.name);
        }
        compared += 1;
    }
    assert!(compared > 10, "only {compared} kinds were compared");
}
