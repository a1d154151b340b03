//! Parts of a pod that few write: block devices, old volumes, claims of devices, resources of the whole pod, Windows, affinity,
//! annotations.

use super::*;

/// A pod with `value` at each path (dots and numbers).
pub(super) fn pod_with(values: &[(&str, Json)]) -> Json {
    values.iter().fold(pod("a"), |doc, (path, value)| with(doc, path, value.clone()))
}

fn refused(values: &[(&str, Json)], expected: &[&str]) {
    create("pods", pod_with(values), expected);
}

#[test]
fn sources_of_volumes() {
    let at = "spec.volumes[0]";
    for (source, expected) in [
        (
            json!({ "gitRepo": { "directory": "../x" } }),
            vec![
                "gitRepo.repository: Required value",
                "gitRepo.directory: Invalid value: \"../x\": must not contain '..'",
            ],
        ),
        (
            json!({ "gcePersistentDisk": { "partition": 300 } }),
            vec![
                "persistentDisk.pdName: Required value",
                "persistentDisk.partition: Invalid value: 300: must be between 1 and 255, inclusive",
            ],
        ),
        (json!({ "awsElasticBlockStore": {} }), vec!["awsElasticBlockStore.volumeID: Required value"]),
        (
            json!({ "nfs": { "server": "s", "path": "a" } }),
            vec!["nfs.path: Invalid value: \"a\": must be an absolute path"],
        ),
        (
            json!({ "iscsi": { "iqn": "nqn.a", "lun": 256, "chapAuthSession": true, "initiatorName": "eui.1" } }),
            vec![
                "iscsi.targetPortal: Required value",
                "iscsi.iqn: Invalid value: \"nqn.a\": must be valid format starting with iqn, eui, or naa",
                "iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
                "iscsi.secretRef: Required value",
                "iscsi.initiatorname: Invalid value: \"eui.1\": must be valid format",
            ],
        ),
        (json!({ "glusterfs": {} }), vec!["glusterfs.endpoints: Required value", "glusterfs.path: Required value"]),
        (json!({ "flocker": {} }), vec!["flocker: Required value: one of datasetName and datasetUUID is required"]),
        (
            json!({ "flocker": { "datasetName": "a/b" } }),
            vec!["flocker.datasetName: Invalid value: \"a/b\": must not contain '/'"],
        ),
        (json!({ "rbd": {} }), vec!["rbd.monitors: Required value", "rbd.image: Required value"]),
        (
            json!({ "cinder": { "secretRef": {} } }),
            vec!["cinder.volumeID: Required value", "cinder.secretRef.name: Required value"],
        ),
        (json!({ "cephfs": {} }), vec!["cephfs.monitors: Required value"]),
        (
            json!({ "quobyte": { "registry": "host" } }),
            vec![
                "quobyte.registry: Invalid value: \"host\": must be a host:port pair or multiple pairs separated by commas",
                "quobyte.volume: Required value",
            ],
        ),
        (
            json!({ "fc": { "targetWWNs": ["a"] } }),
            vec!["fc.lun: Required value: lun is required if targetWWNs is specified"],
        ),
        (
            json!({ "flexVolume": { "driver": "d", "options": { "k8s.io/x": "1", "x": "2" } } }),
            vec![
                "flexVolume.options[k8s.io/x]: Invalid value: \"k8s.io/x\": kubernetes.io and k8s.io namespaces are reserved",
            ],
        ),
        (
            json!({ "azureFile": {} }),
            vec!["azureFile.secretName: Required value", "azureFile.shareName: Required value"],
        ),
        (
            json!({ "azureDisk": { "diskName": "d", "diskURI": "https://x", "kind": "Managed", "cachingMode": "All" } }),
            vec![
                "azureDisk.cachingMode: Unsupported value: \"All\": supported values: \"None\", \"ReadOnly\", \"ReadWrite\"",
                "azureDisk.diskURI: Unsupported value: \"https://x\": supported values: \"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}\"",
            ],
        ),
        (json!({ "vsphereVolume": {} }), vec!["vsphereVolume.volumePath: Required value"]),
        (json!({ "photonPersistentDisk": {} }), vec!["photonPersistentDisk.pdID: Required value"]),
        (json!({ "portworxVolume": {} }), vec!["portworxVolume.volumeID: Required value"]),
        (
            json!({ "scaleIO": {} }),
            vec![
                "scaleIO.gateway: Required value",
                "scaleIO.system: Required value",
                "scaleIO.volumeName: Required value",
            ],
        ),
        (
            json!({ "storageos": { "secretRef": {} } }),
            vec!["storageos.volumeName: Required value", "storageos.secretRef.name: Required value"],
        ),
        (json!({ "csi": { "driver": "" } }), vec!["csi.driver: Required value"]),
        (
            json!({ "csi": { "driver": "d.io", "nodePublishSecretRef": {} } }),
            vec!["csi.nodePublishSecretRef.name: Required value"],
        ),
        (
            json!({ "image": { "pullPolicy": "Maybe" } }),
            vec![
                "image.reference: Required value",
                "image.pullPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            json!({ "cephfs": { "monitors": ["m"] }, "downwardAPI": {}, "emptyDir": {} }),
            vec![
                "cephFS: Forbidden: may not specify more than 1 volume type",
                "downwarAPI: Forbidden: may not specify more than 1 volume type",
            ],
        ),
    ] {
        let mut volume = source;
        volume["name"] = json!("v");
        let expected: Vec<String> = expected.iter().map(|text| format!("{at}.{text}")).collect();
        refused(&[("spec.volumes", json!([volume]))], &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let made = made(
        "pods",
        pod_with(&[(
            "spec.volumes",
            json!([
        { "name": "a", "image": { "reference": "app:latest" } }, { "name": "b", "image": { "reference": "app:1" } },
        { "name": "c", "rbd": { "monitors": ["m"], "image": "i" } }]),
        )]),
    );
    assert_eq!(made["spec"]["volumes"][0]["image"]["pullPolicy"], "Always");
    assert_eq!(made["spec"]["volumes"][1]["image"]["pullPolicy"], "IfNotPresent");
    assert_eq!(made["spec"]["volumes"][2]["rbd"]["pool"], "rbd");
}

#[test]
fn names_of_volumes_are_given_once() {
    let empty = json!({ "name": "v", "emptyDir": {} });
    refused(&[("spec.volumes", json!([empty, empty]))], &["spec.volumes[1].name: Duplicate value: \"v\""]);
}

#[test]
fn volumes_that_make_claims() {
    let spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
    let ephemeral = |metadata: Json| json!({ "name": "v", "ephemeral": { "volumeClaimTemplate": { "metadata": metadata, "spec": spec } } });
    refused(&[("spec.volumes", json!([ephemeral(json!({ "labels": { "a": "b" } }))]))], &[]);
    refused(
        &[("spec.volumes", json!([ephemeral(json!({ "name": "x" }))]))],
        &["spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set"],
    );
    refused(
        &[(
            "spec.volumes",
            json!([ephemeral(json!({})), { "name": "w", "persistentVolumeClaim": { "claimName": "a-v" } }]),
        )],
        &[
            "spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: \"a-v\": must not reference a PVC that gets created for an ephemeral volume",
        ],
    );
}

#[test]
fn mounts_and_block_devices() {
    let volumes = (
        "spec.volumes",
        json!([{ "name": "disk", "persistentVolumeClaim": { "claimName": "c" } }, { "name": "tmp", "emptyDir": {} }]),
    );
    let at = "spec.containers[0]";
    let check = |mounts: Json, devices: Json, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|text| format!("{at}.{text}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        refused(
            &[
                volumes.clone(),
                ("spec.containers.0.volumeMounts", mounts),
                ("spec.containers.0.volumeDevices", devices),
            ],
            &expected,
        );
    };
    check(json!([]), json!([{ "name": "disk", "devicePath": "/dev/xvda" }]), &[]);
    check(
        json!([{ "name": "tmp", "mountPath": "/dev/x" }]),
        json!([{ "name": "tmp", "devicePath": "/dev/x" }, { "name": "disk", "devicePath": "/dev/../y" }, { "name": "disk", "devicePath": "" }, { "name": "none", "devicePath": "/z" }]),
        &[
            "volumeMounts[0].name: Invalid value: \"tmp\": must not already exist in volumeDevices",
            "volumeMounts[0].mountPath: Invalid value: \"/dev/x\": must not already exist as a path in volumeDevices",
            "volumeDevices[0].name: Invalid value: \"tmp\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            "volumeDevices[0].name: Invalid value: \"tmp\": must not already exist in volumeMounts",
            "volumeDevices[0].devicePath: Invalid value: \"/dev/x\": must not already exist as a path in volumeMounts",
            "volumeDevices[1].devicePath: Invalid value: \"/dev/../y\": can not contain backsteps ('..')",
            "volumeDevices[2].name: Invalid value: \"disk\": must be unique",
            "volumeDevices[2].devicePath: Required value",
            "volumeDevices[3].name: Not found: \"none\"",
        ],
    );
    let recursive = |kind: &str, more: Json| {
        let mut mount = json!({ "name": "tmp", "mountPath": "/t", "recursiveReadOnly": kind });
        mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([mount])
    };
    check(recursive("Enabled", json!({ "readOnly": true })), json!([]), &[]);
    check(
        recursive("IfPossible", json!({ "mountPropagation": "HostToContainer" })),
        json!([]),
        &[
            "volumeMounts[0].recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
            "volumeMounts[0].recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified",
        ],
    );
    check(
        recursive("Yes", json!({})),
        json!([]),
        &[
            "volumeMounts[0].recursiveReadOnly: Unsupported value: \"Yes\": supported values: \"Disabled\", \"Enabled\", \"IfPossible\"",
        ],
    );
}

#[test]
fn claims_of_devices() {
    let claims = (
        "spec.resourceClaims",
        json!([{ "name": "gpu", "resourceClaimName": "one" }, { "name": "nic", "resourceClaimTemplateName": "t" }]),
    );
    let using = |claims: Json| ("spec.containers.0.resources", json!({ "claims": claims }));
    refused(
        &[
            claims.clone(),
            using(json!([{ "name": "gpu" }, { "name": "nic", "request": "a" }, { "name": "nic", "request": "b" }])),
        ],
        &[],
    );
    refused(
        &[
            claims,
            using(
                json!([{ "name": "gpu" }, { "name": "gpu" }, { "name": "nic", "request": "a" }, { "name": "nic" }, { "name": "" }, { "name": "x" }]),
            ),
        ],
        &[
            "spec.containers[0].resources.claims[1]: Duplicate value: \"gpu\"",
            "spec.containers[0].resources.claims[3]: Duplicate value: \"nic\"",
            "spec.containers[0].resources.claims[4]: Required value",
            "spec.containers[0].resources.claims[5]: Not found: \"x\": must be one of the names in pod.spec.resourceClaims: gpu, nic",
        ],
    );
    refused(
        &[(
            "spec.resourceClaims",
            json!([{ "name": "" , "resourceClaimName": "one" }, { "name": "a" }, { "name": "a", "resourceClaimName": "B", "resourceClaimTemplateName": "t" }]),
        )],
        &[
            "spec.resourceClaims[0].name: Required value",
            "spec.resourceClaims[1]: Invalid value: {\"name\":\"a\"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            "spec.resourceClaims[2].name: Duplicate value: \"a\"",
            "spec.resourceClaims[2]: Invalid value: {\"name\":\"a\",\"resourceClaimName\":\"B\",\"resourceClaimTemplateName\":\"t\"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            "spec.resourceClaims[2].resourceClaimName: Invalid value: \"B\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
}

#[test]
fn resources_of_containers_and_of_the_whole_pod() {
    let of = |resources: Json| ("spec.containers.0.resources", resources);
    refused(
        &[of(json!({ "limits": { "hugepages-2Mi": "3Mi" } }))],
        &[
            "spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
            "spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
            "spec.containers[0].resources: Forbidden: HugePages require cpu or memory",
        ],
    );
    refused(&[of(json!({ "limits": { "hugepages-2Mi": "4Mi", "memory": "1Mi" } }))], &[]);
    refused(
        &[of(json!({ "requests": { "example.com/gpu": "1" } }))],
        &["spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"],
    );
    refused(
        &[("spec.overhead", json!({ "cpu": "-1", "disk": "1" }))],
        &[
            "spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.overhead.limits[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
            "spec.overhead.limits[disk]: Invalid value: \"disk\": must be a standard resource for containers",
        ],
    );
    let pod_level = |resources: Json| ("spec.resources", resources);
    refused(
        &[pod_level(json!({ "limits": { "cpu": "2", "memory": "1Gi" } })), of(json!({ "requests": { "cpu": "1" } }))],
        &[],
    );
    refused(
        &[
            pod_level(
                json!({ "claims": [], "requests": { "cpu": "1", "example.com/gpu": "1" }, "limits": { "cpu": "1", "example.com/gpu": "1" } }),
            ),
            of(json!({ "requests": { "cpu": "1500m" }, "limits": { "cpu": "2" } })),
        ],
        &[
            "spec.resources.claims: Forbidden: claims cannot be set for Resources at pod-level",
            "spec.resources.limits[example.com/gpu]: Unsupported value: \"example.com/gpu\": supported values: \"cpu\", \"memory\"",
            "spec.resources.requests[example.com/gpu]: Unsupported value: \"example.com/gpu\": supported values: \"cpu\", \"memory\"",
            "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 1500m",
            "spec.resources.containers[0][cpu].limits: Invalid value: \"2\": must be less than or equal to pod limits of 1",
        ],
    );
    // What is asked for the pod is what its containers ask for, sidecars beside them, else its limit.
    let mut doc = pod_with(&[
        pod_level(json!({ "limits": { "cpu": "4", "memory": "1Gi" } })),
        of(json!({ "requests": { "cpu": "1" } })),
    ]);
    doc["spec"]["initContainers"] = json!([
        { "name": "side", "image": "a", "restartPolicy": "Always", "resources": { "requests": { "cpu": "500m" } } },
        { "name": "init", "image": "a", "resources": { "requests": { "cpu": "2" } } }]);
    assert_eq!(made("pods", doc)["spec"]["resources"]["requests"], json!({ "cpu": "2500m", "memory": "1Gi" }));
}

#[test]
fn operating_systems() {
    let os = |name: &str| ("spec.os", json!({ "name": name }));
    refused(&[("spec.os", json!({}))], &["spec.os.name: Required value: cannot be empty"]);
    refused(&[os("minix")], &["spec.os: Unsupported value: \"minix\": supported values: \"linux\", \"windows\""]);
    let user = |name: &str| json!({ "windowsOptions": { "runAsUserName": name } });
    refused(
        &[os("linux"), ("spec.securityContext", user("a")), ("spec.containers.0.securityContext", user("b"))],
        &[
            "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
            "spec.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
        ],
    );
    refused(&[os("windows"), ("spec.securityContext", user("ContainerUser"))], &[]);
    refused(
        &[
            os("windows"),
            ("spec.hostPID", json!(true)),
            ("spec.securityContext", json!({ "fsGroup": 1, "seccompProfile": { "type": "RuntimeDefault" } })),
            ("spec.containers.0.securityContext", json!({ "privileged": false, "capabilities": {} })),
        ],
        &[
            "spec.hostPID: Forbidden: cannot be set for a windows pod",
            "spec.securityContext.seccompProfile: Forbidden: cannot be set for a windows pod",
            "spec.securityContext.fsGroup: Forbidden: cannot be set for a windows pod",
            "spec.containers[0].securityContext.capabilities: Forbidden: cannot be set for a windows pod",
            "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
        ],
    );
    for (name, why) in [
        ("", "runAsUserName cannot be an empty string"),
        ("a\tb", "runAsUserName cannot contain control characters"),
        ("a\\b\\c", "runAsUserName cannot contain more than one backslash"),
        (".a_\\user", "runAsUserName's Domain doesn't match the NetBios nor the DNS format"),
        ("dom\\", "runAsUserName's User cannot be empty"),
        ("...", "runAsUserName's User cannot contain only periods or spaces"),
        ("a@b", "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"),
    ] {
        let text = format!("spec.securityContext.windowsOptions.runAsUserName: Invalid value: {}: {why}", json!(name));
        refused(&[("spec.securityContext", user(name))], &[&text]);
    }
    let process = |yes: bool| json!({ "windowsOptions": { "hostProcess": yes } });
    refused(&[("spec.hostNetwork", json!(true)), ("spec.securityContext", process(true))], &[]);
    refused(
        &[("spec.securityContext", process(true)), ("spec.containers.0.securityContext", process(false))],
        &[
            "spec.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be identical if both are specified, was true",
        ],
    );
    refused(
        &[("spec.containers.0.securityContext", process(true))],
        &[
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
        ],
    );
}

#[test]
fn affinity_and_spread() {
    let required = |term: Json| {
        (
            "spec.affinity",
            json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } } }),
        )
    };
    let at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]";
    refused(
        &[required(json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["edge-1"] }] }))],
        &[],
    );
    refused(
        &[required(json!({
            "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["not a value"] }],
            "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["a", "B"] }, { "key": "spec.x", "operator": "Exists" }] }))],
        &[
            &format!(
                "{at}.matchExpressions[0].values[0]: Invalid value: \"not a value\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ),
            &format!(
                "{at}.matchFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            ),
            &format!(
                "{at}.matchFields[0].values[1]: Invalid value: \"B\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ),
            &format!("{at}.matchFields[1].operator: Invalid value: \"Exists\": not a valid selector operator"),
            &format!("{at}.matchFields[1].key: Invalid value: \"spec.x\": not a valid field selector key"),
        ],
    );
    let near = |term: Json| {
        ("spec.affinity", json!({ "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term] } }))
    };
    let at = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]";
    refused(
        &[near(json!({ "topologyKey": "zone", "matchLabelKeys": ["app"] }))],
        &[&format!("{at}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set")],
    );
    refused(
        &[near(
            json!({ "topologyKey": "zone", "labelSelector": { "matchLabels": { "app": "a" }, "matchExpressions": [{ "key": "app", "operator": "Exists" }] }, "matchLabelKeys": ["app", "v"], "mismatchLabelKeys": ["v"] }),
        )],
        &[
            &format!("{at}[0]: Invalid value: \"app\": exists in both matchLabelKeys and labelSelector"),
            &format!(
                "{at}.matchLabelKeys[1]: Invalid value: \"v\": exists in both matchLabelKeys and mismatchLabelKeys"
            ),
        ],
    );
    let spread = |more: Json| {
        let mut one = json!({ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" });
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("spec.topologySpreadConstraints", json!([one]))
    };
    refused(
        &[spread(
            json!({ "nodeAffinityPolicy": "Maybe", "matchLabelKeys": ["app"], "labelSelector": { "matchLabels": { "app": "a" } } }),
        )],
        &[
            "spec.topologySpreadConstraints[0].nodeAffinityPolicy: Unsupported value: \"Maybe\": supported values: \"Honor\", \"Ignore\"",
            "spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value: \"app\": exists in both matchLabelKeys and labelSelector",
        ],
    );
}

#[test]
fn a_pod_behind_a_gate_wants_more_of_nodes_alone() {
    let expression = |key: &str| json!({ "key": key, "operator": "Exists" });
    let terms = |terms: Json| json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } });
    let gated = |affinity: Json| {
        pod_with(&[("spec.schedulingGates", json!([{ "name": "example.com/wait" }])), ("spec.affinity", affinity)])
    };
    let one = terms(json!([{ "matchExpressions": [expression("a")] }]));
    let at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    update(
        "pods",
        gated(one.clone()),
        "spec.affinity",
        terms(json!([{ "matchExpressions": [expression("a"), expression("b")] }])),
        &[],
    );
    update(
        "pods",
        gated(one.clone()),
        "spec.affinity",
        terms(json!([{ "matchExpressions": [expression("b")] }])),
        &[&format!(
            "{at}[0]: Invalid value: {}: only additions are allowed (no mutations or deletions)",
            json!({ "matchExpressions": [expression("b")] })
        )],
    );
    update(
        "pods",
        gated(one),
        "spec.affinity",
        terms(json!([{ "matchExpressions": [expression("a")] }, { "matchExpressions": [expression("b")] }])),
        &[&format!(
            "{at}: Invalid value: {}: no additions/deletions to non-empty NodeSelectorTerms list are allowed",
            json!([{ "matchExpressions": [expression("a")] }, { "matchExpressions": [expression("b")] }])
        )],
    );
    let ungated = pod_with(&[("spec.schedulingGates", json!([{ "name": "example.com/wait" }]))]);
    update("pods", ungated.clone(), "spec.affinity", terms(json!([{ "matchExpressions": [expression("a")] }])), &[]);
    let old = made("pods", ungated.clone());
    let mut errors = FieldErrors::new();
    let near = json!({ "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "zone", "labelSelector": {} }] } });
    strategy("pods").validate_update(&with(old.clone(), "spec.affinity", near), &old, &mut errors);
    assert!(
        texts(&errors)[0].starts_with("spec: Forbidden: pod updates may not change fields other than"),
        "{errors:?}"
    );
    update(
        "pods",
        ungated,
        "spec.schedulingGates",
        json!([{ "name": "example.com/wait" }, { "name": "example.com/more" }]),
        &[
            "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'example.com/more'",
        ],
    );
}

#[test]
fn annotations_that_mean_something() {
    let annotated = |key: &str, value: &str| ("metadata.annotations", json!({ key: value }));
    for (key, value, expected) in [
        ("controller.kubernetes.io/pod-deletion-cost", "-5", vec![]),
        (
            "controller.kubernetes.io/pod-deletion-cost",
            "+5",
            vec![
                "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+5\": must be a 32bit integer",
            ],
        ),
        (
            "kubernetes.io/config.mirror",
            "x",
            vec![
                "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
            ],
        ),
        (
            "seccomp.security.alpha.kubernetes.io/pod",
            "mine",
            vec![
                "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"mine\": must be a valid seccomp profile",
            ],
        ),
        (
            "container.apparmor.security.beta.kubernetes.io/other",
            "mine",
            vec![
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/other]: Invalid value: \"other\": container not found",
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/other]: Invalid value: \"mine\": invalid AppArmor profile name: \"mine\"",
            ],
        ),
    ] {
        refused(&[annotated(key, value)], &expected);
    }
    let container = pod("a")["spec"]["containers"][0]["name"].as_str().unwrap().to_owned();
    let key = format!("container.apparmor.security.beta.kubernetes.io/{container}");
    let field = |kind: &str| ("spec.securityContext", json!({ "appArmorProfile": { "type": kind } }));
    refused(&[annotated(&key, "runtime/default"), field("RuntimeDefault")], &[]);
    refused(
        &[annotated(&key, "runtime/default"), field("Unconfined")],
        &[
            "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match",
        ],
    );
    refused(
        &[
            annotated("seccomp.security.alpha.kubernetes.io/pod", "localhost/a.json"),
            (
                "spec.securityContext",
                json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": "b.json" } }),
            ),
        ],
        &[
            "spec.securityContext.seccompProfile.localhostProfile: Forbidden: seccomp profile in annotation and field must match",
        ],
    );
    let doc = pod_with(&[annotated(&key, "runtime/default")]);
    update(
        "pods",
        doc,
        "metadata.annotations",
        json!({ "kubernetes.io/config.mirror": "x" }),
        &[
            "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
            &format!("metadata.annotations[{key}]: Forbidden: may not remove or update AppArmor annotations"),
            "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation",
        ],
    );
}
