//! What a server says of itself: discovery, OpenAPI, health, version, metrics.

pub(crate) mod access;
pub mod discovery;
pub mod health;
pub mod metrics;
pub mod openapi;
pub mod series;
pub mod version;
