//! Who may approve and sign for a signer (upstream's `IsAuthorizedForSignerName`): the verbs are asked of the resource `signers`
//! under the signer's name, and then under `<domain>/*`.

use super::Admission;
use holdfast_core::json::str_at;
use holdfast_core::user::MASTERS;
use holdfast_core::{Gvr, Json, Status, Target};
use holdfast_server::{Attributes, Decision};

/// Whether a kind is CertificateSigningRequest.
pub(super) fn is_request(cx: &Admission<'_>) -> bool {
    (cx.kind.group, cx.kind.kind) == ("certificates.k8s.io", "CertificateSigningRequest")
}

/// The signer that a request asks.
pub(super) fn signer(request: &Json) -> &str {
    str_at(request, &["spec", "signerName"]).unwrap_or_default()
}

/// Whether the user may.
///
/// # Errors
/// 503 while there is nobody to ask.
pub(super) async fn may(cx: &Admission<'_>, verb: &str, signer: &str) -> Result<bool, Status> {
    if cx.cx.user.is_in(MASTERS) {
        return Ok(true);
    }
    let Some(authorizer) = cx.engine.authorizer.get() else {
        return Err(Status::unavailable("the authorizer is not up yet", 1));
    };
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer, &format!("{domain}/*")] {
        let target = Target::object(Gvr::new("certificates.k8s.io", "*", "signers"), "", name);
        let attributes = Attributes { user: &cx.cx.user, verb, target: Some(&target), path: "" };
        if authorizer.authorize(&attributes).await == Decision::Allow {
            return Ok(true);
        }
    }
    Ok(false)
}
