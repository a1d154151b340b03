//! Drivers of the link engine.
//!
//! [`quic`] makes authenticated connections by quinn and rustls, [`tcp`] makes them over one TLS connection where UDP
//! is blocked, on the streams of [`mux`]; [`fallback`] chooses. [`join`] turns a token into an identity, and [`renew`]
//! an identity into its successor; [`time_reset`] takes a node's time floor down; [`node`] and [`hub`] feed the
//! engine's two ends and do what they say; [`call`] carries logs and exec; [`traffic`] counts the
//! bytes of all of it. The drivers decide nothing. Everything but
//! `quic` and the sockets of `tcp` runs over [`holdfast_env::Env`] and its connections, so
//! the simulator drives it too.
//!
//! Tasks of a connection, all owned by its driver and ended with it: one reader per engine stream, one for
//! datagrams, one that accepts streams, one that writes objects (at the hub) or facts (at the node), one per running
//! call, at the hub one that applies facts and one for a renewal.

pub mod address;
mod arrivals;
mod background;
pub mod call;
pub mod fallback;
pub mod framed;
#[cfg(test)]
mod hostile;
pub mod hub;
pub mod identity;
pub mod join;
pub mod listen;
pub mod mux;
pub mod node;
pub mod quic;
pub mod relay;
pub mod renew;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod time_reset;
pub mod tls;
pub mod traffic;

pub use address::HubAddress;
pub use fallback::FallbackDialer;
pub use framed::LinkError;
pub use hub::{Grant, HubHost, Refusal, drive_hub};
pub use identity::NodeIdentity;
pub use listen::{Attempt, Listener};
pub use node::{LinkEnd, NodeHost, drive_node};
pub use quic::{QuicDialer, QuicListener, ResetKey};
pub use tcp::{TcpDialer, TcpListener};
pub use traffic::Traffic;
