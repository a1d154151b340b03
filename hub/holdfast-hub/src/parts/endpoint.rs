//! The endpoints of the Service `kubernetes`: how pods reach the API.

use crate::config::Config;
use anyhow::Context;
use holdfast_controller::Client;
use holdfast_core::{Gvr, Json, Patch, PatchType, Reason, Target};
use holdfast_env::World;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Name of the Service, of its EndpointSlice and of its Endpoints, as upstream has it.
const NAME: &str = "kubernetes";
/// Between two tries to write them.
const AGAIN: Duration = Duration::from_secs(5);

/// Where pods reach this hub's API. Without an address that nodes can reach there is none, and the log says so.
pub(crate) fn reachable(config: &Config, port: u16) -> Option<SocketAddr> {
    let listen = config.listen.ip();
    let reachable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_loopback();
    let address = config.advertise_addresses.iter().copied().chain([listen]).find(reachable);
    if address.is_none() {
        tracing::warn!("Pods cannot reach the API: give an address of this hub with --advertise");
    }
    Some(SocketAddr::new(address?, port))
}

/// Keeps the endpoints at what `apis` says until dropped.
pub(crate) async fn follow(world: World, client: Arc<dyn Client>, mut apis: watch::Receiver<BTreeSet<SocketAddr>>) {
    loop {
        let there = apis.borrow_and_update().clone();
        if let Err(err) = publish(&*client, &there).await {
            tracing::warn!(err = format!("{err:#}"), "Could not publish where the API is");
            world.sleep(AGAIN).await;
            continue;
        }
        if apis.changed().await.is_err() {
            return;
        }
    }
}

/// Makes the EndpointSlice, and the Endpoints for old clients, say where the API is. All hubs are to listen on one port, and by
/// addresses of one family: what differs from the first is left out, as a slice has one of each.
pub(crate) async fn publish(client: &dyn Client, apis: &BTreeSet<SocketAddr>) -> anyhow::Result<()> {
    let Some(first) = apis.first() else { return Ok(()) };
    let alike = |api: &&SocketAddr| api.port() == first.port() && api.is_ipv4() == first.is_ipv4();
    let addresses: Vec<String> = apis.iter().filter(alike).map(|api| api.ip().to_string()).collect();
    if addresses.len() < apis.len() {
        tracing::warn!(?apis, "Pods do not reach all hubs: their ports or families of addresses differ");
    }
    let ports = json!([{"name": "https", "port": first.port(), "protocol": "TCP"}]);
    let endpoint = |address: &String| json!({"addresses": [address], "conditions": {"ready": true}});
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": NAME, "namespace": "default", "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": if first.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": addresses.iter().map(endpoint).collect::<Json>(),
        "ports": ports,
    });
    put(client, Gvr::new("discovery.k8s.io", "v1", "endpointslices"), slice).await?;
    // The slice stands already: nobody is to make another one of these.
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": NAME, "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": addresses.iter().map(|ip| json!({"ip": ip})).collect::<Json>(), "ports": ports}],
    });
    put(client, Gvr::new("", "v1", "endpoints"), endpoints).await
}

async fn put(client: &dyn Client, gvr: Gvr, doc: Json) -> anyhow::Result<()> {
    match client.create(&Target::collection(gvr.clone(), "default"), doc.clone()).await {
        Err(status) if status.is(Reason::AlreadyExists) => {
            let patch = Patch { patch_type: PatchType::Merge, body: doc };
            let at = Target::object(gvr, "default", NAME);
            client.patch(&at, patch).await.map(|_| ()).context("update the API's endpoint")
        }
        other => other.map(|_| ()).context("publish the API's endpoint"),
    }
}
