//! Drivers of the link engine: QUIC with mutual TLS, join and identity.
