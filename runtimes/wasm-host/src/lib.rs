//! The Wasm host process of a node: images, sandboxes and containers of Wasm pods, served to the agent.
//!
//! It outlives the agent, and obeys it: nothing here restarts a container or knows a pod's policy. A `wasi:http`
//! container is a listener and a linked module; an instance exists only while a request is in work. A
//! `wasi:cli` container is one instance that runs to its end.
//!
//! Tasks, all owned by [`host::Host`]'s tracker: one accepts agents ([`server`]), two a connection and one a
//! call, one a container, one a connection to a pod, one a request, one an exec session. Blocking work (disk,
//! compiling, entering a network namespace) runs on tokio's blocking threads or a thread of its own.
//!
//! One process does all of it: sockets of pods are made by short-lived threads that enter the pod's network
//! namespace ([`netns`]), which needs `CAP_SYS_ADMIN` here. The split into a small privileged parent and an
//! engine without privileges is not built; [`netns::listen`] is the seam for it.

pub mod command;
pub mod container;
pub mod exec;
pub mod guest;
pub mod host;
pub mod http;
pub mod images;
pub mod limits;
pub mod logs;
pub mod modules;
pub mod netns;
pub mod records;
pub mod sandboxes;
pub mod server;
pub mod usage;

pub use host::{Host, HostConfig};
pub use server::serve;
