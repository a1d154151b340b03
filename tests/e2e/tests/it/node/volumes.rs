//! What containers find in their volumes.

use anyhow::{Context, Result};
use holdfast_e2e::world::{World, text};
use serde_json::{Value, json};

use super::Batch;

/// Ways to bring a ConfigMap or a Secret into a volume: `settings` and `login` hold the same.
const KINDS: [&str; 4] = ["map", "secret", "projected-map", "projected-secret"];

/// The volume of one of the [`KINDS`], with items and default mode as given.
fn volume(kind: &str, name: &str, items: &Value, mode: Option<u32>) -> Value {
    let mut source = json!({});
    if !items.is_null() {
        source["items"] = items.clone();
    }
    let key = if kind.ends_with("map") { "configMap" } else { "secret" };
    let projected = kind.starts_with("projected");
    let named = if key == "secret" && !projected { "secretName" } else { "name" };
    source[named] = json!(if key == "secret" { "login" } else { "settings" });
    let mut volume = if projected { json!({"sources": [{key: source}]}) } else { source };
    if let Some(mode) = mode {
        volume["defaultMode"] = json!(mode);
    }
    json!({"name": name, if projected { "projected" } else { key }: volume})
}

pub(super) fn mount(name: &str) -> Value {
    json!({"name": name, "mountPath": format!("/{name}")})
}

/// `settings`, `login`, and a Secret of that name in another namespace.
pub(crate) fn sources() -> Vec<Value> {
    let values = json!({"data-1": "value-1", "data-2": "value-2"});
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "node"},
            "data": values, "binaryData": {"dump.bin": "3q2+7w=="}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": "node"}, "stringData": values}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": "default"},
            "stringData": {"data-1": "another's", "data-2": "another's"}}),
    ]
}

pub(crate) fn maps_and_secrets_are_files(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("files");
    batch.objects(sources());
    let moved = json!([{"key": "data-2", "path": "path/to/data-2"}]);
    let moved_mode = json!([{"key": "data-2", "path": "path/to/data-2", "mode": 0o400}]);
    for kind in KINDS {
        let volumes = json!([
            volume(kind, "plain", &Value::Null, None),
            volume(kind, "twin", &Value::Null, None),
            volume(kind, "narrow", &Value::Null, Some(0o400)),
            volume(kind, "moved", &moved, None),
            volume(kind, "moved-narrow", &moved_mode, None),
        ]);
        let mounts = ["plain", "twin", "narrow", "moved", "moved-narrow"].map(mount);
        let binary = kind.ends_with("map").then_some("hex /plain/dump.bin");
        let mut looks = vec![
            "each",
            "show /plain/data-1",
            "mode /plain/data-1",
            "show /twin/data-1",
            "mode /narrow/data-1",
            "show /narrow/data-1",
            "show /moved/path/to/data-2",
            "ls /moved/path",
            "mode /moved-narrow/path/to/data-2",
        ];
        looks.extend(binary);
        let mut lines = vec!["value-1", "644 0 0", "value-1", "400 0 0", "value-1", "value-2", "to", "400 0 0"];
        lines.extend(binary.map(|_| "deadbeef"));
        let user = json!({"name": "user", "volumeMounts": mounts, "securityContext": {"runAsUser": 1000},
            "args": ["each", "show /plain/data-1", "show /moved/path/to/data-2"]});
        let spec = json!({"containers": [{"volumeMounts": mounts, "args": looks}, user], "volumes": volumes});
        batch.pod(kind, spec).prints("c", &lines).prints("user", &["value-1", "value-2"]);
        let group = json!({
            "securityContext": {"runAsUser": 1000, "fsGroup": 1001},
            "volumes": [volume(kind, "plain", &Value::Null, Some(0o440))],
            "containers": [{"volumeMounts": [mount("plain")], "args": ["each", "mode /plain/data-1", "show /plain/data-1"]}],
        });
        batch.pod(&format!("{kind}-group"), group).prints("c", &["440 0 1001", "value-1"]);
    }
    let name = json!({"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}});
    let all = json!({
        "volumes": [{"name": "all", "projected": {"sources": [
            {"configMap": {"name": "settings", "items": [{"key": "data-1", "path": "map-data"}]}},
            {"secret": {"name": "login", "items": [{"key": "data-2", "path": "secret-data"}]}},
            {"downwardAPI": {"items": [name]}},
        ]}}],
        "containers": [{"volumeMounts": [mount("all")],
            "args": ["each", "show /all/podname", "show /all/map-data", "show /all/secret-data"]}],
    });
    batch.pod("all", all).prints("c", &["all", "value-1", "value-2"]);
    batch.succeed(world)?;
    batch.end(world)
}

/// What an item of a downward API volume is called, and the field that is in it.
fn resource(path: &str, container: &str, resource: &str, divisor: &str) -> Value {
    json!({"path": path, "resourceFieldRef": {"containerName": container, "resource": resource, "divisor": divisor}})
}

pub(crate) fn pods_are_files_to_themselves(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("downward");
    let items = json!([
        {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
        {"path": "narrow", "mode": 0o400, "fieldRef": {"fieldPath": "metadata.name"}},
        resource("cpu-limit", "c", "limits.cpu", "1m"),
        resource("cpu-request", "c", "requests.cpu", "1m"),
        resource("memory-limit", "c", "limits.memory", "1Mi"),
        resource("memory-request", "c", "requests.memory", "1Mi"),
    ]);
    let looks = [
        "each",
        "show /plain/name",
        "mode /plain/name",
        "mode /plain/narrow",
        "show /plain/cpu-limit",
        "show /plain/cpu-request",
        "show /plain/memory-limit",
        "show /plain/memory-request",
        "mode /narrow/name",
    ];
    let numbers = ["1250", "250", "64", "32"];
    for kind in ["own", "projected-own"] {
        let volume = |name: &str, mode: u32| match kind {
            "own" => json!({"name": name, "downwardAPI": {"items": items, "defaultMode": mode}}),
            _ => {
                json!({"name": name, "projected": {"sources": [{"downwardAPI": {"items": items}}], "defaultMode": mode}})
            }
        };
        let resources =
            json!({"limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "32Mi"}});
        let spec = json!({
            "volumes": [volume("plain", 0o644), volume("narrow", 0o400)],
            "containers": [{"volumeMounts": [mount("plain"), mount("narrow")], "args": looks, "resources": resources}],
        });
        let lines = [&[kind, "644 0 0", "400 0 0"][..], &numbers, &["400 0 0"]].concat();
        batch.pod(kind, spec).prints("c", &lines);
    }
    batch.succeed(world)?;
    batch.end(world)
}

/// Limits that a container has not are those of its node.
pub(crate) fn a_missing_limit_is_the_nodes(world: &mut World) -> Result<()> {
    let node = world.get(&["node", "edge-1"])?;
    let allocatable = &node["status"]["allocatable"];
    let cpu = text(&allocatable["cpu"]).parse::<u64>().context("edge-1 has a fraction of a processor")?.to_string();
    let memory = text(&allocatable["memory"]).strip_suffix("Ki").and_then(|kib| kib.parse::<u64>().ok());
    let memory = (memory.context("the memory of edge-1 is not in KiB")? * 1024).to_string();
    let items = json!([resource("cpu", "c", "limits.cpu", "1"), resource("memory", "c", "limits.memory", "1")]);
    let variable = |name: &str, of: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": of}}});
    let mut batch = Batch::new("limits");
    let spec = json!({
        "nodeName": "edge-1",
        "volumes": [{"name": "own", "downwardAPI": {"items": items}},
            {"name": "projected", "projected": {"sources": [{"downwardAPI": {"items": items}}]}}],
        "containers": [{
            "volumeMounts": [mount("own"), mount("projected")],
            "env": [variable("CPU", "limits.cpu"), variable("MEMORY", "limits.memory")],
            "args": ["each", "show /own/cpu", "show /own/memory", "show /projected/cpu", "show /projected/memory",
                "echo $(CPU) $(MEMORY)"],
        }],
    });
    batch.pod("unlimited", spec).prints("c", &[&cpu, &memory, &cpu, &memory, &format!("{cpu} {memory}")]);
    batch.succeed(world)?;
    batch.end(world)
}

pub(crate) fn empty_volumes_belong_to_everybody(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("empty");
    for medium in ["", "Memory"] {
        let volumes: Vec<Value> = ["r644", "r666", "r777", "u644", "u666", "u777"]
            .iter()
            .map(|name| json!({"name": name, "emptyDir": {"medium": medium}}))
            .collect();
        let (mut containers, mut lines) = (Vec::new(), Vec::new());
        for (name, user) in [("r", 0), ("u", 1001)] {
            let (mut looks, mut printed) = (vec!["each".to_owned()], Vec::new());
            for mode in ["644", "666", "777"] {
                let at = format!("/{name}{mode}");
                looks.extend([
                    format!("mode {at}"),
                    format!("create {at}/f {mode} kept"),
                    format!("mode {at}/f"),
                    format!("show {at}/f"),
                ]);
                printed.extend(["777 0 0".to_owned(), format!("{mode} {user} 0"), "kept".to_owned()]);
                if medium == "Memory" {
                    looks.push(format!("fs-type {at}"));
                    printed.push("tmpfs".to_owned());
                }
            }
            let mounts: Vec<Value> = volumes.iter().map(|v| mount(text(&v["name"]))).collect();
            let mut container = json!({"name": name, "volumeMounts": mounts, "args": looks});
            if user != 0 {
                container["securityContext"] = json!({"runAsUser": user, "runAsGroup": 0});
            }
            containers.push(container);
            lines.push((name, printed));
        }
        let name = if medium.is_empty() { "disk" } else { "memory" };
        batch.pod(name, json!({"containers": containers, "volumes": volumes}));
        for (container, printed) in &lines {
            batch.prints(container, &printed.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    batch.succeed(world)?;
    batch.end(world)
}

pub(crate) fn sub_paths_are_files_of_volumes(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("subpaths");
    let name = json!([{"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}}]);
    let mut volumes: Vec<Value> = KINDS.iter().map(|kind| volume(kind, kind, &Value::Null, None)).collect();
    volumes.push(json!({"name": "own", "downwardAPI": {"items": name}}));
    volumes.push(json!({"name": "projected-own", "projected": {"sources": [{"downwardAPI": {"items": name}}]}}));
    let mut mounts: Vec<Value> = KINDS
        .iter()
        .map(|kind| json!({"name": kind, "mountPath": format!("/at/{kind}"), "subPath": "data-1"}))
        .collect();
    mounts.push(json!({"name": "own", "mountPath": "/at/own", "subPath": "podname"}));
    mounts.push(json!({"name": "projected-own", "mountPath": "/at/projected-own", "subPath": "podname"}));
    // In the place of a file that the image, or the node itself, puts there.
    mounts.push(json!({"name": "map", "mountPath": "/etc/passwd", "subPath": "data-2"}));
    mounts.push(json!({"name": "map", "mountPath": "/etc/resolv.conf", "subPath": "data-1"}));
    let looks = [
        "each",
        "show /at/map",
        "show /at/secret",
        "show /at/projected-map",
        "show /at/projected-secret",
        "show /at/own",
        "show /at/projected-own",
        "show /etc/passwd",
        "show /etc/resolv.conf",
    ];
    let spec = json!({"volumes": volumes, "containers": [{"volumeMounts": mounts, "args": looks}]});
    let lines = ["value-1", "value-1", "value-1", "value-1", "subpaths", "subpaths", "value-2", "value-1"];
    batch.pod("subpaths", spec).prints("c", &lines);
    batch.succeed(world)?;
    batch.end(world)
}

/// Fifty volumes each, all pods at once.
pub(crate) fn many_volumes_start_together(world: &mut World) -> Result<()> {
    let maps = (0..50).map(|n| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("many-{n}"), "namespace": "node"},
            "data": {"data-1": "value-1"}})
    });
    let mut batch = Batch::new("many");
    batch.objects(maps);
    let volumes: Vec<Value> =
        (0..50).map(|n| json!({"name": format!("v{n}"), "configMap": {"name": format!("many-{n}")}})).collect();
    let mounts: Vec<Value> = (0..50).map(|n| mount(&format!("v{n}"))).collect();
    for number in 0..5 {
        let spec =
            json!({"volumes": volumes, "containers": [{"volumeMounts": mounts, "args": ["show", "/v49/data-1"]}]});
        batch.pod(&format!("many-{number}"), spec).prints("c", &["value-1"]);
    }
    batch.succeed(world)?;
    batch.end(world)
}
