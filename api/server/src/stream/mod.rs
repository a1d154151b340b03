//! Streams of pods: what is asked for, and sessions over WebSocket (the channel codec, sans-IO, and its driver).

pub mod channel;
pub mod pod_calls;
pub(crate) mod refusals;
pub mod websocket;
