//! The controllers over a world with virtual time and an API in memory; the test plays user and kubelet.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

mod certificates;
mod cluster;
mod deployments;
mod disruption;
mod endpoint_slices;
mod endpoints;
mod garbage;
mod namespaces;
mod nodes;
mod permissions;
mod protection;
mod quotas;
mod replica_sets;
mod role_aggregation;
mod service_cidrs;
