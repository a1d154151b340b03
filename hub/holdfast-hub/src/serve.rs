//! `serve`: what starts in which order, and how it ends.

use crate::config::Config;
use crate::data_dir::{self, DataFolder};
use crate::logging;
use crate::parts::Hub;
use anyhow::Context;
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long requests may take to finish once the hub is asked to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// Open files that the hub asks for: connections, store, links.
const OPEN_FILES: u64 = 65_536;

/// Runs the hub until it is told to stop.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    let started = Instant::now();
    logging::start();
    raise_open_files();
    let folder = DataFolder::open(&config.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let served = runtime.block_on(serve(config, &folder, started));
    // Blocking calls under way (none that matters: the store is closed) must not hold up the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn serve(config: Config, folder: &DataFolder, started: Instant) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let api_listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("listen on --listen {}", config.listen))?;
    // Taken before anything is written; the link binds it again with its own options.
    UdpSocket::bind(config.link_listen).with_context(|| format!("listen on --link-listen {}", config.link_listen))?;
    // An etcd that is not there yet is waited for, for as long as it takes.
    let hub = tokio::select! {
        hub = Hub::start(&config, folder, api_listener) => hub?,
        () = asked(&mut terminate, &mut interrupt) => {
            tracing::info!("Stopped before it was ready");
            return Ok(());
        }
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        api = %hub.api_address(),
        link = %hub.link_address().unwrap_or(config.link_listen),
        data_dir = %folder.path().display(),
        kubeconfig = %data_dir::kubeconfig(folder.path()).display(),
        took_ms = started.elapsed().as_millis() as u64,
        "Hub is ready"
    );
    asked(&mut terminate, &mut interrupt).await;
    let drained = hub.stop(DRAIN).await;
    tracing::info!(drained, "Stopped");
    Ok(())
}

async fn asked(terminate: &mut Signal, interrupt: &mut Signal) {
    let asked_by = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(asked_by, "Stopping");
}

fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(err) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%err, wanted, "Could not raise the limit of open files");
        }
    }
}
