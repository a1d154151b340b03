//! What is taken and is hardly what was meant, in upstream's words (`pkg/api/pod/warnings.go`).

use super::annotations::{APPARMOR, SECCOMP, SECCOMP_OF_POD};
use super::resources::quantity;
use super::windows::containers;
use crate::kinds::persistent_volume_claim;
use crate::kinds::rules::text;
use holdfast_core::json::{at, i64_at, items_at, str_at};
use holdfast_core::{FieldPath, Json};
use std::collections::{BTreeMap, BTreeSet};

const OLD_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
];
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
/// Sources of volumes that nobody serves any more, with the names by which upstream tells of them.
const OLD_VOLUMES: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const SECCOMP_IS_A_FIELD: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

/// Warnings of a pod (an empty `path`) or of the template at `path`.
pub(crate) fn of(doc: &Json, path: &str) -> Vec<String> {
    let root = if path.is_empty() { FieldPath::default() } else { FieldPath::new(path) };
    let (metadata, spec) = (doc.get("metadata").unwrap_or(&Json::Null), doc.get("spec").unwrap_or(&Json::Null));
    let mut told = Warnings {
        texts: Vec::new(),
        spec: root.child("spec"),
        annotations: root.child("metadata").child("annotations"),
    };
    told.labels(spec);
    told.annotations(metadata);
    told.volumes(spec);
    told.tokens(spec);
    told.doubles(spec);
    let overhead = spec.get("overhead").unwrap_or(&Json::Null);
    told.fractions(overhead, &told.spec.child("overhead"));
    if at(spec, &["securityContext", "seccompProfile"]).is_none()
        && at(metadata, &["annotations", SECCOMP_OF_POD]).is_some()
    {
        told.add(&told.annotations.key(SECCOMP_OF_POD), SECCOMP_IS_A_FIELD);
    }
    let whole_pod = at(spec, &["securityContext", "appArmorProfile"]).is_some();
    for (container, at_container) in containers(spec, &told.spec) {
        told.old_profiles(container, metadata, whole_pod || path.is_empty());
        for kind in ["limits", "requests"] {
            let amounts = at(container, &["resources", kind]).unwrap_or(&Json::Null);
            told.fractions(amounts, &at_container.child("resources").child(kind));
        }
        told.variables(container, &at_container);
    }
    told.ports(spec);
    if i64_at(spec, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        let path = told.spec.child("terminationGracePeriodSeconds");
        told.add(&path, "must be >= 0; negative values are invalid and will be treated as 1");
    }
    told.selects_nothing(spec);
    told.texts
}

/// Where a port of the node is, that a container's stands behind.
struct Port<'a> {
    path: FieldPath,
    address: &'a str,
    host: i64,
}

struct Warnings {
    texts: Vec<String>,
    spec: FieldPath,
    annotations: FieldPath,
}

impl Warnings {
    fn add(&mut self, path: &FieldPath, text: impl std::fmt::Display) {
        self.texts.push(format!("{path}: {text}"));
    }

    /// Labels of nodes by their old names.
    fn labels(&mut self, spec: &Json) {
        let old = |label: &str| OLD_LABELS.iter().find(|(old, _)| *old == label).map(|(_, text)| *text);
        for key in spec.get("nodeSelector").and_then(Json::as_object).into_iter().flat_map(|map| map.keys()) {
            if let Some(text) = old(key) {
                self.add(&self.spec.child("nodeSelector").key(key), text);
            }
        }
        let at_nodes = self.spec.child("affinity").child("nodeAffinity");
        let nodes = at(spec, &["affinity", "nodeAffinity"]).unwrap_or(&Json::Null);
        let at_terms = at_nodes.child(REQUIRED).child("nodeSelectorTerms");
        let required = items_at(nodes, &[REQUIRED, "nodeSelectorTerms"]).iter().enumerate();
        let mut terms: Vec<(&Json, FieldPath)> = required.map(|(index, term)| (term, at_terms.index(index))).collect();
        for (index, term) in items_at(nodes, &[PREFERRED]).iter().enumerate() {
            let path = at_nodes.child(PREFERRED).index(index).child("preference");
            terms.extend(term.get("preference").map(|term| (term, path)));
        }
        for (term, path) in terms {
            for (index, expression) in items_at(term, &["matchExpressions"]).iter().enumerate() {
                let key = text(expression, "key");
                if let Some(why) = old(key) {
                    self.add(&path.child("matchExpressions").index(index).child("key"), format!("{key} is {why}"));
                }
            }
        }
        for (index, spread) in items_at(spec, &["topologySpreadConstraints"]).iter().enumerate() {
            let path = self.spec.child("topologySpreadConstraints").index(index);
            let key = text(spread, "topologyKey");
            if let Some(why) = old(key) {
                self.add(&path.child("topologyKey"), format!("{key} is {why}"));
            }
            self.null_selector(spread, &path);
        }
    }

    fn null_selector(&mut self, of: &Json, path: &FieldPath) {
        if of.get("labelSelector").is_none() {
            self.add(&path.child("labelSelector"), "a null labelSelector results in matching no pod");
        }
    }

    fn annotations(&mut self, metadata: &Json) {
        for (key, text) in OLD_ANNOTATIONS.iter().filter(|(key, _)| at(metadata, &["annotations", key]).is_some()) {
            self.add(&self.annotations.key(key), text);
        }
    }

    fn volumes(&mut self, spec: &Json) {
        for (index, volume) in items_at(spec, &["volumes"]).iter().enumerate() {
            let path = self.spec.child("volumes").index(index);
            for (_, told, text) in OLD_VOLUMES.iter().filter(|(source, ..)| volume.get(*source).is_some()) {
                self.add(&path.child(told), text);
            }
            if let Some(claim) = at(volume, &["ephemeral", "volumeClaimTemplate", "spec"]) {
                let path = path.child("ephemeral").child("volumeClaimTemplate").child("spec");
                self.texts.extend(persistent_volume_claim::spec_warnings(claim, &path.to_string()));
            }
        }
    }

    /// Files that a token of the service account hides.
    fn tokens(&mut self, spec: &Json) {
        let sources = |volume: &'_ Json| items_at(volume, &["projected", "sources"]).to_vec();
        let volumes = items_at(spec, &["volumes"]);
        let tokens: BTreeSet<String> = volumes
            .iter()
            .flat_map(sources)
            .filter_map(|source| str_at(&source, &["serviceAccountToken", "path"]).map(str::to_owned))
            .collect();
        for (index, volume) in volumes.iter().enumerate() {
            let path = self.spec.child("volumes").index(index).child("projected").child("sources");
            for source in sources(volume) {
                // The names of the lists are upstream's.
                for (kind, told) in [("configMap", "configMap"), ("secret", "secrets"), ("downwardAPI", "downwardAPI")]
                {
                    for (number, item) in items_at(&source, &[kind, "items"]).iter().enumerate() {
                        let file = text(item, "path");
                        if tokens.contains(file) {
                            let text = format!("has duplicated path with ServiceAccountToken {file:?}");
                            self.add(&path.child(told).index(number), text);
                        }
                    }
                }
                let bundle = str_at(&source, &["clusterTrustBundle", "path"]);
                if let Some(file) = bundle.filter(|file| tokens.contains(*file)) {
                    let text = format!("has duplicated path with ServiceAccountToken {file:?}");
                    self.add(&path.child("ClusterTrustBundle"), text);
                }
            }
        }
    }

    fn doubles(&mut self, spec: &Json) {
        for (list, field) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
            let mut seen = BTreeSet::new();
            for (index, item) in items_at(spec, &[list]).iter().enumerate() {
                let value = text(item, field);
                if !seen.insert(value) {
                    self.add(&self.spec.child(list).index(index).child(field), format!("duplicate {field} {value:?}"));
                }
            }
        }
        for (index, secret) in items_at(spec, &["imagePullSecrets"]).iter().enumerate() {
            if text(secret, "name").is_empty() {
                self.add(&self.spec.child("imagePullSecrets").index(index).child("name"), "invalid empty name \"\"");
            }
        }
    }

    /// Amounts that are no whole bytes.
    fn fractions(&mut self, amounts: &Json, path: &FieldPath) {
        for name in ["memory", "ephemeral-storage"] {
            let amount = amounts.get(name).and_then(quantity).filter(|amount| amount.exact_milli() % 1000 != 0);
            if let Some(amount) = amount {
                let text = format!("fractional byte value {:?} is invalid, must be an integer", amount.to_string());
                self.add(&path.key(name), text);
            }
        }
    }

    /// Profiles that are only an annotation; of AppArmor's only templates are told, and pods without a field.
    fn old_profiles(&mut self, container: &Json, metadata: &Json, has_apparmor: bool) {
        let name = text(container, "name");
        let own = |field: &str| at(container, &["securityContext", field]).is_some();
        for (prefix, is_field, text) in [
            (SECCOMP, own("seccompProfile"), SECCOMP_IS_A_FIELD),
            (
                APPARMOR,
                has_apparmor || own("appArmorProfile"),
                "deprecated since v1.30; use the \"appArmorProfile\" field instead",
            ),
        ] {
            let key = format!("{prefix}{name}");
            if !is_field && at(metadata, &["annotations", &key]).is_some() {
                self.add(&self.annotations.key(&key), text);
            }
        }
    }

    fn variables(&mut self, container: &Json, path: &FieldPath) {
        let mut seen = BTreeSet::new();
        for (index, variable) in items_at(container, &["env"]).iter().enumerate() {
            let name = text(variable, "name");
            if seen.insert(name) {
                continue;
            }
            let (value, reference) = (text(variable, "value"), format!("$({name})"));
            // What only adds to the value before hides nothing.
            if variable.get("valueFrom").is_some() || value == reference || !value.contains(&reference) {
                let text = format!("hides previous definition of {name:?}, which may be dropped when using apply");
                self.add(&path.child("env").index(index), text);
            }
        }
    }

    fn ports(&mut self, spec: &Json) {
        let mut seen: BTreeMap<(i64, &str), Vec<Port<'_>>> = BTreeMap::new();
        for (container, path) in containers(spec, &self.spec) {
            for (index, port) in items_at(container, &["ports"]).iter().enumerate() {
                let path = path.child("ports").index(index);
                let number = |field: &str| i64_at(port, &[field]).unwrap_or(0);
                let (address, host) = (text(port, "hostIP"), number("hostPort"));
                let (own, protocol) = (number("containerPort"), text(port, "protocol"));
                if !address.is_empty() && host == 0 {
                    let name = text(port, "name");
                    let shown =
                        format!("{{Name:{name} HostPort:0 ContainerPort:{own} Protocol:{protocol} HostIP:{address}}}");
                    self.add(&path, format!("hostIP set without hostPort: {shown}"));
                }
                let others = seen.entry((own, protocol)).or_default();
                for other in others.iter() {
                    let what = if address == other.address && host == other.host {
                        "duplicate"
                    } else if host == 0 || other.host == 0 {
                        "overlapping"
                    } else if host == other.host && address.is_empty() != other.address.is_empty() {
                        "dangerously ambiguous"
                    } else {
                        continue;
                    };
                    self.texts.push(format!("{path}: {what} port definition with {}", other.path));
                }
                others.push(Port { path, address, host });
            }
        }
    }

    /// Terms about pods that select none.
    fn selects_nothing(&mut self, spec: &Json) {
        for kind in ["podAffinity", "podAntiAffinity"] {
            let Some(terms) = at(spec, &["affinity", kind]) else { continue };
            let path = self.spec.child("affinity").child(kind);
            for (index, term) in items_at(terms, &[REQUIRED]).iter().enumerate() {
                self.null_selector(term, &path.child(REQUIRED).index(index));
            }
            for (index, term) in items_at(terms, &[PREFERRED]).iter().enumerate() {
                let term = term.get("podAffinityTerm").unwrap_or(&Json::Null);
                self.null_selector(term, &path.child(PREFERRED).index(index).child("podAffinityTerm"));
            }
        }
    }
}
