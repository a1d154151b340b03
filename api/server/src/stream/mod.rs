//! Streams of pods: what is asked for, and how it is spoken.
//!
//! Over WebSocket, [`channel`] says which bytes are whose; over [`spdy`] each has a stream of its own. [`command`] and
//! [`forward`] join either to a process or to connections of a pod.

pub mod channel;
pub(crate) mod command;
pub(crate) mod feed;
pub(crate) mod forward;
pub mod io;
pub mod pod_calls;
pub mod spdy;
pub mod websocket;
pub(crate) mod wire;
