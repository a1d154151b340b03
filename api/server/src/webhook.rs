//! Calls to webhooks: whom the registry has asked, and what can go wrong on the way. Who makes the connection is the
//! assembly's; what is said over it is the registry's.

use crate::registry::PodPorts;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// The way to a webhook.
#[derive(Clone)]
pub enum WebhookRoute {
    /// A host of the network, by name or address.
    Network {
        /// Name or address, without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A port of a pod: the hub is no node, and has no route to addresses of Services.
    Pod {
        /// Reaches the pod.
        ports: PodPorts,
        /// Its port.
        port: u16,
    },
}

/// A webhook.
#[derive(Clone)]
pub struct WebhookTarget {
    /// `HOST:PORT` that the request names, such as `NAME.NAMESPACE.svc:443`.
    pub authority: String,
    /// Begins with a slash.
    pub path: String,
    /// The name that its certificate must bear, or the address.
    pub server_name: String,
    /// How it is reached.
    pub route: WebhookRoute,
    /// The authorities that its certificate may be from, as PEM; empty when none were given.
    pub ca_bundle: Arc<[u8]>,
}

/// Why a webhook gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// It was not reached, could not prove who it is, or broke off.
    #[error("{0}")]
    Transport(String),
    /// It answered with an error.
    #[error("{text}")]
    Answer {
        /// The HTTP status.
        code: u16,
        /// What that says, in upstream's words.
        text: String,
    },
    /// Its answer is longer than may be.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
}

/// Asks webhooks. Implemented by the hub's assembly.
#[async_trait]
pub trait WebhookCalls: Send + Sync + 'static {
    /// Posts `body`, which is JSON, and returns what a 2xx answers. `within` is how long the caller waits, for the
    /// webhook to know; ending the call then is the caller's. Cancel safe: dropping it closes the connection.
    async fn post(&self, to: &WebhookTarget, body: Bytes, within: Duration) -> Result<Bytes, CallFailure>;
}
