//! Plugin, runner, shared namespace and routes in the kernel. Needs root, `ip` and `nft`.

mod harness;
mod plugin;
mod routes;
mod runner;
mod shared;
