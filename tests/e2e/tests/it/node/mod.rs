//! What a pod may count on, as Kubernetes' conformance tests of nodes ask for it: pods by the dozen on the real cluster, each
//! with what it is to print and how it is to end.

pub(crate) mod containers;
pub(crate) mod disk;
pub(crate) mod environment;
pub(crate) mod life;
pub(crate) mod probes;
pub(crate) mod resize;
pub(crate) mod updates;
pub(crate) mod volumes;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use holdfast_e2e::world::{World, items, text};
use serde_json::{Value, json};

pub(crate) const IMAGE: &str = "registry.local/agnhost:1";
/// The label that says of which case a pod is.
const CASE: &str = "case";
/// Two cores are all there is, and a batch has dozens of containers.
const SECONDS: u64 = 150;

/// A pod of the namespace `node` with a spec that needs not say what all have: the image, the name of the only container, that it
/// runs once and is given no time to end.
pub(crate) fn pod(name: &str, mut spec: Value) -> Value {
    for list in ["containers", "initContainers"] {
        for (number, container) in spec[list].as_array_mut().into_iter().flatten().enumerate() {
            default(container, "name", json!(if number == 0 { "c".to_owned() } else { format!("c{number}") }));
            default(container, "image", json!(IMAGE));
        }
    }
    default(&mut spec, "restartPolicy", json!("Never"));
    default(&mut spec, "terminationGracePeriodSeconds", json!(1));
    if spec["initContainers"].is_null() {
        spec.as_object_mut().map(|spec| spec.remove("initContainers"));
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "node"}, "spec": spec})
}

fn default(object: &mut Value, field: &str, value: Value) {
    if object[field].is_null() {
        object[field] = value;
    }
}

/// Pods that start together.
pub(crate) struct Batch {
    case: &'static str,
    objects: Vec<Value>,
    printed: Vec<Printed>,
}

/// What the log of a container is.
struct Printed {
    pod: String,
    container: String,
    lines: Vec<String>,
    whole: bool,
}

impl Batch {
    pub(crate) fn new(case: &'static str) -> Self {
        Self { case, objects: Vec::new(), printed: Vec::new() }
    }

    /// Something that pods use; it comes before those that are added after it.
    pub(crate) fn object(&mut self, object: Value) -> &mut Self {
        self.objects.push(object);
        self
    }

    pub(crate) fn objects(&mut self, objects: impl IntoIterator<Item = Value>) {
        self.objects.extend(objects);
    }

    pub(crate) fn pod(&mut self, name: &str, spec: Value) -> &mut Self {
        let mut pod = pod(name, spec);
        pod["metadata"]["labels"][CASE] = json!(self.case);
        self.object(pod)
    }

    /// The log of this container of the last pod is these lines. `{podIP}`, `{hostIP}`, `{uid}` and `{node}` are the pod's.
    pub(crate) fn prints(&mut self, container: &str, lines: &[&str]) -> &mut Self {
        self.expect(container, lines, true)
    }

    /// Among the lines of this container's log are these.
    pub(crate) fn prints_among(&mut self, container: &str, lines: &[&str]) -> &mut Self {
        self.expect(container, lines, false)
    }

    fn expect(&mut self, container: &str, lines: &[&str], whole: bool) -> &mut Self {
        let pod = self.objects.last().map(|pod| text(&pod["metadata"]["name"]).to_owned()).unwrap_or_default();
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        self.printed.push(Printed { pod, container: container.to_owned(), lines, whole });
        self
    }

    pub(crate) fn start(&self, world: &World) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": self.objects});
        world.kubectl_with(&["apply", "-f", "-"], &list.to_string()).map(drop)
    }

    /// The pods of this batch by their names.
    pub(crate) fn pods(&self, world: &World) -> Result<BTreeMap<String, Value>> {
        let pods = items(&world.get(&["-n", "node", "pods", "-l", &format!("{CASE}={}", self.case)])?);
        Ok(pods.into_iter().map(|pod| (text(&pod["metadata"]["name"]).to_owned(), pod)).collect())
    }

    /// Waits until each pod has succeeded, and compares the logs.
    pub(crate) fn succeed(&self, world: &World) -> Result<()> {
        self.start(world)?;
        let ended = |pod: &Value| pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
        let wait = world.wait("all pods end", SECONDS, || Ok(self.pods(world)?.values().all(ended)));
        let pods = self.pods(world)?;
        for (name, pod) in pods.iter().filter(|(_, pod)| pod["status"]["phase"] != "Succeeded") {
            println!("{name}: {}\n{}", pod["status"], self.logs(world).unwrap_or_default());
        }
        wait?;
        ensure!(pods.values().all(|pod| pod["status"]["phase"] == "Succeeded"), "pods failed, see above");
        self.compare(world)
    }

    fn logs(&self, world: &World) -> Result<String> {
        let selector = format!("{CASE}={}", self.case);
        let all = ["--all-containers", "--prefix", "--tail=-1", "--max-log-requests=200"];
        world.kubectl(&[&["-n", "node", "logs", "-l", &selector][..], &all[..]].concat())
    }

    /// Compares the logs with what is to be in them.
    pub(crate) fn compare(&self, world: &World) -> Result<()> {
        let pods = self.pods(world)?;
        let logs = self.logs(world)?;
        let mut wrong = Vec::new();
        for Printed { pod, container, lines, whole } in &self.printed {
            let prefix = format!("[pod/{pod}/{container}] ");
            let said: Vec<&str> = logs.lines().filter_map(|line| line.strip_prefix(prefix.as_str())).collect();
            let about = pods.get(pod).with_context(|| format!("no pod {pod}"))?;
            let lines: Vec<String> = lines.iter().map(|line| filled(line, about)).collect();
            let right = if *whole { said == lines } else { lines.iter().all(|line| said.contains(&line.as_str())) };
            if !right {
                wrong.push(format!(
                    "{prefix}printed\n  {}\nand was to print\n  {}",
                    said.join("\n  "),
                    lines.join("\n  ")
                ));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }

    /// Takes all of it away, without waiting for the pods to be gone.
    pub(crate) fn end(&self, world: &World) -> Result<()> {
        let selector = format!("{CASE}={}", self.case);
        world.kubectl(&["-n", "node", "delete", "pods", "-l", &selector, "--wait=false"]).map(drop)
    }
}

fn filled(line: &str, pod: &Value) -> String {
    let status = &pod["status"];
    line.replace("{podIP}", text(&status["podIP"]))
        .replace("{hostIP}", text(&status["hostIP"]))
        .replace("{uid}", text(&pod["metadata"]["uid"]))
        .replace("{node}", text(&pod["spec"]["nodeName"]))
}

/// The first container's status.
pub(crate) fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// A command in the first container of a pod, all its output.
pub(crate) fn exec(world: &World, pod: &str, command: &[&str]) -> Result<String> {
    world.kubectl(&[&["-n", "node", "exec", pod, "-c", "c", "--", "/agnhost"], command].concat())
}

pub(crate) fn a_namespace_for_them(world: &mut World) -> Result<()> {
    world.kubectl(&["create", "namespace", "node"])?;
    let account = || world.kubectl(&["-n", "node", "get", "serviceaccount", "default"]).map(|_| true);
    world.wait("its account is there", 30, account)
}
