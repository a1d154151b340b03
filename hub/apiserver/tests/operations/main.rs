//! What clients of Kubernetes take for granted of every kind, over real HTTPS against the real registry: the operations of
//! the API in the order in which conformance tests ask for them. `tests/conformance.md` says which test stands for which.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod accounts;
mod bad_input;
mod custom;
mod custom_fields;
mod discovery;
mod dry_runs;
mod fairness;
mod hub;
mod kinds;
mod lists;
mod lives;
mod namespaces;
mod pods;
mod policies;
mod scales;
mod watches;
mod webhooks;
