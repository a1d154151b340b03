//! GETs and LISTs.

use super::Pace;
use super::etcd::Etcd;
use super::load::{PODS, connections, gather, millis};
use crate::client::Client;
use crate::figure::{Figure, median, percentile};
use crate::hub::Hub;
use anyhow::{Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const CLIENTS: usize = 64;
/// A pod that the creates by one writer have made.
const ONE: &str = "/api/v1/namespaces/default/pods/of-1-0-0";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// GETs of one pod.
pub(super) fn gets(runtime: &Runtime, hub: &Hub, etcd: Option<&Etcd>, time: Duration) -> Result<()> {
    let (times, seconds) = runtime.block_on(async {
        let clients = connections(&hub.admin, CLIENTS).await?;
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for mut client in clients {
            tasks.spawn(async move {
                let mut times = Vec::new();
                while began.elapsed() < time {
                    let one = Instant::now();
                    let (status, _) = client.send(Method::GET, ONE, Bytes::new()).await?;
                    if status != StatusCode::OK {
                        bail!("a GET was answered with {status}");
                    }
                    times.push(millis(one));
                }
                Ok(times)
            });
        }
        gather(tasks, began).await
    })?;
    let name = format!("GETs of a pod by {CLIENTS} clients");
    let figure = Figure::new(&name, times.len() as f64 / seconds, "1/s", times.len());
    let baseline = etcd.map(|etcd| etcd.gets(runtime, CLIENTS, time)).transpose()?;
    const GETS: &str = "etcd, linearizable gets by as many clients";
    match &baseline {
        Some((gets, seconds)) => figure.beside(GETS, gets.len() as f64 / seconds).print(),
        None => figure.print(),
    }
    for (part, of) in [("median", &median as &dyn Fn(&[f64]) -> f64), ("p99", &|all| percentile(all, 0.99))] {
        let figure = Figure::new(format!("{name}: {part}"), of(&times), "ms", times.len());
        match &baseline {
            Some((gets, _)) => figure.beside(GETS, of(gets)).print(),
            None => figure.print(),
        }
    }
    Ok(())
}

/// LISTs of all pods by one client: as they are, compressed, and as kubectl shows them.
pub(super) fn lists(runtime: &Runtime, hub: &Hub, etcd: Option<&Etcd>, pace: &Pace) -> Result<()> {
    let baseline = etcd.map(|etcd| etcd.list(runtime, pace.listed, pace.lists)).transpose()?;
    let mut client = runtime.block_on(hub.admin.connect())?;
    for (what, accept, encoding) in [
        ("identity", "application/json", "identity"),
        ("gzip", "application/json", "gzip"),
        ("Table", TABLE, "identity"),
    ] {
        let (mut times, mut cpu, mut bytes) = (Vec::new(), Vec::new(), 0);
        for _ in 0..pace.lists {
            let (before, began) = (hub.process.cpu()?, Instant::now());
            bytes = runtime.block_on(list(&mut client, accept, encoding))?;
            times.push(millis(began));
            cpu.push((hub.process.cpu()? - before).as_secs_f64() * 1000.0);
        }
        let name = format!("LIST of {} pods, {what}", pace.listed);
        let figure = Figure::new(&name, median(&times), "ms", times.len());
        match baseline {
            Some(baseline) => figure.beside("etcd, a range over as many values of the same bytes", baseline).print(),
            None => figure.print(),
        }
        Figure::new(format!("{name}: CPU of the hub"), median(&cpu), "ms", cpu.len()).print();
        Figure::new(format!("{name}: body"), bytes as f64 / 1e6, "MB", 1).print();
    }
    Ok(())
}

async fn list(client: &mut Client, accept: &str, encoding: &str) -> Result<usize> {
    let headers = [("accept", accept), ("accept-encoding", encoding)];
    let (status, body) = client.send_with(Method::GET, PODS, &headers, Bytes::new()).await?;
    if status != StatusCode::OK {
        bail!("a LIST was answered with {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body.len())
}
