//! Pods as documents and as types. The code that reads and writes all of a pod's fields is large, and each crate that asks
//! serde for it has it compiled once more: it is compiled here.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Error, Value};

/// A pod from the bytes of its document.
///
/// # Errors
/// What does not fit, with its place.
pub fn pod_from_slice(body: &[u8]) -> Result<Pod, Error> {
    serde_json::from_slice(body)
}

/// A pod from its document.
///
/// # Errors
/// What does not fit.
pub fn pod(document: Value) -> Result<Pod, Error> {
    serde_json::from_value(document)
}

/// A pod's document.
pub fn document(pod: &Pod) -> Value {
    // Strings, numbers, lists and maps with text keys: it cannot be refused.
    serde_json::to_value(pod).unwrap_or_default()
}

/// A status from its document.
///
/// # Errors
/// What does not fit.
pub fn status(document: Value) -> Result<PodStatus, Error> {
    serde_json::from_value(document)
}

/// A status' document.
pub fn status_document(status: &PodStatus) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}
