//! `node revoke|restore`: the annotation `edge.holdfast.io/revoked` of a Node, through the running hub's API.

use crate::remote::Remote;
use anyhow::bail;
use holdfast_core::meta::REVOKED;
use serde_json::json;
use std::path::Path;

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
