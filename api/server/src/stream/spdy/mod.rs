//! SPDY/3.1, as far as Kubernetes' clients use it: streams that the client opens, each with a few headers, over one
//! connection that was upgraded from HTTP or that travels inside a WebSocket.
//!
//! [`frame`] and [`headers`] are the codec and [`engine`] the streams' life, all sans-IO; [`connection`] drives them.
//!
//! *Left out on purpose:* flow control. The protocol's windows were never built by those clients: they send without
//! asking, and neither send nor expect `WINDOW_UPDATE`. What holds a sender back is the connection itself: a stream that
//! nobody reads stops all of its connection, as upstream.

pub(crate) mod connection;
pub mod engine;
pub mod frame;
pub mod headers;
