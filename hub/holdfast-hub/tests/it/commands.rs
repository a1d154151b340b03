//! Commands of kubectl that tell of a cluster, try a change, or carry the API elsewhere.

use crate::hub::{Hub, text};
use crate::kubectl::{DEPLOYMENT, Kubectl, NAMESPACE};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

const POD: &str = "run one --image=registry.local/agnhost:1 --restart=Never --labels=run=one";

/// A hub whose namespace `default` takes pods.
fn ready(kubectl: &Kubectl<'_>) {
    kubectl.ok("wait --for=create serviceaccount/default --timeout=20s", "");
}

#[test]
fn kubectl_tells_versions_and_where_the_cluster_is() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    let version = kubectl.ok("version", "");
    for words in ["Client Version: v", "Server Version: v1.36."] {
        assert!(version.contains(words), "{version}");
    }
    assert!(kubectl.ok("api-versions", "").lines().any(|line| line == "v1"));
    let info = kubectl.ok("cluster-info", "");
    assert!(info.contains("Kubernetes control plane") && info.contains("is running at"), "{info}");
}

#[test]
fn kubectl_finds_a_difference_and_dry_runs_change_nothing() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("apply -f -", NAMESPACE);
    kubectl.ok("apply -f -", DEPLOYMENT);
    let diff = kubectl.run("diff -f -", &DEPLOYMENT.replace("agnhost:1", "busybox:1"));
    let (shown, errors) = (text(&diff.stdout), text(&diff.stderr));
    assert_eq!(diff.status.code(), Some(1), "{errors}");
    for line in ["-      - image: registry.local/agnhost:1", "+      - image: registry.local/busybox:1"] {
        assert!(shown.contains(line), "{shown}{errors}");
    }
    assert_eq!(kubectl.run("diff -f -", DEPLOYMENT).status.code(), Some(0), "nothing differs");

    ready(&kubectl);
    kubectl.ok(POD, "");
    let image = "get pod one -o jsonpath={.spec.containers[0].image}";
    let patch = r#"patch pod one --dry-run=server -o jsonpath={.spec.containers[0].image} -p {"spec":{"containers":[{"name":"one","image":"registry.local/busybox:1"}]}}"#;
    assert_eq!(kubectl.ok(patch, ""), "registry.local/busybox:1");
    assert_eq!(kubectl.ok(image, ""), "registry.local/agnhost:1");
    // Without its version: the scheduler may say something of the pod at any time.
    let shown = kubectl.ok("get pod one -o json", "").replace("agnhost:1", "busybox:1");
    let changed: String =
        shown.lines().filter(|line| !line.contains("\"resourceVersion\"")).map(|line| format!("{line}\n")).collect();
    assert!(kubectl.ok("replace --dry-run=server -f -", &changed).contains("pod/one replaced (server dry run)"));
    assert_eq!(kubectl.ok(image, ""), "registry.local/agnhost:1");
    // And without it, the image is another.
    assert!(kubectl.ok("replace -f -", &changed).contains("pod/one replaced"));
    assert_eq!(kubectl.ok(image, ""), "registry.local/busybox:1");
}

#[test]
fn kubectl_runs_a_pod_and_labels_it() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    ready(&kubectl);
    assert!(kubectl.ok(POD, "").contains("pod/one created"));
    let found = kubectl.ok("get pod one -o jsonpath={.spec.containers[0].image},{.spec.restartPolicy}", "");
    assert_eq!(found, "registry.local/agnhost:1,Never");
    kubectl.ok("label pods one testing-label=testing-label-value", "");
    assert!(kubectl.ok("get pod one -L testing-label", "").contains("testing-label-value"));
    kubectl.ok("label pods one testing-label-", "");
    assert!(!kubectl.ok("get pod one -L testing-label", "").contains("testing-label-value"));
}

/// Asks for `/api/` without a word about who asks.
fn versions(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET /api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn kubectl_carries_the_api_to_a_port_and_to_a_socket() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    let socket = root.path().join("proxy.sock");
    let by_socket = format!("--unix-socket={}", socket.display());
    for flag in ["--port=0", &by_socket] {
        let mut child = kubectl.started(&["proxy", flag, "--disable-filter"]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let place = line.trim().strip_prefix("Starting to serve on ").map(str::to_owned);
        let place = place.unwrap_or_else(|| panic!("{flag}: {line:?}"));
        let answer = match flag {
            "--port=0" => versions(TcpStream::connect(&place).unwrap()),
            _ => versions(UnixStream::connect(&place).unwrap()),
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"versions\""), "{flag}: {answer}");
    }
}

#[test]
fn kubectl_acts_as_others_within_bounds() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    ready(&kubectl);
    let account = "--serviceaccount=default:default";
    kubectl.ok("create clusterrole lister --verb=impersonate-on:user-info:list --resource=configmaps", "");
    kubectl.ok(&format!("create clusterrolebinding lister --clusterrole=lister {account}"), "");
    let eve = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: eve}\nrules:\n\
               - {apiGroups: [authentication.k8s.io], resources: [users], resourceNames: [eve], verbs: ['impersonate:user-info']}\n";
    kubectl.ok("apply -f -", eve);
    kubectl.ok(&format!("create clusterrolebinding eve --clusterrole=eve {account}"), "");
    kubectl.ok("create clusterrolebinding view --clusterrole=view --user=eve", "");
    kubectl.ok("create configmap some", "");
    let token = kubectl.ok("create token default", "");
    let own = format!(
        "--kubeconfig=/dev/null --server=https://{} --insecure-skip-tls-verify --token={}",
        hub.told("api"),
        token.trim()
    );
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let listed = kubectl.run(&format!("{own} --as=eve -n default get configmaps"), "");
        if listed.status.success() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}", text(&listed.stderr));
    }
    // Eve may read them, and the account may act as eve; but not to get one.
    let refused = kubectl.fails(&format!("{own} --as=eve -n default get configmap some"), "");
    assert!(refused.contains("cannot impersonate-on:user-info:get resource \"configmaps\""), "{refused}");
    kubectl.fails(&format!("{own} --as=admin -n default get configmaps"), "");
    kubectl.fails(&format!("{own} -n default get configmaps"), "");
    let whoami = kubectl.ok("auth whoami -o jsonpath={.status.userInfo.extra}", "");
    assert!(
        whoami.contains("authentication.kubernetes.io/credential-id") && whoami.contains("X509SHA256="),
        "{whoami}"
    );
}
