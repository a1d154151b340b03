//! The listener of the node's own API.
//!
//! Nothing of it is built before somebody connects, and all of it is dropped after a quiet: on a small box it costs
//! a socket. Tasks: one that waits for clients and owns the server while there are some.

use super::keys::{LocalKeys, kubeconfig_path};
use anyhow::Context;
use holdfast_env::{Task, World};
use holdfast_node::commands::Commands;
use holdfast_node::local_api::{self, LocalAccess, LocalRegistry};
use holdfast_server::{Anonymous, Api, ApiService, Health, InFlight, LiveKinds, Server, ServiceConfig};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often an API without connections is looked at; at the second look it is dropped.
const QUIET: Duration = Duration::from_secs(60);
/// How long its last answers may take then.
const DRAIN: Duration = Duration::from_secs(2);
/// The wait after the listener failed.
const RETRY: Duration = Duration::from_secs(5);

/// Listens on `address`, writes the kubeconfig and serves until the task is dropped. A port that is taken, by a pod
/// in the host's network for example, is replaced by a free one: whoever uses the kubeconfig notices nothing.
///
/// # Errors
/// When there is no port, or the keys or the kubeconfig cannot be written.
pub(crate) fn start(
    env: &World,
    address: SocketAddr,
    data_dir: &Path,
    node_name: &str,
    commands: Commands,
) -> anyhow::Result<Task> {
    let keys = LocalKeys::open(env, node_name)?;
    let listener = match TcpListener::bind(address) {
        Ok(listener) => listener,
        Err(err) => {
            tracing::warn!(%address, %err, "The port of the local API is taken; another one is used");
            let any = SocketAddr::new(address.ip(), 0);
            TcpListener::bind(any).with_context(|| format!("the local API cannot listen on {}", address.ip()))?
        }
    };
    listener.set_nonblocking(true).context("the local API cannot listen")?;
    let address = listener.local_addr().context("the local API cannot listen")?;
    let kubeconfig = kubeconfig_path(data_dir);
    keys.write_kubeconfig(&kubeconfig, address)?;
    tracing::info!(%address, kubeconfig = %kubeconfig.display(), "The local API listens");
    let local = Local { env: env.clone(), keys, registry: commands.local_registry(), address, quiet: QUIET };
    Ok(env.spawn("local-api", Box::pin(local.run(listener))))
}

struct Local {
    env: World,
    keys: LocalKeys,
    registry: Arc<LocalRegistry>,
    address: SocketAddr,
    quiet: Duration,
}

impl Local {
    async fn run(self, listener: TcpListener) {
        loop {
            if let Err(err) = self.serve(&listener).await {
                tracing::warn!(err = format!("{err:#}"), "The local API failed and tries again");
                self.env.sleep(RETRY).await;
            }
        }
    }

    /// Waits for a client, serves, and returns after a quiet.
    async fn serve(&self, listener: &TcpListener) -> anyhow::Result<()> {
        let waiting = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        let (first, peer) = waiting.accept().await?;
        drop(waiting);
        let server = self.build(listener.try_clone()?)?;
        server.adopt(first, peer);
        let mut quiet = false;
        loop {
            self.env.sleep(self.quiet).await;
            match (server.connections(), quiet) {
                (0, true) => break,
                (0, false) => quiet = true,
                _ => quiet = false,
            }
        }
        server.shutdown(DRAIN).await;
        self.registry.forget();
        Ok(())
    }

    fn build(&self, listener: TcpListener) -> anyhow::Result<Server> {
        let health = Arc::new(Health::new());
        health.set_ready();
        let service = ApiService::new(ServiceConfig {
            api: Arc::new(Api::new(self.registry.clone(), Arc::new(LocalAccess))),
            authenticators: vec![Arc::new(LocalAccess)],
            anonymous: Anonymous::default(),
            gate: InFlight::default().gate(),
            kinds: LiveKinds::new(local_api::kinds()),
            health,
            world: self.env.clone(),
            advertise: self.address.to_string(),
            documents: Vec::new(),
        });
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok(Server::start(listener, self.keys.tls()?, service, None)?)
    }
}

/// `ADDR:PORT`, or `none`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "none" {
        return Ok(None);
    }
    let address: SocketAddr = text.parse().map_err(|_| "it must have the form ADDR:PORT, or be none".to_string())?;
    if !address.ip().is_loopback() {
        return Err("the local API is for this machine alone: the address must be a loopback one".into());
    }
    Ok(Some(address))
}

/// Port of the local API: next to those of the hub (6443, 6444), and in none of the ranges that NodePorts, the
/// kernel's ephemeral ports and Kubernetes' own components use.
pub(crate) const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6445);

#[cfg(test)]
mod tests;
