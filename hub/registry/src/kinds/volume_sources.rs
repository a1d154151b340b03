//! Where the data of a volume is, written in a pod or in a PersistentVolume.

use super::pod::volumes;
use super::rules::{driver_name, text};
use holdfast_core::json::{at, bool_at, default, i64_at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// Whose volume it is.
#[derive(Clone, Copy)]
pub(crate) enum Volume<'a> {
    /// The one with this name of a pod.
    OfPod(&'a str),
    /// A PersistentVolume of this name.
    Persistent(&'a str),
}

const BYTE: &str = "must be between 0 and 255, inclusive";
/// Secrets of a CSI volume that upstream judges.
const CSI_SECRETS: &[&str] =
    &["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];

/// Sets what upstream sets in the source of a volume of a pod, or in the spec of a PersistentVolume.
pub(crate) fn default_fields(volume: &mut Json) {
    for (source, fields) in [
        ("hostPath", &[("type", "")][..]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("iscsi", &[("iscsiInterface", "default")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
    ] {
        if at(volume, &[source]).is_some() {
            for (field, value) in fields {
                default(volume, &[source, field], *value);
            }
        }
    }
    if at(volume, &["azureDisk"]).is_some() {
        default(volume, &["azureDisk", "readOnly"], false);
    }
}

/// Problems of the source `field` of a volume; `path` is the volume's, or that of the spec of a PersistentVolume.
pub(crate) fn validate(field: &str, doc: &Json, volume: Volume<'_>, path: &FieldPath, errors: &mut FieldErrors) {
    let outer = path;
    let path = &path.child(if field == "gcePersistentDisk" { "persistentDisk" } else { field });
    let required = |fields: &[&str], errors: &mut FieldErrors| {
        for name in fields.iter().filter(|name| text(doc, name).is_empty()) {
            errors.required(&path.child(name), "");
        }
    };
    let listed = |fields: &[&str], errors: &mut FieldErrors| {
        for name in fields.iter().filter(|name| items_at(doc, &[name]).is_empty()) {
            errors.required(&path.child(name), "");
        }
    };
    match field {
        "hostPath" => volumes::host_path(doc, path, errors),
        "local" => {
            required(&["path"], errors);
            volumes::path_without_backsteps(text(doc, "path"), &path.child("path"), errors);
        }
        "nfs" => {
            required(&["server", "path"], errors);
            if !text(doc, "path").starts_with('/') {
                errors.invalid(&path.child("path"), text(doc, "path"), "must be an absolute path");
            }
        }
        "csi" => csi(doc, volume, path, errors),
        "iscsi" => iscsi(doc, volume, outer, path, errors),
        "fc" => fibre_channel(doc, path, errors),
        "rbd" => {
            listed(&["monitors"], errors);
            required(&["image"], errors);
        }
        "cephfs" => listed(&["monitors"], errors),
        "flexVolume" => {
            required(&["driver"], errors);
            for key in doc.get("options").and_then(Json::as_object).into_iter().flat_map(|map| map.keys()) {
                let domain = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
                if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
                    let text = "kubernetes.io and k8s.io namespaces are reserved";
                    errors.invalid(&path.child("options").key(key), key.as_str(), text);
                }
            }
        }
        "azureFile" => {
            required(&["secretName", "shareName"], errors);
            if doc.get("secretNamespace").and_then(Json::as_str) == Some("") {
                errors.required(&path.child("secretNamespace"), "");
            }
        }
        "azureDisk" => azure_disk(doc, path, errors),
        "glusterfs" => {
            required(&["endpoints", "path"], errors);
            if let Some(namespace) = doc.get("endpointsNamespace").and_then(Json::as_str) {
                let path = path.child("endpointsNamespace");
                if namespace.is_empty() {
                    errors.invalid(&path, "", "if the endpointnamespace is set, it must be a valid namespace name");
                } else {
                    errors.all_invalid(&path, namespace, names::dns_label(namespace));
                }
            }
        }
        "portworxVolume" => required(&["volumeID"], errors),
        "cinder" => {
            required(&["volumeID"], errors);
            secret(doc, volume, path, errors);
        }
        "awsElasticBlockStore" => {
            required(&["volumeID"], errors);
            partition(doc, path, errors);
        }
        "gcePersistentDisk" => {
            required(&["pdName"], errors);
            partition(doc, path, errors);
        }
        "quobyte" => quobyte(doc, path, errors),
        "vsphereVolume" => required(&["volumePath"], errors),
        "photonPersistentDisk" => required(&["pdID"], errors),
        "scaleIO" => required(&["gateway", "system", "volumeName"], errors),
        "storageos" => {
            required(&["volumeName"], errors);
            for field in ["volumeName", "volumeNamespace"] {
                let name = text(doc, field);
                if !name.is_empty() {
                    errors.all_invalid(&path.child(field), name, names::dns_label(name));
                }
            }
            secret(doc, volume, path, errors);
        }
        "flocker" => flocker(doc, path, errors),
        "gitRepo" => {
            required(&["repository"], errors);
            volumes::descending_path(text(doc, "directory"), &path.child("directory"), errors);
        }
        _ => {}
    }
}

/// A secret of which only a PersistentVolume must say the namespace.
fn secret(doc: &Json, volume: Volume<'_>, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(secret) = doc.get("secretRef") else { return };
    let fields: &[&str] = match volume {
        Volume::OfPod(_) => &["name"],
        Volume::Persistent(_) => &["name", "namespace"],
    };
    for field in fields.iter().filter(|field| text(secret, field).is_empty()) {
        errors.required(&path.child("secretRef").child(field), "");
    }
}

fn partition(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(partition) = i64_at(doc, &["partition"]).filter(|partition| !(0..=255).contains(partition)) {
        errors.invalid(&path.child("partition"), partition, "must be between 1 and 255, inclusive");
    }
}

fn csi(doc: &Json, volume: Volume<'_>, path: &FieldPath, errors: &mut FieldErrors) {
    driver_name(text(doc, "driver"), &path.child("driver"), errors);
    if let Volume::OfPod(_) = volume {
        let Some(secret) = doc.get("nodePublishSecretRef") else { return };
        return match text(secret, "name") {
            "" => errors.required(&path.child("nodePublishSecretRef").child("name"), ""),
            // The path is upstream's.
            name => errors.all_invalid(&path.child("name"), name, names::dns_subdomain(name)),
        };
    }
    if text(doc, "volumeHandle").is_empty() {
        errors.required(&path.child("volumeHandle"), "");
    }
    for secret in CSI_SECRETS {
        let Some(reference) = doc.get(secret) else { continue };
        let path = path.child(secret);
        for (field, check) in
            [("name", names::dns_subdomain as fn(&str) -> Vec<String>), ("namespace", names::dns_label)]
        {
            match text(reference, field) {
                "" => errors.required(&path.child(field), ""),
                value => errors.all_invalid(&path.child(field), value, check(value)),
            }
        }
    }
}

fn azure_disk(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    for field in ["diskName", "diskURI"].iter().filter(|field| text(doc, field).is_empty()) {
        errors.required(&path.child(field), "");
    }
    for (field, allowed) in
        [("cachingMode", &["None", "ReadOnly", "ReadWrite"][..]), ("kind", &["Dedicated", "Managed", "Shared"])]
    {
        if let Some(value) = doc.get(field).and_then(Json::as_str).filter(|value| !allowed.contains(value)) {
            errors.not_supported(&path.child(field), value, allowed);
        }
    }
    if let Some(kind) = doc.get("kind").and_then(Json::as_str) {
        let (start, form) = if kind == "Managed" { ("/subscriptions/", MANAGED) } else { ("https://", BLOB) };
        if !text(doc, "diskURI").starts_with(start) {
            errors.not_supported(&path.child("diskURI"), text(doc, "diskURI"), &[form]);
        }
    }
}

fn quobyte(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = text(doc, "registry");
    if registry.is_empty() {
        errors.required(&path.child("registry"), PAIRS);
    } else if text(doc, "tenant").len() >= 65 {
        errors.required(&path.child("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    } else {
        let is_pair = |pair: &&str| match pair.rsplit_once(':') {
            Some((host, _)) => !host.contains(':') || host.starts_with('[') && host.ends_with(']'),
            None => false,
        };
        for _ in registry.split(',').filter(|pair| !is_pair(pair)) {
            errors.invalid(&path.child("registry"), registry, PAIRS);
        }
    }
    if text(doc, "volume").is_empty() {
        errors.required(&path.child("volume"), "");
    }
}

fn flocker(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let (name, uuid) = (text(doc, "datasetName"), text(doc, "datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => errors.required(path, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            errors.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously");
        }
        _ => {}
    }
    if name.contains('/') {
        errors.invalid(&path.child("datasetName"), name, "must not contain '/'");
    }
}

fn iscsi(doc: &Json, volume: Volume<'_>, outer: &FieldPath, path: &FieldPath, errors: &mut FieldErrors) {
    const TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                            iscsi.initiatorName is specified.";
    let portal = text(doc, "targetPortal");
    if portal.is_empty() {
        errors.required(&path.child("targetPortal"), "");
    }
    let initiator = doc.get("initiatorName").and_then(Json::as_str);
    let is_long = |name: &str| initiator.is_some() && name.len() + 1 + portal.len() > 64;
    if let Volume::Persistent(name) = volume
        && is_long(name)
    {
        errors.invalid(&path.child("targetportal"), portal, TOO_LONG);
    }
    let of_pod = matches!(volume, Volume::OfPod(_));
    let why = |name: &str| {
        if of_pod && !["iqn", "eui", "naa"].iter().any(|start| name.starts_with(start)) {
            "must be valid format starting with iqn, eui, or naa"
        } else {
            "must be valid format"
        }
    };
    match text(doc, "iqn") {
        "" => errors.required(&path.child("iqn"), ""),
        name if !is_iscsi_name(name) => errors.invalid(&path.child("iqn"), name, why(name)),
        _ => {}
    }
    let lun = i64_at(doc, &["lun"]).unwrap_or(0);
    if !(0..=255).contains(&lun) {
        errors.invalid(&path.child("lun"), lun, BYTE);
    }
    let authenticates =
        ["chapAuthDiscovery", "chapAuthSession"].iter().any(|field| bool_at(doc, &[field]) == Some(true));
    match at(doc, &["secretRef"]) {
        None if authenticates => errors.required(&path.child("secretRef"), ""),
        Some(secret) if !of_pod && text(secret, "name").is_empty() => {
            errors.required(&path.child("secretRef").child("name"), "");
        }
        _ => {}
    }
    if let Some(name) = initiator.filter(|name| !is_iscsi_name(name)) {
        errors.invalid(&path.child("initiatorname"), name, why(name));
    }
    if let Volume::OfPod(name) = volume
        && is_long(name)
    {
        errors.invalid(&outer.child("name"), name, TOO_LONG);
    }
}

/// A name of RFC 3720 section 3.2.6: `iqn.2001-04.com.example:disk`, `eui.` and `naa.` with 16 or 32 hex digits.
fn is_iscsi_name(name: &str) -> bool {
    let hex = |rest: &str, lengths: &[usize]| {
        lengths.contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match name.split_once('.') {
        Some(("eui", rest)) => hex(rest, &[16]),
        Some(("naa", rest)) => hex(rest, &[16, 32]),
        Some(("iqn", rest)) => {
            let Some((date, authority)) = rest.split_once('.') else { return false };
            let dated = date.len() == 7
                && date
                    .bytes()
                    .enumerate()
                    .all(|(at, byte)| if at == 4 { byte == b'-' } else { byte.is_ascii_digit() });
            let parts = authority.split_once(':').map_or(authority, |(authority, _)| authority);
            dated
                && authority.split_once(':').is_none_or(|(_, rest)| !rest.is_empty() && !rest.contains([' ', '\t']))
                && parts.split('.').all(|part| {
                    part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                        && part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
                })
        }
        _ => false,
    }
}

fn fibre_channel(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let (wwns, wwids) = (items_at(doc, &["targetWWNs"]), items_at(doc, &["wwids"]));
    if wwns.is_empty() && wwids.is_empty() {
        errors.required(&path.child("targetWWNs"), "must specify either targetWWNs or wwids, but not both");
    }
    if wwns.is_empty() {
        return;
    }
    if !wwids.is_empty() {
        let text = "targetWWNs and wwids can not be specified simultaneously";
        errors.invalid(&path.child("targetWWNs"), wwns.to_vec(), text);
    }
    match i64_at(doc, &["lun"]) {
        None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
        Some(lun) if !(0..=255).contains(&lun) => {
            errors.invalid(&path.child("lun"), lun, BYTE);
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_iscsi_follow_the_rfc() {
        for name in ["iqn.2001-04.com.example:storage.kube.sys1.xyz", "iqn.2001-04.com.example", "eui.0123456789abcdef"]
        {
            assert!(is_iscsi_name(name), "{name}");
        }
        for name in ["iqn.2001.com.example:a", "iqn.2001-04.com.example:", "eui.012", "nqn.a", "iqn"] {
            assert!(!is_iscsi_name(name), "{name}");
        }
    }
}
