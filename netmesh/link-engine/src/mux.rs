//! Many streams and datagrams over one ordered byte stream, without I/O: the link where UDP is blocked.
//!
//! [`Mux`] is one end. A driver feeds it what it read and the time, writes what [`Mux::transmit`] gives, and wakes
//! whom [`Mux::wakes`] names. It means what QUIC means to the rest of the link (RFC 9000): streams opened by either
//! side, flow control by stream and by connection, reset and stop with codes, datagrams that may be lost, a close
//! with a reason, death by silence. Both ends know the windows below; the ALPN of the connection is their version.
//!
//! *Invariants:* memory is bounded by [`limits`] whatever the peer sends; a peer that breaks the rules ends the
//! connection with a reason that names the rule; control frames go before datagrams, and streams of one priority
//! take turns of one frame, so that a bulk stream delays a heartbeat by one frame. *Absent:* sockets, TLS, tasks, wakers, clocks.

mod connection;
pub mod limits;
mod stream;
mod wire;

pub use connection::{Ended, Mux, Side, Wake};
pub use stream::{Read, Write};

#[cfg(test)]
mod tests;
