//! CertificateSigningRequests (<https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>).

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const CSRS: &str = "certificates.k8s.io/certificatesigningrequests";

fn pem() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(vec!["a".to_string()]).unwrap().self_signed(&key).unwrap().pem()
}

/// A request as a CertificateSigningRequest has it.
pub(super) fn encoded() -> String {
    STANDARD.encode(pem())
}

fn request(name: &str) -> Json {
    json!({ "metadata": { "name": name }, "spec": { "request": encoded(),
        "signerName": "example.com/own", "usages": ["client auth"] } })
}

#[tokio::test]
async fn requests_are_judged() {
    let cluster = cluster().await;
    let with = |field: &str, value: Json| {
        let mut doc = request("r");
        doc["spec"][field] = value;
        doc
    };
    let broken = pem().replace("-----BEGIN CERTIFICATE REQUEST-----\nM", "-----BEGIN CERTIFICATE REQUEST-----\nN");
    for (doc, expected) in [
        (
            with("request", json!(STANDARD.encode("no"))),
            "spec.request: Invalid value: PEM block type must be CERTIFICATE REQUEST",
        ),
        (
            with("request", json!(STANDARD.encode(certificate()))),
            "spec.request: Invalid value: PEM block type must be CERTIFICATE REQUEST",
        ),
        (with("request", json!(STANDARD.encode(broken))), "spec.request: Invalid value: x509: "),
        (with("usages", json!([])), "spec.usages: Required value"),
        (
            with("usages", json!(["client auth", "fun"])),
            "spec.usages[1]: Unsupported value: \"fun\": supported values: \"any\", ",
        ),
        (with("usages", json!(["any", "any"])), "spec.usages[1]: Duplicate value: \"any\""),
        (
            with("signerName", json!("own")),
            "spec.signerName: Invalid value: \"own\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
        ),
        (
            with("signerName", json!("own/a")),
            "spec.signerName: Invalid value: \"own\": should be a domain with at least two segments separated by dots",
        ),
        (
            with("signerName", json!("a.b/C")),
            "spec.signerName: Invalid value: \"C\": validating label \"C\": a lowercase RFC 1123 subdomain",
        ),
        (
            with("signerName", json!("kubernetes.io/legacy-unknown")),
            "spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via this API version",
        ),
        (
            with("expirationSeconds", json!(599)),
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
        ),
    ] {
        let refused = cluster.create(CSRS, "", doc).await.unwrap_err();
        let expected = format!("CertificateSigningRequest.certificates.k8s.io \"r\" is invalid: {expected}");
        assert!(refused.message().starts_with(&expected), "{refused}\n{expected}");
    }
    let mut doc = request("r");
    doc["spec"]["username"] = json!("somebody");
    doc["status"] = json!({ "conditions": [{ "type": "Approved", "status": "True" }] });
    let made = cluster.create(CSRS, "", doc).await.unwrap().to_json();
    assert_eq!((&made["spec"]["username"], &made["status"]), (&json!("admin"), &json!({})));
    let mut changed = made.clone();
    changed["spec"]["usages"] = json!(["any"]);
    changed["metadata"]["labels"] = json!({ "a": "b" });
    let now = cluster.update(CSRS, changed).await.unwrap().to_json();
    assert_eq!((&now["spec"], &now["metadata"]["labels"]["a"]), (&made["spec"], &json!("b")));
}

#[tokio::test]
async fn approving_and_signing_are_parts_of_their_own() {
    let cluster = cluster().await;
    let made = cluster.create(CSRS, "", request("r")).await.unwrap().to_json();
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": "Because", "message": "so" });
    let with = |doc: &Json, conditions: Json| {
        let mut doc = doc.clone();
        doc["status"]["conditions"] = conditions;
        doc["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        doc
    };
    let refuse = async |part: &str, doc: Json| {
        let refused = cluster.update_part(CSRS, part, doc).await.unwrap_err();
        let start = "CertificateSigningRequest.certificates.k8s.io \"r\" is invalid: ";
        refused.message().strip_prefix(start).unwrap_or_else(|| panic!("{refused}")).to_string()
    };
    let status = "status.conditions: Forbidden: updates may not";
    assert_eq!(
        refuse("status", with(&made, json!([condition("Approved")]))).await,
        format!("{status} add a condition of type \"Approved\"")
    );
    let both = with(&made, json!([condition("Approved"), condition("Denied")]));
    assert_eq!(
        refuse("approval", both).await,
        "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"
    );
    let no = with(&made, json!([{ "type": "Approved", "status": "False" }]));
    assert_eq!(
        refuse("approval", no).await,
        "status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\""
    );
    let twice = with(&made, json!([{ "type": "Own", "status": "True" }, { "type": "Own", "status": "True" }]));
    assert_eq!(refuse("approval", twice).await, "status.conditions[1].type: Duplicate value: \"Own\"");

    // An approval says nothing of certificates, and the server knows what time it is.
    let mut sent = with(&made, json!([condition("Approved")]));
    sent["status"]["certificate"] = json!(STANDARD.encode(certificate()));
    sent["spec"]["usages"] = json!(["any"]);
    let approved = cluster.update_part(CSRS, "approval", sent).await.unwrap().to_json();
    assert_eq!((&approved["spec"], approved["status"].get("certificate")), (&made["spec"], None));
    let told = &approved["status"]["conditions"][0];
    assert!(told["lastUpdateTime"].is_string() && told["lastTransitionTime"] == told["lastUpdateTime"], "{told}");
    let at = target(CSRS, "", "r").with_subresource("approval");
    assert_eq!(cluster.registry.get(&cluster.cx, &at).await.unwrap().to_json(), approved);

    // A status keeps the approval, whatever it says of it.
    let mut sent = with(&approved, json!([{ "type": "Approved", "status": "True", "reason": "Other" }]));
    sent["status"]["certificate"] = json!(STANDARD.encode("nothing"));
    assert_eq!(
        refuse("status", sent.clone()).await,
        "status.certificate: Invalid value: \"<certificate data>\": must contain at least one CERTIFICATE PEM block"
    );
    sent["status"]["certificate"] = json!(STANDARD.encode(pem()));
    assert_eq!(
        refuse("status", sent.clone()).await,
        "status.certificate: Invalid value: \"<certificate data>\": only CERTIFICATE PEM blocks are allowed, found \"CERTIFICATE REQUEST\""
    );
    sent["status"]["certificate"] = json!(STANDARD.encode(certificate()));
    let signed = cluster.update_part(CSRS, "status", sent.clone()).await.unwrap().to_json();
    assert_eq!(signed["status"]["conditions"], approved["status"]["conditions"]);
    sent["status"]["certificate"] = json!(STANDARD.encode(certificate()));
    assert_eq!(
        refuse("status", sent).await,
        "status.certificate: Forbidden: updates may not modify existing certificate content"
    );
    let gone = with(&signed, json!([]));
    assert_eq!(refuse("approval", gone).await, format!("{status} remove a condition of type \"Approved\""));
}
