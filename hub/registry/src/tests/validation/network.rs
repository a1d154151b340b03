//! networking.k8s.io: NetworkPolicy, Ingress, IngressClass; core: Endpoints; policy: PodDisruptionBudget.

use super::*;

#[test]
fn network_policies() {
    const POLICIES: &str = "networking.k8s.io/networkpolicies";
    let from = |peer: Json| json!({ "spec": { "podSelector": {}, "ingress": [{ "from": [peer] }] } });
    let port = |port: Json| json!({ "spec": { "podSelector": {}, "egress": [{ "ports": [port] }] } });
    create(POLICIES, json!({ "spec": { "podSelector": {} } }), &[]);
    assert_eq!(made(POLICIES, port(json!({ "port": 80 })))["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    create(POLICIES, from(json!({})), &["spec.ingress[0].from[0]: Required value: must specify a peer"]);
    create(
        POLICIES,
        from(json!({ "podSelector": {}, "ipBlock": { "cidr": "10.0.0.0/8" } })),
        &["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"],
    );
    create(
        POLICIES,
        from(json!({ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.0.0.0/8", "11.0.0.0/16", "x"] } })),
        &[
            "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            "spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
            "spec.ingress[0].from[0].ipBlock.except[2]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ],
    );
    create(
        POLICIES,
        from(json!({ "ipBlock": { "cidr": "10.0.0.1/8" } })),
        &[
            "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length",
        ],
    );
    create(
        POLICIES,
        port(json!({ "port": 80, "endPort": 70 })),
        &["spec.egress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"],
    );
    create(
        POLICIES,
        port(json!({ "port": "http", "endPort": 70, "protocol": "ICMP" })),
        &[
            "spec.egress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
            "spec.egress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is non-numeric",
        ],
    );
    create(
        POLICIES,
        json!({ "spec": { "podSelector": {}, "policyTypes": ["In"] } }),
        &["spec.policyTypes[0]: Unsupported value: \"In\": supported values: \"Ingress\", \"Egress\""],
    );
}

#[test]
fn ingresses() {
    const INGRESSES: &str = "networking.k8s.io/ingresses";
    let service = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let path = |path: Json| json!({ "spec": { "rules": [{ "http": { "paths": [path] } }] } });
    create(INGRESSES, json!({ "spec": { "defaultBackend": service } }), &[]);
    create(
        INGRESSES,
        json!({ "spec": {} }),
        &["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
    );
    create(
        INGRESSES,
        path(json!({ "path": "/a", "backend": service })),
        &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
    );
    create(
        INGRESSES,
        path(json!({ "path": "a//b/..", "pathType": "Prefix", "backend": service })),
        &[
            "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must be an absolute path",
            "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must not contain '//'",
            "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": cannot end with '/..'",
        ],
    );
    create(
        INGRESSES,
        path(json!({ "path": "/", "pathType": "Regex", "backend": {} })),
        &[
            "spec.rules[0].http.paths[0].pathType: Unsupported value: \"Regex\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"",
            "spec.rules[0].http.paths[0].backend: Invalid value: \"\": resource or service backend is required",
        ],
    );
    create(
        INGRESSES,
        path(json!({ "path": "/", "pathType": "Exact", "backend": { "service": { "name": "web" } } })),
        &["spec.rules[0].http.paths[0].backend: Required value: port name or number is required"],
    );
    create(
        INGRESSES,
        json!({ "spec": { "rules": [{ "host": "1.2.3.4" }, { "host": "*.a" }] } }),
        &["spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"],
    );
    let mut both = json!({ "metadata": { "name": "a", "annotations": { "kubernetes.io/ingress.class": "x" } } });
    both["spec"] = json!({ "defaultBackend": service, "ingressClassName": "y" });
    create(
        INGRESSES,
        both,
        &[
            "annotations.kubernetes.io/ingress.class: Invalid value: \"x\": must match `ingressClassName` when both are specified",
        ],
    );
    status(
        INGRESSES,
        json!({ "spec": { "defaultBackend": service } }),
        json!({}),
        json!({ "loadBalancer": { "ingress": [{ "ip": "x" }, { "hostname": "1.2.3.4" }] } }),
        &[
            "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "status.loadBalancer.ingress[1].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
        ],
    );
}

#[test]
fn ingress_classes() {
    const CLASSES: &str = "networking.k8s.io/ingressclasses";
    let class = |parameters: Json| json!({ "spec": { "controller": "example.com/ingress", "parameters": parameters } });
    create(CLASSES, class(json!({ "kind": "K", "name": "n" })), &[]);
    create(CLASSES, json!({ "spec": {} }), &["spec.controller: Required value"]);
    create(
        CLASSES,
        class(json!({ "kind": "K", "name": "n", "scope": "Namespace" })),
        &["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
    );
    create(
        CLASSES,
        class(json!({ "kind": "K", "name": "n", "namespace": "ns" })),
        &["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
    );
    update(
        CLASSES,
        json!({ "spec": { "controller": "example.com/ingress" } }),
        "spec.controller",
        json!("example.com/other"),
        &["spec.controller: Invalid value: \"example.com/other\": field is immutable"],
    );
}

#[test]
fn addresses_of_services() {
    const ADDRESSES: &str = "networking.k8s.io/ipaddresses";
    let address = |parent: Json| json!({ "metadata": { "name": "10.96.0.9" }, "spec": { "parentRef": parent } });
    let service = json!({ "resource": "services", "namespace": "default", "name": "web" });
    create(ADDRESSES, address(service.clone()), &[]);
    create(ADDRESSES, json!({ "spec": {} }), &["spec.parentRef: Required value"]);
    create(
        ADDRESSES,
        address(json!({ "name": "a/b" })),
        &[
            "spec.parentRef.resource: Required value",
            "spec.parentRef.name: Invalid value: \"a/b\": may not contain '/'",
        ],
    );
    let names = |name: &str| strategy(ADDRESSES).name_problems(name);
    assert!(names("10.96.0.9").is_empty() && names("fd00::9").is_empty());
    assert_eq!(names("FD00::9"), ["must be in canonical form (\"fd00::9\")"]);
    assert_eq!(names("a"), ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]);

    const RANGES: &str = "networking.k8s.io/servicecidrs";
    let range = |cidrs: Json| json!({ "spec": { "cidrs": cidrs } });
    create(RANGES, range(json!(["10.97.0.0/16", "fd00::/108"])), &[]);
    create(RANGES, range(json!([])), &["spec.cidrs: Required value: at least one CIDR required"]);
    create(
        RANGES,
        range(json!(["10.97.0.1/16", "FD00::/108"])),
        &[
            "spec.cidrs[0]: Invalid value: \"10.97.0.1/16\": must not have bits set beyond the prefix length",
            "spec.cidrs[1]: Invalid value: \"FD00::/108\": must be in canonical form (\"fd00::/108\")",
        ],
    );
    create(
        RANGES,
        range(json!(["10.97.0.0/16", "10.98.0.0/16"])),
        &[
            "spec.cidrs: Invalid value: [\"10.97.0.0/16\",\"10.98.0.0/16\"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        ],
    );
    let one = || range(json!(["10.97.0.0/16"]));
    update(RANGES, one(), "spec.cidrs", json!(["10.97.0.0/16", "fd00::/108"]), &[]);
    update(
        RANGES,
        one(),
        "spec.cidrs",
        json!(["10.98.0.0/16"]),
        &["spec.cidrs[0]: Invalid value: \"10.98.0.0/16\": field is immutable"],
    );
}

#[test]
fn endpoints() {
    let subset = |subset: Json| json!({ "subsets": [subset] });
    let addresses = json!([{ "ip": "10.0.0.1" }]);
    create("endpoints", subset(json!({ "addresses": addresses, "ports": [{ "port": 80 }] })), &[]);
    create(
        "endpoints",
        subset(json!({})),
        &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
    );
    create(
        "endpoints",
        subset(
            json!({ "addresses": [{ "ip": "127.0.0.1" }, { "ip": "fe80::1" }], "ports": [{ "port": 0 }, { "name": "b", "port": 1, "protocol": "X" }] }),
        ),
        &[
            "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            "subsets[0].addresses[1].ip: Invalid value: \"fe80::1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
            "subsets[0].ports[0].name: Required value",
            "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "subsets[0].ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ],
    );
}

#[test]
fn budgets() {
    const BUDGETS: &str = "policy/poddisruptionbudgets";
    create(BUDGETS, json!({ "spec": { "minAvailable": 1, "selector": {} } }), &[]);
    create(
        BUDGETS,
        json!({ "spec": { "minAvailable": "101%", "maxUnavailable": -1 } }),
        &[
            "spec: Invalid value: {\"minAvailable\":\"101%\",\"maxUnavailable\":-1}: minAvailable and maxUnavailable cannot be both set",
            "spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%",
            "spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    create(
        BUDGETS,
        json!({ "spec": { "unhealthyPodEvictionPolicy": "Never" } }),
        &[
            "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
        ],
    );
    status(
        BUDGETS,
        json!({ "spec": {} }),
        json!({}),
        json!({ "currentHealthy": -1, "conditions": [{ "type": "A", "status": "Yes", "reason": "b c" }] }),
        &[
            "status.conditions[0].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\"",
            "status.conditions[0].lastTransitionTime: Required value",
            "status.conditions[0].reason: Invalid value: \"b c\": a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
            "status.currentHealthy: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
}

#[test]
fn endpoint_slices() {
    let resource = "discovery.k8s.io/endpointslices";
    let slice = |endpoint: Json| json!({ "addressType": "IPv4", "endpoints": [endpoint] });
    create(
        resource,
        slice(json!({ "addresses": ["10.0.0.1"], "hostname": "web-0", "nodeName": "edge-1", "zone": "a",
            "hints": { "forZones": [{ "name": "a" }], "forNodes": [{ "name": "edge-1" }] } })),
        &[],
    );
    let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    let hostname = format!("endpoints[0].hostname: Invalid value: \"Web.0\": {label}");
    create(resource, slice(json!({ "addresses": ["10.0.0.1"], "hostname": "Web.0" })), &[&hostname]);
    let zones: Vec<Json> = (0..9).map(|at| json!({ "name": format!("z{at}") })).collect();
    create(
        resource,
        slice(json!({ "addresses": ["10.0.0.1"], "hints": { "forZones": zones } })),
        &["endpoints[0].hints.forZones: Too many: 9: must have at most 8 items"],
    );
    create(
        resource,
        slice(json!({ "addresses": ["10.0.0.1"], "hints": { "forNodes": [{ "name": "a" }, { "name": "a" }] } })),
        &["endpoints[0].hints.forNodes[1].name: Duplicate value: \"a\""],
    );
    let named = |address: &str| json!({ "addressType": "FQDN", "endpoints": [{ "addresses": [address] }] });
    create(resource, named("a.example.com."), &[]);
    create(
        resource,
        named("here"),
        &[
            "endpoints[0].addresses[0]: Invalid value: \"here\": should be a domain with at least two segments separated by dots",
        ],
    );
    let ports = json!({ "addressType": "IPv4", "ports": [{ "port": 80, "appProtocol": "example.com/a/b" }] });
    let made = made(resource, ports);
    let mut errors = FieldErrors::new();
    strategy(resource).validate(&made, &mut errors);
    let texts = texts(&errors);
    assert!(
        texts[0].starts_with("ports[0].appProtocol: Invalid value: \"example.com/a/b\": a qualified name must"),
        "{texts:?}"
    );
    update(
        resource,
        slice(json!({ "addresses": ["10.0.0.1"] })),
        "addressType",
        json!("IPv6"),
        &[
            "endpoints[0].addresses[0]: Invalid value: \"10.0.0.1\": must be an IPv6 address",
            "addressType: Invalid value: \"IPv6\": field is immutable",
        ],
    );
}
