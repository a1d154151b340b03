//! Discovery: which groups, versions and resources there are, in the old form and aggregated.

use crate::KindSet;
use crate::codec::accept::{Clause, Encoding, Offer, clauses, negotiate};
use crate::codec::body::Body;
use crate::codec::encode;
use crate::codec::protobuf;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::gvk::api_version;
use holdfast_core::{Json, Status};
use holdfast_kinds::custom::version_rank;
use holdfast_kinds::{Kind, Subresource};
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Groups in the order in which clients prefer them; others follow by name.
const ORDER: &[&str] = &[
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// What the media types of aggregated discovery have behind that of the encoding.
const AGGREGATED: &str = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

struct Group {
    name: String,
    /// Preferred version first.
    versions: Vec<String>,
}

/// Discovery documents of a set of kinds.
pub struct Discovery {
    kinds: KindSet,
    groups: Vec<Group>,
}

impl Discovery {
    /// Over these kinds.
    pub fn new(kinds: KindSet) -> Discovery {
        let mut groups: Vec<Group> = Vec::new();
        for kind in kinds.iter() {
            match groups.iter_mut().find(|group| group.name == kind.group) {
                Some(group) if group.versions.iter().any(|version| version == kind.version) => {}
                Some(group) => group.versions.push(kind.version.to_string()),
                None => groups.push(Group { name: kind.group.to_string(), versions: vec![kind.version.to_string()] }),
            }
        }
        for group in &mut groups {
            group.versions.sort_by_key(|version| version_rank(version));
        }
        groups.sort_by_key(|group| {
            let known = ORDER.iter().position(|name| *name == group.name).unwrap_or(ORDER.len());
            (known, group.name.clone())
        });
        Discovery { kinds, groups }
    }

    /// Answers `/api`, `/apis` and what lies below; `None` for any other path.
    ///
    /// # Errors
    /// 404 for a group or version that is not served, 406.
    pub fn answer(&self, path: &str, headers: &HeaderMap, server: &str) -> Option<Result<Response<Body>, Status>> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let wanted = aggregated_encoding(headers);
        match (&parts[..], wanted) {
            (["api"], Some(encoding)) => return Some(Ok(aggregated(&self.core(), encoding, headers))),
            (["apis"], Some(encoding)) => return Some(Ok(aggregated(&self.named(), encoding, headers))),
            _ => {}
        }
        match parts[..] {
            ["api"] => Some(reply(&api_versions(self.group(""), server), headers)),
            ["apis"] => {
                let groups: Json = self.groups.iter().filter(|group| !group.name.is_empty()).map(group_json).collect();
                Some(reply(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}), headers))
            }
            ["apis", name] => Some(match self.group(name).filter(|group| !group.name.is_empty()) {
                Some(group) => {
                    let mut document = json!({"kind": "APIGroup", "apiVersion": "v1"});
                    merge(&mut document, group_json(group));
                    reply(&document, headers)
                }
                None => Err(Status::no_such_path()),
            }),
            ["api", version] => Some(self.resources("", version, headers)),
            ["apis", group, version] if !group.is_empty() => Some(self.resources(group, version, headers)),
            _ => None,
        }
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    fn kinds_of<'a>(&'a self, group: &'a str, version: &'a str) -> Vec<&'static Kind> {
        let mut kinds: Vec<_> =
            self.kinds.iter().filter(|kind| kind.group == group && kind.version == version).collect();
        kinds.sort_by_key(|kind| kind.plural);
        kinds
    }

    fn resources(&self, group: &str, version: &str, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        let kinds = self.kinds_of(group, version);
        if kinds.is_empty() {
            return Err(Status::no_such_path());
        }
        let resources: Json = kinds.iter().flat_map(|kind| resource_json(kind)).collect();
        let document = json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": api_version(group, version), "resources": resources});
        reply(&document, headers)
    }

    fn core(&self) -> Json {
        self.discovery_list(|group| group.name.is_empty())
    }

    fn named(&self) -> Json {
        self.discovery_list(|group| !group.name.is_empty())
    }

    fn discovery_list(&self, wanted: impl Fn(&Group) -> bool) -> Json {
        let items: Json =
            self.groups.iter().filter(|group| wanted(group)).map(|group| self.group_discovery(group)).collect();
        json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
    }

    fn group_discovery(&self, group: &Group) -> Json {
        let versions: Json = group
            .versions
            .iter()
            .map(|version| {
                let resources: Json = self.kinds_of(&group.name, version).into_iter().map(resource_discovery).collect();
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
        json!({"metadata": metadata, "versions": versions})
    }
}

/// How aggregated discovery is to be written, if the client wants it.
fn aggregated_encoding(headers: &HeaderMap) -> Option<Encoding> {
    let aggregated = |clause: &Clause| {
        clause.parameter("as") == "APIGroupDiscoveryList"
            && clause.parameter("g") == "apidiscovery.k8s.io"
            && clause.parameter("v") == "v2"
    };
    let encoding = |clause: &Clause| match clause.media_type.as_str() {
        "application/json" | "*/*" | "application/*" => Some(Encoding::Json),
        protobuf::MEDIA_TYPE => Some(Encoding::Protobuf),
        _ => None,
    };
    // The first clause that we can serve at all decides.
    let clauses = clauses(headers);
    let (clause, encoding) = clauses
        .iter()
        .filter(|clause| clause.parameter("as").is_empty() || aggregated(clause))
        .find_map(|clause| Some((clause, encoding(clause)?)))?;
    aggregated(clause).then_some(encoding)
}

fn aggregated(document: &Json, encoding: Encoding, headers: &HeaderMap) -> Response<Body> {
    let bytes = encode::document_bytes(document, encoding);
    let etag = format!("\"{}\"", hash(&bytes));
    let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let (code, body) =
        if unchanged { (StatusCode::NOT_MODIFIED, Body::empty()) } else { (StatusCode::OK, Body::full(bytes)) };
    let mut response = encode::plain(code, encoding.content_type(), body);
    let head = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("{}{AGGREGATED}", encoding.content_type())) {
        head.insert(CONTENT_TYPE, value);
    }
    head.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(value) = HeaderValue::from_str(&etag) {
        head.insert(ETAG, value);
    }
    response
}

/// SHA-256 in upper-case hex, as upstream's document hashes look.
pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

fn reply(document: &Json, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let negotiated = negotiate(headers, false, Offer::PLAIN)?;
    Ok(encode::document(StatusCode::OK, document, negotiated.encoding))
}

fn merge(into: &mut Json, from: Json) {
    if let (Some(into), Json::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

fn api_versions(core: Option<&Group>, server: &str) -> Json {
    let versions: Vec<String> = core.map(|group| group.versions.clone()).unwrap_or_default();
    json!({"kind": "APIVersions", "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}]})
}

fn group_json(group: &Group) -> Json {
    let version = |version: &String| json!({"groupVersion": api_version(&group.name, version), "version": version});
    let versions: Json = group.versions.iter().map(version).collect();
    let preferred = group.versions.first().map(version).unwrap_or_default();
    json!({"name": group.name, "versions": versions, "preferredVersion": preferred})
}

fn resource_json(kind: &'static Kind) -> Vec<Json> {
    let mut resource = json!({"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": kind.verbs});
    if !kind.short_names.is_empty() {
        resource["shortNames"] = kind.short_names.to_vec().into();
    }
    if !kind.categories.is_empty() {
        resource["categories"] = kind.categories.to_vec().into();
    }
    if kind.verbs.contains(&"get") && kind.verbs.contains(&"create") {
        resource["storageVersionHash"] = storage_version_hash(kind).into();
    }
    let mut resources = vec![resource];
    resources.extend(kind.subresources.iter().map(|sub| {
        let mut resource = json!({"name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
            "namespaced": kind.namespaced});
        if (sub.group, sub.version) != (kind.group, kind.version) {
            resource["group"] = sub.group.into();
            resource["version"] = sub.version.into();
        }
        resource["kind"] = sub.kind.into();
        resource["verbs"] = sub.verbs.to_vec().into();
        resource
    }));
    resources
}

/// Tells clients when the version in which objects are stored changes. Of a custom kind it is known here when it is served.
fn storage_version_hash(kind: &Kind) -> String {
    const BYTES: usize = 8;
    let stored = holdfast_kinds::storage_version(kind);
    let version = kind.custom.map_or(stored.version, |custom| custom.main_version);
    let name = format!("{}/{version}/{}", stored.group, stored.kind);
    STANDARD.encode(&Sha256::digest(name.as_bytes())[..BYTES])
}

fn resource_discovery(kind: &'static Kind) -> Json {
    let mut resource = json!({"resource": kind.plural,
        "responseKind": {"group": "", "version": "", "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": kind.verbs});
    if !kind.short_names.is_empty() {
        resource["shortNames"] = kind.short_names.to_vec().into();
    }
    if !kind.categories.is_empty() {
        resource["categories"] = kind.categories.to_vec().into();
    }
    if !kind.subresources.is_empty() {
        resource["subresources"] = kind.subresources.iter().map(|sub| subresource_discovery(kind, sub)).collect();
    }
    resource
}

fn subresource_discovery(kind: &Kind, sub: &Subresource) -> Json {
    let same = (sub.group, sub.version) == (kind.group, kind.version);
    let (group, version) = if same { ("", "") } else { (sub.group, sub.version) };
    json!({"subresource": sub.name, "responseKind": {"group": group, "version": version, "kind": sub.kind},
        "verbs": sub.verbs})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_versions_are_hashed_as_upstream_hashes_them() {
        let hash = |group: &str, version: &str, kind: &str| {
            storage_version_hash(holdfast_kinds::by_gvk(group, version, kind).unwrap())
        };
        // As Kubernetes' own `/api/v1` and `/apis/apps/v1` say.
        assert_eq!(hash("", "v1", "Pod"), "xPOwRZ+Yhw8=");
        assert_eq!(hash("", "v1", "ConfigMap"), "qFsyl6wFWjQ=");
        assert_eq!(hash("apps", "v1", "Deployment"), "8aSe+NMegvE=");
        let scaler = |version: &str| hash("autoscaling", version, "HorizontalPodAutoscaler");
        assert_eq!(scaler("v1"), scaler("v2"));
    }

    #[test]
    fn versions_are_ranked_as_upstream_ranks_them() {
        let mut versions = vec!["v1alpha1", "v2", "v1beta2", "v1", "v1beta10", "v3alpha1"];
        versions.sort_by_key(|version| version_rank(version));
        assert_eq!(versions, ["v2", "v1", "v1beta10", "v1beta2", "v3alpha1", "v1alpha1"]);
    }
}
