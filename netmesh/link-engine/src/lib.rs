//! The link between hub and node, without I/O.
//!
//! [`NodeLink`] and [`HubLink`] are the two ends of one connection. A driver feeds them frames, finished
//! writes and the time, and does what they return: `handle(now, input, view) -> outputs`, `next_deadline()`.
//! Durability is part of the order: an output `Persist` comes first, the answer to the peer only after the
//! driver has said that it is on disk. What each end knows of objects and facts comes in through a view.
//!
//! One file a stream: [`control`] (who is who), [`sync`] (set difference of objects), [`facts`] (what the
//! node owes), [`heartbeat`] (who is alive, and how seldom that must be said). Bodies are compressed over what both ends
//! have: a [`dictionary`], or another body. Calls are plain pumps of [`wire`] frames and need no engine. [`mux`] stands
//! below all of it: it makes streams and datagrams out of one byte stream, where there is no QUIC. Absent on purpose: sockets,
//! clocks, tasks, locks, stores.

pub mod control;
pub mod dictionary;
pub mod facts;
pub mod heartbeat;
pub mod hub;
pub mod limits;
pub mod mux;
pub mod node;
mod pack;
pub mod sync;
pub mod wire;

pub use heartbeat::{Keepalive, Pace};
pub use hub::{HubInput, HubItem, HubLink, HubOutput, HubView};
pub use node::{NodeInput, NodeLink, NodeOutput, NodeView, Persist};
pub use wire::{Frame, FrameReader, Stream, WireError};
