//! What of a pod is taken and warned of. Source: `pkg/api/pod/warnings.go` of Kubernetes.

use super::pod_parts::pod_with;
use super::*;

#[test]
fn what_is_hardly_meant_is_warned_of() {
    let warned = |values: &[(&str, Json)], expected: &[&str]| {
        assert_eq!(strategy("pods").warnings(&made("pods", pod_with(values))), expected, "{values:?}");
    };
    let container = |field: &str, value: Json| (format!("spec.containers.0.{field}"), value);
    warned(&[], &[]);
    warned(
        &[(
            "spec.nodeSelector",
            json!({ "beta.kubernetes.io/instance-type": "small", "failure-domain.beta.kubernetes.io/zone": "a" }),
        )],
        &[
            "spec.nodeSelector[beta.kubernetes.io/instance-type]: deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
            "spec.nodeSelector[failure-domain.beta.kubernetes.io/zone]: deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
        ],
    );
    warned(
        &[(
            "spec.affinity",
            json!({ "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1, "preference": { "matchExpressions": [{ "key": "beta.kubernetes.io/os", "operator": "Exists" }] } }] },
            "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "zone" }] } }),
        )],
        &[
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod",
        ],
    );
    warned(
        &[(
            "spec.topologySpreadConstraints",
            json!([{ "maxSkew": 1, "topologyKey": "failure-domain.beta.kubernetes.io/region", "whenUnsatisfiable": "ScheduleAnyway" }]),
        )],
        &[
            "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/region is deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
            "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
        ],
    );
    warned(
        &[(
            "metadata.annotations",
            json!({ "scheduler.alpha.kubernetes.io/critical-pod": "", "seccomp.security.alpha.kubernetes.io/pod": "unconfined" }),
        )],
        &[
            "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead",
            "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
        ],
    );
    warned(
        &[("spec.volumes", json!([{ "name": "v", "rbd": { "monitors": ["m"], "image": "i" } }]))],
        &["spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+"],
    );
    warned(
        &[(
            "spec.volumes",
            json!([{ "name": "v", "projected": { "sources": [{ "serviceAccountToken": { "path": "token" } }, { "secret": { "name": "s", "items": [{ "key": "k", "path": "token" }] } }] } }]),
        )],
        &["spec.volumes[0].projected.sources.secrets[0]: has duplicated path with ServiceAccountToken \"token\""],
    );
    warned(
        &[("spec.hostAliases", json!([{ "ip": "10.0.0.1" }, { "ip": "10.0.0.1" }]))],
        &["spec.hostAliases[1].ip: duplicate ip \"10.0.0.1\""],
    );
    warned(
        &[("spec.overhead", json!({ "memory": "1500m" })), ("spec.terminationGracePeriodSeconds", json!(-1))],
        &[
            "spec.overhead[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
        ],
    );
    let (path, limits) = container("resources", json!({ "limits": { "memory": "1500m" } }));
    warned(
        &[(&path, limits)],
        &[
            "spec.containers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
        ],
    );
    let (path, env) = container(
        "env",
        json!([{ "name": "A", "value": "1" }, { "name": "A", "value": "$(A)2" }, { "name": "A", "value": "3" }]),
    );
    warned(
        &[(&path, env)],
        &["spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply"],
    );
    let (path, ports) = container(
        "ports",
        json!([{ "containerPort": 80, "hostIP": "10.0.0.1" }, { "containerPort": 80 }, { "containerPort": 90, "hostPort": 90 }, { "containerPort": 90, "hostPort": 90, "hostIP": "10.0.0.1" }, { "containerPort": 90, "protocol": "UDP" }]),
    );
    warned(
        &[(&path, ports)],
        &[
            "spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:10.0.0.1}",
            "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
            "spec.containers[0].ports[3]: dangerously ambiguous port definition with spec.containers[0].ports[2]",
        ],
    );
    let mut template = json!({ "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": { "metadata": { "labels": { "a": "b" } }, "spec": pod("a")["spec"] } } });
    template["spec"]["template"]["spec"]["nodeSelector"] = json!({ "beta.kubernetes.io/os": "linux" });
    let warnings = strategy("apps/deployments").warnings(&made("apps/deployments", template));
    assert_eq!(
        warnings,
        [
            "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"
        ]
    );
}
