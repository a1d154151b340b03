//! Resetting a node's time floor: the one way for a node's time to fall.
//!
//! A hub whose clock was years ahead has lifted the floors of its nodes, and with them the moment by which they
//! judge the hub's certificate. The node then asks over a connection that proves only the CA (as a join does, and
//! with the dates of certificates ignored); the answer is good because the CA itself has signed it, for this node
//! and this question: neither a stolen certificate of the hub nor an old answer can make a node young.

use crate::framed::{FrameRecv, LinkError, send};
use crate::identity::NodeIdentity;
use bytes::Bytes;
use holdfast_env::{Connection, World};
use holdfast_link_engine::wire::{TimeResetReply, TimeResetRequest};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use std::sync::Arc;
use std::time::Duration;

/// How long the node waits for the hub.
const ANSWER: Duration = Duration::from_secs(20);
/// First bytes of what the CA signs; nothing else that it signs begins so (certificates are DER sequences).
const DOMAIN: &[u8] = b"holdfast time reset 1\n";

/// Why the floor was not reset.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TimeResetError {
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The hub said no.
    #[error("the hub refused to reset the time: {code}: {reason}")]
    Refused {
        /// For programs.
        code: String,
        /// For people.
        reason: String,
    },
    /// The answer is not the CA's answer to this question.
    #[error("the hub's time reset is not signed by the cluster's CA for this node and this request")]
    NotSigned,
}

/// What the CA signs.
pub fn message(node_uid: &str, nonce: u128, time_micros: i64) -> Vec<u8> {
    let mut message = DOMAIN.to_vec();
    message.extend_from_slice(&nonce.to_le_bytes());
    message.extend_from_slice(&time_micros.to_le_bytes());
    message.extend_from_slice(node_uid.as_bytes());
    message
}

/// Whether one of the cluster's CAs (`roots`, DER; ECDSA on P-256, as the hub makes them) signed this reset.
pub fn is_signed(roots: &[Vec<u8>], node_uid: &str, nonce: u128, time_micros: i64, signature: &[u8]) -> bool {
    let message = message(node_uid, nonce, time_micros);
    roots.iter().any(|root| {
        x509_parser::parse_x509_certificate(root).is_ok_and(|(_, ca)| {
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &*ca.public_key().subject_public_key.data);
            key.verify(&message, signature).is_ok()
        })
    })
}

/// Asks for the time over a connection made with [`crate::tls::join_config`]: since 1970, fresh, and signed.
///
/// # Errors
/// See [`TimeResetError`].
pub async fn ask(
    env: &World,
    connection: &Arc<dyn Connection>,
    identity: &NodeIdentity,
) -> Result<Duration, TimeResetError> {
    let mut nonce = [0; 16];
    env.fill_random(&mut nonce);
    let nonce = u128::from_le_bytes(nonce);
    let exchange = async {
        let (mut sender, receiver) = connection.open_bi().await.map_err(LinkError::Net)?;
        send(&mut sender, &TimeResetRequest { node_uid: identity.node_uid.clone(), nonce }).await?;
        FrameRecv::new(receiver).expect::<TimeResetReply>().await
    };
    let reply = env.timeout(ANSWER, exchange).await.ok_or(LinkError::Timeout)?;
    connection.close("asked for the time");
    match reply? {
        TimeResetReply::Refused { code, reason } => Err(TimeResetError::Refused { code, reason }),
        TimeResetReply::Reset { time_micros, signature } => {
            let micros = u64::try_from(time_micros).map_err(|_| TimeResetError::NotSigned)?;
            if !is_signed(&identity.roots, &identity.node_uid, nonce, time_micros, &signature) {
                return Err(TimeResetError::NotSigned);
            }
            Ok(Duration::from_micros(micros))
        }
    }
}

/// The hub's answer for `request` at `time_micros`, signed by `sign`.
///
/// # Errors
/// The signer's.
pub fn answer(
    request: &TimeResetRequest,
    time_micros: i64,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, String>,
) -> Result<TimeResetReply, String> {
    let signature = sign(&message(&request.node_uid, request.nonce, time_micros))?;
    Ok(TimeResetReply::Reset { time_micros, signature: Bytes::from(signature) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::SigningKey;

    #[test]
    fn only_the_cas_word_for_this_node_nonce_and_time_counts() {
        let authority = || {
            let key = rcgen::KeyPair::generate().unwrap();
            (rcgen::CertificateParams::default().self_signed(&key).unwrap().der().to_vec(), key)
        };
        let (ca, key) = authority();
        let (other, _) = authority();
        let request = TimeResetRequest { node_uid: "uid-1".into(), nonce: 7 };
        let reply = answer(&request, 5, |message| key.sign(message).map_err(|err| err.to_string())).unwrap();
        let TimeResetReply::Reset { time_micros, signature } = reply else { panic!("{reply:?}") };
        let roots = [other.clone(), ca];
        assert!(is_signed(&roots, "uid-1", 7, time_micros, &signature));
        assert!(!is_signed(&roots, "uid-2", 7, time_micros, &signature), "another node's");
        assert!(!is_signed(&roots, "uid-1", 8, time_micros, &signature), "an old answer");
        assert!(!is_signed(&roots, "uid-1", 7, time_micros + 1, &signature), "another time");
        assert!(!is_signed(&[other], "uid-1", 7, time_micros, &signature), "another CA");
        assert!(!is_signed(&roots, "uid-1", 7, time_micros, &signature[1..]));
    }
}
