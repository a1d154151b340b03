//! Sessions over WebSocket: the channel codec (sans-IO) and its driver.

pub mod channel;
pub mod websocket;
