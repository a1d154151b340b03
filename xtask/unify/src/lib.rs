//! Holds no code. Cargo unifies features over the packages that one command selects, so `cargo test -p X` alone
//! would rebuild tokio, serde and half of the tree with fewer features than `cargo test --workspace` does.
//! `cargo t X` and `cargo c X` (see `.cargo/config.toml`) select this crate beside X, so that nothing is built twice.
