//! `Status`, the body of every answer that says no (and of some that say yes).
//!
//! One constructor per reason, with upstream's code and text
//! (`k8s.io/apimachinery/pkg/api/errors` is the reference).

use crate::field::FieldErrors;
use crate::gvk::{Gvk, Gvr};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The machine-readable reason. Unknown ones are kept as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[allow(missing_docs, reason = "the names are the documentation; see metav1.StatusReason")]
pub enum Reason {
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
    Other(String),
}

const REASONS: &[(Reason, &str)] = &[
    (Reason::Unknown, ""),
    (Reason::Unauthorized, "Unauthorized"),
    (Reason::Forbidden, "Forbidden"),
    (Reason::NotFound, "NotFound"),
    (Reason::AlreadyExists, "AlreadyExists"),
    (Reason::Conflict, "Conflict"),
    (Reason::Gone, "Gone"),
    (Reason::Invalid, "Invalid"),
    (Reason::ServerTimeout, "ServerTimeout"),
    (Reason::Timeout, "Timeout"),
    (Reason::TooManyRequests, "TooManyRequests"),
    (Reason::BadRequest, "BadRequest"),
    (Reason::MethodNotAllowed, "MethodNotAllowed"),
    (Reason::NotAcceptable, "NotAcceptable"),
    (Reason::RequestEntityTooLarge, "RequestEntityTooLarge"),
    (Reason::UnsupportedMediaType, "UnsupportedMediaType"),
    (Reason::InternalError, "InternalError"),
    (Reason::Expired, "Expired"),
    (Reason::ServiceUnavailable, "ServiceUnavailable"),
];

impl From<String> for Reason {
    fn from(text: String) -> Reason {
        REASONS.iter().find(|(_, name)| *name == text).map_or_else(|| Reason::Other(text), |(reason, _)| reason.clone())
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> String {
        match reason {
            Reason::Other(text) => text,
            known => REASONS
                .iter()
                .find(|(reason, _)| *reason == known)
                .map_or_else(String::new, |(_, name)| (*name).to_string()),
        }
    }
}

/// One cause within [`StatusDetails`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusCause {
    /// For example `FieldValueRequired`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Human text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What the Status is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusDetails {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind or resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Every problem found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// Seconds until another try makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default = "kind")]
    kind: String,
    #[serde(default = "version")]
    api_version: String,
    #[serde(default)]
    metadata: ListMeta,
    status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(default = "unknown", skip_serializing_if = "is_unknown")]
    reason: Reason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<StatusDetails>,
    #[serde(default)]
    code: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ListMeta {
    #[serde(rename = "continue", default, skip_serializing_if = "String::is_empty")]
    continue_token: String,
}

fn kind() -> String {
    "Status".into()
}
fn version() -> String {
    "v1".into()
}
fn unknown() -> Reason {
    Reason::Unknown
}
fn is_unknown(reason: &Reason) -> bool {
    *reason == Reason::Unknown
}

/// The outcome of a request; the error type of everything that serves the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Status(Box<Body>);

impl Status {
    /// A failure with any code and reason. Prefer the constructors below.
    pub fn failure(code: u16, reason: Reason, message: impl Into<String>) -> Status {
        Status(Box::new(Body {
            kind: kind(),
            api_version: version(),
            metadata: ListMeta::default(),
            status: "Failure".into(),
            message: message.into(),
            reason,
            details: None,
            code,
        }))
    }

    /// A success, as delete answers when nothing else is left to show.
    pub fn success(gvr: &Gvr, name: &str, uid: &str) -> Status {
        let mut status = Status::failure(200, Reason::Unknown, "").about(gvr, name);
        status.0.status = "Success".into();
        status.details_mut().uid = uid.into();
        status
    }

    fn details_mut(&mut self) -> &mut StatusDetails {
        self.0.details.get_or_insert_default()
    }

    fn about(mut self, gvr: &Gvr, name: &str) -> Status {
        let details = self.details_mut();
        details.name = name.into();
        details.group = gvr.group.clone();
        details.kind = gvr.resource.clone();
        self
    }

    /// 404: `pods "web" not found`.
    pub fn not_found(gvr: &Gvr, name: &str) -> Status {
        Status::failure(404, Reason::NotFound, format!("{} {name:?} not found", gvr.qualified())).about(gvr, name)
    }

    /// 404 for a path that leads nowhere.
    pub fn no_such_path() -> Status {
        let mut status = Status::failure(404, Reason::NotFound, "the server could not find the requested resource");
        status.details_mut();
        status
    }

    /// 409: `pods "web" already exists`.
    pub fn already_exists(gvr: &Gvr, name: &str) -> Status {
        Status::failure(409, Reason::AlreadyExists, format!("{} {name:?} already exists", gvr.qualified()))
            .about(gvr, name)
    }

    /// 409: the object changed meanwhile, or a precondition failed.
    pub fn conflict(gvr: &Gvr, name: &str, why: impl fmt::Display) -> Status {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", gvr.qualified());
        Status::failure(409, Reason::Conflict, message).about(gvr, name)
    }

    /// 409 for an update whose `resourceVersion` is stale.
    pub fn stale(gvr: &Gvr, name: &str) -> Status {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(gvr, name, why)
    }

    /// 409: fields that an apply wants are other managers', with a cause for each.
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<StatusCause>) -> Status {
        let mut status = Status::failure(409, Reason::Conflict, message);
        status.0.details = Some(StatusDetails { causes, ..StatusDetails::default() });
        status
    }

    /// 422: `Pod "web" is invalid: [..]`, with a cause for each field error.
    pub fn invalid(gvk: &Gvk, name: &str, errors: &FieldErrors) -> Status {
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        let joined = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        let kind = if gvk.group.is_empty() { gvk.kind.clone() } else { format!("{}.{}", gvk.kind, gvk.group) };
        let mut status = Status::failure(422, Reason::Invalid, format!("{kind} {name:?} is invalid: {joined}"));
        let details = status.details_mut();
        details.name = name.into();
        details.group = gvk.group.clone();
        details.kind = gvk.kind.clone();
        details.causes = errors
            .0
            .iter()
            .map(|error| StatusCause {
                reason: error.kind.cause().into(),
                message: error.body(),
                field: error.path.to_string(),
            })
            .collect();
        status
    }

    /// 403 from admission or a registry rule: `pods "web" is forbidden: why`.
    pub fn forbidden(gvr: &Gvr, name: &str, why: impl fmt::Display) -> Status {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", gvr.qualified())
        } else {
            format!("{} {name:?} is forbidden: {why}", gvr.qualified())
        };
        Status::failure(403, Reason::Forbidden, message).about(gvr, name)
    }

    /// The refusal of a policy: the text of [`Status::forbidden`] with another code and reason, and `why` as its cause.
    pub fn refused(code: u16, reason: Reason, gvr: &Gvr, name: &str, why: impl fmt::Display) -> Status {
        let mut status = Status::forbidden(gvr, name, &why);
        (status.0.code, status.0.reason) = (code, reason);
        status.details_mut().causes = vec![StatusCause { message: why.to_string(), ..StatusCause::default() }];
        status
    }

    /// 401.
    pub fn unauthorized() -> Status {
        Status::failure(401, Reason::Unauthorized, "Unauthorized")
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::failure(400, Reason::BadRequest, message)
    }

    /// 405.
    pub fn method_not_allowed(gvr: &Gvr, verb: &str) -> Status {
        Status::not_supported(gvr, format!("{verb} is not supported on resources of kind {:?}", gvr.qualified()))
    }

    /// 405 of a server that takes no writes, with the reason.
    pub fn read_only(gvr: &Gvr, verb: &str, why: &str) -> Status {
        let text = format!("{verb} is not supported on resources of kind {:?}: {why}", gvr.qualified());
        Status::not_supported(gvr, text)
    }

    fn not_supported(gvr: &Gvr, text: String) -> Status {
        let mut status = Status::failure(405, Reason::MethodNotAllowed, text);
        let details = status.details_mut();
        details.group = gvr.group.clone();
        details.kind = gvr.resource.clone();
        status
    }

    /// 406.
    pub fn not_acceptable(offered: &[&str]) -> Status {
        let message = format!("only the following media types are accepted: {}", offered.join(", "));
        Status::failure(406, Reason::NotAcceptable, message)
    }

    /// 415.
    pub fn unsupported_media_type(offered: &[&str]) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            offered.join(", ")
        );
        Status::failure(415, Reason::UnsupportedMediaType, message)
    }

    /// 413.
    pub fn too_large(limit_bytes: usize) -> Status {
        Status::failure(413, Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {limit_bytes}"))
    }

    /// 410: the revision is gone; list again.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::failure(410, Reason::Expired, message)
    }

    /// 429, with `Retry-After`.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let mut status = Status::failure(429, Reason::TooManyRequests, message);
        status.details_mut().retry_after_seconds = Some(retry_after_seconds);
        status
    }

    /// With a token by which the list that failed may go on in another way.
    #[must_use]
    pub fn with_continue(mut self, token: impl Into<String>) -> Status {
        self.0.metadata.continue_token = token.into();
        self
    }

    /// With one more cause.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: impl Into<String>) -> Status {
        let cause = StatusCause { reason: reason.into(), message: message.into(), ..StatusCause::default() };
        self.details_mut().causes.push(cause);
        self
    }

    /// With one more cause, about a field.
    #[must_use]
    pub fn with_cause_at(mut self, field: &str, reason: &str, message: impl Into<String>) -> Status {
        let cause = StatusCause { reason: reason.into(), message: message.into(), field: field.into() };
        self.details_mut().causes.push(cause);
        self
    }

    /// With the seconds until another try makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Status {
        self.details_mut().retry_after_seconds = Some(seconds);
        self
    }

    /// 503, with `Retry-After`: waiting helps.
    pub fn unavailable(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let mut status = Status::failure(503, Reason::ServiceUnavailable, message);
        status.details_mut().retry_after_seconds = Some(retry_after_seconds);
        status
    }

    /// 504.
    pub fn timeout(message: impl Into<String>) -> Status {
        Status::failure(504, Reason::Timeout, format!("Timeout: {}", message.into()))
    }

    /// 501 for what Holdfast has not built yet.
    pub fn not_implemented(what: impl fmt::Display) -> Status {
        Status::failure(501, Reason::Other("NotImplemented".into()), format!("not implemented: {what}"))
    }

    /// 500: we have a bug, or a disk has.
    pub fn internal(err: impl fmt::Display) -> Status {
        let message = format!("Internal error occurred: {err}");
        let mut status = Status::failure(500, Reason::InternalError, message);
        status.details_mut().causes = vec![StatusCause { message: err.to_string(), ..StatusCause::default() }];
        status
    }

    /// HTTP status code.
    pub fn code(&self) -> u16 {
        self.0.code
    }

    /// The reason.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// Whether the reason is `reason`.
    pub fn is(&self, reason: Reason) -> bool {
        self.0.reason == reason
    }

    /// Human text.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What it is about.
    pub fn details(&self) -> Option<&StatusDetails> {
        self.0.details.as_ref()
    }

    /// The token by which a list that failed may go on; empty when there is none.
    pub fn continue_token(&self) -> &str {
        &self.0.metadata.continue_token
    }

    /// Whether it says yes.
    pub fn is_success(&self) -> bool {
        self.0.status == "Success"
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Status {}
