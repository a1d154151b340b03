//! What a webhook is told and answers: `admission.k8s.io` AdmissionReview.
//! (`k8s.io/apiserver/pkg/admission/plugin/webhook/request`, `.../errors` and `pkg/util/webhook` are the reference.)

use super::Asked;
use super::cache::Hook;
use crate::admission::timing::Answered;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::json::{at, bool_at, i64_at, items_at, set, str_at};
use holdfast_core::{Json, Reason, Status};
use holdfast_kinds::Kind;
use serde_json::json;

/// How upstream begins to tell of a webhook that could not be asked, or whose answer is none.
pub(crate) const FAILED_WEBHOOK: &str = "failed calling webhook";

/// Why a webhook did not let a request pass.
pub(super) enum Problem {
    /// It could not be asked, or its answer is none; what then is for its `failurePolicy` to say.
    Call(String),
    /// The request fails, whatever that says.
    Refused(Status),
}

/// What an allowing webhook has to say.
pub(super) struct Allowed {
    /// A JSON patch of at least one operation.
    pub(super) patch: Option<Json>,
}

/// The documents of a request, in the version that the webhook asked for.
pub(super) struct Shown<'d> {
    pub(super) kind: &'static Kind,
    pub(super) object: &'d Json,
    pub(super) old: &'d Json,
}

/// Whether a webhook that fails in this way fails the request.
///
/// # Errors
/// The status for the client, if it does.
pub(super) fn settle(hook: &Hook, problem: Problem) -> Result<(), Status> {
    match problem {
        Problem::Refused(status) => Err(status),
        Problem::Call(why) => {
            let text = format!("{FAILED_WEBHOOK} {:?}: {why}", hook.name);
            if hook.fails {
                return Err(Status::internal(text));
            }
            tracing::warn!(
                webhook = hook.name,
                configuration = hook.configuration,
                err = why,
                "Went on without a webhook"
            );
            Ok(())
        }
    }
}

/// Asks one webhook, and counts how that went.
pub(super) async fn ask(asked: &Asked<'_>, hook: &Hook, shown: &Shown<'_>, mutating: bool) -> Result<Allowed, Problem> {
    /// What upstream counts as the code of a call that failed.
    const UNREACHED: u16 = 503;
    let world = &asked.engine.env;
    let began = world.monotonic();
    let outcome = ask_once(asked, hook, shown, mutating).await;
    let unasked = asked.dry_run && !hook.dry_runs;
    let (code, rejected) = match &outcome {
        Ok(_) => (200, None),
        Err(Problem::Refused(_)) if unasked => (0, Some("apiserver_internal_error")),
        Err(Problem::Refused(status)) => (status.code(), Some("no_error")),
        Err(Problem::Call(_)) => (UNREACHED, hook.fails.then_some("calling_webhook_error")),
    };
    let failed_open = matches!(outcome, Err(Problem::Call(_))) && !hook.fails;
    let took = world.monotonic().since(began);
    let answered = Answered { code, rejected, failed_open };
    asked.engine.timing.webhook(&hook.name, mutating, asked.operation, answered, took);
    outcome
}

async fn ask_once(asked: &Asked<'_>, hook: &Hook, shown: &Shown<'_>, mutating: bool) -> Result<Allowed, Problem> {
    if asked.dry_run && !hook.dry_runs {
        let text = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Problem::Refused(Status::bad_request(text)));
    }
    let Some(version) = hook.review else {
        let text =
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        return Err(Problem::Call(text.into()));
    };
    let uid = asked.engine.env.random_uuid();
    let mut request = asked.request(shown.kind);
    set(&mut request, &["uid"], uid.as_str());
    set(&mut request, &["object"], shown.object.clone());
    set(&mut request, &["oldObject"], shown.old.clone());
    if asked.options.is_null() {
        set(&mut request, &["options"], Json::Null);
    }
    let mut review = json!({ "apiVersion": format!("admission.k8s.io/{version}"), "kind": "AdmissionReview" });
    set(&mut review, &["request"], request);
    let answer = hook.webhook.post(asked.engine, &review, hook.timeout).await;
    let answer = answer.map_err(|why| Problem::Call(format!("failed to call webhook: {why}")))?;
    let (answer, _) = holdfast_schema::parse_json(&answer)
        .map_err(|status| Problem::Call(format!("failed to call webhook: {}", status.message())))?;
    let answer = read(&answer, &uid, version, mutating)
        .map_err(|why| Problem::Call(format!("received invalid webhook response: {why}")))?;
    for (key, value) in &answer.annotations {
        asked.cx.annotate(&format!("{}/{key}", hook.name), value);
    }
    answer.warnings.into_iter().for_each(|warning| asked.cx.warn(warning));
    if let Some(result) = answer.refusal {
        return Err(Problem::Refused(rejection(&hook.name, result)));
    }
    let Some(patch) = answer.patch else { return Ok(Allowed { patch: None }) };
    let decoded = STANDARD.decode(patch).map_err(|err| err.to_string());
    let decoded = decoded
        .and_then(|bytes| holdfast_schema::parse_json(&bytes).map(|(patch, _)| patch).map_err(|err| err.to_string()));
    match decoded {
        Ok(Json::Array(operations)) => {
            Ok(Allowed { patch: (!operations.is_empty()).then_some(Json::Array(operations)) })
        }
        Ok(_) => Err(Problem::Call("received undecodable patch in webhook response: it is no list".into())),
        Err(why) => Err(Problem::Call(format!("received undecodable patch in webhook response: {why}"))),
    }
}

/// An answer in the right form.
struct Answer {
    annotations: Vec<(String, String)>,
    warnings: Vec<String>,
    /// The `result` of one that says no; null when it has none.
    refusal: Option<Json>,
    /// Base64.
    patch: Option<String>,
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with its form.
fn read(review: &Json, uid: &str, version: &str, mutating: bool) -> Result<Answer, String> {
    let response = at(review, &["response"]).filter(|response| response.is_object());
    let response = response.ok_or("webhook response was absent")?;
    let text = |field: &str| str_at(response, &[field]).filter(|text| !text.is_empty());
    if version == "v1" {
        let told = text("uid").unwrap_or_default();
        if told != uid {
            return Err(format!("expected response.uid={uid:?}, got {told:?}"));
        }
        let (api_version, kind) =
            (str_at(review, &["apiVersion"]).unwrap_or_default(), str_at(review, &["kind"]).unwrap_or_default());
        if (api_version, kind) != ("admission.k8s.io/v1", "AdmissionReview") {
            return Err(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {api_version}, Kind={kind}"
            ));
        }
        let (patch, patch_type) =
            (text("patch").is_some(), at(response, &["patchType"]).filter(|kind| !kind.is_null()));
        match (mutating, patch, patch_type) {
            (true, true, None) => return Err("webhook returned response.patch but not response.patchType".into()),
            (true, false, Some(_)) => return Err("webhook returned response.patchType but not response.patch".into()),
            (true, true, Some(kind)) if kind.as_str() != Some("JSONPatch") => {
                return Err(format!("unsupported patch type {kind}"));
            }
            (false, true, _) => return Err("validating webhook may not return response.patch".into()),
            (false, _, Some(_)) => return Err("validating webhook may not return response.patchType".into()),
            _ => {}
        }
    }
    let annotations = at(response, &["auditAnnotations"]).and_then(Json::as_object).into_iter().flatten();
    let refused = bool_at(response, &["allowed"]) != Some(true);
    let result = at(response, &["status"]);
    Ok(Answer {
        annotations: annotations.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string()))).collect(),
        warnings: items_at(response, &["warnings"]).iter().filter_map(Json::as_str).map(str::to_string).collect(),
        refusal: refused.then(|| result.cloned().unwrap_or_default()),
        patch: text("patch").filter(|_| mutating).map(str::to_string),
    })
}

/// The refusal of a webhook, for the client.
fn rejection(hook: &str, mut result: Json) -> Status {
    const LEAST: i64 = 400;
    let denied = format!("admission webhook {hook:?} denied the request");
    let said = |field: &str| str_at(&result, &[field]).filter(|text| !text.is_empty());
    let message = match (said("message"), said("reason")) {
        (Some(why), _) | (None, Some(why)) => format!("{denied}: {why}"),
        (None, None) => format!("{denied} without explanation"),
    };
    let code = i64_at(&result, &["code"]).filter(|code| (LEAST..1000).contains(code)).unwrap_or(LEAST);
    let status = str_at(&result, &["status"])
        .filter(|status| !["", "Success"].contains(status))
        .unwrap_or("Failure")
        .to_string();
    if !result.is_object() {
        result = json!({});
    }
    for (field, value) in [("message", Json::from(message.as_str())), ("code", code.into()), ("status", status.into())]
    {
        set(&mut result, &[field], value);
    }
    // A list's metadata has no place in the answer.
    set(&mut result, &["metadata"], json!({}));
    serde_json::from_value(result)
        .unwrap_or_else(|_| Status::failure(u16::try_from(code).unwrap_or(403), Reason::Unknown, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_the_webhooks_with_its_name() {
        let refused = rejection("a.b.c", json!({ "code": 403, "message": "no", "reason": "Forbidden" }));
        assert_eq!((refused.code(), refused.message()), (403, "admission webhook \"a.b.c\" denied the request: no"));
        assert!(refused.is(Reason::Forbidden));
        let refused = rejection("a.b.c", json!({ "code": 200, "status": "Success", "reason": "Why" }));
        assert_eq!((refused.code(), refused.message()), (400, "admission webhook \"a.b.c\" denied the request: Why"));
        let refused = rejection("a.b.c", Json::Null);
        assert_eq!(refused.message(), "admission webhook \"a.b.c\" denied the request without explanation");
        assert!(!refused.is_success());
    }

    #[test]
    fn answers_in_another_form_are_told() {
        let review = |response: Json| json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
        let wrong = |review: &Json, mutating| read(review, "u", "v1", mutating).err().unwrap_or_default();
        assert_eq!(wrong(&json!({}), true), "webhook response was absent");
        assert_eq!(wrong(&review(json!({ "uid": "x" })), true), "expected response.uid=\"u\", got \"x\"");
        assert_eq!(
            wrong(&json!({ "apiVersion": "v1", "kind": "Pod", "response": { "uid": "u" } }), true),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got v1, Kind=Pod"
        );
        let patched = review(json!({ "uid": "u", "allowed": true, "patch": "W10=" }));
        assert_eq!(wrong(&patched, true), "webhook returned response.patch but not response.patchType");
        assert_eq!(wrong(&patched, false), "validating webhook may not return response.patch");
        let typed = review(json!({ "uid": "u", "allowed": true, "patchType": "JSONPatch" }));
        assert_eq!(wrong(&typed, true), "webhook returned response.patchType but not response.patch");
        assert_eq!(wrong(&typed, false), "validating webhook may not return response.patchType");
    }
}
