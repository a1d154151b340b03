//! The audit log of a real hub, as real kubectl fills it.

use crate::hub::{Hub, PROGRAM, run, text};
use crate::kubectl::Kubectl;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
  - {level: None, userGroups: ['system:serviceaccounts']}
  - {level: Metadata, resources: [{group: '', resources: [secrets]}]}
  - {level: Metadata, resources: [{group: '', resources: [pods]}], omitStages: [RequestReceived]}
  - {level: RequestResponse, resources: [{group: '', resources: [configmaps]}], omitStages: [RequestReceived]}
  - {level: Metadata, nonResourceURLs: [/metrics]}
  - {level: None}
";

/// Wants ConfigMaps of one entry, and only notes those that are not.
const POLICY_OF_MAPS: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  validations: [{expression: 'size(object.data) < 2', message: one entry each}]
  auditAnnotations: [{key: entries, valueExpression: 'string(size(object.data))'}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few}
spec: {policyName: few, validationActions: [Audit]}
";

fn events(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"))).collect()
}

/// The events of this verb on this resource, once `count` are there.
fn of(log: &Path, verb: &str, resource: &str, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = events(log).into_iter().filter(|e| e["verb"] == verb && e["objectRef"]["resource"] == resource);
        let found: Vec<Value> = found.collect();
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < deadline, "no {verb} {resource}: {:?}", events(log));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn who_asked_for_what_is_noted_as_the_policy_says() {
    let root = tempfile::tempdir().unwrap();
    let (policy, log) = (root.path().join("policy.yaml"), root.path().join("logs/audit.log"));
    std::fs::write(&policy, POLICY).unwrap();
    let flags = ["--audit-policy-file", policy.to_str().unwrap(), "--audit-log-path", log.to_str().unwrap()];
    let hub = Hub::start_with(root.path(), &flags);
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("create configmap c --from-literal=a=1", "");
    let created = of(&log, "create", "configmaps", 1);
    let event = created.iter().find(|event| event["objectRef"]["name"] == "c").unwrap();
    assert_eq!(
        (&event["stage"], &event["level"], &event["objectRef"]["namespace"], &event["responseStatus"]["code"]),
        (&"ResponseComplete".into(), &"RequestResponse".into(), &"default".into(), &201.into())
    );
    assert_eq!(event["requestObject"]["data"]["a"], "1");
    assert!(event["responseObject"]["metadata"]["uid"].is_string(), "{event}");
    assert!(event["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(event["sourceIPs"], serde_json::json!(["127.0.0.1"]));
    assert!(event["userAgent"].as_str().unwrap().starts_with("kubectl"), "{event}");
    let groups = event["user"]["groups"].as_array().unwrap();
    assert!(
        groups.contains(&"system:masters".into()) && event["requestURI"].as_str().unwrap().contains('?'),
        "{event}"
    );

    kubectl.ok("create secret generic s --from-literal=password=hunter2", "");
    let secrets = of(&log, "create", "secrets", 2);
    let stages: Vec<&Value> = secrets.iter().map(|event| &event["stage"]).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
    assert_eq!(secrets[0]["auditID"], secrets[1]["auditID"]);
    let noted = std::fs::read_to_string(&log).unwrap();
    assert!(!noted.contains("aHVudGVyMg") && !noted.contains("hunter2"), "the policy asks for no content of Secrets");

    kubectl.fails("--as=nobody get configmap c", "");
    let refused = of(&log, "get", "configmaps", 1);
    let event = refused.iter().find(|event| event["impersonatedUser"]["username"] == "nobody").unwrap();
    assert_eq!(
        (&event["responseStatus"]["code"], &event["responseStatus"]["reason"]),
        (&403.into(), &"Forbidden".into())
    );
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "forbid");

    kubectl.ok("get --raw /metrics", "");
    assert!(events(&log).iter().any(|event| event["requestURI"] == "/metrics" && event["verb"] == "get"));
    kubectl.ok("wait --for=jsonpath={.data.a}=1 configmap/c --timeout=30s", "");
    let watched = of(&log, "watch", "configmaps", 2);
    let stages: Vec<&Value> = watched.iter().map(|event| &event["stage"]).collect();
    assert_eq!(stages[..2], ["ResponseStarted", "ResponseComplete"]);

    kubectl.ok("label namespace default pod-security.kubernetes.io/audit=baseline", "");
    kubectl.ok("apply -f -", POLICY_OF_MAPS);
    kubectl.ok("run one --image=registry.local/agnhost:1 --privileged", "");
    let ran = of(&log, "create", "pods", 1);
    let said = ran[0]["annotations"]["pod-security.kubernetes.io/audit-violations"].as_str().unwrap_or_default();
    assert!(said.starts_with("would violate PodSecurity \"baseline:latest\": privileged"), "{}", ran[0]);
    kubectl.ok("create configmap long --from-literal=a=2 --from-literal=b=2", "");
    let judged = of(&log, "create", "configmaps", 2);
    let event = judged.iter().find(|event| event["objectRef"]["name"] == "long").unwrap();
    let failure = event["annotations"]["validation.policy.admission.k8s.io/validation_failure"].as_str();
    let failure: Value = serde_json::from_str(failure.unwrap_or_else(|| panic!("{event}"))).unwrap();
    assert_eq!((&failure[0]["message"], &failure[0]["expressionIndex"]), (&"one entry each".into(), &0.into()));
    assert_eq!(failure[0]["validationActions"], serde_json::json!(["Audit"]));
    assert_eq!(event["annotations"]["few/entries"], "2");
    // Of the hub's own nothing is noted: the policy says so.
    assert!(!std::fs::read_to_string(&log).unwrap().contains("kube-system:"));
}

#[test]
fn a_policy_that_is_none_is_refused_before_anything_is_made() {
    let root = tempfile::tempdir().unwrap();
    let policy = root.path().join("policy.yaml");
    std::fs::write(&policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, resource: []}]\n")
        .unwrap();
    let folder = root.path().join("hub");
    let output = run(
        PROGRAM,
        &[
            &[
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--link-listen",
                "127.0.0.1:0",
                "--data-dir",
                folder.to_str().unwrap(),
            ][..],
            &["--audit-policy-file", policy.to_str().unwrap(), "--audit-log-path", "-"],
        ]
        .concat(),
    );
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("policy.yaml is no audit policy") && said.contains("resource"), "{said}");
    assert!(!folder.exists());
}
