//! Figure 3: durable creates a second over HTTPS. The bench's own work is on the same CPUs.

use super::disk;
use super::pace::Pace;
use crate::client::Client;
use crate::figure::{Figure, median};
use crate::hub::{self, Hub};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;
use std::path::Path;
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const PATH: &str = "/api/v1/namespaces/default/configmaps";
/// Bytes of the data; the object becomes some 1.5 kB with its metadata.
const DATA_BYTES: usize = 1250;

/// When a writer stops.
#[derive(Clone, Copy)]
enum Until {
    Time(Instant),
    Count(usize),
}

/// At 1 and 64 writers, each on a connection of its own, on a hub of its own.
pub(crate) fn measure(runtime: &Runtime, bin_dir: &Path, dir: &Path, pace: &Pace) -> Result<()> {
    let data_dir = dir.join("hub-writes");
    std::fs::create_dir(&data_dir)?;
    let hub = hub::start(runtime, bin_dir, &data_dir)?;
    for writers in [1, 64] {
        let plain = disk::syncs_per_second(dir, &body(0, 0), pace.syncs)?;
        let began = Instant::now();
        let times = runtime.block_on(write(&hub, writers, Until::Time(began + pace.writes)))?;
        let rate = times.len() as f64 / began.elapsed().as_secs_f64();
        let name = format!("durable creates of ConfigMaps of {} B, writers: {writers}", body(0, 0).len());
        Figure::new(&name, rate, "1/s", times.len()).beside(disk::NAME, plain).print();
        Figure::new(format!("{name}: median latency"), median(&times), "ms", times.len()).print();
    }
    hub.process.stop()
}

/// Creates this many ConfigMaps.
pub(crate) fn fill(runtime: &Runtime, hub: &Hub, objects: usize) -> Result<()> {
    const WRITERS: usize = 8;
    let made = runtime.block_on(write(hub, WRITERS, Until::Count(objects / WRITERS)))?;
    if made.len() != objects {
        bail!("{} ConfigMaps were made instead of {objects}", made.len());
    }
    Ok(())
}

/// Milliseconds that each create took.
async fn write(hub: &Hub, writers: usize, until: Until) -> Result<Vec<f64>> {
    // Connections stand before the clock matters: a handshake is not a write.
    let mut clients = Vec::new();
    for _ in 0..writers {
        clients.push(hub.admin.connect().await?);
    }
    let mut tasks = JoinSet::new();
    for (writer, client) in clients.into_iter().enumerate() {
        // The rows share a store: names differ by row.
        tasks.spawn(one(client, writers * 1000 + writer, until));
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done.context("a writer panicked")??);
    }
    Ok(times)
}

async fn one(mut client: Client, writer: usize, until: Until) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    while match until {
        Until::Time(end) => Instant::now() < end,
        Until::Count(count) => times.len() < count,
    } {
        let began = Instant::now();
        let (status, answer) = client.send(Method::POST, PATH, body(writer, times.len())).await?;
        if status != StatusCode::CREATED {
            bail!("a create was answered with {status}: {}", String::from_utf8_lossy(&answer));
        }
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}

fn body(writer: usize, number: usize) -> Bytes {
    // Content that differs from object to object, and that a compressor cannot make vanish.
    let mut state = (writer as u64) << 32 | number as u64 | 1 << 63;
    let data: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from((state >> 59) % 26).unwrap_or(0))
    })
    .take(DATA_BYTES)
    .collect();
    let name = format!("bench-{writer:06}-{number:09}");
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"app.kubernetes.io/name": "holdfast-bench"}},
        "data": {"settings": data},
    });
    Bytes::from(object.to_string())
}
