//! Real connections to a real hub over loopback: bytes of one at idle, memory of the hub, and how long a storm lasts.

use super::Pace;
use super::node::{BenchNode, token};
use crate::figure::{Figure, median};
use crate::hub;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use holdfast_env::World;
use holdfast_env::host::HostEnv;
use http::{Method, StatusCode};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// How long all of them may take to be in sync.
const SYNC: Duration = Duration::from_secs(300);
/// Joins at a time.
const JOINS: usize = 8;

pub(super) fn measure(runtime: &Runtime, bin_dir: &Path, dir: &Path, pace: &Pace) -> Result<()> {
    let connections = pace.connections;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let data_dir = dir.join("hub");
    std::fs::create_dir(&data_dir)?;
    let hub = hub::start(runtime, bin_dir, &data_dir)?;
    let empty = hub.process.settled_pss(pace.settle)?;
    let token = token(&hub.join_token(bin_dir)?)?;
    let env: World = HostEnv::new(dir);

    let began = Instant::now();
    let nodes = runtime.block_on(async {
        let mut nodes = Vec::new();
        let mut joining = JoinSet::new();
        for number in 0..connections {
            let (env, hub, token) = (env.clone(), hub.link_address.clone(), token.clone());
            joining.spawn(async move { BenchNode::join(&env, &hub, &token, &format!("bench-{number:05}")).await });
            if joining.len() >= JOINS {
                nodes.extend(joining.join_next().await.context("no join")??);
            }
        }
        while let Some(joined) = joining.join_next().await {
            nodes.extend(joined?);
        }
        Ok::<_, anyhow::Error>(nodes)
    })?;
    if nodes.len() != connections {
        bail!("{} of {connections} nodes joined", nodes.len());
    }
    let rate = connections as f64 / began.elapsed().as_secs_f64();
    Figure::new("joins, 8 at a time", rate, "1/s", connections).print();

    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for node in &nodes {
        tasks.spawn_on(node.clone().run(env.clone(), hub.link_address.clone()), runtime.handle());
    }
    let what = format!("{connections} QUIC connections");
    wait(&nodes, &mut tasks, began)?;
    Figure::new(format!("{what}: until all are in sync"), began.elapsed().as_secs_f64(), "s", connections).print();
    let full = hub.process.settled_pss(pace.settle)?;
    let each = full.all.saturating_sub(empty.all) as f64 * 1024.0 / connections as f64;
    Figure::new(format!("{what}: memory of the hub for one"), each, "B", connections).print();

    let (before, began) = (loopback()?, Instant::now());
    std::thread::sleep(pace.count);
    let bytes = (loopback()? - before) as f64 / began.elapsed().as_secs_f64() / connections as f64;
    Figure::new(format!("{what}: bytes of one at idle, IP headers included, both ways"), bytes * 86_400.0, "B/day", 1)
        .print();

    storm(runtime, bin_dir, hub, &nodes, &mut tasks, &what)
}

/// Kills the hub and starts it again; its API is asked all the while.
fn storm(
    runtime: &Runtime,
    bin_dir: &Path,
    hub: hub::Hub,
    nodes: &[Arc<BenchNode>],
    tasks: &mut JoinSet<Result<()>>,
    what: &str,
) -> Result<()> {
    let (ports, data_dir) = (hub.ports, hub.data_dir.clone());
    let quiet = runtime.block_on(ask(&hub, Instant::now() + Duration::from_secs(3)))?;
    // Dropping kills.
    drop(hub);
    nodes.iter().for_each(|node| node.forget());
    let began = Instant::now();
    let hub = hub::start_at(runtime, bin_dir, &data_dir, ports)?;
    let mut latencies = Vec::new();
    while !nodes.iter().all(|node| node.is_in_sync()) {
        latencies.extend(runtime.block_on(ask(&hub, Instant::now() + Duration::from_millis(500)))?);
        check(tasks, began, nodes)?;
    }
    Figure::new(
        format!("{what}: from the hub's start until all are back in sync"),
        began.elapsed().as_secs_f64(),
        "s",
        nodes.len(),
    )
    .print();
    Figure::new(format!("{what} coming back: GET of a namespace, median"), median(&latencies), "ms", latencies.len())
        .beside("the same while they were idle", median(&quiet))
        .print();
    let worst = latencies.iter().copied().fold(0.0, f64::max);
    Figure::new(format!("{what} coming back: GET of a namespace, slowest"), worst, "ms", latencies.len()).print();
    hub.process.stop()
}

/// Milliseconds of each GET until `end`.
async fn ask(hub: &hub::Hub, end: Instant) -> Result<Vec<f64>> {
    let mut client = hub.admin.connect().await?;
    let mut times = Vec::new();
    while Instant::now() < end {
        let began = Instant::now();
        let (status, _) = client.send(Method::GET, "/api/v1/namespaces/default", Bytes::new()).await?;
        if status != StatusCode::OK {
            bail!("a GET was answered with {status}");
        }
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(times)
}

fn wait(nodes: &[Arc<BenchNode>], tasks: &mut JoinSet<Result<()>>, began: Instant) -> Result<()> {
    while !nodes.iter().all(|node| node.is_in_sync()) {
        check(tasks, began, nodes)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn check(tasks: &mut JoinSet<Result<()>>, began: Instant, nodes: &[Arc<BenchNode>]) -> Result<()> {
    if let Some(ended) = tasks.try_join_next() {
        ended??;
    }
    if began.elapsed() > SYNC {
        let back = nodes.iter().filter(|node| node.is_in_sync()).count();
        bail!("{back} of {} nodes are in sync after {} s", nodes.len(), SYNC.as_secs());
    }
    Ok(())
}

/// Bytes that went over loopback. Each is counted once as sent, Ethernet headers (14 bytes a packet) taken off. `/sys` is no
/// place to read them: it shows the namespace in which it was mounted.
fn loopback() -> Result<u64> {
    let all = std::fs::read_to_string("/proc/self/net/dev")?;
    let line =
        all.lines().find_map(|line| line.trim().strip_prefix("lo:")).context("no loopback in /proc/self/net/dev")?;
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [_, _, _, _, _, _, _, _, bytes, packets] =
        *numbers.first_chunk::<10>().context("a line of /proc/self/net/dev")?;
    Ok(bytes.saturating_sub(packets * 14))
}
