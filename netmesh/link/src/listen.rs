//! What a hub accepts, whatever carries it.

use async_trait::async_trait;
use holdfast_env::{Connection, NetError};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a handshake may take.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(15);

/// Attempts that wait to be looked at; further ones are refused.
pub const WAITING: usize = 1024;

/// Where connections come in.
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// The next connection attempt; `None` once closed. Finish it in a task of its own. Cancel safe.
    async fn next(&self) -> Option<Box<dyn Attempt>>;
}

/// A connection attempt. Dropped, it is refused.
#[async_trait]
pub trait Attempt: Send {
    /// Where the peer says that it is.
    fn address(&self) -> IpAddr;
    /// Whether the peer is known to be where it says: an attempt may carry anybody's address otherwise.
    fn is_from_there(&self) -> bool;
    /// Asks the peer to come again with proof of its address, and keeps nothing of it.
    fn ask_for_proof(self: Box<Self>);
    /// Finishes the handshake; the flag says whether it is a join.
    ///
    /// # Errors
    /// When the peer does not finish in time or does not prove itself.
    async fn accept(self: Box<Self>) -> Result<(Arc<dyn Connection>, bool), NetError>;
}
