//! Statuses and specs of pods, restart rules of containers, sources of projected volumes.

use super::*;

fn with_container(list: &str, container: Json) -> Json {
    let mut doc = pod("a");
    let mut container = container;
    container["name"] = json!("c");
    container["image"] = json!("app:1");
    doc["spec"][list] = json!([container]);
    doc
}

#[test]
fn restart_rules() {
    let rule = |operator: &str, values: usize| {
        let values: Vec<usize> = (0..values).collect();
        json!({ "action": "Restart", "exitCodes": { "operator": operator, "values": values } })
    };
    let ruled = |policy: &str, rules: Json| json!({ "restartPolicy": policy, "restartPolicyRules": rules });
    for list in ["containers", "initContainers"] {
        let at = format!("spec.{list}[0]");
        let check = |container: Json, expected: &[&str]| {
            let expected: Vec<String> = expected.iter().map(|text| format!("{at}.{text}")).collect();
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            create("pods", with_container(list, container), &expected);
        };
        check(ruled("Never", json!([rule("In", 255), rule("NotIn", 1)])), &[]);
        check(ruled("OnFailure", json!([])), &[]);
        check(
            ruled("Sometimes", json!([])),
            &[
                "restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
            ],
        );
        check(
            json!({ "restartPolicyRules": [rule("In", 1)] }),
            &["restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
        );
        check(
            ruled("Never", json!(vec![rule("In", 1); 21])),
            &["restartPolicyRules: Too many: 21: must have at most 20 items"],
        );
        check(
            ruled("Never", json!([{ "action": "RestartPod" }, rule("Near", 256)])),
            &[
                "restartPolicyRules[0].action: Unsupported value: \"RestartPod\": supported values: \"Restart\"",
                "restartPolicyRules[0].exitCodes: Required value: must be specified",
                "restartPolicyRules[1].exitCodes.operator: Unsupported value: \"Near\": supported values: \"In\", \"NotIn\"",
                "restartPolicyRules[1].exitCodes.values: Too many: 256: must have at most 255 items",
            ],
        );
    }
    create("pods", with_container("containers", ruled("Always", json!([rule("In", 1)]))), &[]);
    create(
        "pods",
        with_container("initContainers", ruled("Always", json!([rule("In", 1)]))),
        &[
            "spec.initContainers[0].restartPolicyRules: Forbidden: restartPolicyRules are not allowed for init containers \
           with restart policy Always",
        ],
    );
}

#[test]
fn projected_sources() {
    const AT: &str = "spec.volumes[0].projected";
    let check = |sources: Json, expected: &[&str]| {
        let mut doc = pod("a");
        doc["spec"]["volumes"] = json!([{ "name": "v", "projected": { "sources": sources } }]);
        let expected: Vec<String> = expected.iter().map(|text| format!("{AT}{text}")).collect();
        create("pods", doc, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let bundle = |with: Json| {
        let mut bundle = json!({ "path": "ca.pem" });
        bundle.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        json!([{ "clusterTrustBundle": bundle }])
    };
    check(bundle(json!({ "name": "roots" })), &[]);
    check(bundle(json!({ "name": "example.com:mesh:roots" })), &[]);
    check(bundle(json!({ "signerName": "example.com/mesh", "labelSelector": {} })), &[]);
    check(
        bundle(json!({})),
        &[".sources[0].clusterTrustBundle: Required value: either name or signerName must be specified"],
    );
    check(
        bundle(json!({ "name": ":x", "labelSelector": {} })),
        &[
            ".sources[0].clusterTrustBundle.name: Invalid value: \":x\": not a valid clustertrustbundlename: \
             ClusterTrustBundle without signer name must not have \":\" in its name",
            ".sources[0].clusterTrustBundle.labelSelector: Invalid value: {}: labelSelector must be unset if name is specified",
        ],
    );
    check(
        json!([{ "clusterTrustBundle": { "name": "a", "signerName": "b", "path": "../x" } }]),
        &[
            ".sources[0].clusterTrustBundle: Invalid value: {\"name\":\"a\",\"signerName\":\"b\",\"path\":\"../x\"}: only \
             one of name and signerName may be used",
            ".sources[0].clusterTrustBundle.path: Invalid value: \"../x\": must not contain '..'",
        ],
    );

    let certificate = |signer: &str, seconds: i64, with: Json| {
        let mut certificate = json!({ "signerName": signer, "keyType": "ED25519", "maxExpirationSeconds": seconds });
        certificate.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        json!([{ "podCertificate": certificate }])
    };
    let both = json!({ "keyPath": "key.pem", "certificateChainPath": "chain.pem" });
    check(certificate("example.com/mesh", 91 * 86400, both.clone()), &[]);
    check(
        certificate("kubernetes.io/x", 86401, both.clone()),
        &[
            ".sources[0].podCertificate.maxExpirationSeconds: Invalid value: 86401: if provided, maxExpirationSeconds must be \
           <= 86400",
        ],
    );
    check(
        certificate("example.com/mesh", 3599, json!({ "keyType": "RSA", "userAnnotations": { "plain": "x" } })),
        &[
            ".sources[0].podCertificate.userAnnotations: Invalid value: \"plain\": must be a domain-prefixed key (such as \
             \"acme.io/foo\")",
            ".sources[0].podCertificate.keyType: Unsupported value: \"RSA\": supported values: \"RSA3072\", \"RSA4096\", \
             \"ECDSAP256\", \"ECDSAP384\", \"ECDSAP521\", \"ED25519\"",
            ".sources[0].podCertificate.maxExpirationSeconds: Invalid value: 3599: if provided, maxExpirationSeconds must be \
             >= 3600",
            ".sources[0].podCertificate: Required value: specify at least one of credentialBundlePath, keyPath, and \
             certificateChainPath",
        ],
    );
    let same = json!({ "items": [{ "key": "k", "path": "f" }], "name": "n" });
    check(
        json!([{ "secret": same }, { "configMap": same }, { "downwardAPI": { "items": [
            { "path": "f", "fieldRef": { "fieldPath": "metadata.name" } }] } }]),
        &[": Invalid value: \"n\": conflicting duplicate paths", ": Invalid value: \"f\": conflicting duplicate paths"],
    );
    check(
        json!([{ "secret": { "name": "a" }, "configMap": { "name": "b" } }]),
        &[".sources[0]: Forbidden: may not specify more than 1 volume type per source"],
    );
    let made = made("pods", {
        let mut doc = pod("a");
        let sources = json!([{ "podCertificate": { "signerName": "a.b/c", "keyType": "ED25519", "keyPath": "k" } }]);
        doc["spec"]["volumes"] = json!([{ "name": "v", "projected": { "sources": sources } }]);
        doc
    });
    let seconds = &made["spec"]["volumes"][0]["projected"]["sources"][0]["podCertificate"]["maxExpirationSeconds"];
    assert_eq!(*seconds, 86400);
}

/// The status that follows one without anything to say.
fn after(now: Json, expected: &[&str]) {
    status("pods", pod("a"), json!({ "phase": "Pending" }), now, expected);
}

#[test]
fn addresses_of_a_status() {
    let ips = |all: &[&str]| all.iter().map(|ip| json!({ "ip": ip })).collect::<Json>();
    after(json!({ "podIPs": ips(&["10.0.0.1", "fd00::1"]) }), &[]);
    after(json!({ "hostIP": "10.0.0.1", "hostIPs": ips(&["10.0.0.1"]) }), &[]);
    after(
        json!({ "podIPs": ips(&["10.0.0.1", "10.0.0.2"]) }),
        &[
            "status.podIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.2\"}]: may specify no more than one IP for \
           each IP family",
        ],
    );
    after(
        json!({ "podIPs": ips(&["10.0.0.300"]) }),
        &[
            "status.podIPs[0]: Invalid value: \"10.0.0.300\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    );
    after(
        json!({ "hostIP": "10.0.0.2", "hostIPs": ips(&["10.0.0.1"]) }),
        &["status.hostIPs[0].ip: Invalid value: \"10.0.0.1\": must be equal to `hostIP`"],
    );
    // What stood may stay.
    let odd = json!({ "podIPs": ips(&["010.0.0.1"]) });
    status("pods", pod("a"), odd.clone(), odd, &[]);
}

#[test]
fn what_a_status_says() {
    after(
        json!({ "observedGeneration": -1, "qosClass": "Guaranteed", "conditions": [
            { "type": "Ready", "status": "True", "observedGeneration": -2 }, { "type": "not one", "status": "True" }] }),
        &[
            "status.conditions[0].observedGeneration: Invalid value: -2: must be a non-negative integer",
            "status.conditions[1].Type: Invalid value: \"not one\": name part must consist of alphanumeric characters, '-', \
             '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
             '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "status.observedGeneration: Invalid value: -1: must be a non-negative integer",
            "status.qosClass: Invalid value: \"Guaranteed\": field is immutable",
        ],
    );
    let mut claiming = pod("a");
    claiming["spec"]["resourceClaims"] = json!([{ "name": "gpu", "resourceClaimName": "one" }]);
    let named = |names: &[&str]| {
        let all: Vec<Json> = names.iter().map(|name| json!({ "name": name, "resourceClaimName": "one" })).collect();
        json!({ "resourceClaimStatuses": all })
    };
    status("pods", claiming.clone(), json!({}), named(&["gpu"]), &[]);
    status(
        "pods",
        claiming,
        json!({}),
        named(&["gpu", "gpu", "nic"]),
        &[
            "status.resourceClaimStatuses[1].name: Duplicate value: \"gpu\"",
            "status.resourceClaimStatuses[2].name: Invalid value: \"nic\": must match the name of an entry in \
             `spec.resourceClaims`",
        ],
    );
    let mut bound = pod("a");
    bound["spec"]["nodeName"] = json!("edge-1");
    let nominated = json!({ "nominatedNodeName": "edge-2" });
    after(nominated.clone(), &[]);
    status(
        "pods",
        bound.clone(),
        json!({}),
        nominated.clone(),
        &["status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node"],
    );
    status("pods", bound, nominated.clone(), nominated, &[]);
    after(
        json!({ "containerStatuses": [{ "name": "main", "user": { "linux": { "uid": -1, "gid": 0, "supplementalGroups": [0, 4_294_967_296_i64] } } }] }),
        &[
            "status.containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "status.containerStatuses[0].user.linux.supplementalGroups[1]: Invalid value: 4294967296: must be between 0 and \
             2147483647, inclusive",
        ],
    );
}

/// Who knows one form of the address alone is understood, as by upstream's conversion.
#[test]
fn the_forms_of_an_address_agree() {
    let old = made("pods", pod("a"));
    let written = |now: Json| {
        let mut new = with(old.clone(), "status", now);
        strategy("pods").prepare_for_status_update(&mut new, &old);
        (new["status"]["podIP"].clone(), new["status"]["podIPs"].clone())
    };
    let one = json!([{ "ip": "10.0.0.1" }]);
    let agreed = (json!("10.0.0.1"), one.clone());
    assert_eq!(written(json!({ "podIP": "10.0.0.1" })), agreed);
    assert_eq!(written(json!({ "podIPs": one })), agreed);
    assert_eq!(written(json!({ "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.9" }] })), agreed);
    let both = json!([{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }]);
    assert_eq!(written(json!({ "podIP": "10.0.0.1", "podIPs": both })), (json!("10.0.0.1"), both));
    assert_eq!(written(json!({})), (json!(null), json!(null)));
}

/// A pod with `value` at a field of its spec.
fn pod_with(field: &str, value: Json) -> Json {
    let mut doc = pod("a");
    doc["spec"][field] = value;
    doc
}

#[test]
fn users_and_groups() {
    let context = |field: &str, value: Json| pod_with("securityContext", json!({ field: value }));
    create("pods", context("runAsUser", json!(2_147_483_647)), &[]);
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        for number in [-1i64, 2_147_483_648] {
            let text = format!(
                "spec.securityContext.{field}: Invalid value: {number}: must be between 0 and 2147483647, inclusive"
            );
            create("pods", context(field, json!(number)), &[&text]);
        }
    }
    create(
        "pods",
        context("supplementalGroups", json!([1, -1])),
        &["spec.securityContext.supplementalGroups[1]: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
    );
    create(
        "pods",
        with_container("containers", json!({ "securityContext": { "runAsUser": -1 } })),
        &[
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ],
    );
    create(
        "pods",
        context("seLinuxChangePolicy", json!("Never")),
        &[
            "spec.securityContext.seLinuxChangePolicy: Unsupported value: \"Never\": supported values: \"MountOption\", \"Recursive\"",
        ],
    );
}

#[test]
fn profiles() {
    let seccomp = |profile: Json| pod_with("securityContext", json!({ "seccompProfile": profile }));
    let armor = |profile: Json| pod_with("securityContext", json!({ "appArmorProfile": profile }));
    let at = "spec.securityContext";
    for (doc, expected) in [
        (seccomp(json!({ "type": "Localhost", "localhostProfile": "a/b.json" })), String::new()),
        (
            seccomp(json!({ "type": "Localhost", "localhostProfile": "/a" })),
            format!("{at}.seccompProfile.localhostProfile: Invalid value: \"/a\": must be a relative path"),
        ),
        (
            seccomp(json!({ "type": "Localhost", "localhostProfile": "../a" })),
            format!("{at}.seccompProfile.localhostProfile: Invalid value: \"../a\": must not contain '..'"),
        ),
        (
            seccomp(json!({ "type": "Localhost" })),
            format!("{at}.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"),
        ),
        (armor(json!({ "type": "Localhost", "localhostProfile": "mine" })), String::new()),
        (
            armor(json!({ "type": "Localhost" })),
            format!(
                "{at}.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost"
            ),
        ),
        (
            armor(json!({ "type": "Localhost", "localhostProfile": " mine" })),
            format!(
                "{at}.appArmorProfile.localhostProfile: Invalid value: \" mine\": must not be padded with whitespace"
            ),
        ),
        (
            armor(json!({ "type": "Unconfined", "localhostProfile": "mine" })),
            format!(
                "{at}.appArmorProfile.localhostProfile: Invalid value: \"mine\": can only be set when AppArmor type is Localhost"
            ),
        ),
        (
            armor(json!({})),
            format!("{at}.appArmorProfile.type: Required value: type is required when appArmorProfile is set"),
        ),
    ] {
        let expected: Vec<&str> = Some(expected.as_str()).filter(|text| !text.is_empty()).into_iter().collect();
        create("pods", doc, &expected);
    }
}

#[test]
fn what_goes_not_with_the_namespaces_of_the_node() {
    let sysctl = |name: &str, host: &str| {
        let doc = pod_with("securityContext", json!({ "sysctls": [{ "name": name, "value": "1" }] }));
        with(doc, &format!("spec.{host}"), json!(true))
    };
    create("pods", sysctl("net.core.somaxconn", "hostIPC"), &[]);
    create(
        "pods",
        sysctl("net/core/somaxconn", "hostNetwork"),
        &[
            "spec.securityContext.sysctls[0].name: Invalid value: \"net/core/somaxconn\": may not be specified when 'hostNetwork' is true",
        ],
    );
    create(
        "pods",
        sysctl("kernel.shmmax", "hostIPC"),
        &[
            "spec.securityContext.sysctls[0].name: Invalid value: \"kernel.shmmax\": may not be specified when 'hostIPC' is true",
        ],
    );
    create(
        "pods",
        with(pod_with("shareProcessNamespace", json!(true)), "spec.hostPID", json!(true)),
        &[
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
        ],
    );
}

#[test]
fn names_that_pods_resolve_and_run_on() {
    let searches = |list: Json| pod_with("dnsConfig", json!({ "searches": list }));
    create("pods", searches(json!(["a.example.com", "b.example.com.", "_tcp.example.com", "."])), &[]);
    let many: Vec<String> = (0..33).map(|at| format!("s{at}")).collect();
    let doc = made("pods", searches(json!(many)));
    let mut errors = FieldErrors::new();
    strategy("pods").validate(&doc, &mut errors);
    assert!(texts(&errors)[0].ends_with("must not have more than 32 search paths"), "{errors:?}");
    let doc = made("pods", searches(json!(["Upper"])));
    let mut errors = FieldErrors::new();
    strategy("pods").validate(&doc, &mut errors);
    assert!(
        texts(&errors)[0].starts_with("spec.dnsConfig.searches[0]: Invalid value: \"Upper\": a lowercase RFC 1123"),
        "{errors:?}"
    );
    create("pods", pod_with("os", json!({ "name": "linux" })), &[]);
    create(
        "pods",
        pod_with("os", json!({ "name": "plan9" })),
        &["spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\""],
    );
    create("pods", pod_with("os", json!({ "name": "" })), &["spec.os.name: Required value: cannot be empty"]);
    create(
        "pods",
        with_container("containers", json!({ "ports": [{ "containerPort": 80, "hostIP": "here" }] })),
        &[
            "spec.containers[0].ports[0].hostIP: Invalid value: \"here\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    );
}

#[test]
fn a_hook_sleeps_no_longer_than_the_pod_has() {
    let sleeps = |seconds: i64| {
        with_container("containers", json!({ "lifecycle": { "preStop": { "sleep": { "seconds": seconds } } } }))
    };
    create("pods", sleeps(0), &[]);
    create("pods", sleeps(30), &[]);
    for seconds in [-1, 31] {
        let text = format!(
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: {seconds}: must be non-negative and less than \
             terminationGracePeriodSeconds (30)"
        );
        create("pods", sleeps(seconds), &[&text]);
    }
}

/// Charts that leave the name of a pull secret empty are many; upstream warns.
#[test]
fn pull_secrets_without_a_name_are_warned_of() {
    let doc = pod_with("imagePullSecrets", json!([{ "name": "" }, { "name": "a" }, { "name": "a" }]));
    create("pods", doc.clone(), &[]);
    let warnings = strategy("pods").warnings(&made("pods", doc));
    let expected = [
        "spec.imagePullSecrets[2].name: duplicate name \"a\"",
        "spec.imagePullSecrets[0].name: invalid empty name \"\"",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn a_pod_behind_a_gate_gets_pickier_alone() {
    let mut doc = pod_with("schedulingGates", json!([{ "name": "example.com/wait" }]));
    doc["spec"]["nodeSelector"] = json!({ "a": "1" });
    update("pods", doc.clone(), "spec.nodeSelector", json!({ "a": "1", "b": "2" }), &[]);
    update(
        "pods",
        doc,
        "spec.nodeSelector",
        json!({ "a": "2" }),
        &[
            "spec.nodeSelector: Invalid value: {\"a\":\"2\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ],
    );
}
