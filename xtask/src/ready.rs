//! What "ready" means: nodes Ready, every Deployment of `examples/` fully available, both Services answering from
//! each node. Each wait says at the deadline what was still missing.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::failure::TimedOut;
use crate::progress::Progress;
use crate::{kubectl, process, up};

const POLL: Duration = Duration::from_millis(250);
const HTTP: Duration = Duration::from_secs(3);

/// Polls `missing` until it finds nothing missing. An error of it counts as "not yet".
fn wait(
    cluster: &Cluster,
    deadline: Instant,
    progress: &Progress,
    mut missing: impl FnMut() -> Result<Vec<String>>,
) -> Result<()> {
    loop {
        let text = match missing() {
            Ok(list) if list.is_empty() => return Ok(()),
            Ok(list) => list.join(", "),
            Err(err) => format!("{err:#}"),
        };
        up::check_alive(cluster)?;
        if Instant::now() >= deadline {
            return Err(TimedOut(text).into());
        }
        progress.waiting(&text);
        std::thread::sleep(POLL);
    }
}

pub(crate) fn nodes(cluster: &Cluster, deadline: Instant, progress: &Progress) -> Result<()> {
    wait(cluster, deadline, progress, || {
        let list = kubectl::get(cluster, &["nodes"])?;
        let ready: Vec<&str> = items(&list).filter(|n| is_ready(n)).filter_map(name).collect();
        Ok(cluster
            .names()
            .into_iter()
            .filter(|n| !ready.contains(n))
            .map(|n| format!("node {n} is not Ready"))
            .collect())
    })
}

/// The Namespace is there at once; what is in it may be refused for a moment after the hub's start.
pub(crate) fn apply_examples(cluster: &Cluster) -> Result<()> {
    for file in up::example_files() {
        process::output(kubectl::command(cluster).args(["apply", "-f"]).arg(&file))
            .with_context(|| format!("applying {}", file.display()))?;
    }
    Ok(())
}

/// The objects of `examples/` as the hub has them now.
fn examples(cluster: &Cluster) -> Result<Value> {
    let files = up::example_files();
    let args: Vec<&str> = files.iter().flat_map(|f| ["-f", f.to_str().unwrap_or_default()]).collect();
    kubectl::get(cluster, &args)
}

pub(crate) fn deployments(cluster: &Cluster, deadline: Instant, progress: &Progress) -> Result<()> {
    wait(cluster, deadline, progress, || {
        let list = examples(cluster)?;
        let all: Vec<&Value> = items(&list).filter(|o| o["kind"] == "Deployment").collect();
        if all.is_empty() {
            bail!("examples/ holds no Deployment");
        }
        Ok(all.into_iter().filter_map(unavailable).collect())
    })
}

/// `None` when the Deployment is fully rolled out, as `kubectl rollout status` counts it.
fn unavailable(deployment: &Value) -> Option<String> {
    let (wanted, status) = (deployment["spec"]["replicas"].as_i64().unwrap_or(1), &deployment["status"]);
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let seen = number("observedGeneration") >= deployment["metadata"]["generation"].as_i64().unwrap_or(0);
    let available = number("availableReplicas");
    let good = seen && number("updatedReplicas") == wanted && available == wanted && number("replicas") == wanted;
    (!good).then(|| format!("deployment {} has {available} of {wanted} available", name(deployment).unwrap_or("?")))
}

pub(crate) fn services(cluster: &Cluster, deadline: Instant, progress: &Progress) -> Result<()> {
    let list = examples(cluster)?;
    let services: Vec<(String, SocketAddr)> = items(&list)
        .filter(|o| o["kind"] == "Service")
        .map(|s| Ok((name(s).unwrap_or("?").to_owned(), address(s)?)))
        .collect::<Result<_>>()?;
    wait(cluster, deadline, progress, || {
        let cluster = Cluster::load(&cluster.dir)?;
        let mut missing = Vec::new();
        for node in &cluster.nodes {
            let netns = node.netns.as_ref().with_context(|| format!("{} is off", node.name))?;
            for (service, address) in &services {
                if let Err(err) = get_from(netns, *address) {
                    missing.push(format!("service {service} ({address}) does not answer on {}: {err:#}", node.name));
                }
            }
        }
        Ok(missing)
    })
}

fn address(service: &Value) -> Result<SocketAddr> {
    let spec = &service["spec"];
    let ip = spec["clusterIP"].as_str().unwrap_or("none").to_owned();
    let port =
        spec["ports"][0]["port"].as_u64().and_then(|p| u16::try_from(p).ok()).context("a Service without a port")?;
    Ok((ip.parse::<std::net::IpAddr>().with_context(|| format!("a Service with the ClusterIP {ip:?}"))?, port).into())
}

/// `GET /` from within a network namespace: a thread of its own enters it and ends with the answer.
fn get_from(netns: &std::path::Path, address: SocketAddr) -> Result<()> {
    let namespace = File::open(netns).with_context(|| format!("opening {}", netns.display()))?;
    let thread = std::thread::spawn(move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).context("entering the node's network")?;
        let mut stream = TcpStream::connect_timeout(&address, HTTP).context("connecting")?;
        stream.set_read_timeout(Some(HTTP))?;
        stream
            .write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", address.ip()).as_bytes())?;
        let mut head = [0_u8; 12];
        stream.read_exact(&mut head).context("reading the answer")?;
        if head.get(9..12) != Some(b"200") {
            bail!("it answered {:?}", String::from_utf8_lossy(&head));
        }
        Ok(())
    });
    thread.join().unwrap_or_else(|_| bail!("the probe panicked"))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn name(object: &Value) -> Option<&str> {
    object["metadata"]["name"].as_str()
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// What a person needs next.
pub(crate) fn summary(cluster: &Cluster, took: Duration, down: &str, bare: bool) -> String {
    let mut lines = vec![
        format!("The cluster is ready after {:.1} s", took.as_secs_f32()),
        format!("  API         https://127.0.0.1:{}", cluster.hub.api_port),
        format!("  kubectl     {}", cluster.kubectl.display()),
    ];
    for node in &cluster.nodes {
        lines.push(format!("  {:<11} {}", node.name, node.ip()));
    }
    if !bare && let Ok(list) = examples(cluster) {
        for service in items(&list).filter(|o| o["kind"] == "Service") {
            if let Ok(address) = address(service) {
                lines.push(format!(
                    "  {:<11} http://{address}/ on the nodes (namespace demo)",
                    name(service).unwrap_or("?")
                ));
            }
        }
    }
    lines.push(format!("  logs        {}", cluster.dir.display()));
    lines.push(format!("  next        export KUBECONFIG={}", cluster.kubeconfig.display()));
    lines.push(format!("  end         {down}"));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_counts_only_when_fully_rolled_out() {
        let deployment = |status: Value| json!({"metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 2}, "status": status});
        let full = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(unavailable(&deployment(full.clone())), None);
        for (field, value) in
            [("observedGeneration", 1), ("replicas", 3), ("updatedReplicas", 1), ("availableReplicas", 1)]
        {
            let mut status = full.clone();
            status[field] = value.into();
            assert!(unavailable(&deployment(status)).is_some(), "{field}");
        }
        assert_eq!(unavailable(&deployment(json!({}))).as_deref(), Some("deployment web has 0 of 2 available"));
    }

    #[test]
    fn a_headless_service_is_an_error_with_its_address() {
        let service = json!({"spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
        assert!(address(&service).unwrap_err().to_string().contains("None"));
    }
}
