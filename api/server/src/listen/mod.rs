//! Connections: TLS, HTTP/1.1 and HTTP/2, bounds and shutdown.

pub mod server;
mod stall;
pub mod tls;
