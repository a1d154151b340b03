//! `node revoke|restore` (the annotation `edge.holdfast.io/revoked` of a Node) and `time-reset` (a ConfigMap), through
//! the running hub's API.

use crate::remote::Remote;
use anyhow::bail;
use holdfast_core::Timestamp;
use holdfast_core::meta::REVOKED;
use holdfast_links::time_reset::{CONFIG_MAP, NAMESPACE};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Revokes a node's certificates, or takes that back.
pub(crate) async fn set_revoked(data_dir: &Path, name: &str, revoked: bool) -> anyhow::Result<()> {
    if !holdfast_core::names::dns_subdomain(name).is_empty() {
        bail!("{name:?} is no node name");
    }
    let value = if revoked { json!("true") } else { json!(null) };
    let patch = json!({"metadata": {"annotations": {REVOKED: value}}});
    Remote::open(data_dir)?.call("PATCH", &format!("/api/v1/nodes/{name}"), Some(&patch)).await?;
    eprintln!("The certificates of node {name} are {}.", if revoked { "revoked" } else { "good again" });
    Ok(())
}

/// Allows nodes to take their time floor down for `period` from now.
pub(crate) async fn allow_time_reset(data_dir: &Path, period: Duration) -> anyhow::Result<()> {
    let remote = Remote::open(data_dir)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let until = Timestamp::from_wall(now).after(period).to_string();
    let document = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
        "data": {"until": until},
    });
    let all = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let there = remote.call("GET", &format!("{all}?fieldSelector=metadata.name%3D{CONFIG_MAP}"), None).await?;
    if holdfast_core::json::items_at(&there, &["items"]).is_empty() {
        remote.call("POST", &all, Some(&document)).await?;
    } else {
        remote.call("PATCH", &format!("{all}/{CONFIG_MAP}"), Some(&document)).await?;
    }
    eprintln!("Nodes that ask may take their time floor down until {until}.");
    Ok(())
}
