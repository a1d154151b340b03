//! Joining: a bootstrap token and a name become a Node object and a certificate.

use crate::hub_links::{NODE_TRIES, NodeIssuer, Shared, as_hub};
use crate::sessions::was_ready;
use crate::{certificates, time_reset};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::{Gvr, NodeUid, Object, Reason, Status, Target, names};
use holdfast_link::join::Doorkeeper;
use holdfast_link_engine::wire::{JoinReply, JoinRequest, TimeResetReply, TimeResetRequest};
use holdfast_server::{Operation, Reply};
use serde_json::json;
use std::sync::Arc;

/// Decides for those who come without a certificate.
pub(crate) struct Door<'a>(pub(crate) &'a Shared);

#[async_trait]
impl Doorkeeper for Door<'_> {
    async fn join(&self, request: JoinRequest) -> JoinReply {
        decide(self.0, &*self.0.issuer, request).await
    }

    async fn time_reset(&self, request: TimeResetRequest) -> TimeResetReply {
        time_reset::decide(self.0, request).await
    }
}

/// Decides a join.
pub(crate) async fn decide(shared: &Shared, issuer: &dyn NodeIssuer, request: JoinRequest) -> JoinReply {
    match join(shared, issuer, &request).await {
        Ok(reply) => {
            tracing::info!(node = request.node_name, token = request.token_id, "Node joined");
            reply
        }
        Err(reason) => {
            tracing::warn!(node = request.node_name, token = request.token_id, reason, "Join refused");
            JoinReply::Refused { reason }
        }
    }
}

async fn join(shared: &Shared, issuer: &dyn NodeIssuer, request: &JoinRequest) -> Result<JoinReply, String> {
    // The token first: a stranger learns nothing about names.
    issuer.check_token(&request.token_id, &request.token_secret).await?;
    if let Some(problem) = names::dns_subdomain(&request.node_name).into_iter().next() {
        return Err(format!("the node name {:?} is invalid: {problem}", request.node_name));
    }
    let node = node_object(shared, &request.node_name).await?;
    let uid = node.meta.uid.clone();
    let chain = issuer.sign(&request.csr, &request.node_name, &uid)?;
    let leaf = chain.first().ok_or("the hub's CA gave no certificate")?;
    let mut tries = NODE_TRIES;
    loop {
        let alive = shared.live(&request.node_name, &uid).await.map_err(|refusal| refusal.reason)?;
        let noted = certificates::issued(&*shared.store, &NodeUid(uid.clone()), &alive, leaf).await;
        if noted.map_err(|err| err.to_string())? {
            break;
        }
        tries = tries.checked_sub(1).ok_or("the Node changes too often; try again")?;
    }
    Ok(JoinReply::Joined {
        node_uid: uid,
        chain: chain.into_iter().map(Bytes::from).collect(),
        roots: issuer.roots().into_iter().map(Bytes::from).collect(),
    })
}

/// The Node object of this name: made now, or one that no machine has ever connected as.
async fn node_object(shared: &Shared, name: &str) -> Result<Arc<Object>, String> {
    let nodes = Gvr::new("", "v1", "nodes");
    let text = |status: Status| status.message().to_string();
    let body = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
    });
    let create = Operation::Create { body, options: as_hub() };
    match shared.call(Target::collection(nodes.clone(), ""), create).await {
        Ok(Reply::Object { object, .. }) => Ok(object),
        Ok(_) => Err("creating the node gave no object".into()),
        Err(status) if status.is(Reason::AlreadyExists) => {
            let node = shared.get(Target::object(nodes, "", name)).await.map_err(text)?;
            if node.meta.is_revoked() {
                return Err(format!("node {name:?} is revoked; run `kubectl delete node {name}` and join again"));
            }
            let used =
                was_ready(&*shared.store, &NodeUid(node.meta.uid.clone())).await.map_err(|err| err.to_string())?;
            if used {
                return Err(format!(
                    "node {name:?} already exists; if its machine is gone for good, run `kubectl delete node {name}` and join again"
                ));
            }
            Ok(node)
        }
        Err(status) => Err(text(status)),
    }
}
