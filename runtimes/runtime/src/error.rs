//! What a runtime answers when it cannot do as told, by what the pod machine makes of it.

/// An error of a [`crate::Runtime`].
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuntimeError {
    /// The image is not here and could not be fetched: `ErrImagePull`, then `ImagePullBackOff`.
    #[error("failed to pull image {image:?}: {reason}")]
    ImagePull {
        /// The reference.
        image: String,
        /// Why.
        reason: String,
    },
    /// No registry answered, so that nothing is known of the image: `ErrImagePull`, unless it is here already.
    #[error("failed to pull image {image:?}: {reason}")]
    RegistryUnreachable {
        /// The reference.
        image: String,
        /// Why.
        reason: String,
    },
    /// The image is not here and may not be fetched: `ErrImageNeverPull`.
    #[error("Container image {0:?} is not present with pull policy of Never")]
    ImageNeverPull(String),
    /// The reference is malformed: `InvalidImageName`.
    #[error("Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {reason}")]
    InvalidImageName {
        /// The reference.
        image: String,
        /// Why.
        reason: String,
    },
    /// The image is damaged or none for this runtime: `CreateContainerError`.
    #[error("image {image:?} cannot be run: {reason}")]
    BadImage {
        /// The reference.
        image: String,
        /// Why.
        reason: String,
    },
    /// The specification cannot be met: `CreateContainerConfigError`.
    #[error("{0}")]
    Config(String),
    /// The sandbox or container does not exist.
    #[error("{0} not found")]
    NotFound(String),
    /// The runtime does not answer (containerd down, host process gone); it may come back.
    #[error("{runtime} is not available: {reason}")]
    Unavailable {
        /// Name of the runtime.
        runtime: &'static str,
        /// Why.
        reason: String,
    },
    /// The runtime tried and failed: `RunContainerError`, `FailedCreatePodSandBox`.
    #[error("{operation}: {reason}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// The runtime's own words.
        reason: String,
    },
    /// Not built yet.
    #[error("not implemented: {0}")]
    NotImplemented(&'static str),
}

/// An error with its causes: what hyper or tonic say themselves is little.
pub fn with_causes(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut next = err.source();
    while let Some(err) = next {
        text = format!("{text}: {err}");
        next = err.source();
    }
    text
}
