//! Connections: TLS, HTTP/1.1 and HTTP/2, bounds and shutdown. What asks for another protocol goes to a [`taker`].

pub mod server;
mod stall;
pub mod taker;
pub mod tls;
