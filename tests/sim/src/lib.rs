//! The simulator: hub and nodes as shipped, driven through disasters in a world made of one seed.
//!
//! What runs is the production code over `Env`: registry, store (numbering, publishing, watching), links, life cycle,
//! controllers and scheduler at the hub; link, journal, pod workers and pod machine at the nodes. What stands in for
//! the outside is in [`runtime`], [`parts`] and [`log`]; faults and work come from [`plan`]; [`checks`] look at what
//! these fakes, the wire and the hub's log saw, and know nothing of the code they watch. One seed is one history:
//! two runs of it end with the same trace.

pub mod certificate;
pub mod checks;
pub mod hub;
pub mod ledger;
pub mod limits;
pub mod log;
pub mod node;
pub mod panel;
pub mod parts;
pub mod plan;
pub mod run;
pub mod runtime;
pub mod site;
pub mod webhook;
pub mod wire;
pub mod world;

pub use run::{Outcome, run};
