//! What reaches pods that run: changed objects in their volumes, changes of the pods themselves.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, ensure};
use holdfast_e2e::world::{World, text};
use serde_json::{Value, json};

use super::volumes::mount;
use super::{Batch, IMAGE, exec, pod};

/// ConfigMaps and Secrets, plain and projected: one that changes, one that goes, one that comes.
pub(crate) fn volumes_follow_their_objects(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("follow");
    let object = |kind: &str, name: &str, value: &str| {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "node"}});
        object[if kind == "Secret" { "stringData" } else { "data" }] = json!({"data-1": value});
        object
    };
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for kind in ["ConfigMap", "Secret"] {
        for name in ["changes", "goes"] {
            batch.object(object(kind, name, "before"));
        }
        let field = if kind == "Secret" { "secret" } else { "configMap" };
        for name in ["changes", "goes", "comes"] {
            let plain = format!("{}-{name}", kind.to_lowercase());
            let named = if kind == "Secret" { "secretName" } else { "name" };
            volumes.push(json!({"name": plain, field: {named: name, "optional": true}}));
            let projected = format!("projected-{plain}");
            volumes.push(
                json!({"name": projected, "projected": {"sources": [{field: {"name": name, "optional": true}}]}}),
            );
            mounts.extend([mount(&plain), mount(&projected)]);
        }
    }
    let own = json!([
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
    ]);
    volumes.push(json!({"name": "own", "downwardAPI": {"items": own}}));
    volumes.push(json!({"name": "projected-own", "projected": {"sources": [{"downwardAPI": {"items": own}}]}}));
    mounts.extend([mount("own"), mount("projected-own")]);
    let spec = json!({"volumes": volumes, "containers": [{"volumeMounts": mounts}]});
    batch.pod("follow", spec).start(world)?;
    world.kubectl(&["-n", "node", "wait", "--for=condition=Ready", "pod/follow", "--timeout=90s"])?;

    let all = |name: &str| -> Vec<String> {
        let places = |kind| [format!("/{kind}-{name}"), format!("/projected-{kind}-{name}")];
        ["configmap", "secret"].into_iter().flat_map(places).collect()
    };
    let shown = |name: &str| -> Result<Vec<String>> {
        let looks: Vec<String> = all(name).iter().map(|at| format!("show {at}/data-1")).collect();
        let looks: Vec<&str> = std::iter::once("each").chain(looks.iter().map(String::as_str)).collect();
        Ok(exec(world, "follow", &looks)?.lines().map(str::to_owned).collect())
    };
    ensure!(shown("changes")? == ["before"; 4] && shown("goes")? == ["before"; 4], "before: {:?}", shown("changes"));
    for kind in ["ConfigMap", "Secret"] {
        world.kubectl_with(&["apply", "-f", "-"], &object(kind, "changes", "after").to_string())?;
        world.kubectl_with(&["apply", "-f", "-"], &object(kind, "comes", "after").to_string())?;
        world.kubectl(&["-n", "node", "delete", kind, "goes"])?;
    }
    world.kubectl(&["-n", "node", "label", "pod", "follow", "colour=blue"])?;
    world.kubectl(&["-n", "node", "annotate", "pod", "follow", "builder=foo"])?;
    world.wait("what changes and what comes is seen inside", 120, || {
        Ok(shown("changes")? == ["after"; 4] && shown("comes")? == ["after"; 4])
    })?;
    world.wait("what goes is gone inside", 120, || {
        let looks: Vec<String> = all("goes").iter().map(|at| format!("ls {at}")).collect();
        let looks: Vec<&str> = std::iter::once("each").chain(looks.iter().map(String::as_str)).collect();
        Ok(!exec(world, "follow", &looks)?.contains("data-1"))
    })?;
    world.wait("labels and annotations are seen inside", 120, || {
        let looks = [
            "each",
            "show /own/labels",
            "show /own/annotations",
            "show /projected-own/labels",
            "show /projected-own/annotations",
        ];
        let text = exec(world, "follow", &looks)?;
        let count = |line: &str| text.lines().filter(|l| *l == line).count();
        Ok(count("colour=\"blue\"") == 2 && count("builder=\"foo\"") == 2)
    })?;
    batch.end(world)
}

pub(crate) fn containers_share_volumes(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("shared");
    let spec = json!({
        "volumes": [{"name": "common", "emptyDir": {}}],
        "containers": [
            {"volumeMounts": [mount("common")]},
            {"name": "writer", "volumeMounts": [mount("common")], "args": ["each", "write /common/f hello", "pause"]},
        ],
    });
    batch.pod("shared", spec).start(world)?;
    world.kubectl(&["-n", "node", "wait", "--for=condition=Ready", "pod/shared", "--timeout=90s"])?;
    world.wait("one reads what the other wrote", 30, || {
        Ok(exec(world, "shared", &["show", "/common/f"])? == "hello\n")
    })?;
    batch.end(world)
}

/// A pod on a node, from its creation to its end, as a watch tells it.
pub(crate) fn pods_come_change_and_go(world: &mut World) -> Result<()> {
    let args = ["-n", "node", "get", "pods", "-l", "watched=yes", "-w", "--output-watch-events", "-o", "json"];
    let mut watch = world.kubectl_started(&args, &[])?;
    let told = watch.stdout.take().context("kubectl has no stdout")?;
    let reader = std::thread::spawn(move || {
        let mut types = Vec::new();
        for line in BufReader::new(told).lines().map_while(Result::ok) {
            // An event a line.
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            types.push(text(&event["type"]).to_owned());
            if types.last().is_some_and(|kind| kind == "DELETED") {
                break;
            }
        }
        types
    });
    let mut watched = pod("watched", json!({"terminationGracePeriodSeconds": 30, "containers": [{"args": ["pause"]}]}));
    watched["metadata"]["labels"] = json!({"watched": "yes", "time": "1"});
    world.kubectl_with(&["create", "-f", "-"], &watched.to_string())?;
    world.kubectl(&["-n", "node", "wait", "--for=condition=Ready", "pod/watched", "--timeout=90s"])?;
    let get = || world.get(&["-n", "node", "pod", "watched"]);
    ensure!(get()?["metadata"]["generation"] == 1, "a new pod is of another generation: {}", get()?["metadata"]);

    // Labels are no part of the spec; a deadline is.
    world.kubectl(&["-n", "node", "label", "--overwrite", "pod", "watched", "time=2"])?;
    ensure!(
        get()?["metadata"]["labels"]["time"] == "2" && get()?["metadata"]["generation"] == 1,
        "{}",
        get()?["metadata"]
    );
    let deadline = r#"{"spec":{"activeDeadlineSeconds":600}}"#;
    world.kubectl(&["-n", "node", "patch", "pod", "watched", "-p", deadline])?;
    world.wait("the node has seen the new generation", 60, || {
        let pod = get()?;
        Ok(pod["metadata"]["generation"] == 2 && pod["status"]["observedGeneration"] == 2)
    })?;
    let status = r#"{"status":{"message":"patched","reason":"Tests"}}"#;
    let patched = world.kubectl(&[
        "-n",
        "node",
        "patch",
        "pod",
        "watched",
        "--subresource=status",
        "-p",
        status,
        "-o",
        "json",
    ])?;
    let patched: Value = serde_json::from_str(&patched)?;
    ensure!(
        patched["status"]["message"] == "patched" && patched["status"]["reason"] == "Tests",
        "{}",
        patched["status"]
    );

    world.kubectl(&["-n", "node", "delete", "pod", "watched", "--wait=false"])?;
    ensure!(get().map_or(true, |pod| !pod["metadata"]["deletionTimestamp"].is_null()), "it does not end");
    world.kubectl(&["-n", "node", "wait", "--for=delete", "pod/watched", "--timeout=60s"])?;
    world.wait("the watch has told its end", 30, || Ok(reader.is_finished()))?;
    let _ = watch.kill();
    let _ = watch.wait();
    let types = reader.join().unwrap_or_default();
    ensure!(types.first().is_some_and(|t| t == "ADDED") && types.last().is_some_and(|t| t == "DELETED"), "{types:?}");
    ensure!(types.iter().filter(|kind| *kind == "MODIFIED").count() >= 3, "{types:?}");
    Ok(())
}

pub(crate) fn a_collection_of_pods_is_deleted(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("collection");
    for number in 0..3 {
        batch.pod(&format!("of-many-{number}"), json!({"containers": [{"image": IMAGE, "args": ["pause"]}]}));
    }
    batch.start(world)?;
    world.kubectl(&[
        "-n",
        "node",
        "wait",
        "--for=condition=Ready",
        "pods",
        "-l",
        "case=collection",
        "--timeout=90s",
    ])?;
    let path = "/api/v1/namespaces/node/pods?labelSelector=case%3Dcollection";
    world.kubectl(&["delete", "--raw", path])?;
    world.wait("all of them are gone", 60, || Ok(batch.pods(world)?.is_empty()))
}

pub(crate) fn a_deadline_may_come_later(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("deadline");
    batch.pod("deadline", json!({"activeDeadlineSeconds": 600, "containers": [{"args": ["pause"]}]})).start(world)?;
    world.kubectl(&["-n", "node", "wait", "--for=condition=Ready", "pod/deadline", "--timeout=90s"])?;
    world.kubectl(&["-n", "node", "patch", "pod", "deadline", "-p", r#"{"spec":{"activeDeadlineSeconds":2}}"#])?;
    world.wait("the deadline ends it", 60, || {
        let status = &batch.pods(world)?["deadline"]["status"];
        Ok(status["phase"] == "Failed" && status["reason"] == "DeadlineExceeded")
    })?;
    batch.end(world)
}
