//! The endpoint of the Service `kubernetes`: how pods reach the API.

use super::Shared;
use anyhow::Context;
use holdfast_apiserver::ApiServer;
use holdfast_controller::Client;
use holdfast_core::{Gvr, Json, Patch, PatchType, Reason, Target, UserInfo, user};
use serde_json::json;
use std::net::IpAddr;

/// Name of the Service, of its EndpointSlice and of its Endpoints, as upstream has it.
const NAME: &str = "kubernetes";

/// Makes the EndpointSlice, and the Endpoints for old clients, say where the API is. Without an address that nodes can reach
/// there is none, and the log says so.
pub(crate) async fn publish(shared: &Shared<'_>, server: &ApiServer, port: u16) -> anyhow::Result<()> {
    let listen = shared.config.listen.ip();
    let reachable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_loopback();
    let address = shared.config.advertise_addresses.iter().copied().chain([listen]).find(reachable);
    let Some(address) = address else {
        tracing::warn!("Pods cannot reach the API: give an address of this hub with --advertise");
        return Ok(());
    };
    let client = server.client(UserInfo::new("system:apiserver", &[user::MASTERS]));
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": NAME, "namespace": "default", "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
        "ports": ports,
    });
    put(&*client, Gvr::new("discovery.k8s.io", "v1", "endpointslices"), slice).await?;
    // The slice stands already: nobody is to make another one of these.
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": NAME, "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address.to_string()}], "ports": ports}],
    });
    put(&*client, Gvr::new("", "v1", "endpoints"), endpoints).await
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
