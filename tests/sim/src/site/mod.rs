//! The simulation of a site: boxes that agree without the hub, by the rules of `holdfast-site-engine`, in a world of one
//! seed: power cuts, one-way cuts, letters that come hours late, disks that lose what was not synced, clocks that differ in
//! rate as far as the rules allow, and a hub that is there at times.
//!
//! The engine is the shipped one; [`boxes`] drives it over `Env` with a disk of two slots, [`hub`] decides at random what
//! the engine's own predicates let it. What the real driver will have in their place is not built yet. [`checks`] see
//! letters, disks and pods, and know nothing of the engine's rules.

pub mod boxes;
pub mod checks;
pub mod disk;
pub mod hub;
pub mod ledger;
pub mod limits;
pub mod plan;
pub mod pods;
pub mod post;
pub mod run;
pub mod world;

pub use run::run;
