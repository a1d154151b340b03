//! Pods with a user namespace of their own (`hostUsers: false`), and what only they may have.

use crate::kinds::rules::text;
use holdfast_core::json::{at, bool_at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json};

const WHY: &str = "when `hostUsers` is false";

/// What of a spec does not go with whose users it has.
pub(crate) fn validate(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let own = bool_at(spec, &["hostUsers"]) == Some(false);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for (index, container) in items_at(spec, &[list]).iter().enumerate() {
            let path = path.child(list).index(index);
            let mount = at(container, &["securityContext"]).map_or("", |context| text(context, "procMount"));
            if mount == "Unmasked" && !own {
                let path = path.child("securityContext").child("procMount");
                errors.invalid(&path, mount, "`hostUsers` must be false to use `Unmasked`");
            }
            if own && !items_at(container, &["volumeDevices"]).is_empty() {
                errors.forbidden(&path.child("volumeDevices"), WHY);
            }
        }
    }
    // Two of the paths are upstream's, which the API does not have.
    for (field, told) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if own && bool_at(spec, &[field]) == Some(true) {
            errors.forbidden(&path.child(told), WHY);
        }
    }
}
