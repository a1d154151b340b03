//! Error texts, a table a kind. Source: upstream's validation (pkg/apis/*/validation/validation.go).

use super::*;
use crate::strategy::strategy_of;
use holdfast_core::FieldErrors;

/// Defaults and validates `input`; compares the texts of all problems.
fn check(resource: &str, input: Json, expected: &[&str]) {
    let gvr = gvr(resource);
    let kind = holdfast_kinds::by_gvr(&gvr.group, &gvr.version, &gvr.resource).unwrap();
    let (mut doc, strategy) = (input, strategy_of(kind));
    strategy.default(&mut doc);
    let mut errors = FieldErrors::new();
    strategy.validate(&doc, &mut errors);
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(texts, expected, "{resource}");
}

/// Puts `value` at `path` (dots and numbers) of a pod that is fine, and checks.
fn check_pod(path: &str, value: Json, expected: &[&str]) {
    let mut doc = pod("a");
    let mut at = &mut doc;
    for step in path.split('.') {
        at = match step.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[step],
        };
    }
    *at = value;
    check("pods", doc, expected);
}

#[test]
fn pods() {
    check("pods", pod("a"), &[]);
    check("pods", json!({ "spec": {} }), &["spec.containers: Required value"]);
    check_pod("spec.containers.0.image", json!(""), &["spec.containers[0].image: Required value"]);
    check_pod(
        "spec.containers.0.name",
        json!("Main"),
        &[
            "spec.containers[0].name: Invalid value: \"Main\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
    check_pod(
        "spec.restartPolicy",
        json!("Sometimes"),
        &[
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ],
    );
    check_pod(
        "spec.containers.0.imagePullPolicy",
        json!("Maybe"),
        &[
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ],
    );
    check_pod(
        "spec.containers.0.ports",
        json!([{ "containerPort": 70_000 }, {}]),
        &[
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.containers[0].ports[1].containerPort: Required value",
        ],
    );
    check_pod(
        "spec.containers.0.volumeMounts",
        json!([{ "name": "gone", "mountPath": "/a" }]),
        &["spec.containers[0].volumeMounts[0].name: Not found: \"gone\""],
    );
    check_pod(
        "spec.containers.0.resources",
        json!({ "requests": { "cpu": "2" }, "limits": { "cpu": "1", "gpus": "1" } }),
        &[
            "spec.containers[0].resources.limits[gpus]: Invalid value: \"gpus\": must be a standard resource type or fully qualified",
            "spec.containers[0].resources.limits[gpus]: Invalid value: \"gpus\": must be a standard resource for containers",
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            "spec.containers[0].resources.requests[gpus]: Invalid value: \"gpus\": must be a standard resource type or fully qualified",
            "spec.containers[0].resources.requests[gpus]: Invalid value: \"gpus\": must be a standard resource for containers",
        ],
    );
    check_pod(
        "spec.containers.0.livenessProbe",
        json!({ "successThreshold": 2 }),
        &[
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    check_pod(
        "spec.containers.0.env",
        json!([{ "name": "A=B" }, { "name": "C", "valueFrom": {} }]),
        &[
            "spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
            "spec.containers[0].env[1].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ],
    );
    check_pod(
        "spec.tolerations",
        json!([{ "key": "a", "operator": "Like" }, { "operator": "Equal" }]),
        &[
            "spec.tolerations[0].operator: Unsupported value: \"Like\": supported values: \"Equal\", \"Exists\"",
            "spec.tolerations[1].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ],
    );
    check_pod(
        "spec.topologySpreadConstraints",
        json!([{ "maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "No" }]),
        &[
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than 0",
            "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"No\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
        ],
    );
    check_pod(
        "spec.dnsPolicy",
        json!("None"),
        &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    );
    check_pod(
        "spec.volumes",
        json!([{ "name": "a", "hostPath": { "path": "/../x" } }, { "name": "a", "secret": {} }]),
        &[
            "spec.volumes[0].hostPath.path: Invalid value: \"/../x\": must not contain '..'",
            "spec.volumes[1].secret.secretName: Required value",
        ],
    );
}

#[test]
fn workloads() {
    check("apps/deployments", deployment("web"), &[]);
    let mut doc = deployment("web");
    doc["spec"]["template"]["metadata"]["labels"] = json!({ "app": "api" });
    check(
        "apps/deployments",
        doc,
        &[
            "spec.template.metadata.labels: Invalid value: {\"app\":\"api\"}: `selector` does not match template `labels`",
        ],
    );
    let mut doc = deployment("web");
    doc["spec"]["replicas"] = json!(-1);
    doc["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    doc["spec"]["strategy"] = json!({ "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "0%" } });
    check(
        "apps/deployments",
        doc,
        &[
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
        ],
    );
    check(
        "apps/replicasets",
        json!({ "spec": { "template": { "metadata": {}, "spec": { "containers": [{ "name": "a", "image": "b" }] } } } }),
        &["spec.selector: Required value"],
    );
}

#[test]
fn services() {
    let service = |spec: Json| json!({ "metadata": { "name": "a" }, "spec": spec });
    check("services", service(json!({ "ports": [{ "port": 80 }] })), &[]);
    check("services", service(json!({})), &["spec.ports: Required value"]);
    check(
        "services",
        service(json!({ "type": "Cluster", "ports": [{ "port": 0 }, { "port": 1, "name": "a" }] })),
        &[
            "spec.type: Unsupported value: \"Cluster\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            "spec.ports[0].name: Required value",
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
        ],
    );
    check("services", service(json!({ "type": "ExternalName" })), &["spec.externalName: Required value"]);
    check(
        "services",
        service(json!({ "type": "NodePort", "clusterIP": "None", "ports": [{ "port": 80 }] })),
        &["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
    );
    check(
        "services",
        service(json!({ "ports": [{ "port": 80, "nodePort": 30000 }], "externalIPs": ["127.0.0.1"],
            "loadBalancerClass": "example.com/x", "loadBalancerSourceRanges": ["x"], "trafficDistribution": "Near",
            "healthCheckNodePort": 5 })),
        &[
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            "spec.healthCheckNodePort: Invalid value: 5: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
            "spec.LoadBalancerSourceRanges[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            "spec.trafficDistribution: Unsupported value: \"Near\": supported values: \"PreferClose\", \"PreferSameNode\", \"PreferSameZone\"",
        ],
    );
    check(
        "services",
        service(
            json!({ "type": "ExternalName", "externalName": "x.example.", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "externalTrafficPolicy": "Local" }),
        ),
        &[
            "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
            "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services",
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ],
    );
}

#[test]
fn configuration() {
    check(
        "configmaps",
        json!({ "data": { "a/b": "x" }, "binaryData": { "c": "eA==" } }),
        &[
            "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        ],
    );
    check(
        "secrets",
        json!({ "type": "kubernetes.io/tls", "data": { "tls.crt": "eA==" } }),
        &["data[tls.key]: Required value"],
    );
    check(
        "secrets",
        json!({ "type": "kubernetes.io/dockerconfigjson", "data": { ".dockerconfigjson": "eA==" } }),
        &["data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": the value is no JSON"],
    );
}

#[test]
fn other_kinds() {
    check(
        "node.k8s.io/runtimeclasses",
        json!({ "handler": "" }),
        &[
            "handler: Invalid value: \"\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
    check(
        "rbac.authorization.k8s.io/roles",
        json!({ "kind": "Role", "rules": [{ "verbs": [], "resources": ["pods"] }] }),
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
        ],
    );
    check(
        "scheduling.k8s.io/priorityclasses",
        json!({ "metadata": { "name": "a" }, "value": 2_000_000_000 }),
        &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    );
    check(
        "discovery.k8s.io/endpointslices",
        json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["127.0.0.1"] }, { "addresses": ["x"] }] }),
        &[
            "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "endpoints[1].addresses[0]: Invalid value: \"x\": must be an IPv4 address",
        ],
    );
    check(
        "coordination.k8s.io/leases",
        json!({ "spec": { "leaseDurationSeconds": 0 } }),
        &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
    );
    check("nodes", json!({ "spec": { "podCIDRs": ["10.1.0.0/24", "fd00::/64"] } }), &[]);
    check(
        "nodes",
        json!({ "spec": { "podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"] } }),
        &[
            "spec.podCIDRs: Invalid value: [\"10.1.0.0/24\",\"10.2.0.0/24\"]: may specify no more than one CIDR for each IP family",
        ],
    );
    check(
        "nodes",
        json!({ "spec": { "taints": [{ "key": "a", "effect": "Maybe" }] } }),
        &[
            "metadata.taints[0].effect: Unsupported value: \"Maybe\": supported values: \"NoExecute\", \"NoSchedule\", \"PreferNoSchedule\"",
        ],
    );
}

#[tokio::test]
async fn names_and_labels_are_judged_whatever_the_kind() {
    let cluster = cluster().await;
    let text = |result: Result<Arc<Object>, Status>| result.unwrap_err().message().to_string();
    let bad = text(cluster.create("pods", "default", pod("A_b")).await);
    assert!(
        bad.starts_with(
            "Pod \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain"
        ),
        "{bad}"
    );
    let none = text(cluster.create("configmaps", "default", json!({ "metadata": {} })).await);
    assert_eq!(none, "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required");
    let label = text(cluster.create("configmaps", "default", config_map("a", json!({ "x": "b c" }))).await);
    assert!(label.contains("metadata.labels: Invalid value: \"b c\": a valid label must be"), "{label}");
    let long = text(
        cluster
            .create(
                "services",
                "default",
                json!({ "metadata": { "name": "a.b" }, "spec": { "ports": [{ "port": 1 }] } }),
            )
            .await,
    );
    assert!(long.contains("a lowercase RFC 1123 label must consist of"), "{long}");
}

#[tokio::test]
async fn what_must_not_change_does_not() {
    let cluster = cluster().await;
    let doc = cluster.create("apps/deployments", "default", deployment("web")).await.unwrap().to_json();
    let mut other = doc.clone();
    other["spec"]["selector"]["matchLabels"] = json!({ "app": "api" });
    other["spec"]["template"]["metadata"]["labels"] = json!({ "app": "api" });
    let status = cluster.update("apps/deployments", other).await.unwrap_err();
    assert_eq!(
        status.message(),
        "Deployment.apps \"web\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"api\"}}: field is immutable"
    );
    let doc = cluster.create("pods", "default", pod("a")).await.unwrap().to_json();
    let mut image = doc.clone();
    image["spec"]["containers"][0]["image"] = json!("app:2");
    image["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    cluster.update("pods", image.clone()).await.unwrap();
    image["spec"]["hostNetwork"] = json!(true);
    let status = cluster.update("pods", image).await.unwrap_err();
    assert!(status.message().contains("spec: Forbidden: pod updates may not change fields other than"), "{status}");

    let mut fixed = config_map("fixed", json!({}));
    fixed["immutable"] = json!(true);
    cluster.create("configmaps", "default", fixed).await.unwrap();
    let status = cluster.merge("configmaps", "fixed", json!({ "data": { "key": "x" } })).await.unwrap_err();
    assert!(status.message().ends_with("data: Forbidden: field is immutable when `immutable` is set"), "{status}");
}
