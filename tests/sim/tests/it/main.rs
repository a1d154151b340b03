//! Scenarios that once failed, or that the design names, as plain tests on the simulator.

mod flips;
mod found;
mod seeds;
mod stage;
