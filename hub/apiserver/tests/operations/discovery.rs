//! Discovery in both of its forms, and the version.

use crate::hub::Hub;
use holdfast_core::Json;

/// What a client of Kubernetes 1.36 finds at the least.
const EXPECTED: [(&str, &str, &str); 19] = [
    ("", "v1", "namespaces"),
    ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "v1", "apiservices"),
    ("apps", "v1", "deployments"),
    ("authentication.k8s.io", "v1", "tokenreviews"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
    ("autoscaling", "v1", "horizontalpodautoscalers"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("batch", "v1", "jobs"),
    ("certificates.k8s.io", "v1", "certificatesigningrequests"),
    ("coordination.k8s.io", "v1", "leases"),
    ("discovery.k8s.io", "v1", "endpointslices"),
    ("events.k8s.io", "v1", "events"),
    ("networking.k8s.io", "v1", "ingresses"),
    ("node.k8s.io", "v1", "runtimeclasses"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("scheduling.k8s.io", "v1", "priorityclasses"),
    ("storage.k8s.io", "v1", "csinodes"),
];

pub(crate) const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn list(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a document of aggregated discovery has a resource.
pub(crate) fn has(document: &Json, group: &str, version: &str, resource: &str) -> bool {
    let groups = list(&document["items"]).iter();
    let groups = groups.filter(|item| item["metadata"]["name"].as_str().unwrap_or_default() == group);
    let versions = groups.flat_map(|group| list(&group["versions"])).filter(|one| one["version"] == version);
    versions.flat_map(|version| list(&version["resources"])).any(|one| one["resource"] == resource)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregated_discovery_has_all_that_clients_expect() {
    let hub = Hub::start().await;
    for path in ["/api", "/apis"] {
        let document = hub.send("GET", path, &[("accept", AGGREGATED)], "").await.ok();
        assert_eq!(document["kind"], "APIGroupDiscoveryList", "{path}");
        for (group, version, resource) in EXPECTED.iter().filter(|(group, ..)| group.is_empty() == (path == "/api")) {
            assert!(has(&document, group, version, resource), "{group}/{version} {resource} is not in {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_group_and_version_lists_its_resources() {
    let hub = Hub::start().await;
    for (group, version, resource) in EXPECTED {
        let (path, api_version) = match group {
            "" => (format!("/api/{version}"), version.to_string()),
            group => (format!("/apis/{group}/{version}"), format!("{group}/{version}")),
        };
        let found = hub.get(&path).await.ok();
        assert_eq!(
            (found["kind"].as_str(), found["groupVersion"].as_str()),
            (Some("APIResourceList"), Some(&*api_version))
        );
        assert!(list(&found["resources"]).iter().any(|one| one["name"] == resource), "{resource} is not in {path}");
    }
    let groups = hub.get("/apis/").await.ok();
    assert!(list(&groups["groups"]).len() > 15, "{groups:#}");
    for group in list(&groups["groups"]) {
        let found = hub.get(&format!("/apis/{}/", group["name"].as_str().unwrap())).await.ok();
        let preferred = &found["preferredVersion"]["groupVersion"];
        assert!(list(&found["versions"]).iter().any(|one| one["groupVersion"] == *preferred), "{found:#}");
        assert_eq!(group["preferredVersion"], found["preferredVersion"]);
    }
    assert!(!list(&hub.get("/apis/apps/v1").await.ok()["resources"]).iter().any(|one| one["name"] == "nothings"));
    hub.get("/apis/not-these-apps/v1").await.refused(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_rows_is_no_table() {
    let hub = Hub::start().await;
    let review = serde_json::json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}).to_string();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (accept, code) in [(table.to_string(), 406), (format!("{table},application/json"), 201)] {
        let headers = [("content-type", "application/json"), ("accept", accept.as_str())];
        assert_eq!(hub.send("POST", path, &headers, review.clone()).await.code, code, "{accept}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_has_numbers() {
    let hub = Hub::start().await;
    let version = hub.get("/version").await.ok();
    let number = |field: &str| {
        let text = version[field].as_str().unwrap_or_default();
        text.trim_end_matches('+').parse::<u32>().unwrap_or_else(|_| panic!("{version:#}"))
    };
    assert_eq!((number("major"), number("minor")), (1, 36));
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.36."), "{version:#}");
}
