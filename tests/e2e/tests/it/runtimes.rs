//! RuntimeClasses beside the default.

use anyhow::Result;
use holdfast_e2e::world::{World, holds, items, text};
use serde_json::{Value, json};

fn pod(class: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("by-{class}"), "namespace": "default"},
        "spec": {
            "runtimeClassName": class,
            "restartPolicy": "Never",
            "containers": [{"name": "c", "image": "registry.local/agnhost:1", "args": ["echo", "by", class]}],
        },
    })
}

/// crun refuses machines that have version 1 and 2 of cgroups at once, and controllers in the latter.
fn crun_refuses_this_machine() -> bool {
    std::fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").is_ok_and(|list| !list.trim().is_empty())
}

/// Warnings about a pod with these words.
fn warned(world: &World, pod: &str, words: &str) -> Result<bool> {
    let events = items(&world.get(&["events", &format!("--field-selector=involvedObject.name={pod}")])?);
    Ok(events.iter().any(|e| e["type"] == "Warning" && text(&e["message"]).contains(words)))
}

pub(crate) fn crun_runs_a_pod_or_says_why_not(world: &mut World) -> Result<()> {
    world.kubectl_with(&["apply", "-f", "-"], &pod("crun").to_string())?;
    if crun_refuses_this_machine() {
        println!("note: crun runs nothing on a machine with cgroups in hybrid mode; what is tried is its refusal");
        world.wait("crun's own words are an event", 60, || warned(world, "by-crun", "cgroups in hybrid mode"))?;
    } else {
        world.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/by-crun", "--timeout=60s"])?;
        holds(&world.kubectl(&["logs", "by-crun"])?, "by crun")?;
    }
    world.kubectl(&["delete", "pod", "by-crun", "--timeout=60s"]).map(drop)
}

pub(crate) fn containers_of_a_gvisor_pod_meet_on_localhost(world: &mut World) -> Result<()> {
    let mut pod = pod("gvisor");
    let probe = json!({"exec": {"command": ["/agnhost", "echo", "alive"]}});
    pod["spec"]["containers"] = json!([
        {"name": "c", "image": "registry.local/agnhost:1", "args": ["netexec"], "livenessProbe": probe},
        {"name": "d", "image": "registry.local/agnhost:1", "args": ["pause"]},
    ]);
    pod["spec"]["restartPolicy"] = json!("Always");
    world.kubectl_with(&["apply", "-f", "-"], &pod.to_string())?;
    world.kubectl(&["wait", "--for=condition=Ready", "pod/by-gvisor", "--timeout=60s"])?;
    let fetch = ["exec", "by-gvisor", "-c", "d", "--", "/agnhost", "wget", "http://127.0.0.1:8080/hostname"];
    world.wait("one container answers the other", 30, || Ok(world.kubectl(&fetch).is_ok()))?;
    world.kubectl(&["delete", "pod", "by-gvisor", "--timeout=60s"]).map(drop)
}
