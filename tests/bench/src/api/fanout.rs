//! One change, many watchers.

use super::load::{PODS, connections, millis};
use crate::figure::{Figure, median, percentile};
use crate::hub::Hub;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// The pod that is changed.
const CHANGED: &str = "pod-0000000";
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(120);

/// Changes a pod so many times while as many watch it: from a change's sending until each watcher has read it.
pub(super) fn measure(runtime: &Runtime, hub: &Hub, watchers: usize, changes: usize) -> Result<()> {
    let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = runtime.block_on(async {
        let ready = Arc::new(Barrier::new(watchers + 1));
        let mut tasks = JoinSet::new();
        for client in connections(&hub.admin, watchers).await? {
            let (ready, sent) = (ready.clone(), sent.clone());
            tasks.spawn(watch(client, ready, sent, changes));
        }
        ready.wait().await;
        let mut client = hub.admin.connect().await?;
        for number in 0..changes {
            let patch = format!("{{\"metadata\":{{\"annotations\":{{\"change\":\"{number}\"}}}}}}");
            sent.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            let headers = [("content-type", "application/merge-patch+json")];
            let path = format!("{PODS}/{CHANGED}");
            let (status, _) = client.send_with(Method::PATCH, &path, &headers, Bytes::from(patch)).await?;
            if status != StatusCode::OK {
                bail!("a patch was answered with {status}");
            }
            tokio::time::sleep(PAUSE).await;
        }
        let all = async {
            let mut seen = Vec::new();
            while let Some(done) = tasks.join_next().await {
                seen.extend(done.context("a watcher panicked")??);
            }
            Ok::<_, anyhow::Error>(seen)
        };
        tokio::time::timeout(LIMIT, all).await.context("the watchers did not see all changes")?
    })?;
    let name = format!("from a change to each of {watchers} watchers");
    Figure::new(format!("{name}, median"), median(&seen), "ms", seen.len()).print();
    Figure::new(format!("{name}, p99"), percentile(&seen, 0.99), "ms", seen.len()).print();
    burst(runtime, hub, watchers, changes)
}

/// Milliseconds until each change was read.
async fn watch(
    mut client: crate::client::Client,
    ready: Arc<Barrier>,
    sent: Arc<Mutex<Vec<Instant>>>,
    changes: usize,
) -> Result<Vec<f64>> {
    let mut body = client.watch(&watched()).await?;
    // It begins with the pod as it is, in one line.
    loop {
        let frame = body.frame().await.context("a watch ended")??;
        if frame.data_ref().is_some_and(|bytes| bytes.ends_with(b"\n")) {
            break;
        }
    }
    ready.wait().await;
    let mut times = Vec::new();
    let mut lines = 0;
    while lines < changes {
        let frame = body.frame().await.context("a watch ended")??;
        let Some(bytes) = frame.data_ref() else { continue };
        for _ in bytes.iter().filter(|byte| **byte == b'\n') {
            let at = sent.lock().unwrap_or_else(PoisonError::into_inner).get(lines).copied();
            times.push(millis(at.context("an event came before its change")?));
            lines += 1;
        }
    }
    Ok(times)
}

fn watched() -> String {
    format!("{PODS}?watch=true&fieldSelector=metadata.name%3D{CHANGED}")
}

/// Deliveries a second when changes come as fast as they can be made.
fn burst(runtime: &Runtime, hub: &Hub, watchers: usize, changes: usize) -> Result<()> {
    let (sent, ready) = (Arc::new(Mutex::new(vec![Instant::now(); changes])), Arc::new(Barrier::new(watchers + 1)));
    let seconds = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for client in connections(&hub.admin, watchers).await? {
            tasks.spawn(watch(client, ready.clone(), sent.clone(), changes));
        }
        ready.wait().await;
        let mut client = hub.admin.connect().await?;
        let began = Instant::now();
        for number in 0..changes {
            let patch = format!("{{\"metadata\":{{\"annotations\":{{\"burst\":\"{number}\"}}}}}}");
            let headers = [("content-type", "application/merge-patch+json")];
            let path = format!("{PODS}/{CHANGED}");
            let (status, _) = client.send_with(Method::PATCH, &path, &headers, Bytes::from(patch)).await?;
            if status != StatusCode::OK {
                bail!("a patch was answered with {status}");
            }
        }
        while let Some(done) = tasks.join_next().await {
            done.context("a watcher panicked")??;
        }
        Ok(began.elapsed().as_secs_f64())
    })?;
    let deliveries = watchers * changes;
    let name = format!("deliveries to {watchers} watchers of changes without a pause");
    Figure::new(name, deliveries as f64 / seconds, "1/s", deliveries).print();
    Ok(())
}
