//! `node_main` over real QUIC, with a machine that runs nothing, or only takes images, or says that it runs what it is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "tests")]

mod disk;
mod hub;
mod identity;
mod images;
mod machine;
