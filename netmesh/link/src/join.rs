//! Joining: a token becomes an identity.
//!
//! The token is `ID.SECRET.CAHASH` (bootstrap-token semantics with the CA pinned). One stream, one question,
//! one answer; the hub closes.

use crate::framed::{FrameRecv, LinkError, send};
use crate::identity::{NodeIdentity, ca_hash};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_env::{Connection, World};
use holdfast_link_engine::wire::{JoinReply, JoinRequest, Payload, TimeResetReply, TimeResetRequest};
use std::sync::Arc;
use std::time::Duration;

/// How long either side waits for the other.
const ANSWER: Duration = Duration::from_secs(20);

/// The token was made by another hub.
pub const OTHER_CA: &str =
    "the hub's CA is not the one that the token names; make a token on that hub with `holdfast-hub token create`";

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Public part: six characters of `[a-z0-9]`.
    pub id: String,
    /// Secret part: sixteen characters of `[a-z0-9]`.
    pub secret: String,
    /// `sha256:<hex>` of the CA's public key.
    pub ca_hash: String,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinToken({}, …)", self.id)
    }
}

impl JoinToken {
    /// Reads `ID.SECRET.CAHASH`.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub fn parse(text: &str) -> Result<JoinToken, String> {
        let mut parts = text.trim().splitn(3, '.');
        let (Some(id), Some(secret), Some(hash)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("the join token must have the form ID.SECRET.CAHASH".into());
        };
        let is_part = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if !is_part(id, 6) || !is_part(secret, 16) {
            return Err("the join token's ID must be 6 and its SECRET 16 characters of a-z and 0-9".into());
        }
        let hex = hash.strip_prefix("sha256:").unwrap_or(hash);
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("the join token's CAHASH must be the 64 hex digits of a SHA-256".into());
        }
        Ok(JoinToken { id: id.into(), secret: secret.into(), ca_hash: format!("sha256:{}", hex.to_lowercase()) })
    }
}

/// Why a join did not work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JoinError {
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The hub said no.
    #[error("the hub refused the join: {0}")]
    Refused(String),
    /// Keys or certificates.
    #[error("the join failed: {0}")]
    Tls(String),
}

/// Asks for an identity over a connection made with [`crate::tls::join_config`].
///
/// # Errors
/// See [`JoinError`].
pub async fn join(
    env: &World,
    connection: &Arc<dyn Connection>,
    token: &JoinToken,
    node_name: &str,
) -> Result<NodeIdentity, JoinError> {
    let (key, csr) = crate::identity::request(env, node_name).map_err(|err| JoinError::Tls(err.to_string()))?;
    let request = JoinRequest {
        token_id: token.id.clone(),
        token_secret: token.secret.clone(),
        node_name: node_name.to_string(),
        csr: Bytes::from(csr),
    };
    let exchange = async {
        let (mut sender, receiver) = connection.open_bi().await.map_err(LinkError::Net)?;
        send(&mut sender, &request).await?;
        FrameRecv::new(receiver).expect::<JoinReply>().await
    };
    let reply = env.timeout(ANSWER, exchange).await.ok_or(LinkError::Timeout)??;
    connection.close("joined");
    match reply {
        JoinReply::Refused { reason } => Err(JoinError::Refused(reason)),
        JoinReply::Joined { node_uid, chain, roots } => {
            let roots: Vec<Vec<u8>> = roots.iter().map(|der| der.to_vec()).collect();
            if !roots.iter().any(|root| ca_hash(root).is_ok_and(|hash| hash == token.ca_hash)) {
                return Err(JoinError::Tls(OTHER_CA.into()));
            }
            Ok(NodeIdentity {
                node_uid,
                node_name: node_name.to_string(),
                key: key.serialize_der(),
                chain: chain.iter().map(|der| der.to_vec()).collect(),
                roots,
            })
        }
    }
}

/// What the hub decides for whoever comes without a certificate.
#[async_trait]
pub trait Doorkeeper: Send + Sync {
    /// A machine wants to become a node.
    async fn join(&self, request: JoinRequest) -> JoinReply;
    /// A node wants its time floor taken down.
    async fn time_reset(&self, request: TimeResetRequest) -> TimeResetReply;
}

/// Serves one connection of [`ALPN_JOIN`](holdfast_link_engine::wire::ALPN_JOIN) on the hub: one question, one
/// answer.
///
/// # Errors
/// The link's.
pub async fn serve_join(
    env: &World,
    connection: &Arc<dyn Connection>,
    doorkeeper: &dyn Doorkeeper,
) -> Result<(), LinkError> {
    let exchange = async {
        let (mut sender, receiver) = connection.accept_bi().await?;
        let frame = FrameRecv::of_stranger(receiver).next().await?.ok_or(LinkError::Ended)?;
        if frame.kind == TimeResetRequest::KIND {
            send(&mut sender, &doorkeeper.time_reset(frame.decode()?).await).await?;
        } else {
            send(&mut sender, &doorkeeper.join(frame.decode()?).await).await?;
        }
        sender.finish().await?;
        Ok::<(), LinkError>(())
    };
    let done = env.timeout(ANSWER, exchange).await.unwrap_or(Err(LinkError::Timeout));
    // The node closes when it has read the answer.
    env.timeout(Duration::from_secs(5), connection.closed()).await;
    connection.close("answered");
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_or_explained() {
        let hash = "ab".repeat(32);
        let token = JoinToken::parse(&format!("abc123.0123456789abcdef.{hash}\n")).unwrap();
        assert_eq!(token.ca_hash, format!("sha256:{hash}"));
        assert!(JoinToken::parse("abc").unwrap_err().contains("ID.SECRET.CAHASH"));
        assert!(JoinToken::parse(&format!("ABC123.0123456789abcdef.{hash}")).unwrap_err().contains("6"));
        assert!(JoinToken::parse("abc123.0123456789abcdef.xyz").unwrap_err().contains("64 hex"));
    }
}
