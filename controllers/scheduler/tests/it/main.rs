//! The scheduler's contract: where pods go and what is said when they go nowhere.

mod placement;
mod running;
