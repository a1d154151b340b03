//! Renewing: an identity becomes its successor, with a new key.
//!
//! TLS has proven the old key when a request arrives; the request is signed by the new one. A node whose
//! certificate is valid asks on a stream of its session; one whose certificate has expired within the grace gets
//! a connection on which this is all that it may do ([`serve_expired`]).

use crate::framed::{FrameRecv, LinkError, opening, send};
use crate::identity::{NodeIdentity, node_of, request};
use crate::tls::leads_to;
use bytes::Bytes;
use holdfast_core::{Lineage, Session};
use holdfast_env::{Connection, SendStream, World};
use holdfast_link_engine::Stream;
use holdfast_link_engine::wire::{Open, Refuse, RenewReply, RenewRequest};
use std::sync::Arc;
use std::time::Duration;

/// How long either side waits for the other.
pub(crate) const ANSWER: Duration = Duration::from_secs(20);
/// How long the hub lets a node read its last answer.
const LINGER: Duration = Duration::from_secs(5);

/// The code of the refusal that a node gets whose certificate has expired within the grace, when it asks for
/// anything but its renewal.
pub const CERTIFICATE_EXPIRED: &str = "CertificateExpired";

/// What a node reads whose certificate has expired for longer than the grace.
pub const EXPIRED_FOR_GOOD: &str = "this node's certificate has expired for longer than the hub's \
    node-certificate-grace; delete the Node and join again with a new token";

/// Why a renewal did not work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RenewError {
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The hub said no.
    #[error("the hub refused to renew the certificate: {code}: {reason}")]
    Refused {
        /// For programs.
        code: String,
        /// For people.
        reason: String,
    },
    /// Keys or certificates, here or of the hub's answer.
    #[error("the renewal failed: {0}")]
    Tls(String),
}

/// Asks for a successor of `identity` on a connection that was made with it. `lineage` and `session` are the last
/// that the node made durable.
///
/// # Errors
/// See [`RenewError`]. An answer that does not fit the identity is not taken.
pub async fn renew(
    env: &World,
    connection: &Arc<dyn Connection>,
    identity: &NodeIdentity,
    lineage: Lineage,
    session: Session,
) -> Result<NodeIdentity, RenewError> {
    let tls = |err: crate::tls::TlsError| RenewError::Tls(err.to_string());
    let (key, csr) = request(env, &identity.node_name).map_err(tls)?;
    let asked = RenewRequest { lineage, session, csr: Bytes::from(csr) };
    let exchange = async {
        let (mut sender, receiver) = connection.open_bi().await.map_err(LinkError::Net)?;
        sender.write(opening(Stream::Renew)).await.map_err(LinkError::Net)?;
        send(&mut sender, &asked).await?;
        FrameRecv::new(receiver).expect::<RenewReply>().await
    };
    let (chain, roots) = match env.timeout(ANSWER, exchange).await.ok_or(LinkError::Timeout)?? {
        RenewReply::Refused { code, reason } => return Err(RenewError::Refused { code, reason }),
        RenewReply::Renewed { chain, roots } => (chain, roots),
    };
    let bytes = |all: Vec<Bytes>| all.iter().map(|der| der.to_vec()).collect::<Vec<_>>();
    let next = NodeIdentity { key: key.serialize_der(), chain: bytes(chain), roots: bytes(roots), ..identity.clone() };
    // The only copy of the old identity is about to be replaced by this one.
    let leaf = next.chain.first().ok_or_else(|| RenewError::Tls("the hub sent no certificate".into()))?;
    if node_of(leaf).map_err(tls)? != (next.node_uid.clone(), next.node_name.clone()) {
        return Err(RenewError::Tls("the hub sent another node's certificate".into()));
    }
    if public_key(leaf).map_err(tls)? != rcgen::PublicKeyData::der_bytes(&key) {
        return Err(RenewError::Tls("the hub certified another key".into()));
    }
    leads_to(&next.chain, &next.roots).map_err(tls)?;
    Ok(next)
}

fn public_key(certificate: &[u8]) -> Result<Vec<u8>, crate::tls::TlsError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|err| crate::tls::TlsError::Certificate(format!("cannot be parsed: {err}")))?;
    Ok(parsed.public_key().subject_public_key.data.to_vec())
}

/// Serves the one thing that a connection with an expired certificate may do: one stream with one request. Any
/// other stream is refused with [`CERTIFICATE_EXPIRED`], and the connection ends with the answer.
///
/// # Errors
/// The link's.
pub async fn serve_expired<F, Fut>(env: &World, connection: &Arc<dyn Connection>, decide: F) -> Result<(), LinkError>
where
    F: FnOnce(RenewRequest) -> Fut + Send,
    Fut: Future<Output = RenewReply> + Send,
{
    let exchange = async {
        let (mut sender, receiver) = connection.accept_bi().await?;
        let mut frames = FrameRecv::of_stranger(receiver);
        match frames.expect::<Open>().await?.stream {
            Stream::Renew => serve_request(&mut sender, &mut frames, decide).await,
            _ => {
                let reason = "this node's certificate has expired; it is only good for its renewal".to_string();
                send(&mut sender, &Refuse { code: CERTIFICATE_EXPIRED.into(), reason }).await?;
                Ok(sender.finish().await?)
            }
        }
    };
    let done = env.timeout(ANSWER, exchange).await.unwrap_or(Err(LinkError::Timeout));
    // The node closes when it has read the answer.
    env.timeout(LINGER, connection.closed()).await;
    connection.close("an expired certificate is only good for one renewal");
    done
}

/// Serves a renewal stream after its opening frame.
pub(crate) async fn serve_request<F, Fut>(
    sender: &mut Box<dyn SendStream>,
    frames: &mut FrameRecv,
    decide: F,
) -> Result<(), LinkError>
where
    F: FnOnce(RenewRequest) -> Fut + Send,
    Fut: Future<Output = RenewReply> + Send,
{
    let request: RenewRequest = frames.expect().await?;
    send(sender, &decide(request).await).await?;
    Ok(sender.finish().await?)
}
