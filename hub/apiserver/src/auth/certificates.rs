//! Client certificates: the common name is the user, organizations are groups.

use crate::pki::client_identity;
use async_trait::async_trait;
use holdfast_core::{Gvr, Reason, Status, Target, UserInfo};
use holdfast_server::{Authenticator, Credentials, Registry, RequestContext};
use std::sync::Arc;

/// Reads certificates that TLS has verified against the cluster CA.
///
/// A node's certificate is good for as long as the Node that it was issued to exists and is not revoked. One that the API's
/// signers issued names no Node by UID: it is good for the name, unless that Node is revoked.
pub struct Certificates {
    registry: Arc<dyn Registry>,
}

impl Certificates {
    /// Over the Nodes of `registry`.
    pub fn new(registry: Arc<dyn Registry>) -> Certificates {
        Certificates { registry }
    }

    async fn is_live(&self, name: &str, uid: Option<&str>) -> Result<bool, Status> {
        let at = Target::object(Gvr::new("", "v1", "nodes"), "", name);
        let cx = RequestContext::new(UserInfo::new("system:apiserver", &[]), "node-certificate");
        match self.registry.get(&cx, &at).await {
            Ok(node) => Ok(uid.is_none_or(|uid| node.meta.uid == uid) && !node.meta.is_revoked()),
            Err(status) if status.is(Reason::NotFound) => Ok(uid.is_none()),
            Err(status) => Err(status),
        }
    }
}

#[async_trait]
impl Authenticator for Certificates {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, Status> {
        // A certificate without a user (a node's TLS stack may send any) proves nobody.
        let Some(identity) = credentials.client_certificates.first().and_then(|leaf| client_identity(leaf)) else {
            return Ok(None);
        };
        let (user, node) = (identity.user(), identity.node());
        if let Some(name) = user.node_name()
            && !self.is_live(name, node.as_ref().map(|node| node.uid.as_str())).await?
        {
            return Err(Status::unauthorized());
        }
        Ok(Some(user))
    }
}
