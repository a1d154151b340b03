//! `node_main` over real QUIC, with a machine that runs nothing, or only takes images.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "tests")]

mod hub;
mod identity;
mod images;
mod machine;
