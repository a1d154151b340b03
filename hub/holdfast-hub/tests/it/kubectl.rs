//! Real kubectl against a real hub without nodes. `cargo xtask test` names the one it keeps in `KUBECTL`, and then it must
//! run; without that, the one on the PATH does, if there is one.

use crate::hub::{Hub, text};
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

pub(crate) struct Kubectl<'a> {
    program: String,
    hub: &'a Hub,
}

impl<'a> Kubectl<'a> {
    pub(crate) fn find(hub: &'a Hub) -> Option<Kubectl<'a>> {
        let named = std::env::var("KUBECTL").ok();
        let program = named.clone().unwrap_or_else(|| "kubectl".into());
        let found = Command::new(&program).args(["version", "--client"]).output().is_ok_and(|out| out.status.success());
        if !found {
            assert!(named.is_none(), "KUBECTL={program} does not run");
            eprintln!("skipped: no kubectl on this machine");
        }
        found.then_some(Kubectl { program, hub })
    }

    pub(crate) fn run(&self, arguments: &str, input: &str) -> Output {
        self.run_with(&arguments.split_whitespace().collect::<Vec<&str>>(), input)
    }

    /// As the hub's administrator.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(self.hub.kubeconfig());
        command.arg("--cache-dir").arg(self.hub.data_dir.join("kubectl-cache")).args(arguments);
        command
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.started(arguments);
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// One that goes on; the caller ends it.
    pub(crate) fn started(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Succeeds; what it printed.
    pub(crate) fn ok(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "kubectl {arguments}: {}\n{}", text(&output.stderr), self.hub.log());
        text(&output.stdout)
    }

    /// Fails; what it said.
    pub(crate) fn fails(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(!output.status.success(), "kubectl {arguments}: {}", text(&output.stdout));
        text(&output.stderr)
    }
}

pub(crate) const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: demo}\n";

pub(crate) const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: demo}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: \"registry.local/agnhost:1\"}]
";

const CLAIM: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: demo}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: demo}
spec:
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: \"registry.local/agnhost:1\"}]}
";

/// Kinds that no controller of ours looks at yet, by the commands that people make them with: most are sent as protobuf.
#[test]
fn kubectl_makes_and_shows_kinds_of_every_group() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("apply -f -", NAMESPACE);
    kubectl.ok("apply -f -", CLAIM);
    kubectl.ok("-n demo create job once --image=registry.local/agnhost:1", "");
    kubectl.ok("-n demo create cronjob often --image=registry.local/agnhost:1 --schedule=@hourly", "");
    kubectl.ok("-n demo create poddisruptionbudget some --selector=app=db --min-available=1", "");
    kubectl.ok("-n demo create quota bound --hard=pods=3,limits.cpu=2", "");
    kubectl.ok("-n demo create ingress web --rule=a.example.com/*=web:80", "");
    kubectl.ok("-n demo autoscale statefulset db --max=3 --cpu-percent=60", "");
    for (what, header, row) in [
        ("sts", "NAME READY AGE", "db 0/1"),
        ("job", "NAME STATUS COMPLETIONS DURATION AGE", "once Running 0/1"),
        ("cj", "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE", "often @hourly <none> False 0 <none>"),
        ("pdb", "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE", "some 1 N/A 0"),
        ("ing", "NAME CLASS HOSTS ADDRESS PORTS AGE", "web <none> a.example.com 80"),
        (
            "pvc",
            "NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE",
            "data Pending <unset>",
        ),
        ("hpa", "NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE", "db StatefulSet/db cpu: <unknown>/60% 1 3 0"),
        ("cs", "NAME STATUS MESSAGE ERROR", "controller-manager Healthy ok"),
    ] {
        let shown = kubectl.ok(&format!("-n demo get {what}"), "");
        let mut lines = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(lines.next().as_deref(), Some(header), "{shown}");
        assert!(lines.any(|line| line.starts_with(row)), "{shown}");
    }
    assert_eq!(
        kubectl.ok(
            "-n demo get horizontalpodautoscalers.v1.autoscaling db -o jsonpath={.spec.targetCPUUtilizationPercentage}",
            ""
        ),
        "60"
    );
    kubectl.ok("-n demo scale sts/db --replicas=2", "");
    assert_eq!(kubectl.ok("-n demo get sts db -o jsonpath={.spec.replicas}", ""), "2");
    assert!(kubectl.ok("explain ingress.spec.rules.host", "").contains("fully qualified domain name"));
    let all = kubectl.ok("-n demo get all", "");
    assert!(all.contains("statefulset.apps/db") && all.contains("cronjob.batch/often"), "{all}");
    // Everything in it goes with its namespace.
    assert!(kubectl.ok("delete namespace demo --timeout=60s", "").contains("deleted"));
}

#[test]
fn kubectl_does_its_everyday_work() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    assert!(kubectl.ok("version", "").contains("Server Version: v1.36.0+holdfast"));
    assert!(kubectl.ok("api-resources", "").contains("deployments"));
    assert!(kubectl.ok("get --raw /readyz?verbose", "").contains("readyz check passed"));
    let cas = "-n kube-system wait --for=create configmap/extension-apiserver-authentication --timeout=60s";
    assert!(kubectl.ok(cas, "").contains("condition met"));
    kubectl.ok("apply -f -", NAMESPACE);
    assert!(kubectl.ok("apply -f -", DEPLOYMENT).contains("deployment.apps/web created"));
    // These are sent as protobuf by kubectl since 1.32.
    kubectl.ok("create namespace typed", "");
    kubectl.ok("-n typed create configmap a --from-literal=x=y", "");
    assert_eq!(kubectl.ok("-n typed get configmap a -o jsonpath={.data.x}", ""), "y");
    kubectl.ok("-n typed create secret generic s --from-literal=password=p", "");
    assert_eq!(kubectl.ok("-n typed get secret s -o jsonpath={.data.password}", ""), "cA==");
    kubectl.ok("-n typed create deployment d --image=registry.local/agnhost:1 --replicas=0", "");
    assert_eq!(kubectl.ok("-n typed get deployment d -o jsonpath={.spec.replicas}", ""), "0");
    assert_eq!(kubectl.ok("auth can-i create pods", "").trim(), "yes");
    assert!(kubectl.ok("auth whoami", "").contains("kubernetes-admin"));
    let wide = kubectl.ok("-n demo get deploy -o wide", "");
    assert!(wide.contains("IMAGES") && wide.contains("0/2") && wide.contains("registry.local/agnhost:1"), "{wide}");
    kubectl.ok("-n demo scale deploy/web --replicas=3", "");
    assert_eq!(kubectl.ok("-n demo get deploy web -o jsonpath={.spec.replicas}", ""), "3");
    kubectl.ok("-n demo label deploy/web a=b", "");
    assert!(kubectl.ok("apply -f -", DEPLOYMENT).contains("configured"));
    assert!(kubectl.ok("-n demo get deploy -l a=b -o name", "").contains("deployment.apps/web"));
    assert!(kubectl.ok("explain deployment.spec.replicas", "").contains("Number of desired pods"));
    // What this shows it has read as gnostic's message.
    let from_v2 = kubectl.ok("explain deployment.spec.replicas --output plaintext-openapiv2", "");
    assert!(from_v2.contains("Number of desired pods"), "{from_v2}");
    assert!(kubectl.ok("-n demo describe deploy web", "").contains("2 desired"));
    assert!(kubectl.ok("get deploy -A -o yaml", "").contains("kind: Deployment"));
    kubectl.ok("wait --for=jsonpath={.metadata.name}=web deploy/web -n demo --timeout=20s", "");
    assert!(kubectl.ok("-n demo delete deploy web", "").contains("deleted"));
    assert!(
        kubectl
            .run("-n demo get deploy web", "")
            .stderr
            .starts_with(b"Error from server (NotFound): deployments.apps \"web\" not found")
    );
}

#[test]
fn controllers_make_what_a_deployment_asks_for() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("apply -f -", NAMESPACE);
    kubectl.ok("-n demo wait --for=create serviceaccount/default --timeout=20s", "");
    kubectl.ok("-n demo wait --for=create configmap/kube-root-ca.crt --timeout=20s", "");
    kubectl.ok("apply -f -", DEPLOYMENT);
    kubectl.ok("-n demo wait --for=jsonpath={.status.replicas}=2 deploy/web --timeout=30s", "");
    // No node is there: the scheduler says so.
    kubectl.ok("-n demo wait --for=condition=PodScheduled=False pod -l app=web --timeout=30s", "");
    let table = kubectl.ok("-n demo get pods -o wide", "");
    assert_eq!(table.matches("Pending").count(), 2, "{table}");
    let token = kubectl.ok("-n demo create token default", "");
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    let pod = kubectl.ok("-n demo get pods -o name", "").lines().next().unwrap().to_string();
    // As upstream: a pod without a node has an empty log.
    assert_eq!(kubectl.ok(&format!("-n demo logs {pod}"), ""), "");
    let exec = kubectl.fails(&format!("-n demo exec {pod} -- true"), "");
    assert!(exec.contains("does not have a host assigned"), "{exec}");
    kubectl.ok("delete namespace demo --timeout=60s", "");
    assert!(kubectl.fails("get namespace demo", "").contains("NotFound"));
}

#[test]
fn kubectl_shows_what_is_wrong() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    let missing = kubectl.fails("apply -f -", DEPLOYMENT);
    assert!(missing.contains("namespaces \"demo\" not found"), "{missing}");
    kubectl.ok("apply -f -", NAMESPACE);
    let unknown = kubectl.fails("apply -f -", &DEPLOYMENT.replace("replicas", "replicaz"));
    assert!(unknown.contains("strict decoding error: unknown field \"spec.replicaz\""), "{unknown}");
    let name = kubectl.fails("apply -f -", &DEPLOYMENT.replace("name: c,", "name: C_,"));
    assert!(name.contains("spec.template.spec.containers[0].name: Invalid value: \"C_\""), "{name}");
    kubectl.ok("apply -f -", DEPLOYMENT);
    let stale = kubectl.ok("-n demo get deploy web -o yaml", "");
    kubectl.ok("-n demo scale deploy/web --replicas=5", "");
    let conflict = kubectl.fails("replace -f -", &stale);
    assert!(conflict.contains("the object has been modified"), "{conflict}");
    let nobody = kubectl.fails("--as=eve get pods", "");
    assert!(
        nobody.contains("User \"eve\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""),
        "{nobody}"
    );
}

#[test]
fn bootstrap_tokens_authenticate_and_may_do_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    let made = text(&hub.token(&["create"]).stdout);
    let token: String = made.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let ca = root.path().join("ca.crt");
    std::fs::copy(hub.data_dir.join("pki/ca.crt"), &ca).unwrap();
    let config = std::fs::read_to_string(hub.kubeconfig()).unwrap();
    let server = config.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap();
    let ask = |token: &str| {
        let output = Command::new(&kubectl.program)
            .args(["--kubeconfig=/dev/null", "--server", server, "--token", token, "get", "--raw", "/api/v1/nodes"])
            .arg(format!("--certificate-authority={}", ca.display()))
            .output()
            .unwrap();
        text(&output.stderr)
    };
    let id = &made[..6];
    let told = ask(&token);
    assert!(told.contains(&format!("User \"system:bootstrap:{id}\" cannot list resource \"nodes\"")), "{told}");
    for wrong in [format!("{id}.aaaaaaaaaaaaaaaa"), "aaaaaa.aaaaaaaaaaaaaaaa".to_string(), "nonsense".to_string()] {
        let told = ask(&wrong);
        assert!(told.contains("Unauthorized") || told.contains("must be logged in"), "{wrong}: {told}");
    }
    hub.token(&["revoke", id]);
    let told = ask(&token);
    assert!(told.contains("Unauthorized") || told.contains("must be logged in"), "{told}");
}

#[test]
fn health_is_told_to_anybody_who_asks() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    for endpoint in ["livez", "healthz", "readyz"] {
        assert_eq!(kubectl.ok(&format!("get --raw /{endpoint}"), ""), "ok", "{endpoint}");
        let verbose = kubectl.ok(&format!("get --raw /{endpoint}?verbose"), "");
        assert!(verbose.contains("[+]ping ok") && verbose.contains(&format!("{endpoint} check passed")), "{verbose}");
        // Probes of load balancers have no certificate.
        assert_eq!(kubectl.ok(&format!("--as=system:anonymous get --raw /{endpoint}"), ""), "ok", "{endpoint}");
    }
    assert!(kubectl.fails("get --raw /livez/nonsense", "").contains("NotFound"));
}

/// What Kubernetes promises of an API server's metrics: those called stable in
/// <https://kubernetes.io/docs/reference/instrumentation/metrics/>. Those of whose events there was none have a type alone.
#[test]
fn the_stable_metrics_of_an_api_server_are_there() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("create configmap one", "");
    kubectl.ok("get configmaps,endpoints -A", "");
    let text = kubectl.ok("get --raw /metrics", "");
    for (name, kind, has_series) in [
        ("apiserver_admission_controller_admission_duration_seconds", "histogram", true),
        ("apiserver_admission_step_admission_duration_seconds", "histogram", true),
        ("apiserver_admission_webhook_admission_duration_seconds", "histogram", false),
        ("apiserver_current_inflight_requests", "gauge", true),
        ("apiserver_longrunning_requests", "gauge", true),
        ("apiserver_request_duration_seconds", "histogram", true),
        ("apiserver_request_total", "counter", true),
        ("apiserver_requested_deprecated_apis", "gauge", true),
        ("apiserver_response_sizes", "histogram", true),
        ("apiserver_storage_objects", "gauge", true),
        ("apiserver_storage_size_bytes", "gauge", true),
    ] {
        let typed = format!("# TYPE {name} {kind}");
        assert!(text.lines().any(|line| line == typed), "{typed}:\n{text}");
        assert!(!has_series || text.lines().any(|line| line.starts_with(name)), "{name} has no series");
    }
}

/// As upstream since 1.35: a WebSocket is a GET, and to run a command wants `create` all the same.
#[test]
fn exec_asks_for_create() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("wait --for=create serviceaccount/default --timeout=20s", "");
    kubectl.ok("run one --image=registry.local/agnhost:1 --restart=Never", "");
    for (verb, user) in [("get", "reader"), ("create", "runner")] {
        kubectl.ok(&format!("create role {user}-pods --verb=get --resource=pods"), "");
        kubectl.ok(&format!("create role {user}-exec --verb={verb} --resource=pods/exec"), "");
        for role in ["pods", "exec"] {
            kubectl.ok(&format!("create rolebinding {user}-{role} --role={user}-{role} --user={user}"), "");
        }
    }
    let refused = kubectl.fails("--as=reader exec one -- true", "");
    let expected = "pods \"one\" is forbidden: User \"reader\" cannot create resource \"pods/exec\" in API group \"\"";
    assert!(refused.contains(expected), "{refused}");
    let passed = kubectl.fails("--as=runner exec one -- true", "");
    assert!(passed.contains("does not have a host assigned"), "{passed}");
}

#[test]
fn history_that_is_gone_is_410_and_settings_reach_pods() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start_with(root.path(), &["--history", "1s", "--eviction-after", "7s"]);
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("wait --for=create serviceaccount/default --timeout=20s", "");
    kubectl.ok("run one --image=registry.local/agnhost:1", "");
    let seconds = kubectl.ok("get pod one -o jsonpath={.spec.tolerations[*].tolerationSeconds}", "");
    assert_eq!(seconds, "7 7");

    let maps = "/api/v1/namespaces/default/configmaps";
    for name in ["a", "b", "c"] {
        kubectl.ok(&format!("create configmap {name}"), "");
    }
    let page: serde_json::Value = serde_json::from_str(&kubectl.ok(&format!("get --raw {maps}?limit=1"), "")).unwrap();
    let (token, revision) = (&page["metadata"]["continue"], &page["metadata"]["resourceVersion"]);
    let (token, revision) = (token.as_str().unwrap(), revision.as_str().unwrap());
    // Something has to happen for the page's own state to become history.
    kubectl.ok("delete configmap c", "");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let expired = loop {
        let output = kubectl.run(&format!("get --raw {maps}?limit=1&continue={token}"), "");
        if !output.status.success() {
            break text(&output.stderr);
        }
        assert!(std::time::Instant::now() < deadline, "the token never grew too old");
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    assert!(expired.contains("(Expired)") || expired.contains("(Gone)"), "{expired}");
    assert!(expired.contains("The provided continue parameter is too old"), "{expired}");
    let watch = kubectl.ok(&format!("get --raw {maps}?watch=1&resourceVersion={revision}"), "");
    let event: serde_json::Value = serde_json::from_str(watch.lines().next().unwrap()).unwrap();
    assert_eq!((event["type"].as_str(), event["object"]["code"].as_i64()), (Some("ERROR"), Some(410)), "{watch}");
    assert!(event["object"]["message"].as_str().unwrap().starts_with("too old resource version: "), "{watch}");
    let exact = kubectl.fails(&format!("get --raw {maps}?resourceVersion={revision}&resourceVersionMatch=Exact"), "");
    assert!(exact.contains("(Expired): The resourceVersion for the provided list is too old"), "{exact}");
}

#[test]
fn kubectl_applies_on_the_servers_side() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    let managers = |what: &str| {
        let path = r#"jsonpath={range .metadata.managedFields[*]}{.manager}/{.operation}/{.subresource}{"\n"}{end}"#;
        let out = kubectl.run_with(&["-n", "demo", "get", what, "--show-managed-fields", "-o", path], "");
        let out = text(&out.stdout);
        out.lines().filter(|line| !line.is_empty()).map(str::to_string).collect::<Vec<String>>()
    };
    kubectl.ok("apply --server-side -f -", NAMESPACE);
    let made = kubectl.ok("apply --server-side -f -", DEPLOYMENT);
    assert_eq!(made.trim(), "deployment.apps/web serverside-applied");
    assert!(managers("deploy/web").contains(&"kubectl/Apply/".to_string()), "{:?}", managers("deploy/web"));
    let hidden = kubectl.ok("-n demo get deploy web -o yaml", "");
    assert!(!hidden.contains("managedFields"), "{hidden}");
    let shown = kubectl.ok("-n demo get deploy web -o yaml --show-managed-fields", "");
    assert!(shown.contains("k:{\"name\":\"c\"}:"), "{shown}");

    // Another manager meets a conflict, and may force it.
    let more = DEPLOYMENT.replace("replicas: 2", "replicas: 4");
    let conflict = kubectl.fails("apply --server-side --field-manager=other -f -", &more);
    assert!(conflict.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .spec.replicas"), "{conflict}");
    assert!(conflict.contains("Please review the fields above"), "{conflict}");
    kubectl.ok("apply --server-side --field-manager=other --force-conflicts -f -", &more);
    assert_eq!(kubectl.ok("-n demo get deploy web -o jsonpath={.spec.replicas}", ""), "4");

    // Whoever scales owns the replicas.
    kubectl.ok("-n demo scale deploy/web --replicas=1", "");
    assert!(managers("deploy/web").contains(&"kubectl/Update/scale".to_string()), "{:?}", managers("deploy/web"));
    let conflict = kubectl.fails("apply --server-side -f -", DEPLOYMENT);
    let expected = "conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas";
    assert!(conflict.contains(expected), "{conflict}");
    kubectl.ok("apply --server-side -f -", &DEPLOYMENT.replace("replicas: 2", "paused: false"));
    assert_eq!(kubectl.ok("-n demo get deploy web -o jsonpath={.spec.replicas}", ""), "1");
    let other_image = DEPLOYMENT.replace("replicas: 2", "paused: false").replace("agnhost:1", "agnhost:2");
    let diff = kubectl.run("diff --server-side --force-conflicts -f -", &other_image);
    let (shown, errors) = (text(&diff.stdout), text(&diff.stderr));
    assert!(shown.contains("+      - image: registry.local/agnhost:2"), "{shown}{errors}");
}

/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#upgrading-from-client-side-apply-to-server-side-apply>
#[test]
fn kubectl_goes_over_to_server_side_apply_and_back() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("apply -f -", NAMESPACE);
    kubectl.ok("apply -f -", DEPLOYMENT);
    let new = DEPLOYMENT.replace("agnhost:1", "agnhost:2");
    kubectl.ok("apply --server-side -f -", &new);
    let image = "-n demo get deploy web -o jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(kubectl.ok(image, ""), "registry.local/agnhost:2");
    // kubectl has joined what it applied before with what it applies now, so that leaving a field out removes it.
    let owners = kubectl.ok("-n demo get deploy web -o jsonpath={.metadata.managedFields[*].manager}", "");
    assert!(!owners.contains("kubectl-client-side-apply"), "{owners}");
    kubectl.ok("apply --server-side -f -", &new.replace("replicas: 2", "paused: false"));
    assert_eq!(kubectl.ok("-n demo get deploy web -o jsonpath={.spec.replicas}", ""), "1", "the default");
    let last = kubectl.ok("-n demo apply view-last-applied deploy/web", "");
    assert!(last.contains("agnhost:2") && !last.contains("replicas"), "{last}");
    assert!(kubectl.ok("apply -f -", DEPLOYMENT).contains("configured"));
    assert_eq!(kubectl.ok(image, ""), "registry.local/agnhost:1");
    assert!(kubectl.ok("apply -f -", DEPLOYMENT).contains("unchanged"));
}

/// What every cluster has and what is made of a Service, as a user sees it.
#[test]
fn the_api_and_services_have_endpoints_and_addresses() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start_with(root.path(), &["--advertise", "192.0.2.7"]);
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    let port = hub.told("api").rsplit(':').next().unwrap().to_string();
    let endpoints = kubectl.ok("get endpoints kubernetes", "");
    assert!(endpoints.contains(&format!("192.0.2.7:{port}")), "{endpoints}");
    let slice =
        kubectl.ok("get endpointslices kubernetes -o jsonpath={.endpoints[*].addresses[*]}/{.ports[0].port}", "");
    assert_eq!(slice, format!("192.0.2.7/{port}"));
    let range = kubectl.ok("get servicecidr kubernetes -o jsonpath={.spec.cidrs[0]}", "");
    kubectl.ok("wait --for=condition=Ready servicecidr/kubernetes --timeout=20s", "");
    let first = kubectl.ok("get service kubernetes -o jsonpath={.spec.clusterIP}", "");
    let parent = kubectl.ok(&format!("get ipaddress {first} -o jsonpath={{.spec.parentRef.name}}"), "");
    assert!(parent == "kubernetes" && range.contains('/'), "{parent} {range}");

    kubectl.ok("create service clusterip web --tcp=80:8080", "");
    let made = kubectl.ok("get service web -o jsonpath={.spec.clusterIP}", "");
    let addresses = kubectl.ok("get ipaddresses", "");
    assert!(addresses.contains(&made) && addresses.contains("services/default/web"), "{addresses}");
    kubectl.ok("wait --for=create endpoints/web --timeout=20s", "");
    kubectl.ok("delete service web", "");
    assert!(!kubectl.ok("get ipaddresses", "").contains(&made));
    kubectl.ok("wait --for=delete endpoints/web --timeout=20s", "");
}
