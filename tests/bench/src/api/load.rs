//! What is written: pods of some 1.5 kB, each another one.

use crate::client::{Admin, Client};
use crate::hub::Hub;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

pub(super) const PODS: &str = "/api/v1/namespaces/default/pods";
/// Writers of what is only to be there.
const WRITERS: usize = 32;

/// A pod as a Deployment's: labels, a few variables, probes, resources. No scheduler takes it.
pub(super) fn pod(name: &str) -> Bytes {
    let variable = |number: usize| json!({"name": format!("SETTING_{number}"), "value": format!("{name}-{number}")});
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app.kubernetes.io/name": "bench", "pod-template-hash": "5d4f8c7b9", "of": name},
            "annotations": {"bench.edge.holdfast.io/text": format!("what {name} is for, in a sentence of some length")},
        },
        "spec": {
            "schedulerName": "nobody",
            "containers": [{
                "name": "main",
                "image": "registry.local/agnhost:1",
                "args": ["netexec", "--http-port=8080"],
                "env": (0..8).map(variable).collect::<Vec<_>>(),
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 5},
            }],
        },
    });
    Bytes::from(pod.to_string())
}

pub(super) async fn create(client: &mut Client, name: &str) -> Result<()> {
    let (status, answer) = client.send(Method::POST, PODS, pod(name)).await?;
    if status != StatusCode::CREATED {
        bail!("a create was answered with {status}: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Makes pods with these numbers.
pub(super) fn pods(runtime: &Runtime, hub: &Hub, numbers: Range<usize>) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(numbers.start));
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for mut client in connections(&hub.admin, WRITERS).await? {
            let (next, end) = (next.clone(), numbers.end);
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return Ok::<_, anyhow::Error>(());
                    }
                    create(&mut client, &format!("pod-{number:07}")).await?;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.context("a writer panicked")??;
        }
        Ok(())
    })
}

/// Connections that stand before the clock matters: a handshake is no request.
pub(super) async fn connections(admin: &Admin, count: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(admin.connect().await?);
    }
    Ok(clients)
}

/// Milliseconds of each of the tasks' calls, and how long all took together, in seconds.
pub(super) async fn gather(tasks: JoinSet<Result<Vec<f64>>>, began: Instant) -> Result<(Vec<f64>, f64)> {
    let mut tasks = tasks;
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done.context("a task panicked")??);
    }
    Ok((times, began.elapsed().as_secs_f64()))
}

/// Milliseconds since `began`.
pub(super) fn millis(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1000.0
}
