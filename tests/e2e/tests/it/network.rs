//! The network as pods and the machine outside see it: names, the way to the API, NodePorts.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_e2e::pods::pods;
use holdfast_e2e::world::{World, holds, said, text};
use serde_json::json;

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn cluster_ip(world: &World, service: &str) -> Result<String> {
    Ok(text(&world.get(&["-n", "demo", "svc", service])?["spec"]["clusterIP"]).to_owned())
}

pub(crate) fn pods_find_services_by_name(world: &mut World) -> Result<()> {
    for service in ["web", "hello-wasm"] {
        let address = cluster_ip(world, service)?;
        let full = format!("{service}.demo.svc.cluster.local");
        for name in [full.as_str(), &format!("{service}.demo"), service] {
            let answer = world.kubectl(&["-n", "demo", "exec", "deploy/web", "--", "/agnhost", "nslookup", name])?;
            ensure!(answer == format!("{name} {address}\n"), "{name} is {address}, and the pod was told {answer:?}");
        }
    }
    let answer =
        world.kubectl(&["-n", "demo", "exec", "deploy/web", "--", "/agnhost", "wget", "http://hello-wasm/"])?;
    holds(&answer, "hello from hello-wasm-")
}

/// With what the pod mounts, from the pod's own network: the token is its ServiceAccount's, and the CA is the API's.
pub(crate) fn pods_reach_the_api_with_their_token(world: &mut World) -> Result<()> {
    let all = pods(world, "web")?;
    let pod = all.iter().find(|pod| pod["spec"]["nodeName"] == "edge-1").context("edge-1 has no pod of web")?;
    let address = text(&pod["status"]["podIP"]);
    // The container of that address, told by its network.
    let script = format!(
        "for pid in $(busybox pidof agnhost); do \
           nsenter --target $pid --net ip -o addr | grep -q ' {address}/' && break; \
         done; account=/proc/$pid/root{ACCOUNT}; \
         exec nsenter --target $pid --net kubectl --kubeconfig=/dev/null --cache-dir=/tmp/kubectl-cache \
           --server=https://10.43.0.1 --certificate-authority=$account/ca.crt --token=\"$(cat $account/token)\" \
           auth whoami -o json"
    );
    let answer = world.on_node("edge-1", &["sh", "-c", &script])?;
    let review: serde_json::Value = serde_json::from_str(&answer).with_context(|| format!("reading {answer}"))?;
    let user = &review["status"]["userInfo"];
    ensure!(user["username"] == "system:serviceaccount:demo:default", "the API knows the pod as {user}");
    let name = &user["extra"]["authentication.kubernetes.io/pod-name"][0];
    ensure!(*name == pod["metadata"]["name"], "the token is bound to the pod {name}");
    Ok(())
}

/// `Host` is this machine: what is outside of the cluster.
pub(crate) fn a_node_port_answers_the_machine_outside(world: &mut World) -> Result<()> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "outside", "namespace": "demo"},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}],
        },
    });
    world.kubectl_with(&["apply", "-f", "-"], &service.to_string())?;
    for node in ["edge-1", "edge-2"] {
        let url = format!("http://{}:30080/", text(&world.node(node)?["addresses"][0]));
        world.wait(&format!("{url} answers"), 30, || {
            let out = Command::new("timeout").args(["5", "busybox", "wget", "-q", "-O", "-", &url]).output()?;
            holds(&said(&out), "Hello from web-").map(|()| true)
        })?;
    }
    world.kubectl(&["-n", "demo", "delete", "service", "outside"]).map(drop)
}
