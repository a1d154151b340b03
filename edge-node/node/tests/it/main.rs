//! `node_main` over real QUIC, with a machine that runs nothing, only takes images, or remembers what it was told to run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "tests")]

mod hub;
mod identity;
mod images;
mod machine;
mod static_pods;
