//! Client certificates: the common name is the user, organizations are groups.

use crate::pki::client_identity;
use async_trait::async_trait;
use holdfast_core::{Status, UserInfo};
use holdfast_server::{Authenticator, Credentials};

/// Reads certificates that TLS has verified against the cluster CA.
pub struct Certificates;

#[async_trait]
impl Authenticator for Certificates {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, Status> {
        let Some(leaf) = credentials.client_certificates.first() else { return Ok(None) };
        // A certificate without a user (a node's TLS stack may send any) proves nobody.
        Ok(client_identity(leaf).map(|identity| identity.user()))
    }
}
