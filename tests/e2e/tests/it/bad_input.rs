//! Wrong input: Kubernetes' own error or event, and nothing half-written.

use anyhow::{Result, ensure};
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

pub(crate) fn missing_image_is_an_event(world: &mut World) -> Result<()> {
    // Where nobody listens: a name would be looked for until its time is over.
    let image = "127.0.0.1:9/not-there:1";
    world.kubectl_with(&["apply", "-f", "-"], &pod("no-image", image).to_string())?;
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
        let named = |e: &serde_json::Value| e["reason"] == "Failed" && text(&e["message"]).contains(image);
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
    // Words that only the host of Wasm says: the image's own name holds "wasm", and an image that was never loaded fails
    // with that name.
    world.wait("an event says that it is no Wasm", 30, || {
        let events = items(&world.get(&["events", "--field-selector=involvedObject.name=broken-wasm"])?);
        let said = |e: &serde_json::Value| {
            text(&e["type"]) == "Warning" && text(&e["message"]).contains("not a WebAssembly module")
        };
        Ok(events.iter().any(said))
    })?;
    let reason = world.kubectl(&[
        "get",
        "pod",
        "broken-wasm",
        "-o",
        "jsonpath={.status.containerStatuses[0].state.waiting.reason}",
    ])?;
    ensure!(!reason.contains("Image"), "the image is there, and the pod waits with {reason}");
    world.kubectl(&["delete", "pod", "broken-wasm", "--timeout=60s"]).map(drop)
}
