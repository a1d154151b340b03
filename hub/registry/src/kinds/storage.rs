//! storage.k8s.io: StorageClass, VolumeAttributesClass, VolumeAttachment, CSIDriver, CSINode, CSIStorageCapacity.

use super::persistent_volume;
use super::pod::resources::quantity;
use super::rules::{default_text, driver_name, not_negative, text};
use super::selectors;
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{at, default, i64_at, items_at, remove, set};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::{Map, json};
use std::collections::BTreeSet;

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES: usize = 256 * 1024;
const METADATA_BYTES: usize = 256 * 1024;
const ERROR_BYTES: usize = 1024;
const NODE_ID_BYTES: usize = 256;

/// storage.k8s.io/v1 StorageClass.
pub(crate) struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, doc: &mut Json) {
        default(doc, &["reclaimPolicy"], "Delete");
        default(doc, &["volumeBindingMode"], "Immediate");
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        provisioner(doc, "provisioner", errors);
        parameters(doc, true, errors);
        let policy = text(doc, "reclaimPolicy");
        if !matches!(policy, "" | "Delete" | "Retain") {
            errors.not_supported(&FieldPath::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
        }
        let mode = text(doc, "volumeBindingMode");
        if !matches!(mode, "Immediate" | "WaitForFirstConsumer") {
            let path = FieldPath::new("volumeBindingMode");
            errors.not_supported(&path, mode, &["Immediate", "WaitForFirstConsumer"]);
        }
        topologies(items_at(doc, &["allowedTopologies"]), &FieldPath::new("allowedTopologies"), errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            immutable(doc, old, &[field], &FieldPath::new(field), errors);
        }
    }
}

fn provisioner(doc: &Json, field: &str, errors: &mut FieldErrors) {
    let path = FieldPath::new(field);
    match text(doc, field).to_lowercase().as_str() {
        "" => errors.required(&path, ""),
        name => errors.all_invalid(&path, name, names::qualified_name(name)),
    }
}

fn parameters(doc: &Json, may_be_empty: bool, errors: &mut FieldErrors) {
    let (path, map) = (FieldPath::new("parameters"), doc.get("parameters").and_then(Json::as_object));
    let count = map.map_or(0, Map::len);
    if count > PARAMETERS_MAX {
        return errors.too_long(&path, PARAMETERS_MAX);
    }
    let mut bytes = 0;
    for (key, value) in map.into_iter().flatten() {
        if key.is_empty() {
            errors.invalid(&path, "", "field can not be empty.");
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > PARAMETERS_BYTES {
        errors.too_long(&path, PARAMETERS_BYTES);
    }
    if !may_be_empty && count == 0 {
        errors.required(&path, "must contain at least one key/value pair");
    }
}

fn topologies(terms: &[Json], path: &FieldPath, errors: &mut FieldErrors) {
    let mut all: Vec<BTreeSet<(String, Vec<String>)>> = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let path = path.index(index).child("matchLabelExpressions");
        let expressions = items_at(term, &["matchLabelExpressions"]);
        let (mut wanted, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for (index, expression) in expressions.iter().enumerate() {
            let path = path.index(index);
            let (key, values) = (text(expression, "key"), items_at(expression, &["values"]));
            if values.is_empty() {
                errors.required(&path.child("values"), "");
            }
            let mut seen: Vec<String> = Vec::new();
            for (index, value) in values.iter().filter_map(Json::as_str).enumerate() {
                if seen.iter().any(|other| other == value) {
                    errors.duplicate(&path.child("values").index(index), value);
                }
                seen.push(value.to_string());
            }
            errors.all_invalid(&path.child("key"), key, names::qualified_name(key));
            if !keys.insert(key) {
                errors.duplicate(&path.child("key"), key);
            }
            seen.sort();
            wanted.insert((key.to_string(), seen));
        }
        if all.contains(&wanted) {
            errors.duplicate(&path, "");
        }
        all.push(wanted);
    }
}

/// storage.k8s.io/v1 VolumeAttributesClass.
pub(crate) struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        provisioner(doc, "driverName", errors);
        parameters(doc, false, errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        for field in ["driverName", "parameters"] {
            if doc.get(field) != old.get(field) {
                errors.forbidden(&FieldPath::new(field), format!("updates to {field} are forbidden."));
            }
        }
    }
}

/// storage.k8s.io/v1 VolumeAttachment.
pub(crate) struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn has_status(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({ "attached": false }));
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        driver_name(text(spec, "attacher"), &path.child("attacher"), errors);
        let source = spec.get("source").unwrap_or(&Json::Null);
        let at_source = path.child("source");
        let name = source.get("persistentVolumeName").and_then(Json::as_str);
        let text_of_one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        match (source.get("inlineVolumeSpec"), name) {
            (None, None) => errors.required(&at_source, text_of_one),
            (Some(_), Some(_)) => errors.forbidden(&at_source, text_of_one),
            (None, Some("")) => {
                let text = "must specify non empty persistentVolumeName";
                errors.required(&at_source.child("persistentVolumeName"), text);
            }
            (None, Some(_)) => {}
            (Some(inline), None) => {
                persistent_volume::validate_inline(inline, &at_source.child("inlineVolumeSpec"), errors);
            }
        }
        let node = text(spec, "nodeName");
        errors.all_invalid(&path.child("nodeName"), node, names::dns_subdomain(node));
        self.validate_status(doc, doc, errors);
        if let Some(name) = name {
            let path = FieldPath::new("spec.source.persistentVolumeName");
            errors.all_invalid(&path, name, names::dns_subdomain(name));
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        immutable(doc, old, &["spec"], &FieldPath::new("spec"), errors);
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("status");
        let metadata = at(doc, &["status", "attachmentMetadata"]).and_then(Json::as_object);
        let bytes: usize =
            metadata.into_iter().flatten().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
        if bytes > METADATA_BYTES {
            errors.too_long(&path.child("attachmentMetadata"), METADATA_BYTES);
        }
        for field in ["attachError", "detachError"] {
            let Some(error) = at(doc, &["status", field]) else { continue };
            let path = path.child(field);
            if text(error, "message").len() > ERROR_BYTES {
                // The number that upstream tells.
                errors.too_long(&path.child("message"), METADATA_BYTES);
            }
            if let Some(code) = i64_at(error, &["errorCode"]).filter(|code| *code < 0) {
                errors.invalid(&path.child("errorCode"), code, "must be between 0 and 2147483647, inclusive");
            }
        }
    }
}

/// storage.k8s.io/v1 CSIDriver.
pub(crate) struct CsiDriver;

impl Strategy for CsiDriver {
    fn default(&self, doc: &mut Json) {
        for (field, value) in [
            ("attachRequired", true),
            ("podInfoOnMount", false),
            ("storageCapacity", false),
            ("requiresRepublish", false),
            ("seLinuxMount", false),
        ] {
            default(doc, &["spec", field], value);
        }
        default_text(doc, &["spec", "fsGroupPolicy"], "ReadWriteOnceWithFSType");
        if items_at(doc, &["spec", "volumeLifecycleModes"]).is_empty() {
            set(doc, &["spec", "volumeLifecycleModes"], json!(["Persistent"]));
        }
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        const POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        let policy = text(spec, "fsGroupPolicy");
        if !POLICIES.contains(&policy) {
            errors.not_supported(&path.child("fsGroupPolicy"), policy, POLICIES);
        }
        let requests = items_at(spec, &["tokenRequests"]);
        token_requests(requests, &path.child("tokenRequests"), errors);
        for mode in items_at(spec, &["volumeLifecycleModes"]).iter().filter_map(Json::as_str) {
            if !matches!(mode, "Persistent" | "Ephemeral") {
                errors.not_supported(&path.child("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
            }
        }
        if let Some(secs) = i64_at(spec, &["nodeAllocatableUpdatePeriodSeconds"]).filter(|secs| *secs < 10) {
            let path = path.child("nodeAllocatableUpdatePeriodSeconds");
            errors.invalid(&path, secs, "must be greater than or equal to 10 seconds");
        }
        if let Some(given) = spec.get("serviceAccountTokenInSecrets")
            && requests.is_empty()
        {
            errors.invalid(
                &path.child("serviceAccountTokenInSecrets"),
                given.clone(),
                "serviceAccountTokenInSecrets is set but no tokenRequests are specified",
            );
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec");
        // Upstream writes it so.
        immutable(doc, old, &["spec", "attachRequired"], &path.child("attachedRequired"), errors);
        let field = "volumeLifecycleModes";
        immutable(doc, old, &["spec", field], &path.child(field), errors);
    }
}

fn token_requests(requests: &[Json], path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, request) in requests.iter().enumerate() {
        let (path, audience) = (path.index(index), text(request, "audience"));
        if !seen.insert(audience) {
            errors.duplicate(&path.child("audience"), audience);
            continue;
        }
        let at = path.child("expirationSeconds");
        match i64_at(request, &["expirationSeconds"]) {
            Some(secs) if secs < 600 => {
                errors.invalid(&at, secs, "may not specify a duration less than 10 minutes");
            }
            Some(secs) if secs > 1 << 32 => {
                errors.invalid(&at, secs, "may not specify a duration larger than 2^32 seconds");
            }
            _ => {}
        }
    }
}

/// storage.k8s.io/v1 CSINode.
pub(crate) struct CsiNode;

impl Strategy for CsiNode {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let mut seen = BTreeSet::new();
        for (index, driver) in items_at(doc, &["spec", "drivers"]).iter().enumerate() {
            let path = FieldPath::new("spec.drivers").index(index);
            let (name, node) = (text(driver, "name"), text(driver, "nodeID"));
            driver_name(name, &path.child("name"), errors);
            if node.is_empty() {
                errors.required(&path.child("nodeID"), "");
            }
            if node.len() > NODE_ID_BYTES {
                let text = format!("must be {NODE_ID_BYTES} characters or less");
                errors.invalid(&path.child("nodeID"), node, text);
            }
            if let Some(allocatable) = driver.get("allocatable") {
                not_negative(allocatable, "count", &path.child("allocatable"), errors);
            }
            if !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            let mut keys = BTreeSet::new();
            for key in items_at(driver, &["topologyKeys"]).iter().filter_map(Json::as_str) {
                if key.is_empty() {
                    errors.required(&path, "");
                }
                if !keys.insert(key) {
                    errors.duplicate(&path, key);
                }
                errors.all_invalid(&path, key, names::qualified_name(key));
            }
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        let fixed = |driver: &Json| {
            let mut driver = driver.clone();
            remove(&mut driver, &["allocatable"]);
            driver
        };
        for driver in items_at(doc, &["spec", "drivers"]) {
            let before = items_at(old, &["spec", "drivers"]).iter();
            for before in before.filter(|before| text(before, "name") == text(driver, "name")) {
                if fixed(before) != fixed(driver) {
                    let path = FieldPath::new("spec.drivers");
                    errors.invalid(&path, fixed(driver), "field is immutable");
                }
            }
        }
    }
}

/// storage.k8s.io/v1 CSIStorageCapacity.
pub(crate) struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        if let Some(selector) = doc.get("nodeTopology") {
            selectors::validate(selector, &FieldPath::new("nodeTopology"), errors);
        }
        let class = text(doc, "storageClassName");
        errors.all_invalid(&FieldPath::new("storageClassName"), class, names::dns_subdomain(class));
        if let Some(amount) = doc.get("capacity").and_then(quantity).filter(|amount| amount.is_negative()) {
            let text = "must be greater than or equal to 0";
            errors.invalid(&FieldPath::new("capacity"), amount.to_string(), text);
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        for field in ["nodeTopology", "storageClassName"] {
            immutable(doc, old, &[field], &FieldPath::new(field), errors);
        }
    }
}
