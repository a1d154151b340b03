//! The hub's side of the links: sessions, views, facts and the life cycle of nodes.
//!
//! A node reaches objects only through here: what it may see is its [`view`], what it says comes in as facts
//! that are applied as `system:node:<name>` through the same chain as anyone's requests ([`facts`]), with the
//! mark of its outbox in the same transaction. [`sessions`] issues sessions in store transactions;
//! [`certificates`] remembers which certificate a node was issued last, and [`renew`] issues its successor;
//! [`time_reset`] takes nodes' time floors down when an administrator says so;
//! [`adoption`] takes pods back that a restore made the hub forget;
//! [`lifecycle`] decides from heartbeats which nodes are Ready; [`hubs`] is what several hubs of one store know of each other,
//! and how one reaches a node of another. Everything runs over [`holdfast_env::Env`].
//!
//! Tasks: one that follows the store for [`views`]; one per connection, which owns those of its link; one for the life
//! cycle; where there are several hubs one that tells the others of this one. All are owned by [`HubLinks`].

mod adoption;
pub mod calls;
pub mod certificates;
pub mod facts;
mod failover;
pub mod hub_links;
pub mod hubs;
pub mod join;
mod leftovers;
pub mod lifecycle;
pub mod lineage;
mod mirrors;
mod places;
pub mod renew;
pub mod session;
pub mod sessions;
mod sources;
pub mod time_reset;
pub mod tokens;
pub mod view;
pub mod views;

pub use hub_links::{HubLinks, HubLinksConfig, NodeIssuer};
pub use hubs::HubsConfig;
