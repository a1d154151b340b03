//! A real cluster under test: [`world`] starts it and asks it, [`runner`] plays cases on it in order, [`leftovers`] sees
//! what stays behind, [`pods`] reads what kubectl and nodes say of pods. The cases are in `tests/it`, and in
//! `tests/offline` those of life without the link.

pub mod leftovers;
pub mod pods;
pub mod runner;
pub mod world;
