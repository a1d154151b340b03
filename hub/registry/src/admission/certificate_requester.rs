//! A CertificateSigningRequest says who asks: the user of the request, whatever the document claims.

use super::Admission;
use holdfast_core::Json;
use holdfast_core::json::{remove, set};

/// Writes the user into the request.
pub(crate) fn mutate(cx: &Admission<'_>, doc: &mut Json) {
    for field in ["username", "uid", "groups", "extra"] {
        remove(doc, &["spec", field]);
    }
    let user = &cx.cx.user;
    set(doc, &["spec", "username"], user.name.as_str());
    if !user.uid.is_empty() {
        set(doc, &["spec", "uid"], user.uid.as_str());
    }
    if !user.groups.is_empty() {
        set(doc, &["spec", "groups"], user.groups.clone());
    }
    for (key, values) in &user.extra {
        set(doc, &["spec", "extra", key], values.clone());
    }
}
