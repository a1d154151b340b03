//! What a hub accepts, whatever carries it.

use async_trait::async_trait;
use holdfast_env::{Connection, NetError};
use std::sync::Arc;
use std::time::Duration;

/// How long a handshake may take.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(15);

/// Where connections come in.
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// The next connection attempt; `None` once closed. Finish it in a task of its own. Cancel safe.
    async fn next(&self) -> Option<Box<dyn Attempt>>;
}

/// A connection attempt.
#[async_trait]
pub trait Attempt: Send {
    /// Finishes the handshake; the flag says whether it is a join.
    ///
    /// # Errors
    /// When the peer does not finish in time or does not prove itself.
    async fn accept(self: Box<Self>) -> Result<(Arc<dyn Connection>, bool), NetError>;
}
