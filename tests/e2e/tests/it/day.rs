//! The run that README and issue promise, in its order.

use anyhow::{Context, Result, bail, ensure};
use holdfast_e2e::pods::{all_running, answers, answers_locally, fetch, identities, local_pods, pods, ready};
use serde_json::Value;

use holdfast_e2e::world::{World, holds, items, text};

pub(crate) fn nodes_are_ready_and_described(world: &mut World) -> Result<()> {
    let table = world.kubectl(&["get", "nodes", "-o", "wide"])?;
    for column in ["NAME", "STATUS", "VERSION", "INTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME"] {
        holds(&table, column)?;
    }
    for node in ["edge-1", "edge-2"] {
        let line = table.lines().find(|l| l.starts_with(node)).with_context(|| format!("no {node} in:\n{table}"))?;
        let address = text(&world.node(node)?["addresses"][0]).to_owned();
        for word in [" Ready ", " v1.36", &address, "containerd://"] {
            holds(line, word)?;
        }
    }
    Ok(())
}

pub(crate) fn examples_are_listed_in_full(world: &mut World) -> Result<()> {
    let table = world.kubectl(&["-n", "demo", "get", "deploy,rs,pods,svc,endpointslices", "-o", "wide"])?;
    for (prefix, count, word) in [
        ("deployment.apps/web ", 1, "2/2"),
        ("deployment.apps/hello-wasm ", 1, "2/2"),
        ("replicaset.apps/web-", 1, "registry.local/agnhost:1"),
        ("replicaset.apps/hello-wasm-", 1, "registry.local/hello-wasm:1"),
        ("pod/web-", 2, "Running"),
        ("pod/hello-wasm-", 2, "Running"),
        ("service/web ", 1, "ClusterIP"),
        ("service/hello-wasm ", 1, "ClusterIP"),
        ("endpointslice.discovery.k8s.io/web-", 1, "8080"),
        ("endpointslice.discovery.k8s.io/hello-wasm-", 1, "8080"),
    ] {
        let lines: Vec<&str> = table.lines().filter(|l| l.starts_with(prefix)).collect();
        ensure!(lines.len() == count, "expected {count} lines with {prefix:?} in:\n{table}");
        lines.iter().try_for_each(|line| holds(line, word))?;
    }
    // Spread: two replicas of each on two nodes.
    for app in ["web", "hello-wasm"] {
        let nodes: std::collections::BTreeSet<String> =
            pods(world, app)?.iter().map(|p| text(&p["spec"]["nodeName"]).to_owned()).collect();
        ensure!(nodes.len() == 2, "the replicas of {app} are not spread: {nodes:?}");
    }
    Ok(())
}

pub(crate) fn services_answer_on_every_node(world: &mut World) -> Result<()> {
    for (service, answer) in [("web", "Hello from web-"), ("hello-wasm", "hello from hello-wasm-")] {
        let address = text(&world.get(&["-n", "demo", "svc", service])?["spec"]["clusterIP"]).to_owned();
        for node in ["edge-1", "edge-2"] {
            // More often than there are endpoints, so that both nodes' pods are reached.
            for _ in 0..6 {
                holds(&fetch(world, node, &format!("http://{address}/"))?, answer)?;
            }
        }
    }
    Ok(())
}

pub(crate) fn logs_of_both_runtimes(world: &mut World) -> Result<()> {
    holds(&world.kubectl(&["-n", "demo", "logs", "deploy/web"])?, "netexec: listening on port 8080")?;
    holds(&world.kubectl(&["-n", "demo", "logs", "deploy/hello-wasm"])?, "Listening on ")?;
    let last = world.kubectl(&["-n", "demo", "logs", "deploy/web", "--tail=1"])?;
    ensure!(last.lines().count() == 1, "--tail=1 gave:\n{last}");
    Ok(())
}

pub(crate) fn exec_passes_output_and_exit_code(world: &mut World) -> Result<()> {
    let environment = world.kubectl(&["-n", "demo", "exec", "deploy/web", "--", "/agnhost", "env"])?;
    for variable in ["HOSTNAME=web-", "KUBERNETES_SERVICE_HOST=", "PATH="] {
        holds(&environment, variable)?;
    }
    let (code, said) =
        world.kubectl_refused(&["-n", "demo", "exec", "deploy/web", "--", "/agnhost", "exit", "3"], "")?;
    ensure!(code == 3, "exit 3 in the container became {code}: {said}");
    holds(&said, "command terminated with exit code 3")?;
    let token = world.kubectl(&[
        "-n",
        "demo",
        "exec",
        "deploy/web",
        "--",
        "/agnhost",
        "ls",
        "/var/run/secrets/kubernetes.io/serviceaccount",
    ])?;
    ["ca.crt", "namespace", "token"].iter().try_for_each(|file| holds(&token, file))
}

pub(crate) fn scaling_rolls_out(world: &mut World) -> Result<()> {
    holds(&world.kubectl(&["-n", "demo", "scale", "deploy/web", "--replicas=5"])?, "deployment.apps/web scaled")?;
    let said = world.kubectl(&["-n", "demo", "rollout", "status", "deploy/web", "--timeout=120s"])?;
    holds(&said, "deployment \"web\" successfully rolled out")?;
    ensure!(pods(world, "web")?.len() == 5, "there are not five pods of web");
    Ok(())
}

pub(crate) fn a_pod_runs_to_its_end(world: &mut World) -> Result<()> {
    let run = ["run", "one", "--image=registry.local/agnhost:1", "--restart=Never", "--", "echo", "hello"];
    holds(&world.kubectl(&run)?, "pod/one created")?;
    world.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/one", "--timeout=60s"])?;
    let log = world.kubectl(&["logs", "one"])?;
    ensure!(log == "hello\n", "the log of one is {log:?}");
    holds(&world.kubectl(&["delete", "pod", "one", "--timeout=60s"])?, "pod \"one\" deleted")
}

pub(crate) fn wasm_is_deleted_and_applied_again(world: &mut World) -> Result<()> {
    world.kubectl(&["delete", "-f", "examples/hello-wasm.yaml", "--timeout=90s"])?;
    world.wait("the pods of hello-wasm are gone", 60, || Ok(pods(world, "hello-wasm")?.is_empty()))?;
    world.kubectl(&["apply", "-f", "examples/hello-wasm.yaml"])?;
    let said = world.kubectl(&["-n", "demo", "rollout", "status", "deploy/hello-wasm", "--timeout=120s"])?;
    holds(&said, "successfully rolled out")
}

pub(crate) fn a_cut_node_keeps_serving_and_survives_a_power_cut(world: &mut World) -> Result<()> {
    let before = identities(world)?;
    let mine: Vec<Value> =
        items(&world.get(&["-n", "demo", "pods"])?).into_iter().filter(|p| p["spec"]["nodeName"] == "edge-1").collect();
    ensure!(mine.len() >= 2, "edge-1 has too few pods for this: {}", mine.len());

    world.xtask(&["link", "cut", "edge-1"])?;
    world.kubectl(&["wait", "--for=condition=Ready=Unknown", "node/edge-1", "--timeout=120s"])?;
    answers(world, &mine).context("cut from the hub")?;

    world.remember_namespaces();
    world.xtask(&["node", "kill", "edge-1"])?;
    world.xtask(&["node", "start", "edge-1"])?;
    world.wait("all pods of edge-1 run again while it is cut", 60, || all_running(world, &mine))?;
    let json: Value = serde_json::from_str(&local_pods(world)?).context("reading `holdfast-edge pods -o json`")?;
    let listed = json["items"].as_array().or_else(|| json.as_array()).map_or(0, Vec::len);
    ensure!(listed >= mine.len(), "holdfast-edge pods -o json lists {listed} pods: {json}");
    world.wait("the pods of edge-1 answer while it is cut", 60, || answers_locally(world).map(|()| true))?;
    kubectl_works_on_the_node(world, &mine).context("cut from the hub")?;
    let condition = world.kubectl(&[
        "get",
        "node",
        "edge-1",
        "-o",
        "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}",
    ])?;
    ensure!(condition == "Unknown", "the cut did not last across the power cut: Ready is {condition}");

    world.xtask(&["link", "heal", "edge-1"])?;
    world.kubectl(&["wait", "--for=condition=Ready", "node/edge-1", "--timeout=120s"])?;
    world.wait("the statuses agree", 60, || {
        let all = items(&world.get(&["-n", "demo", "pods"])?);
        Ok(all.iter().all(|p| p["status"]["phase"] == "Running" && ready(p)))
    })?;
    let after = identities(world)?;
    ensure!(before == after, "pods were replaced:\nbefore {before:?}\nafter  {after:?}");
    for pod in items(&world.get(&["-n", "demo", "pods"])?).iter().filter(|p| p["spec"]["nodeName"] == "edge-1") {
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64();
        ensure!(restarts == Some(1), "{} has restart count {restarts:?} after one power cut", pod["metadata"]["name"]);
    }
    Ok(())
}

/// The node's own API, by the kubeconfig that `node exec` sets: reads, streams, and a refusal of writes.
fn kubectl_works_on_the_node(world: &World, pods: &[Value]) -> Result<()> {
    let kubectl = |args: &[&str]| world.on_node("edge-1", &[&["kubectl", "-n", "demo"], args].concat());
    let table = kubectl(&["get", "pods"])?;
    for pod in pods {
        let name = text(&pod["metadata"]["name"]);
        let line = table.lines().find(|l| l.starts_with(name)).with_context(|| format!("no {name} in:\n{table}"))?;
        holds(line, "Running")?;
    }
    let own = kubectl(&["get", "node", "edge-1", "-o", "jsonpath={.status.conditions[*].type}"])?;
    holds(&own, "edge.holdfast.io/OfflineReady")?;
    let web = pods.iter().map(|pod| text(&pod["metadata"]["name"])).find(|name| name.starts_with("web-"));
    let web = web.context("edge-1 has no pod of web")?;
    holds(&kubectl(&["describe", "pod", web])?, "Started container web")?;
    holds(&kubectl(&["logs", web])?, "netexec: listening on port 8080")?;
    holds(&kubectl(&["exec", web, "--", "/agnhost", "env"])?, &format!("HOSTNAME={web}"))?;
    match kubectl(&["delete", "pod", web]) {
        Ok(said) => bail!("the node's API took a write: {said}"),
        Err(refused) => holds(&format!("{refused:#}"), "this node's API is read only")?,
    }
    // Names come from what the node holds.
    let address = text(&world.get(&["-n", "demo", "svc", "web"])?["spec"]["clusterIP"]).to_owned();
    let name = "web.demo.svc.cluster.local";
    let exec = ["holdfast-edge", "exec", "-n", "demo", web, "--", "/agnhost", "nslookup", name];
    let answer = world.on_node("edge-1", &exec)?;
    ensure!(answer == format!("{name} {address}\n"), "{name} is {address}, and the cut pod was told {answer:?}");
    let status: Value = serde_json::from_str(&world.on_node("edge-1", &["holdfast-edge", "status", "-o", "json"])?)
        .context("reading `holdfast-edge status -o json`")?;
    ensure!(status["connected"] == false && status["offline_ready"] == true, "the node's status is {status}");
    Ok(())
}
