//! Durable creates of pods.

use super::etcd::Etcd;
use super::load::{connections, create, gather, millis, pod};
use crate::figure::{Figure, median, percentile};
use crate::hub::Hub;
use anyhow::Result;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Creates by so many writers, each on a connection of its own; before and after it the same by etcd.
pub(super) fn measure(runtime: &Runtime, hub: &Hub, etcd: Option<&Etcd>, writers: usize, time: Duration) -> Result<()> {
    // Half of the baseline before and half after: what else the machine does changes in minutes.
    let by_etcd = |half: &str| -> Result<Option<(Vec<f64>, f64)>> {
        etcd.map(|etcd| etcd.puts(runtime, writers, time / 2, half)).transpose()
    };
    let first = by_etcd("a")?;
    let (times, seconds) = runtime.block_on(async {
        let clients = connections(&hub.admin, writers).await?;
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for (writer, mut client) in clients.into_iter().enumerate() {
            tasks.spawn(async move {
                let mut times = Vec::new();
                while began.elapsed() < time {
                    let one = Instant::now();
                    create(&mut client, &format!("of-{writers}-{writer}-{}", times.len())).await?;
                    times.push(millis(one));
                }
                Ok(times)
            });
        }
        gather(tasks, began).await
    })?;
    let second = by_etcd("b")?;
    let name = format!("durable creates of pods of {} B, writers: {writers}", pod("of-00-00-000000").len());
    let figure = Figure::new(&name, times.len() as f64 / seconds, "1/s", times.len());
    let baseline = first.zip(second).map(|((mut one, seconds), (other, more))| {
        one.extend(other);
        (one, seconds + more)
    });
    let puts = "etcd, puts of the same bytes by as many clients";
    match &baseline {
        Some((puts_times, seconds)) => figure.beside(puts, puts_times.len() as f64 / seconds).print(),
        None => figure.print(),
    }
    for (part, of) in [("median", &median as &dyn Fn(&[f64]) -> f64), ("p99", &|all| percentile(all, 0.99))] {
        let figure = Figure::new(format!("{name}: {part}"), of(&times), "ms", times.len());
        match &baseline {
            Some((puts_times, _)) => figure.beside(puts, of(puts_times)).print(),
            None => figure.print(),
        }
    }
    Ok(())
}
