//! The way of a request, one step a file, in running order:
//! [`request_info`] → [`authenticate`] → [`impersonate`] → [`gate`] (such as [`inflight`]) → [`paths`] or [`resources`] (which
//! decode, and let [`crate::Api`] authorize and run) → the answer, with the headers of [`service`].

pub mod authenticate;
mod backend;
pub mod gate;
pub mod impersonate;
pub mod inflight;
mod links;
pub mod paths;
pub(crate) mod proxy;
pub mod request_info;
pub mod resources;
pub mod service;
pub mod streams;
