//! core: PersistentVolume, PersistentVolumeClaim; storage.k8s.io.

use super::*;

const CLAIMS: &str = "persistentvolumeclaims";
const VOLUMES: &str = "persistentvolumes";

fn claim() -> Json {
    json!({ "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } })
}

fn volume() -> Json {
    json!({ "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/a" } } })
}

#[test]
fn claims() {
    create(CLAIMS, claim(), &[]);
    assert_eq!(made(CLAIMS, claim())["spec"]["volumeMode"], "Filesystem");
    create(
        CLAIMS,
        json!({ "spec": {} }),
        &[
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value",
        ],
    );
    create(
        CLAIMS,
        with(claim(), "spec.accessModes", json!(["ReadWriteOncePod", "ReadWriteOnce", "Any"])),
        &[
            "spec.accessModes: Unsupported value: \"Any\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
        ],
    );
    create(
        CLAIMS,
        with(claim(), "spec.resources.requests.storage", json!("0")),
        &["spec.resources[storage]: Invalid value: \"0\": must be greater than zero"],
    );
    create(
        CLAIMS,
        with(claim(), "spec.volumeMode", json!("Tape")),
        &["spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\""],
    );
    create(
        CLAIMS,
        with(claim(), "spec.dataSourceRef", json!({ "kind": "Pod", "name": "" })),
        &[
            "spec.dataSource.name: Required value",
            "spec.dataSource: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            "spec.dataSourceRef.name: Required value",
            "spec.dataSourceRef: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        ],
    );
}

#[test]
fn a_claim_is_fixed_but_for_its_size() {
    const FIXED: &str = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    update(CLAIMS, claim(), "spec.volumeName", json!("pv"), &[]);
    update(CLAIMS, claim(), "spec.storageClassName", json!("late"), &[]);
    update(CLAIMS, claim(), "spec.accessModes", json!(["ReadWriteMany"]), &[FIXED]);
    update(CLAIMS, claim(), "spec.resources.requests.storage", json!("2Gi"), &[FIXED]);
    let strategy = strategy(CLAIMS);
    let old = with(made(CLAIMS, claim()), "status", json!({ "phase": "Bound", "capacity": { "storage": "1Gi" } }));
    let problems = |size: &str| {
        let mut errors = FieldErrors::new();
        strategy.validate_update(&with(old.clone(), "spec.resources.requests.storage", json!(size)), &old, &mut errors);
        texts(&errors)
    };
    assert_eq!(problems("2Gi"), Vec::<String>::new());
    assert_eq!(
        problems("500Mi"),
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
}

#[test]
fn volumes() {
    create(VOLUMES, volume(), &[]);
    let stored = made(VOLUMES, volume());
    assert_eq!(
        (&stored["spec"]["persistentVolumeReclaimPolicy"], &stored["spec"]["hostPath"]["type"]),
        (&json!("Retain"), &json!(""))
    );
    assert_eq!(stored["status"], json!({ "phase": "Pending", "lastPhaseTransitionTime": "2026-11-24T10:00:00Z" }));
    create(
        VOLUMES,
        json!({ "spec": {} }),
        &[
            "spec.accessModes: Required value",
            "spec.capacity: Required value",
            "spec.capacity: Unsupported value: null: supported values: \"storage\"",
            "spec: Required value: must specify a volume type",
        ],
    );
    create(
        VOLUMES,
        with(volume(), "spec.nfs", json!({ "server": "s", "path": "p" })),
        &["spec.nfs: Forbidden: may not specify more than 1 volume type"],
    );
    let of =
        |source: &str, value: Json| with(with(volume(), "spec.hostPath", Json::Null), &format!("spec.{source}"), value);
    create(
        VOLUMES,
        of("nfs", json!({ "server": "", "path": "p" })),
        &["spec.nfs.server: Required value", "spec.nfs.path: Invalid value: \"p\": must be an absolute path"],
    );
    create(
        VOLUMES,
        of("csi", json!({ "driver": "x_y", "nodePublishSecretRef": { "name": "a" } })),
        &[
            "spec.csi.driver: Invalid value: \"x_y\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.csi.volumeHandle: Required value",
            "spec.csi.nodePublishSecretRef.namespace: Required value",
        ],
    );
    create(
        VOLUMES,
        of("local", json!({ "path": "/mnt/disk" })),
        &["spec.nodeAffinity: Required value: Local volume requires node affinity"],
    );
    create(
        VOLUMES,
        of("iscsi", json!({ "targetPortal": "10.0.0.1", "iqn": "x", "lun": 300 })),
        &[
            "spec.iscsi.iqn: Invalid value: \"x\": must be valid format",
            "spec.iscsi.lun: Invalid value: 300: must be between 0 and 255, inclusive",
        ],
    );
    let root = with(volume(), "spec.hostPath.path", json!("/"));
    create(
        VOLUMES,
        with(root, "spec.persistentVolumeReclaimPolicy", json!("Recycle")),
        &["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
    );
    update(
        VOLUMES,
        volume(),
        "spec.hostPath.path",
        json!("/b"),
        &["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"],
    );
    update(VOLUMES, volume(), "spec.persistentVolumeReclaimPolicy", json!("Delete"), &[]);
}

#[test]
fn classes() {
    const CLASSES: &str = "storage.k8s.io/storageclasses";
    create(CLASSES, json!({ "provisioner": "example.com/disk" }), &[]);
    assert_eq!(made(CLASSES, json!({ "provisioner": "a" }))["volumeBindingMode"], "Immediate");
    create(
        CLASSES,
        json!({ "provisioner": "", "reclaimPolicy": "Recycle", "volumeBindingMode": "Later" }),
        &[
            "provisioner: Required value",
            "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
            "volumeBindingMode: Unsupported value: \"Later\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
        ],
    );
    let term = json!({ "matchLabelExpressions": [{ "key": "zone", "values": ["a", "a"] }] });
    create(
        CLASSES,
        json!({ "provisioner": "a", "allowedTopologies": [term, term] }),
        &[
            "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
            "allowedTopologies[1].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
            "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
        ],
    );
    update(
        CLASSES,
        json!({ "provisioner": "a" }),
        "provisioner",
        json!("b"),
        &["provisioner: Invalid value: \"b\": field is immutable"],
    );
    const ATTRIBUTES: &str = "storage.k8s.io/volumeattributesclasses";
    create(
        ATTRIBUTES,
        json!({ "driverName": "a" }),
        &["parameters: Required value: must contain at least one key/value pair"],
    );
    update(
        ATTRIBUTES,
        json!({ "driverName": "a", "parameters": { "iops": "1" } }),
        "parameters.iops",
        json!("2"),
        &["parameters: Forbidden: updates to parameters are forbidden."],
    );
}

#[test]
fn attachments_and_drivers() {
    const ATTACHMENTS: &str = "storage.k8s.io/volumeattachments";
    let attachment = |source: Json| json!({ "spec": { "attacher": "a.b", "nodeName": "edge-1", "source": source } });
    create(ATTACHMENTS, attachment(json!({ "persistentVolumeName": "pv" })), &[]);
    create(
        ATTACHMENTS,
        attachment(json!({})),
        &["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
    );
    create(
        ATTACHMENTS,
        attachment(
            json!({ "inlineVolumeSpec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "x", "hostPath": { "path": "/a" } } }),
        ),
        &[
            "spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes",
            "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
        ],
    );
    status(
        ATTACHMENTS,
        attachment(json!({ "persistentVolumeName": "pv" })),
        json!({}),
        json!({ "attachError": { "errorCode": -1 } }),
        &["status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
    );
    const DRIVERS: &str = "storage.k8s.io/csidrivers";
    create(DRIVERS, json!({ "spec": {} }), &[]);
    assert_eq!(
        made(DRIVERS, json!({ "spec": {} }))["spec"],
        json!({ "attachRequired": true, "podInfoOnMount": false, "storageCapacity": false, "requiresRepublish": false,
            "seLinuxMount": false, "fsGroupPolicy": "ReadWriteOnceWithFSType", "volumeLifecycleModes": ["Persistent"] })
    );
    create(
        DRIVERS,
        json!({ "spec": { "fsGroupPolicy": "All", "volumeLifecycleModes": ["Once"], "serviceAccountTokenInSecrets": true,
            "nodeAllocatableUpdatePeriodSeconds": 1 } }),
        &[
            "spec.fsGroupPolicy: Unsupported value: \"All\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
            "spec.volumeLifecycleModes: Unsupported value: \"Once\": supported values: \"Persistent\", \"Ephemeral\"",
            "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 1: must be greater than or equal to 10 seconds",
            "spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified",
        ],
    );
    update(
        DRIVERS,
        json!({ "spec": {} }),
        "spec.attachRequired",
        json!(false),
        &["spec.attachedRequired: Invalid value: false: field is immutable"],
    );
    create(
        "storage.k8s.io/csinodes",
        json!({ "spec": { "drivers": [{ "name": "a.b", "nodeID": "" }, { "name": "a.b", "nodeID": "n", "topologyKeys": ["zone", "zone"] }] } }),
        &[
            "spec.drivers[0].nodeID: Required value",
            "spec.drivers[1].name: Duplicate value: \"a.b\"",
            "spec.drivers[1]: Duplicate value: \"zone\"",
        ],
    );
    const CAPACITIES: &str = "storage.k8s.io/csistoragecapacities";
    create(
        CAPACITIES,
        json!({ "storageClassName": "a", "capacity": "-1" }),
        &["capacity: Invalid value: \"-1\": must be greater than or equal to 0"],
    );
    update(
        CAPACITIES,
        json!({ "storageClassName": "a" }),
        "storageClassName",
        json!("b"),
        &["storageClassName: Invalid value: \"b\": field is immutable"],
    );
}
