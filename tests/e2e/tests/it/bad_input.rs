//! Wrong input: Kubernetes' own error or event, and nothing half-written.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use holdfast_e2e::world::{World, holds, items, text};

/// A pod of the test image as a manifest, with changes by the caller.
fn pod(name: &str, image: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": image}], "terminationGracePeriodSeconds": 1},
    })
}

/// Applying must fail with all of `words`, and leave no pod `name`.
fn refused(world: &World, manifest: &serde_json::Value, words: &[&str]) -> Result<()> {
    let (_, said) = world.kubectl_refused(&["apply", "-f", "-"], &manifest.to_string())?;
    words.iter().try_for_each(|word| holds(&said, word))?;
    let name = text(&manifest["metadata"]["name"]).to_owned();
    let there = world.kubectl(&["get", "pods,deploy", "-A", "-o", "name"])?;
    ensure!(!there.lines().any(|l| l.ends_with(&format!("/{name}"))), "{name} was refused and is there");
    Ok(())
}

pub(crate) fn unknown_field_is_refused(world: &mut World) -> Result<()> {
    let mut manifest = pod("unknown-field", "registry.local/agnhost:1");
    manifest["spec"]["hostname2"] = "x".into();
    refused(world, &manifest, &["BadRequest", "strict decoding error", "unknown field \"spec.hostname2\""])
}

pub(crate) fn wrong_enum_is_refused(world: &mut World) -> Result<()> {
    let mut manifest = pod("wrong-enum", "registry.local/agnhost:1");
    manifest["spec"]["restartPolicy"] = "Sometimes".into();
    let expected =
        "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"";
    refused(world, &manifest, &["The Pod \"wrong-enum\" is invalid", expected])
}

pub(crate) fn bad_name_is_refused(world: &mut World) -> Result<()> {
    let manifest = pod("Bad_Name", "registry.local/agnhost:1");
    let expected = "metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of";
    refused(world, &manifest, &["is invalid", expected])
}

pub(crate) fn missing_namespace_is_refused(world: &mut World) -> Result<()> {
    let mut manifest = pod("homeless", "registry.local/agnhost:1");
    manifest["metadata"]["namespace"] = "nowhere".into();
    refused(world, &manifest, &["NotFound", "namespaces \"nowhere\" not found"])
}

pub(crate) fn stale_resource_version_conflicts(world: &mut World) -> Result<()> {
    world.kubectl(&["create", "configmap", "stale", "--from-literal=a=1"])?;
    let mut old = world.get(&["configmap", "stale"])?;
    world.kubectl(&["patch", "configmap", "stale", "--type=merge", "-p", r#"{"data":{"a":"2"}}"#])?;
    old["data"]["a"] = "3".into();
    let (_, said) = world.kubectl_refused(&["replace", "-f", "-"], &old.to_string())?;
    holds(&said, "Conflict")?;
    holds(&said, "the object has been modified; please apply your changes to the latest version and try again")?;
    let now = world.kubectl(&["get", "configmap", "stale", "-o", "jsonpath={.data.a}"])?;
    ensure!(now == "2", "the refused write changed the object: a={now}");
    world.kubectl(&["delete", "configmap", "stale"]).map(drop)
}

pub(crate) fn missing_object_is_not_found(world: &mut World) -> Result<()> {
    let (code, said) = world.kubectl_refused(&["get", "pod", "nobody"], "")?;
    ensure!(code == 1, "exit code {code}");
    holds(&said, "Error from server (NotFound): pods \"nobody\" not found")
}

/// An agent in namespaces of its own, on the cluster's bridge, with a token that the hub never gave.
pub(crate) fn wrong_join_token_is_one_clear_line(world: &mut World) -> Result<()> {
    let cluster = world.cluster()?;
    let (bridge, gateway) = (text(&cluster["bridge"]).to_owned(), text(&cluster["gateway"]).to_owned());
    let address = format!("{}.250", gateway.rsplit_once('.').context("no address")?.0);
    let hub = text(&world.node("edge-2")?["hub"]).to_owned();
    let script = format!(
        "read go && mount -t tmpfs tmpfs /run && mkdir -p /run/holdfast && ip addr add {address}/24 dev eth0 && \
         ip link set eth0 up && exec timeout -k 5 25 {} agent --hub {hub} --token aaaaaa.bbbbbbbbbbbbbbbb.{} \
         --node-name stranger --data-dir {} --node-ip {address} 2>&1",
        world.bin_dir.join("holdfast-edge").display(),
        "0".repeat(64),
        world.dir.join("stranger").display(),
    );
    let mut agent = Command::new("unshare");
    agent.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script]);
    let mut agent = agent.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // The shell is unshare's child once the namespaces stand.
    let children = format!("/proc/{0}/task/{0}/children", agent.id());
    let mut shell = String::new();
    world.wait("the stranger's namespaces stand", 10, || {
        shell = std::fs::read_to_string(&children)?.split_whitespace().next().unwrap_or_default().to_owned();
        let net = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
        Ok(!shell.is_empty() && net(&shell)? != net("self")?)
    })?;
    let cable = format!("{bridge}s");
    let ip = |args: &[&str]| Command::new("ip").args(args).status().is_ok_and(|s| s.success());
    ensure!(ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &shell]), "no cable");
    ensure!(ip(&["link", "set", &cable, "master", &bridge, "up"]), "the cable does not fit");
    agent.stdin.take().context("no pipe to the stranger")?.write_all(b"go\n")?;
    let said = agent.wait_with_output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    ensure!(said.to_lowercase().contains("token"), "no word of the token in:\n{said}");
    ensure!(!said.contains("panicked"), "the agent panicked:\n{said}");
    let (_, gone) = world.kubectl_refused(&["get", "node", "stranger"], "")?;
    holds(&gone, "NotFound")
}

pub(crate) fn missing_image_is_an_event(world: &mut World) -> Result<()> {
    world.kubectl_with(&["apply", "-f", "-"], &pod("no-image", "registry.local/not-there:1").to_string())?;
    world.wait("the pod waits for its image", 60, || {
        let reason = world.kubectl(&[
            "get",
            "pod",
            "no-image",
            "-o",
            "jsonpath={.status.containerStatuses[0].state.waiting.reason}",
        ])?;
        Ok(matches!(reason.as_str(), "ErrImagePull" | "ImagePullBackOff"))
    })?;
    world.wait("the event names the image", 30, || {
        let events = items(&world.get(&["events", "--field-selector=involvedObject.name=no-image"])?);
        let named = |e: &serde_json::Value| {
            e["reason"] == "Failed" && text(&e["message"]).contains("registry.local/not-there:1")
        };
        Ok(events.iter().any(named))
    })?;
    world.kubectl(&["delete", "pod", "no-image", "--timeout=60s"]).map(drop)
}

pub(crate) fn wasm_that_is_no_wasm_fails_at_the_pod(world: &mut World) -> Result<()> {
    let images = text(&world.cluster()?["images"]).to_owned();
    world.xtask(&["load", &format!("{images}/broken-wasm.tar")])?;
    let mut manifest = pod("broken-wasm", "registry.local/broken-wasm:1");
    manifest["spec"]["runtimeClassName"] = "wasmtime".into();
    world.kubectl_with(&["apply", "-f", "-"], &manifest.to_string())?;
    world.wait("the pod fails with a reason", 60, || {
        let status = &world.get(&["pod", "broken-wasm"])?["status"]["containerStatuses"][0];
        let waiting = text(&status["state"]["waiting"]["reason"]).to_owned();
        ensure!(status["ready"] != true, "the broken pod is ready");
        Ok(!matches!(waiting.as_str(), "" | "ContainerCreating" | "PodInitializing"))
    })?;
    world.wait("an event says that it is no Wasm", 30, || {
        let events = items(&world.get(&["events", "--field-selector=involvedObject.name=broken-wasm"])?);
        Ok(events.iter().any(|e| text(&e["type"]) == "Warning" && text(&e["message"]).to_lowercase().contains("wasm")))
    })?;
    world.kubectl(&["delete", "pod", "broken-wasm", "--timeout=60s"]).map(drop)
}
