//! The controllers over a world with virtual time and an API in memory; the test plays user and kubelet.

mod cluster;
mod deployments;
mod endpoint_slices;
mod garbage;
mod namespaces;
mod nodes;
mod permissions;
mod replica_sets;
