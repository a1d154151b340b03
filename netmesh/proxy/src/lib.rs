//! Services on nftables.
//!
//! [`table`] turns Services and their endpoints into a plain description, [`render`] writes that as one nft
//! script, and [`apply`] gives the script to `nft`, which takes it whole or not at all. No state is kept:
//! a script replaces the table atomically, and an unchanged one is not applied again.
//!
//! Endpoints that this node knows to be unready are left out even when the hub has not said so: a site that is
//! cut off keeps working. Absent on purpose: choosing endpoints by topology, and LoadBalancer addresses other
//! than the nodes' own.

pub mod apply;
pub mod render;
pub mod table;

pub use apply::{ApplyError, Proxy};
pub use render::render;
pub use table::{Frontend, ServiceTable, table};
