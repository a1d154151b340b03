//! How containers are started, as whom, with which rights, and what they leave when they end.

use anyhow::{Result, ensure};
use holdfast_e2e::world::{World, holds, text};
use serde_json::{Value, json};

use super::volumes::mount;
use super::{Batch, IMAGE, container, exec};

pub(crate) fn commands_and_arguments_replace_the_images(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("commands");
    let echo = json!(["/agnhost", "echo"]);
    let by = |container: Value| json!({"containers": [container]});
    batch.pod("by-arguments", by(json!({"args": ["echo", "arguments"]}))).prints("c", &["arguments"]);
    batch.pod("by-command", by(json!({"command": ["/agnhost", "echo", "command"]}))).prints("c", &["command"]);
    batch.pod("by-both", by(json!({"command": echo, "args": ["both", "of them"]}))).prints("c", &["both of them"]);
    batch.succeed(world)?;
    batch.end(world)?;
    let mut image = Batch::new("image-defaults");
    image.pod("by-image", by(json!({})));
    image.start(world)?;
    world.kubectl(&["-n", "node", "wait", "--for=condition=Ready", "pod/by-image", "--timeout=90s"])?;
    let line = exec(world, "by-image", &["show", "/proc/1/cmdline"])?;
    ensure!(line.trim_end_matches(['\n', '\0']) == "/agnhost\0pause", "the image's command became {line:?}");
    image.end(world)
}

pub(crate) fn security_contexts_hold(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("security");
    let own = |context: Value, args: Value| json!({"containers": [{"securityContext": context, "args": args}]});
    batch
        .pod("nobody", own(json!({"runAsUser": 65534}), json!(["id"])))
        .prints("c", &["uid=65534 gid=65534 groups=65534"]);
    batch
        .pod("by-container", own(json!({"runAsUser": 1001, "runAsGroup": 2002}), json!(["id"])))
        .prints("c", &["uid=1001 gid=2002 groups=2002"]);
    let spec = json!({
        "securityContext": {"runAsUser": 1001, "runAsGroup": 2002, "supplementalGroups": [3003]},
        "containers": [{"args": ["id"]}, {"name": "other", "securityContext": {"runAsUser": 1004}, "args": ["id"]}],
    });
    batch.pod("by-pod", spec).prints("c", &["uid=1001 gid=2002 groups=2002 3003"]);
    batch.prints("other", &["uid=1004 gid=2002 groups=2002 3003"]);
    let writes = json!(["each", "write /tmp/f text", "show /tmp/f"]);
    batch.pod("writable", own(json!({"readOnlyRootFilesystem": false}), writes)).prints("c", &["text"]);
    let setting = json!(["write", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "1024"]);
    batch.pod("privileged", own(json!({"privileged": true}), setting.clone()));
    let spec = json!({
        "securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]},
        "containers": [{"args": ["show", "/proc/sys/kernel/shm_rmid_forced"]}],
    });
    batch.pod("sysctl", spec).prints("c", &["1"]);
    for (name, allowed, lines) in [
        ("no-escalation", false, ["uid=1000 gid=0 groups=0", "1"]),
        ("escalation", true, ["uid=0 gid=0 groups=0", "0"]),
    ] {
        let spec = json!({
            "volumes": [{"name": "tools", "emptyDir": {}}],
            "initContainers": [{"name": "root", "args": ["install", "/tools/agnhost", "4755"], "volumeMounts": [mount("tools")]}],
            "containers": [{
                "command": ["/tools/agnhost", "each", "id", "status NoNewPrivs"], "volumeMounts": [mount("tools")],
                "securityContext": {"runAsUser": 1000, "allowPrivilegeEscalation": allowed},
            }],
        });
        batch.pod(name, spec).prints("c", &lines);
    }
    batch.succeed(world)?;
    batch.end(world)?;

    let mut refused = Batch::new("refused");
    refused.pod("read-only", own(json!({"readOnlyRootFilesystem": true}), json!(["write", "/file", "text"])));
    refused.prints("c", &["agnhost: cannot open /file for writing: Read-only file system (os error 30)"]);
    refused.pod("unprivileged", own(json!({"privileged": false}), setting));
    let words = "agnhost: cannot open /proc/sys/net/ipv4/ip_unprivileged_port_start for writing: Read-only file system (os error 30)";
    refused.prints("c", &[words]);
    refused.start(world)?;
    let failed =
        |pod: &Value| pod["status"]["phase"] == "Failed" && container(pod)["state"]["terminated"]["exitCode"] == 1;
    world.wait("both fail", 60, || Ok(refused.pods(world)?.values().all(failed)))?;
    refused.compare(world)?;
    refused.end(world)
}

pub(crate) fn hosts_files_are_the_nodes_unless_mounted(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("hosts");
    let own = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hosts", "namespace": "node"},
        "data": {"hosts": "# of the pod itself\n"}});
    batch.object(own);
    let spec = json!({
        "hostAliases": [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}],
        "volumes": [{"name": "own", "configMap": {"name": "hosts"}}],
        "containers": [
            {"args": ["show", "/etc/hosts"]},
            {"name": "own", "args": ["show", "/etc/hosts"],
                "volumeMounts": [{"name": "own", "mountPath": "/etc/hosts", "subPath": "hosts"}]},
        ],
    });
    batch.pod("managed", spec);
    batch.prints_among("c", &["# Kubernetes-managed hosts file.", "{podIP}\tmanaged", "123.45.67.89\tfoo\tbar"]);
    batch.prints("own", &["# of the pod itself"]);
    batch.pod("of-the-host", json!({"hostNetwork": true, "containers": [{"args": ["show", "/etc/hosts"]}]}));
    batch.succeed(world)?;
    let log = world.kubectl(&["-n", "node", "logs", "of-the-host"])?;
    ensure!(!log.contains("# Kubernetes-managed hosts file."), "the hosts file of the host is managed:\n{log}");
    batch.end(world)
}

pub(crate) fn last_words_are_kept(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("last-words");
    let logs = "FallbackToLogsOnError";
    let last = |args: &[&str], policy: &str, path: &str, user: u32| {
        json!({"containers": [{"args": args, "terminationMessagePolicy": policy, "terminationMessagePath": path,
            "securityContext": {"runAsUser": user}}]})
    };
    let path = "/dev/termination-log";
    batch.pod("file-and-logs", last(&["each", "write /dev/termination-log DONE", "echo other"], logs, path, 0));
    batch.pod("logs-of-success", last(&["echo", "DONE"], logs, path, 0));
    batch.pod("logs-of-failure", last(&["each", "echo DONE", "exit 1"], logs, path, 0));
    let custom = "/dev/termination-custom-log";
    batch.pod("file-of-user", last(&["write", custom, "DONE"], "File", custom, 10000));
    batch.start(world)?;
    let ended = |pod: &Value| !container(pod)["state"]["terminated"].is_null();
    world.wait("all end", 60, || Ok(batch.pods(world)?.values().all(ended)))?;
    for (name, message) in [
        ("file-and-logs", "DONE\n"),
        ("logs-of-success", ""),
        ("logs-of-failure", "DONE\n"),
        ("file-of-user", "DONE\n"),
    ] {
        let pods = batch.pods(world)?;
        let state = &container(&pods[name])["state"]["terminated"];
        ensure!(text(&state["message"]) == message, "{name} left {state}");
    }
    batch.end(world)
}

/// By the number of its start: 1, then 0, then it stays.
pub(crate) fn restart_policies_count_exits(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("restarts");
    for policy in ["Always", "OnFailure", "Never"] {
        let spec = json!({
            "restartPolicy": policy,
            "volumes": [{"name": "count", "emptyDir": {}}],
            "containers": [{"args": ["starts", "/count/f", "1", "0"], "volumeMounts": [mount("count")]}],
        });
        batch.pod(&policy.to_lowercase(), spec);
    }
    batch.start(world)?;
    let right = |pod: &Value, phase: &str, restarts: u64, ready: bool, state: &str| {
        pod["status"]["phase"] == phase
            && container(pod)["restartCount"] == restarts
            && container(pod)["ready"] == ready
            && !container(pod)["state"][state].is_null()
    };
    world.wait("each is as its policy says", 120, || {
        let pods = batch.pods(world)?;
        Ok(right(&pods["always"], "Running", 2, true, "running")
            && right(&pods["onfailure"], "Succeeded", 1, false, "terminated")
            && right(&pods["never"], "Failed", 0, false, "terminated"))
    })?;
    batch.end(world)
}

pub(crate) fn what_always_fails_says_so_and_can_go(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("failing");
    batch.pod("failing", json!({"restartPolicy": "Always", "containers": [{"args": ["exit", "3"]}]}));
    batch.start(world)?;
    world.wait("it has failed and is waited with", 60, || {
        let pods = batch.pods(world)?;
        let status = container(&pods["failing"]);
        let ends = [&status["state"]["terminated"], &status["lastState"]["terminated"]];
        Ok(ends.iter().any(|end| end["reason"] == "Error" && end["exitCode"] == 3))
    })?;
    world.wait("it is restarted ever more seldom", 60, || {
        Ok(container(&batch.pods(world)?["failing"])["state"]["waiting"]["reason"] == "CrashLoopBackOff")
    })?;
    world.kubectl(&["-n", "node", "delete", "pod", "failing", "--timeout=60s"]).map(drop)
}

/// An overhead counts where the pod is placed and is in its spec.
pub(crate) fn a_runtime_class_brings_its_overhead(world: &mut World) -> Result<()> {
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "costly"},
        "handler": "runc", "overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}}});
    let huge = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "too-costly"},
        "handler": "runc", "overhead": {"podFixed": {"cpu": "1000"}}});
    let mut batch = Batch::new("overhead");
    batch.object(class).object(huge);
    let spec = |class: &str| json!({"runtimeClassName": class, "containers": [{"image": IMAGE, "args": ["pause"]}]});
    batch.pod("costly", spec("costly")).pod("too-costly", spec("too-costly"));
    batch.start(world)?;
    world.kubectl(&["-n", "node", "wait", "--for=condition=Ready", "pod/costly", "--timeout=90s"])?;
    let pods = batch.pods(world)?;
    ensure!(pods["costly"]["spec"]["overhead"] == json!({"cpu": "10m", "memory": "1Mi"}), "{}", pods["costly"]["spec"]);
    world.wait("what nobody can hold stays unscheduled", 30, || {
        let pod = &batch.pods(world)?["too-costly"];
        Ok(pod["spec"]["nodeName"].is_null() && pod["status"]["conditions"][0]["reason"] == "Unschedulable")
    })?;
    holds(&world.kubectl(&["-n", "node", "describe", "pod", "too-costly"])?, "Insufficient cpu")?;
    batch.end(world)?;
    world.kubectl(&["delete", "runtimeclass", "costly", "too-costly"]).map(drop)
}
