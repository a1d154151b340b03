//! What a server says of itself: discovery, OpenAPI, health, version, metrics.

pub mod discovery;
pub mod health;
pub mod metrics;
pub mod openapi;
pub mod version;
