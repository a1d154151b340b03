//! Who may ask the node: the holder of its local client certificate, and nobody else.

use async_trait::async_trait;
use holdfast_core::{Status, UserInfo};
use holdfast_server::{Attributes, Authenticator, Authorizer, Credentials, Decision};

/// The one user of a node's own API.
pub const LOCAL_ADMIN: &str = "holdfast:local-admin";

/// Knows the local administrator, and lets nobody else in. The node's local CA has signed one client certificate
/// and its key is gone, so that a certificate which TLS has verified against it is the administrator's.
pub struct LocalAccess;

#[async_trait]
impl Authenticator for LocalAccess {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, Status> {
        Ok((!credentials.client_certificates.is_empty()).then(|| UserInfo::new(LOCAL_ADMIN, &[])))
    }
}

#[async_trait]
impl Authorizer for LocalAccess {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.name != LOCAL_ADMIN {
            return Decision::NoOpinion("only this node's local administrator may ask here".into());
        }
        match attributes.verb {
            "impersonate" => Decision::Deny("nobody can be impersonated here".into()),
            // Writes pass too: the kinds refuse them, with a better text than a refusal of rights would have.
            _ => Decision::Allow,
        }
    }
}
