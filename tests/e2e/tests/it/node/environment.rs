//! What containers find in their environment, their arguments and the paths that are made of it.

use anyhow::{Result, ensure};
use holdfast_e2e::world::{World, text};
use serde_json::{Value, json};

use super::volumes::{mount, sources};
use super::{Batch, container, exec};

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

fn resource(name: &str, resource: &str) -> Value {
    json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}})
}

pub(crate) fn environments_come_of_maps_secrets_and_the_pod(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("environment");
    batch.objects(sources());
    let key =
        |name: &str, of: &str, from: &str| json!({"name": name, "valueFrom": {of: {"name": from, "key": "data-1"}}});
    let from = |of: &str, name: &str, prefix: &str| json!({"prefix": prefix, of: {"name": name}});
    let spec = json!({"containers": [{
        "args": ["env"],
        "env": [key("MAP_DATA", "configMapKeyRef", "settings"), key("SECRET_DATA", "secretKeyRef", "login")],
        "envFrom": [
            from("configMapRef", "settings", ""), from("configMapRef", "settings", "p1-"), from("configMapRef", "settings", "p2_"),
            from("secretRef", "login", "s1-"), from("secretRef", "login", "s2_"),
        ],
    }]});
    let lines = [
        "MAP_DATA=value-1",
        "SECRET_DATA=value-1",
        "data-1=value-1",
        "data-2=value-2",
        "p1-data-1=value-1",
        "p1-data-2=value-2",
        "p2_data-1=value-1",
        "p2_data-2=value-2",
        "s1-data-1=value-1",
        "s1-data-2=value-2",
        "s2_data-1=value-1",
        "s2_data-2=value-2",
    ];
    batch.pod("sources", spec).prints_among("c", &lines);
    let spec = json!({"containers": [{
        "args": ["env"],
        "resources": {"limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "32Mi"}},
        "env": [
            field("NAME", "metadata.name"), field("NAMESPACE", "metadata.namespace"), field("UID", "metadata.uid"),
            field("ADDRESS", "status.podIP"), field("HOST", "status.hostIP"), field("HOSTS", "status.hostIPs"),
            resource("CPU_LIMIT", "limits.cpu"), resource("CPU_REQUEST", "requests.cpu"),
            resource("MEMORY_LIMIT", "limits.memory"), resource("MEMORY_REQUEST", "requests.memory"),
        ],
    }]});
    let lines = [
        "NAME=itself",
        "NAMESPACE=node",
        "UID={uid}",
        "ADDRESS={podIP}",
        "HOST={hostIP}",
        "HOSTS={hostIP}",
        "CPU_LIMIT=2",
        "CPU_REQUEST=1",
        "MEMORY_LIMIT=67108864",
        "MEMORY_REQUEST=33554432",
    ];
    batch.pod("itself", spec).prints_among("c", &lines);
    let spec = json!({"containers": [
        {"args": ["echo", "$(FOO);;$(FOOBAR);;$$(FOO);;$(NONE)"], "env": [
            {"name": "FOO", "value": "foo-value"}, {"name": "BAR", "value": "bar-value"},
            {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"},
        ]},
        {"name": "command", "command": ["/agnhost", "echo", "$(TEST_VAR)"], "env": [{"name": "TEST_VAR", "value": "test-value"}]},
    ]});
    let expanded = "foo-value;;foo-value;;bar-value;;$(FOO);;$(NONE)";
    batch.pod("expanded", spec).prints("c", &[expanded]).prints("command", &["test-value"]);
    batch.succeed(world)?;
    batch.end(world)
}

pub(crate) fn services_are_in_the_environment(world: &mut World) -> Result<()> {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "fooservice", "namespace": "node"},
        "spec": {"ports": [{"port": 8765, "targetPort": 8080}], "selector": {"app": "nobody"}}});
    world.kubectl_with(&["apply", "-f", "-"], &service.to_string())?;
    let address = text(&world.get(&["-n", "node", "service", "fooservice"])?["spec"]["clusterIP"]).to_owned();
    ensure!(!address.is_empty(), "fooservice has no address");
    let mut batch = Batch::new("services");
    let lines = [
        format!("FOOSERVICE_SERVICE_HOST={address}"),
        "FOOSERVICE_SERVICE_PORT=8765".to_owned(),
        format!("FOOSERVICE_PORT=tcp://{address}:8765"),
        "FOOSERVICE_PORT_8765_TCP_PORT=8765".to_owned(),
        "FOOSERVICE_PORT_8765_TCP_PROTO=tcp".to_owned(),
        format!("FOOSERVICE_PORT_8765_TCP=tcp://{address}:8765"),
        format!("FOOSERVICE_PORT_8765_TCP_ADDR={address}"),
    ];
    batch.pod("client", json!({"containers": [{"args": ["env"]}]}));
    batch.prints_among("c", &lines.iter().map(String::as_str).collect::<Vec<_>>());
    batch.pod("without", json!({"enableServiceLinks": false, "containers": [{"args": ["env"]}]}));
    batch.succeed(world)?;
    let log = world.kubectl(&["-n", "node", "logs", "without"])?;
    ensure!(!log.contains("FOOSERVICE"), "services are told to a pod that does not want them:\n{log}");
    batch.end(world)
}

/// Paths inside volumes that are made of variables: of good ones, of such as lead out, and of one that comes later.
pub(crate) fn paths_are_made_of_variables(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("paths");
    let spec = |variable: Value, args: Value| {
        json!({
            "volumes": [{"name": "work", "emptyDir": {}}],
            "containers": [{"env": [variable], "args": args, "volumeMounts": [
                {"name": "work", "mountPath": "/logs", "subPathExpr": "$(PART)"}, mount("work"),
            ]}],
        })
    };
    let looks = json!(["each", "write /logs/f written", "show /work/written-into/f"]);
    batch.pod("written-into", spec(field("PART", "metadata.name"), looks)).prints("c", &["written"]);
    batch.succeed(world)?;
    batch.end(world)?;

    let mut refused = Batch::new("refused-paths");
    for (name, part) in [("out", ".."), ("deep", "a/../../b"), ("absolute", "/tmp")] {
        refused.pod(name, spec(json!({"name": "PART", "value": part}), json!(["pause"])));
    }
    // Nothing before the slash is a path of the machine.
    let mut late = spec(field("PART", "metadata.annotations['part']"), json!(["pause"]));
    late["containers"][0]["volumeMounts"][0]["subPathExpr"] = json!("$(PART)/logs");
    refused.pod("late", late);
    refused.start(world)?;
    let waits = |pod: &Value| container(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError";
    world.wait("the container is not made in any of them", 60, || Ok(refused.pods(world)?.values().all(waits)))?;
    world.kubectl(&["-n", "node", "annotate", "pod", "late", "part=mine"])?;
    world.kubectl(&["-n", "node", "wait", "--for=condition=Ready", "pod/late", "--timeout=150s"])?;
    exec(world, "late", &["write", "/logs/f", "kept"])?;
    ensure!(exec(world, "late", &["show", "/work/mine/logs/f"])? == "kept\n", "the folder is another");
    // The folder of a running container is what it was when it was made.
    world.kubectl(&["-n", "node", "annotate", "--overwrite", "pod", "late", "part=another"])?;
    ensure!(exec(world, "late", &["show", "/logs/f"])? == "kept\n", "the folder moved");
    let pods = refused.pods(world)?;
    ensure!(pods.iter().filter(|(name, _)| *name != "late").all(|(_, pod)| waits(pod)), "a path led out: {pods:?}");
    refused.end(world)
}
