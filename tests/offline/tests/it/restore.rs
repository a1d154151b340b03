//! A hub that is set back to an older backup.

use anyhow::{Result, ensure};
use holdfast_e2e::pods::identities;
use holdfast_e2e::world::{World, text};
use serde_json::{Value, json};

/// UID, container and restarts of the pod that the backup does not have.
fn late(world: &World) -> Result<Value> {
    let pod = world.get(&["pod", "late"])?;
    let status = &pod["status"]["containerStatuses"][0];
    Ok(json!([pod["metadata"]["uid"], status["containerID"], status["restartCount"]]))
}

pub(crate) fn a_restored_hub_takes_back_what_it_forgot(world: &mut World) -> Result<()> {
    let before = identities(world)?;
    let backup = world.dir.with_file_name("old.backup");
    let backup = text(&json!(backup)).to_owned();
    world.xtask(&["hub", "backup", &backup])?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "late", "namespace": "default"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": "edge-1"},
            "containers": [{"name": "c", "image": "registry.local/agnhost:1", "args": ["pause"]}],
        },
    });
    world.kubectl_with(&["apply", "-f", "-"], &pod.to_string())?;
    world.kubectl(&["wait", "--for=condition=Ready", "pod/late", "--timeout=60s"])?;
    let known = late(world)?;
    world.xtask(&["hub", "restore", &backup])?;
    world.wait("the hub has the pod again", 120, || Ok(late(world)? == known))?;
    world.kubectl(&["wait", "--for=condition=Ready", "node/edge-1", "node/edge-2", "--timeout=120s"])?;
    ensure!(late(world)? == known, "the pod was replaced or started again");
    ensure!(before == identities(world)?, "pods were replaced");
    world.kubectl(&["delete", "pod", "late", "--timeout=60s"])?;
    std::fs::remove_file(&backup)?;
    Ok(())
}
