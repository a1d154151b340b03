//! A pod from a file of a node, and what the hub shows of it.

use anyhow::{Context, Result, ensure};
use holdfast_e2e::world::{World, holds, text};
use serde_json::Value;

const MANIFEST: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: solo
  labels: {app: solo}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: registry.local/agnhost:1
    args: [SERVE]
    env:
    - {name: HOSTS, valueFrom: {fieldRef: {fieldPath: status.hostIPs}}}
    - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
";

fn mirror(world: &World) -> Result<Value> {
    world.get(&["pod", "solo-edge-2"])
}

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

pub(crate) fn a_static_pod_has_a_mirror_and_outlives_it(world: &mut World) -> Result<()> {
    let folder = world.dir.join("nodes/edge-2/manifests");
    std::fs::create_dir_all(&folder).context("making the folder of manifests")?;
    let (file, new) = (folder.join("solo.yaml"), folder.join(".solo.yaml"));
    std::fs::write(&new, MANIFEST.replace("SERVE", "pause")).context("writing the manifest")?;
    std::fs::rename(&new, &file).context("putting the manifest in its place")?;
    world.wait("the mirror is Ready", 60, || Ok(container(&mirror(world)?)["ready"] == true))?;
    let first = mirror(world)?;
    let hash = text(&first["metadata"]["annotations"]["kubernetes.io/config.hash"]);
    ensure!(hash.len() == 32 && first["metadata"]["annotations"]["kubernetes.io/config.mirror"] == hash, "{first}");
    ensure!(first["metadata"]["ownerReferences"][0]["kind"] == "Node", "{first}");
    ensure!(container(&first)["user"]["linux"]["uid"].is_number(), "{first}");
    // The hub reaches it under the mirror's UID.
    let environment = world.kubectl(&["exec", "solo-edge-2", "--", "/agnhost", "env"])?;
    let node = world.get(&["node", "edge-2"])?;
    let address = node["status"]["addresses"].as_array().into_iter().flatten();
    let address = address.clone().find(|of| of["type"] == "InternalIP").context("no address")?;
    holds(&environment, &format!("HOSTS={}", text(&address["address"])))?;
    holds(&environment, &format!("CPUS={}", text(&node["status"]["allocatable"]["cpu"])))?;

    // Who deletes the mirror deletes nothing else.
    world.kubectl(&["delete", "pod", "solo-edge-2", "--wait=false"])?;
    world.wait("another mirror is there", 60, || {
        let second = mirror(world)?;
        Ok(second["metadata"]["uid"] != first["metadata"]["uid"] && container(&second)["ready"] == true)
    })?;
    let second = mirror(world)?;
    ensure!(container(&second)["containerID"] == container(&first)["containerID"], "the container is another one");

    std::fs::remove_file(&file).context("removing the manifest")?;
    world.wait("the mirror has gone with its file", 60, || {
        Ok(world.kubectl(&["get", "pod", "solo-edge-2", "--ignore-not-found"])?.trim().is_empty())
    })?;
    let left = world.on_node("edge-2", &["holdfast-edge", "pods"])?;
    ensure!(!left.contains("solo-edge-2"), "{left}");
    Ok(())
}
