//! CertificateSigning: whoever issues the certificate of a request, or says that it failed, has the verb `sign` on its signer.

use super::{Admission, signers};
use crate::generic::update::Part;
use holdfast_core::json::{at, items_at};
use holdfast_core::{Json, Status};

/// Judges a write to the subresource `status`.
pub(crate) async fn validate(cx: &Admission<'_>, part: Part, doc: &Json, old: &Json) -> Result<(), Status> {
    if part != Part::Status || !signers::is_request(cx) {
        return Ok(());
    }
    let (certificate, conditions) = (["status", "certificate"], ["status", "conditions"]);
    if at(doc, &certificate) == at(old, &certificate) && items_at(doc, &conditions) == items_at(old, &conditions) {
        return Ok(());
    }
    let signer = signers::signer(old);
    if signers::may(cx, "sign", signer).await? {
        return Ok(());
    }
    Err(cx.forbidden(old, format!("user not permitted to sign requests with signerName {signer:?}")))
}
