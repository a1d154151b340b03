//! `node_main` over real QUIC, with a machine that runs nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "tests")]

mod hub;
mod identity;
mod machine;
