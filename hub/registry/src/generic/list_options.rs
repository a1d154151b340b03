//! Options of list and watch that contradict each other (`ValidateListOptions` of apimachinery).

use holdfast_core::verbs::VersionMatch;
use holdfast_core::{FieldErrors, FieldPath, Gvk, ListOptions, Revision, Status};

/// # Errors
/// 422 about `ListOptions.meta.k8s.io`, with upstream's texts.
pub(crate) fn validate(options: &ListOptions, watch: bool) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    let path = FieldPath::new("resourceVersionMatch");
    if watch {
        match (options.send_initial_events, options.version_match) {
            (None, Some(_)) => errors
                .forbidden(&path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
            (Some(_), Some(VersionMatch::NotOlderThan)) | (None, None) => {}
            (Some(_), _) => {
                errors.forbidden(&path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
            }
        }
    } else {
        if options.send_initial_events.is_some() {
            errors.forbidden(&FieldPath::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
        }
        if let Some(wanted) = options.version_match {
            if options.continue_token.is_some() {
                errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
            } else if options.resource_version.is_none() {
                errors.forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            } else if wanted == VersionMatch::Exact && options.resource_version == Some(Revision(0)) {
                errors.forbidden(&path, "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"");
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&Gvk::new("meta.k8s.io/v1", "ListOptions"), "", &errors))
}
