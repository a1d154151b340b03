//! The entries against the published discovery of Kubernetes 1.36, which stands outside of the repository:
//! `HOLDFAST_K8S_REFERENCE` says where. Without it these tests say that they were skipped.

#![allow(clippy::unwrap_used, reason = "a test may; its helpers are not seen as tests")]

use holdfast_core::Json;
use holdfast_core::gvk::api_version;
use std::collections::BTreeSet;

const REFERENCE: &str = "HOLDFAST_K8S_REFERENCE";

/// Groups and versions that upstream serves only when they are switched on (`--runtime-config`): all alpha and beta
/// ones. The published document was made with them on.
const OFF_BY_DEFAULT: &[&str] = &[
    "admissionregistration.k8s.io/v1alpha1",
    "admissionregistration.k8s.io/v1beta1",
    "certificates.k8s.io/v1alpha1",
    "certificates.k8s.io/v1beta1",
    "coordination.k8s.io/v1alpha2",
    "coordination.k8s.io/v1beta1",
    "internal.apiserver.k8s.io/v1alpha1",
    "networking.k8s.io/v1beta1",
    "resource.k8s.io/v1alpha3",
    "resource.k8s.io/v1beta1",
    "resource.k8s.io/v1beta2",
    "scheduling.k8s.io/v1alpha2",
    "storage.k8s.io/v1beta1",
    "storagemigration.k8s.io/v1beta1",
];

/// Groups that kube-apiserver does not have: our own, and metrics-server's.
const OWN: &[&str] = &["edge.holdfast.io", "metrics.k8s.io"];

fn published(file: &str) -> Option<Json> {
    let Some(dir) = std::env::var_os(REFERENCE) else {
        eprintln!("skipped: {REFERENCE} is not set");
        return None;
    };
    let path = std::path::Path::new(&dir).join(file);
    let bytes = std::fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    Some(serde_json::from_slice(&bytes).unwrap())
}

fn list<'a>(value: &'a Json, field: &str) -> &'a [Json] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn strings(value: &Json) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

fn set<'a>(list: &[&'a str]) -> BTreeSet<&'a str> {
    list.iter().copied().collect()
}

/// `apps/v1 deployments/scale` of everything that we serve.
fn ours() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for kind in holdfast_kinds::all() {
        let resource = format!("{} {}", api_version(kind.group, kind.version), kind.plural);
        all.extend(kind.subresources.iter().map(|sub| format!("{resource}/{}", sub.name)));
        all.insert(resource);
    }
    all
}

#[test]
fn discovery_says_what_upstream_says() {
    let Some(published) = published("discovery-aggregated-v2.json") else { return };
    let mut compared = 0;
    for kind in holdfast_kinds::all() {
        let group = list(&published, "items")
            .iter()
            .find(|item| item["metadata"]["name"].as_str().unwrap_or_default() == kind.group);
        // The published document speaks of `/apis` only. The core group is compared by its paths, below and in
        // `api/schema`; ours is not published.
        let Some(group) = group else {
            assert!(kind.group.is_empty() || OWN.contains(&kind.group), "{kind:?}: no such group");
            continue;
        };
        let version = list(group, "versions").iter().find(|v| v["version"] == kind.version).unwrap();
        let resource = list(version, "resources").iter().find(|r| r["resource"] == kind.plural).unwrap();
        assert_eq!(resource["responseKind"]["kind"], kind.kind);
        assert_eq!(resource["singularResource"], kind.singular);
        assert_eq!(resource["scope"], if kind.namespaced { "Namespaced" } else { "Cluster" }, "{kind:?}");
        assert_eq!(strings(&resource["shortNames"]), set(kind.short_names), "{kind:?}");
        assert_eq!(strings(&resource["categories"]), set(kind.categories), "{kind:?}");
        assert_eq!(strings(&resource["verbs"]), set(kind.verbs), "{kind:?}");
        for sub in kind.subresources {
            let theirs = list(resource, "subresources").iter().find(|s| s["subresource"] == sub.name);
            let theirs = theirs.unwrap_or_else(|| panic!("{kind:?}/{}", sub.name));
            assert_eq!(theirs["responseKind"]["kind"], sub.kind, "{kind:?}/{}", sub.name);
            assert_eq!(strings(&theirs["verbs"]), set(sub.verbs), "{kind:?}/{}", sub.name);
        }
        compared += 1;
    }
    assert!(compared > 40, "only {compared} kinds were compared");
}

#[test]
fn everything_that_upstream_serves_by_default_is_served() {
    let Some(published) = published("discovery-aggregated-v2.json") else { return };
    let (mut theirs, mut off) = (core_resources(), BTreeSet::new());
    for group in list(&published, "items") {
        for version in list(group, "versions") {
            let name = group["metadata"]["name"].as_str().unwrap();
            let api_version = api_version(name, version["version"].as_str().unwrap());
            if OFF_BY_DEFAULT.contains(&api_version.as_str()) {
                off.insert(api_version);
                continue;
            }
            for resource in list(version, "resources") {
                let text = format!("{api_version} {}", resource["resource"].as_str().unwrap());
                for sub in list(resource, "subresources") {
                    theirs.insert(format!("{text}/{}", sub["subresource"].as_str().unwrap()));
                }
                theirs.insert(text);
            }
        }
    }
    let ours: BTreeSet<String> =
        ours().into_iter().filter(|text| !OWN.iter().any(|own| text.starts_with(own))).collect();
    let missing: Vec<&str> = theirs.difference(&ours).map(String::as_str).collect();
    assert_eq!(missing, [""; 0]);
    let unknown: Vec<&String> = ours.difference(&theirs).collect();
    assert!(unknown.is_empty(), "upstream does not serve {unknown:?}");
    assert_eq!(off.iter().map(String::as_str).collect::<Vec<_>>(), OFF_BY_DEFAULT);
}

/// The resources of the core group, by the published paths.
fn core_resources() -> BTreeSet<String> {
    let published = published("swagger.json").unwrap();
    let paths = published["paths"].as_object().unwrap().keys();
    let below = paths.filter_map(|path| path.strip_prefix("/api/v1/")).filter(|path| !path.starts_with("watch/"));
    let plain = below.map(|path| path.strip_prefix("namespaces/{namespace}/").unwrap_or(path));
    let named = plain.filter(|path| !path.is_empty() && !path.contains("{path}"));
    named.map(|path| format!("v1 {}", path.replace("/{name}", ""))).collect()
}
