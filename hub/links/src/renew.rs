//! Renewing nodes' certificates: who may have a successor, and when.

use crate::certificates;
use crate::hub_links::Shared;
use crate::session::NodeSession;
use crate::sessions::is_behind;
use bytes::Bytes;
use holdfast_core::NodeUid;
use holdfast_env::{Connection, Mono};
use holdfast_link::Refusal;
use holdfast_link::renew::serve_expired;
use holdfast_link_engine::wire::{RenewReply, RenewRequest};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// When each node was last issued a certificate. Kept in memory: after a start of the hub each may ask once more.
pub(crate) struct Renewals {
    interval: Duration,
    last: Mutex<BTreeMap<String, Mono>>,
}

impl Renewals {
    /// One renewal of a node in `interval`.
    pub(crate) fn new(interval: Duration) -> Renewals {
        Renewals { interval, last: Mutex::default() }
    }

    /// Takes the node's turn, if it has one.
    fn take(&self, uid: &str, now: Mono) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(uid).is_some_and(|last| now.since(*last) < self.interval) {
            return false;
        }
        last.insert(uid.to_string(), now);
        true
    }

    /// Forgets all but these UIDs.
    pub(crate) fn retain(&self, keep: impl Fn(&String) -> bool) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| keep(uid));
    }
}

fn refusal(code: &str, reason: impl Into<String>) -> Refusal {
    Refusal { code: code.into(), reason: reason.into() }
}

/// A node asks on a stream of its session.
pub(crate) async fn within_session(shared: &Shared, host: &NodeSession, request: RenewRequest) -> RenewReply {
    let name = host.node_name();
    let decided = match shared.certificate(host, request.session) {
        Some(leaf) => decide(shared, name, &NodeUid(host.node_uid().into()), &leaf, &request).await,
        None => Err(refusal("Replaced", "this is not the node's session, or it is not up yet")),
    };
    answer(name, decided)
}

/// Serves a connection whose certificate has expired within the grace, to its end.
pub(crate) async fn expired(shared: &Shared, connection: &Arc<dyn Connection>, name: &str, uid: &str) {
    let uid = NodeUid(uid.to_string());
    let leaf = connection.peer_certificates().into_iter().next().unwrap_or_default();
    let renewed = AtomicBool::new(false);
    let (leaf, was_renewed) = (&leaf, &renewed);
    let decide = |request: RenewRequest| async move {
        let decided = decide(shared, name, &uid, leaf, &request).await;
        was_renewed.store(decided.is_ok(), Ordering::Relaxed);
        answer(name, decided)
    };
    if let Err(err) = serve_expired(&shared.env, connection, decide).await {
        tracing::debug!(node = name, peer = connection.peer_address(), %err, "A renewal did not finish");
    }
    // After the answer, which a webhook on Events must not keep from the node.
    if renewed.load(Ordering::Relaxed) {
        let message = "The node's certificate had expired; it was renewed within the grace";
        shared.warn_of(name, "CertificateRenewedAfterExpiry", message).await;
    }
}

struct Issued {
    chain: Vec<Vec<u8>>,
    roots: Vec<Vec<u8>>,
}

/// A new certificate for a node that has proven `leaf`'s key, noted as its last.
async fn decide(
    shared: &Shared,
    name: &str,
    uid: &NodeUid,
    leaf: &[u8],
    request: &RenewRequest,
) -> Result<Issued, Refusal> {
    let unavailable = |err: holdfast_store::StoreError| refusal("Unavailable", err.to_string());
    shared.live(name, &uid.0).await?;
    let store = &*shared.store;
    if is_behind(store, shared.lineage, uid, request.lineage, request.session).await.map_err(unavailable)? {
        shared.duplicate_identity(name).await;
        let reason = "another machine uses this node's identity, or this disk was set back";
        return Err(refusal("DuplicateIdentity", reason));
    }
    if !certificates::of(store, uid).await.map_err(unavailable)?.is_last(leaf) {
        let reason = "the node has a newer certificate; delete the Node and join again if its key is lost";
        return Err(refusal("NotTheLast", reason));
    }
    if !shared.renewals.take(&uid.0, shared.env.monotonic()) {
        return Err(refusal("RateLimited", "this node was issued a certificate a moment ago"));
    }
    let chain = shared.issuer.sign(&request.csr, name, &uid.0).map_err(|reason| refusal("BadRequest", reason))?;
    let new = chain.first().ok_or_else(|| refusal("Unavailable", "the hub's CA gave no certificate"))?;
    if !certificates::renewed(store, uid, leaf, new).await.map_err(unavailable)? {
        return Err(refusal("UnknownNode", format!("node {name:?} was deleted; join again")));
    }
    Ok(Issued { chain, roots: shared.issuer.roots() })
}

fn answer(name: &str, decided: Result<Issued, Refusal>) -> RenewReply {
    let bytes = |all: Vec<Vec<u8>>| all.into_iter().map(Bytes::from).collect();
    match decided {
        Ok(Issued { chain, roots }) => {
            tracing::info!(node = name, "Node's certificate renewed");
            RenewReply::Renewed { chain: bytes(chain), roots: bytes(roots) }
        }
        Err(Refusal { code, reason }) => {
            tracing::warn!(node = name, code, reason, "Renewal refused");
            RenewReply::Refused { code, reason }
        }
    }
}
