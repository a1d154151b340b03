//! The server over loopback TLS, with a small registry in memory behind it.

mod client;
mod fake;
mod objects;
mod sessions;
mod wire;
