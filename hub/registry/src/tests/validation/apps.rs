//! apps: StatefulSet, DaemonSet, ControllerRevision; core: ReplicationController, PodTemplate.

use super::*;

fn template() -> Json {
    json!({ "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [{ "name": "main", "image": "app" }] } })
}

fn workload() -> Json {
    json!({ "spec": { "selector": { "matchLabels": { "app": "a" } }, "template": template() } })
}

#[test]
fn stateful_sets() {
    const SETS: &str = "apps/statefulsets";
    create(SETS, workload(), &[]);
    create(
        SETS,
        with(workload(), "spec.podManagementPolicy", json!("Sometimes")),
        &["spec.podManagementPolicy: Invalid value: \"Sometimes\": must be 'OrderedReady' or 'Parallel'"],
    );
    create(
        SETS,
        with(workload(), "spec.updateStrategy", json!({ "type": "OnDelete", "rollingUpdate": { "partition": 1 } })),
        &[
            "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy 'RollingUpdate'",
        ],
    );
    create(
        SETS,
        with(workload(), "spec.updateStrategy", json!({ "type": "Never" })),
        &["spec.updateStrategy: Invalid value: {\"type\":\"Never\"}: must be 'RollingUpdate' or 'OnDelete'"],
    );
    create(
        SETS,
        with(
            workload(),
            "spec.updateStrategy",
            json!({ "rollingUpdate": { "partition": -1, "maxUnavailable": "200%" } }),
        ),
        &[
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"200%\": must not be greater than 100%",
        ],
    );
    create(
        SETS,
        with(workload(), "spec.persistentVolumeClaimRetentionPolicy", json!({ "whenScaled": "Keep" })),
        &[
            "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"Keep\": supported values: \"Retain\", \"Delete\"",
        ],
    );
    create(
        SETS,
        with(workload(), "spec.ordinals", json!({ "start": -2 })),
        &["spec.ordinals.start: Invalid value: -2: must be greater than or equal to 0"],
    );
    create(
        SETS,
        with(workload(), "spec.volumeClaimTemplates", json!([{ "metadata": { "name": "data" }, "spec": {} }])),
        &[
            "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
            "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value",
        ],
    );
    create(
        SETS,
        with(workload(), "spec.selector", json!({})),
        &["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"],
    );
    let mut doc = workload();
    doc["spec"]["template"]["spec"]["activeDeadlineSeconds"] = json!(5);
    doc["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    create(
        SETS,
        doc,
        &[
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported",
        ],
    );
}

#[test]
fn a_claim_of_a_stateful_set_is_a_volume_of_its_pods() {
    let claim = json!({ "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
    let mut doc = with(workload(), "spec.volumeClaimTemplates", json!([claim]));
    doc["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "data", "mountPath": "/d" }]);
    create("apps/statefulsets", doc.clone(), &[]);
    let stored = made("apps/statefulsets", doc);
    let template = &stored["spec"]["volumeClaimTemplates"][0];
    assert_eq!(
        (&template["kind"], &template["status"]),
        (&json!("PersistentVolumeClaim"), &json!({ "phase": "Pending" }))
    );
    assert_eq!(template["spec"]["volumeMode"], "Filesystem");
}

#[test]
fn a_stateful_set_is_mostly_fixed() {
    const SETS: &str = "apps/statefulsets";
    const FIXED: &str = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    update(SETS, workload(), "spec.serviceName", json!("web"), &[FIXED]);
    update(SETS, workload(), "spec.serviceName", json!(""), &[]);
    update(SETS, workload(), "spec.podManagementPolicy", json!("Parallel"), &[FIXED]);
    update(SETS, workload(), "spec.replicas", json!(3), &[]);
    update(SETS, workload(), "spec.ordinals", json!({ "start": 1 }), &[]);
    let counts = |replicas: i64, ready: i64, available: i64| json!({ "replicas": replicas, "readyReplicas": ready, "availableReplicas": available, "collisionCount": ready });
    status(SETS, workload(), counts(2, 1, 1), counts(2, 2, 1), &[]);
    status(
        SETS,
        workload(),
        counts(2, 2, 1),
        counts(1, 0, 2),
        &[
            "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas",
            "status.collisionCount: Invalid value: 0: cannot be decremented",
        ],
    );
}

#[test]
fn daemon_sets() {
    const SETS: &str = "apps/daemonsets";
    create(SETS, workload(), &[]);
    create(
        SETS,
        with(workload(), "spec.updateStrategy", json!({ "rollingUpdate": { "maxSurge": 1 } })),
        &[
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ],
    );
    create(
        SETS,
        with(workload(), "spec.updateStrategy", json!({ "rollingUpdate": { "maxUnavailable": 0 } })),
        &["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
    );
    create(
        SETS,
        with(workload(), "spec.updateStrategy", json!({ "type": "Maybe" })),
        &[
            "spec.updateStrategy: Unsupported value: {\"type\":\"Maybe\"}: supported values: \"RollingUpdate\", \"OnDelete\"",
        ],
    );
    create(
        SETS,
        with(workload(), "spec.template.metadata.labels", json!({ "app": "b" })),
        &["spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"],
    );
    create(
        SETS,
        with(workload(), "spec.selector", json!({})),
        &["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
    );
    update(
        SETS,
        workload(),
        "spec.selector",
        json!({ "matchLabels": { "app": "a" }, "matchExpressions": [{ "key": "app", "operator": "Exists" }] }),
        &[
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"a\"},\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"Exists\"}]}: field is immutable",
        ],
    );
    status(
        SETS,
        workload(),
        json!({}),
        json!({ "numberReady": -1 }),
        &["status.numberReady: Invalid value: -1: must be greater than or equal to 0"],
    );
}

#[test]
fn controller_revisions() {
    const REVISIONS: &str = "apps/controllerrevisions";
    create(REVISIONS, json!({ "revision": 1, "data": { "a": 1 } }), &[]);
    create(REVISIONS, json!({ "revision": 1 }), &["data: Required value: data is mandatory"]);
    create(
        REVISIONS,
        json!({ "revision": -1, "data": [] }),
        &[
            "revision: Invalid value: -1: must be greater than or equal to 0",
            "data: Required value: data must be a valid JSON object",
        ],
    );
    let doc = json!({ "revision": 1, "data": { "a": 1 } });
    update(REVISIONS, doc.clone(), "data", json!({}), &["data: Invalid value: {}: field is immutable"]);
    update(REVISIONS, doc, "revision", json!(2), &[]);
}

#[test]
fn replication_controllers() {
    const CONTROLLERS: &str = "replicationcontrollers";
    let doc = json!({ "spec": { "template": template() } });
    create(CONTROLLERS, doc.clone(), &[]);
    let stored = made(CONTROLLERS, doc.clone());
    assert_eq!(
        (&stored["spec"]["selector"], &stored["metadata"]["labels"]),
        (&json!({ "app": "a" }), &json!({ "app": "a" }))
    );
    assert_eq!(stored["spec"]["replicas"], 1);
    create(CONTROLLERS, json!({ "spec": {} }), &["spec.selector: Required value", "spec.template: Required value"]);
    create(
        CONTROLLERS,
        with(doc, "spec.selector", json!({ "app": "b" })),
        &["spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`"],
    );
    create("podtemplates", json!({ "template": template() }), &[]);
    create("podtemplates", json!({ "template": { "spec": {} } }), &["template.spec.containers: Required value"]);
}
