//! `node_main` over real QUIC, with a machine that runs nothing, only takes images, says that it runs what it is told, or remembers that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "tests")]

mod disk;
mod hub;
mod identity;
mod images;
mod machine;
mod static_pods;
