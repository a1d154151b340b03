//! Pods through the hub: how long until they answer.

use crate::client::Client;
use crate::figure::{Figure, median, percentile};
use crate::hub::Hub;
use crate::services;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const PODS: &str = "/api/v1/namespaces/default/pods";
const START: Duration = Duration::from_secs(30);
/// A hundred of them on two cores.
const ALL: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(1);

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "registry.local/agnhost:1", "args": ["netexec"],
                // Of which the server says nothing: what it logs is written to the disk.
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 10}}],
        },
    })
}

/// Asks until a 200 comes.
pub(super) fn answers(address: &str) -> Result<()> {
    let deadline = Instant::now() + START;
    let ask = || -> Result<bool> {
        let mut stream = TcpStream::connect((address, 8080))?;
        stream.set_read_timeout(Some(START))?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    loop {
        match ask() {
            Ok(true) => return Ok(()),
            Ok(false) | Err(_) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Ok(false) => bail!("{address} does not answer with 200"),
            Err(err) => return Err(err).with_context(|| format!("asking {address}")),
        }
    }
}

/// From the create to the first 200, one pod at a time.
pub(super) fn one_after_another(runtime: &Runtime, hub: &Hub, count: usize, beside: &[f64]) -> Result<()> {
    let mut times = Vec::new();
    for number in 0..count {
        let name = format!("single-{number}");
        let began = Instant::now();
        let address = runtime.block_on(created(hub, &name))?;
        answers(&address)?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        runtime.block_on(async {
            let mut client = hub.admin.connect().await?;
            client.send(Method::DELETE, &format!("{PODS}/{name}"), Bytes::new()).await?;
            Ok::<_, anyhow::Error>(())
        })?;
    }
    let alone = "containerd by ctr and the same CNI plugin";
    let name = "pod, create to HTTP 200";
    Figure::new(format!("{name}, median"), median(&times), "ms", count).beside(alone, median(beside)).print();
    let p90 = percentile(&times, 0.9);
    Figure::new(format!("{name}, p90"), p90, "ms", count).beside(alone, percentile(beside, 0.9)).print();
    Ok(())
}

/// Creates a pod and waits for its address, as a watch tells it.
async fn created(hub: &Hub, name: &str) -> Result<String> {
    let mut watcher = hub.admin.connect().await?;
    let mut events = watcher.watch(&format!("{PODS}?watch=1&fieldSelector=metadata.name%3D{name}")).await?;
    create(&mut hub.admin.connect().await?, name).await?;
    let told = async {
        let mut text = Vec::new();
        while let Some(frame) = events.frame().await {
            text.extend_from_slice(&frame?.into_data().unwrap_or_default());
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line)?;
                if let Some(address) = event["object"]["status"]["podIP"].as_str() {
                    return Ok(address.to_owned());
                }
            }
        }
        bail!("the watch ended before {name} had an address")
    };
    tokio::time::timeout(START, told).await.with_context(|| format!("{name} got no address"))?
}

async fn create(client: &mut Client, name: &str) -> Result<()> {
    let (status, body) = client.send(Method::POST, PODS, Bytes::from(pod(name).to_string())).await?;
    if status != StatusCode::CREATED {
        bail!("creating {name}: {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(())
}

/// Adds pods until `count` stand, all at once, and waits until all are ready.
pub(super) fn add(runtime: &Runtime, hub: &Hub, standing: usize, count: usize) -> Result<()> {
    let began = Instant::now();
    runtime.block_on(async {
        let mut client = hub.admin.connect().await?;
        for number in standing..count {
            create(&mut client, &format!("standing-{number}")).await?;
        }
        let ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        let path = format!("{PODS}?fieldSelector=spec.nodeName%3D{}", services::NAME);
        loop {
            let list = client.get(&path).await?;
            let pods = list["items"].as_array().context("no items")?;
            if pods.iter().filter(|pod| ready(pod)).count() >= count {
                return Ok(());
            }
            if began.elapsed() > ALL {
                bail!(
                    "of {count} pods {} are ready after {} s",
                    pods.iter().filter(|p| ready(p)).count(),
                    ALL.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })?;
    let name = format!("{} pods at once until all are ready, {count} then standing", count - standing);
    Figure::new(name, began.elapsed().as_secs_f64(), "s", 1).print();
    Ok(())
}
