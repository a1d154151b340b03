//! Statuses of pods, restart rules of containers, sources of projected volumes.

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
