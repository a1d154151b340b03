//! CertificateApproval: whoever approves or denies a request has the verb `approve` on its signer.

use super::{Admission, signers};
use crate::generic::update::Part;
use holdfast_core::{Json, Status};

/// Judges a write to the subresource `approval` by the signer that was asked before it.
pub(crate) async fn validate(cx: &Admission<'_>, part: Part, old: &Json) -> Result<(), Status> {
    if part.subresource() != "approval" || !signers::is_request(cx) {
        return Ok(());
    }
    let signer = signers::signer(old);
    if signers::may(cx, "approve", signer).await? {
        return Ok(());
    }
    Err(cx.forbidden(old, format!("user not permitted to approve requests with signerName {signer:?}")))
}
