//! The rules of the kinds, a file each. Defaults are upstream's `SetDefaults_*`, texts those of its validation.

pub(crate) mod config_map;
pub(crate) mod custom_resource_definition;
pub(crate) mod data;
pub(crate) mod deployment;
pub(crate) mod endpoint_slice;
pub(crate) mod event;
pub(crate) mod lease;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod offline_policy;
pub(crate) mod pod;
pub(crate) mod priority_class;
pub(crate) mod rbac;
pub(crate) mod replica_set;
pub(crate) mod rules;
pub(crate) mod runtime_class;
pub(crate) mod secret;
pub(crate) mod selectors;
pub(crate) mod service;
pub(crate) mod service_account;
pub(crate) mod stored;
pub(crate) mod tolerations;
pub(crate) mod workload;
