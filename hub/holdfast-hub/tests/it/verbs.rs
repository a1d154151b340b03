//! Real kubectl and the verbs that are subresources: `drain`, `debug`, `patch --subresource=resize`, `certificate approve`.

use crate::hub::{Hub, text};
use crate::kubectl::{Kubectl, NAMESPACE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::process::Command;
use std::time::{Duration, Instant};

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1}
";

fn pod(name: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: demo, labels: {{app: web}}}}
spec:
  nodeName: n1
  containers:
  - name: c
    image: registry.local/agnhost:1
    resources: {{requests: {{cpu: 100m}}}}
"
    )
}

const BUDGET: &str = "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: demo}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
";

const RUNNING: &str = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;

fn wait(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn drain_respects_a_budget() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("apply -f -", NAMESPACE);
    kubectl.ok("apply -f -", NODE);
    kubectl.ok("-n demo wait --for=create serviceaccount/default --timeout=20s", "");
    kubectl.ok("apply -f -", BUDGET);
    for name in ["a", "b"] {
        kubectl.ok("apply -f -", &pod(name));
        kubectl.ok(&format!("-n demo patch pod {name} --subresource=status --type=merge -p {RUNNING}"), "");
    }
    kubectl.ok("-n demo wait --for=jsonpath={.status.disruptionsAllowed}=1 pdb/web --timeout=20s", "");
    // One of the two may go, and nobody takes it away here: drain waits for it, and asks for the other in vain.
    let said = kubectl.fails("drain n1 --force --timeout=4s", "");
    assert!(said.contains("Cannot evict pod as it would violate the pod's disruption budget."), "{said}");
    let going = kubectl.ok("-n demo get pods -o jsonpath={.items[*].metadata.deletionTimestamp}", "");
    assert_eq!(going.split_whitespace().count(), 1, "{going}");
    let reasons = kubectl.ok("-n demo get pods -o jsonpath={.items[*].status.conditions[*].reason}", "");
    assert_eq!(reasons.trim(), "EvictionByEvictionAPI");
    kubectl.ok("-n demo delete pdb web", "");
    kubectl.ok("drain n1 --force --grace-period=0 --timeout=20s", "");
    assert_eq!(kubectl.ok("-n demo get pods -o name", ""), "");
    assert_eq!(kubectl.ok("get node n1 -o jsonpath={.spec.unschedulable}", ""), "true");
}

#[test]
fn debug_adds_a_container_and_resize_changes_one() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("apply -f -", NAMESPACE);
    kubectl.ok("-n demo wait --for=create serviceaccount/default --timeout=20s", "");
    kubectl.ok("apply -f -", &pod("one"));
    kubectl.ok("-n demo debug one --image=registry.local/agnhost:1 --target=c -c look -- /agnhost env", "");
    let added = kubectl.ok("-n demo get pod one -o jsonpath={.spec.ephemeralContainers[*].name}", "");
    assert_eq!(added, "look");
    let size = r#"{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"200m"}}}]}}"#;
    kubectl.ok(&format!("-n demo patch pod one --subresource=resize -p {size}"), "");
    let path = "jsonpath={.metadata.generation},{.spec.containers[0].resources.requests.cpu}";
    assert_eq!(kubectl.ok(&format!("-n demo get pod one -o {path}"), ""), "3,200m");
    let refused =
        kubectl.fails(&format!("-n demo patch pod one --subresource=resize -p {}", size.replace("cpu", "gpu")), "");
    assert!(
        refused.contains("resource requests cannot be removed") || refused.contains("only cpu and memory"),
        "{refused}"
    );
}

#[test]
fn a_certificate_that_was_asked_for_and_approved_opens_the_api() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "dev");
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let ask = format!(
        "
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: jane}}
spec:
  request: {}
  signerName: kubernetes.io/kube-apiserver-client
  expirationSeconds: 3600
  usages: [digital signature, client auth]
",
        STANDARD.encode(request)
    );
    kubectl.ok("apply -f -", &ask);
    let shown = kubectl.ok("get csr", "");
    assert!(shown.contains("jane") && shown.contains("Pending") && shown.contains("60m"), "{shown}");
    kubectl.ok("certificate approve jane", "");
    let issued = || kubectl.ok("get csr jane -o jsonpath={.status.certificate}", "");
    wait("the certificate", || !issued().is_empty());
    assert!(kubectl.ok("get csr", "").contains("Approved,Issued"));
    let said = kubectl.fails("certificate deny jane", "");
    assert!(said.contains("is already Approved"), "{said}");

    let (certificate, secret) = (root.path().join("jane.crt"), root.path().join("jane.key"));
    std::fs::write(&certificate, STANDARD.decode(issued()).unwrap()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    let kubeconfig = std::fs::read_to_string(hub.kubeconfig()).unwrap();
    let field = |name: &str| kubeconfig.split(&format!("{name}: ")).nth(1).unwrap().lines().next().unwrap().to_string();
    let ca = root.path().join("ca.crt");
    std::fs::write(&ca, STANDARD.decode(field("certificate-authority-data")).unwrap()).unwrap();
    let program = std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".into());
    let out = Command::new(program)
        .env("KUBECONFIG", "/nonexistent")
        .args(["--server", &field("server"), "--certificate-authority"])
        .arg(&ca)
        .arg("--client-certificate")
        .arg(&certificate)
        .arg("--client-key")
        .arg(&secret)
        .args(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups[*]}"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(text(&out.stdout), "jane dev system:authenticated");
}
