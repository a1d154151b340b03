//! What reaches into pods: port-forward, attach, exec with a flood, and the proxy; over WebSocket, as kubectl speaks by
//! default, and over SPDY, as older ones do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_e2e::pods::pods;
use holdfast_e2e::world::{World, holds, said, text};
use serde_json::Value;

/// How an older kubectl speaks.
const SPDY: &[(&str, &str)] =
    &[("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false"), ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")];

/// A running `kubectl port-forward`; ended when dropped.
struct Forward {
    child: Child,
    port: u16,
    /// kubectl ends when nobody can read what it says.
    _stdout: BufReader<ChildStdout>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(world: &World, target: &str, port: u16, env: &[(&str, &str)]) -> Result<Forward> {
    let mut child = world.kubectl_started(&["-n", "demo", "port-forward", target, &format!(":{port}")], env)?;
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().context("kubectl has no stdout")?);
    stdout.read_line(&mut line)?;
    // `Forwarding from 127.0.0.1:40123 -> 8080`
    let local = line.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split(' ').next()).and_then(|p| p.parse().ok());
    match local {
        Some(port) => Ok(Forward { child, port, _stdout: stdout }),
        None => {
            let out = child.wait_with_output()?;
            anyhow::bail!("port-forward to {target} said {line:?} and {}", said(&out))
        }
    }
}

fn get(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub(crate) fn port_forward_reaches_both_runtimes(world: &mut World) -> Result<()> {
    for target in ["deploy/web", "deploy/hello-wasm"] {
        for env in [&[][..], SPDY] {
            let forward = forward(world, target, 8080, env)?;
            // Several connections at once, and one after the other.
            let port = forward.port;
            let answers: Vec<_> = (0..8).map(|_| std::thread::spawn(move || get(port))).collect();
            for answer in answers {
                let answer = answer.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
                ensure!(answer.starts_with("HTTP/1.1 200"), "{target} answered {answer:?}");
            }
            holds(&get(port)?, "HTTP/1.1 200")?;
        }
    }
    Ok(())
}

/// kubectl says why, in the kubelet's words, and gives up.
pub(crate) fn port_forward_says_that_nothing_listens(world: &mut World) -> Result<()> {
    let mut forward = forward(world, "deploy/web", 9, &[])?;
    let _ = get(forward.port);
    world.wait("kubectl gives up", 20, || Ok(forward.child.try_wait()?.is_some()))?;
    let mut told = String::new();
    forward.child.stderr.take().context("kubectl has no stderr")?.read_to_string(&mut told)?;
    holds(&told, "error forwarding port 9 to pod web-")?;
    holds(&told, "onnection refused")
}

pub(crate) fn attach_joins_a_running_container(world: &mut World) -> Result<()> {
    // `run -i` makes a container with a standard input that ends with its first client, and attaches.
    for (name, env) in [("attached", &[][..]), ("attached-spdy", SPDY)] {
        let run = ["run", name, "-i", "--image=registry.local/agnhost:1", "--restart=Never", "--", "cat", "/dev/stdin"];
        let out = world.kubectl_as(env, &run, "hello from outside\n")?;
        ensure!(out.status.success(), "run -i: {}", said(&out));
        holds(&said(&out), "hello from outside")?;
        world.kubectl(&["delete", "pod", name, "--timeout=60s"])?;
    }
    let (_, told) = world.kubectl_refused(&["-n", "demo", "attach", "deploy/hello-wasm"], "")?;
    holds(&told, "not implemented")
}

/// What `kubectl cp` is made of: a command whose input and output are larger than every buffer on the way.
pub(crate) fn exec_carries_a_flood_both_ways(world: &mut World) -> Result<()> {
    let flood: String = (0..400_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect::<String>() + "\n";
    for env in [&[][..], SPDY] {
        let exec = ["-n", "demo", "exec", "-i", "deploy/web", "--", "/agnhost", "cat", "/dev/stdin"];
        let out = world.kubectl_as(env, &exec, &flood)?;
        ensure!(out.status.success(), "exec -i: {}", String::from_utf8_lossy(&out.stderr));
        ensure!(out.stdout == flood.as_bytes(), "{} of {} bytes came back", out.stdout.len(), flood.len());
        let out = world.kubectl_as(env, &["-n", "demo", "exec", "deploy/web", "--", "/agnhost", "exit", "3"], "")?;
        ensure!(out.status.code() == Some(3), "exit 3 became {}: {}", out.status, said(&out));
    }
    Ok(())
}

pub(crate) fn the_proxy_reaches_pods_and_services(world: &mut World) -> Result<()> {
    let raw = |path: &str| world.kubectl(&["get", "--raw", &format!("/api/v1{path}")]);
    for (path, answer) in [
        ("/namespaces/demo/services/web:80/proxy/echo?msg=through", "through"),
        ("/namespaces/demo/services/hello-wasm:80/proxy/", ""),
    ] {
        holds(&raw(path)?, answer).with_context(|| path.to_owned())?;
    }
    for app in ["web", "hello-wasm"] {
        for pod in pods(world, app)? {
            let name = text(&pod["metadata"]["name"]);
            raw(&format!("/namespaces/demo/pods/{name}:8080/proxy/"))?;
            raw(&format!("/namespaces/demo/pods/{name}/proxy/"))?;
        }
    }
    let refused = |path: &str| world.kubectl_refused(&["get", "--raw", &format!("/api/v1{path}")], "");
    holds(&refused("/namespaces/demo/services/web:81/proxy/")?.1, "no service port 81 found for service")?;
    holds(&refused("/namespaces/demo/services/none/proxy/")?.1, "NotFound")?;
    holds(&refused("/nodes/edge-1/proxy/none")?.1, "NotFound")
}

/// `kubectl top`, and the pages of a node that it is made of.
pub(crate) fn what_nodes_and_pods_use_is_shown(world: &mut World) -> Result<()> {
    let raw = |path: &str| world.kubectl(&["get", "--raw", &format!("/api/v1/nodes/edge-1/proxy{path}")]);
    holds(&raw("/healthz")?, "ok")?;
    holds(&raw("/metrics")?, "kubelet_running_pods")?;
    holds(&raw("/metrics/resource")?, "container_memory_working_set_bytes{container=")?;
    holds(&raw("/metrics/cadvisor")?, "machine_cpu_cores")?;
    let summary: Value = serde_json::from_str(&raw("/stats/summary")?)?;
    ensure!(summary["node"]["memory"]["workingSetBytes"].as_u64() > Some(0), "{summary}");
    // CPU in thousandths, memory in MiB, and how much of the node that is.
    let nodes = world.kubectl(&["top", "node", "--no-headers"])?;
    for node in ["edge-1", "edge-2"] {
        let line = nodes.lines().find(|line| line.starts_with(node)).with_context(|| nodes.clone())?;
        ensure!(line.contains("m ") && line.contains("Mi") && line.contains('%'), "{line}");
    }
    let web = world.kubectl(&["-n", "demo", "top", "pod", "-l", "app=web", "--no-headers"])?;
    ensure!(web.lines().filter(|line| line.contains("Mi")).count() >= 2, "{web}");
    Ok(())
}
