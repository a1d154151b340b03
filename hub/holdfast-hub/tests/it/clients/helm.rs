//! A chart with hooks and a definition: installed, upgraded, rolled back, uninstalled.

use super::{fixture, program};
use crate::hub::{Hub, text};
use crate::kubectl::Kubectl;
use serde_json::Value;
use std::process::Command;

struct Helm<'a> {
    program: String,
    hub: &'a Hub,
}

impl Helm<'_> {
    /// Runs it to its good end; what it printed.
    fn ok(&self, arguments: &str) -> String {
        let mut helm = Command::new(&self.program);
        helm.args(arguments.split_whitespace()).arg("--kubeconfig").arg(self.hub.kubeconfig());
        // Its caches and settings are not to come from this machine's user.
        helm.env("HELM_CACHE_HOME", self.hub.data_dir.join("helm-cache"));
        helm.env("HELM_CONFIG_HOME", self.hub.data_dir.join("helm-config"));
        helm.env("HELM_DATA_HOME", self.hub.data_dir.join("helm-data"));
        let output = helm.output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success(), "helm {arguments}: {said}{}\n{}", text(&output.stdout), self.hub.log());
        text(&output.stdout)
    }
}

#[test]
fn a_chart_lives_through_its_releases() {
    let Some(program) = program("HELM") else { return };
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let kubectl = Kubectl::find(&hub).expect("these tests come with a kubectl");
    let helm = Helm { program, hub: &hub };
    let chart = fixture("chart");
    let get = |what: &str| -> Value {
        serde_json::from_str(&kubectl.ok(&format!("-n shop get {what} -o json"), "")).unwrap()
    };

    let installed = helm.ok(&format!("install one {chart} --namespace shop --create-namespace"));
    assert!(installed.contains("STATUS: deployed") && installed.contains("REVISION: 1"), "{installed}");
    assert_eq!(get("configmap one-settings")["data"]["greeting"], "hello");
    assert_eq!(get("greetings.chart.example.com one")["spec"]["text"], "hello");
    assert_eq!(get("deployment one")["spec"]["replicas"], 1);
    assert_eq!(get("configmap one-before-1")["data"]["revision"], "1", "the hook ran");
    kubectl.fails("-n shop get configmap one-passing", "");
    let uid = get("deployment one")["metadata"]["uid"].clone();

    let upgraded = helm.ok(&format!("upgrade one {chart} -n shop --set replicas=3,greeting=hi"));
    assert!(upgraded.contains("REVISION: 2"), "{upgraded}");
    let deployment = get("deployment one");
    assert_eq!((&deployment["spec"]["replicas"], &deployment["metadata"]["uid"]), (&3.into(), &uid));
    assert_eq!(get("greetings.chart.example.com one")["spec"]["text"], "hi");
    assert_eq!(get("configmap one-before-2")["data"]["revision"], "2");
    // Somebody else's field is left alone by the next upgrade.
    kubectl.ok("-n shop annotate deployment one kept=yes", "");

    helm.ok("rollback one 1 -n shop");
    let deployment = get("deployment one");
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["metadata"]["annotations"]["kept"], "yes");
    let history = helm.ok("history one -n shop -o json");
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 3, "{history}");
    assert!(helm.ok("get manifest one -n shop").contains("kind: Greeting"));
    assert!(helm.ok("list -n shop").contains("greeter-0.1.0"));

    helm.ok("uninstall one -n shop --wait");
    kubectl.fails("-n shop get deployment one", "");
    kubectl.fails("-n shop get greetings.chart.example.com one", "");
    assert_eq!(get("configmap one-before-1")["data"]["revision"], "1", "hooks are not the release's");
    kubectl.ok("get crd greetings.chart.example.com", "");
}
