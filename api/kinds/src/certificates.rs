//! certificates.k8s.io: CertificateSigningRequest.

use crate::kind::GET_PATCH_UPDATE;
use crate::show::{AGE, NAME, NONE, age, column, human, name, or, text};
use crate::{Kind, Subresource};
use holdfast_core::Json;
use holdfast_core::json::{i64_at, items_at, str_at};

const GROUP: &str = "certificates.k8s.io";

/// certificates.k8s.io/v1 CertificateSigningRequest.
pub(crate) const CERTIFICATE_SIGNING_REQUEST: Kind = Kind {
    group: GROUP,
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    namespaced: false,
    subresources: &[
        Subresource {
            name: "approval",
            group: GROUP,
            version: "v1",
            kind: "CertificateSigningRequest",
            verbs: GET_PATCH_UPDATE,
        },
        Subresource::status(GROUP, "CertificateSigningRequest"),
    ],
    schema: "io.k8s.api.certificates.v1.CertificateSigningRequest",
    columns: &[
        NAME,
        AGE,
        column("SignerName", "string", "Who is asked to sign."),
        column("Requestor", "string", "Who asks."),
        column("RequestedDuration", "string", "How long the certificate should be valid."),
        column("Condition", "string", "What became of the request."),
    ],
    row: |doc, now| {
        let duration = i64_at(doc, &["spec", "expirationSeconds"]).map_or_else(|| NONE.to_string(), human);
        vec![
            name(doc),
            age(doc, now),
            or(text(doc, &["spec", "signerName"]), NONE).into(),
            text(doc, &["spec", "username"]).into(),
            duration.into(),
            state(doc).into(),
        ]
    },
    field_selectors: &["spec.signerName"],
    field: |doc, field| match field {
        "spec.signerName" => text(doc, &["spec", "signerName"]).to_string(),
        _ => String::new(),
    },
    ..Kind::BASE
};

fn state(doc: &Json) -> String {
    let conditions = items_at(doc, &["status", "conditions"]);
    let has = |kind: &str| conditions.iter().any(|one| str_at(one, &["type"]) == Some(kind));
    let mut state = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_string();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !text(doc, &["status", "certificate"]).is_empty() {
        state.push_str(",Issued");
    }
    state
}
