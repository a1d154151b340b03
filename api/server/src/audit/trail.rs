//! What one request leaves in the audit log.

use super::policy::{Applied, Level, Stage};
use super::{Asked, Auditor};
use crate::{Operation, Reply, Request};
use holdfast_core::{Json, Object, Status, Timestamp, UserInfo};
use serde_json::{Map, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Follows a request that the policy wants noted. The last one to let go of it notes the end.
pub struct Trail {
    auditor: Arc<Auditor>,
    applied: Applied,
    event: Mutex<Map<String, Json>>,
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail").field("applied", &self.applied).finish_non_exhaustive()
    }
}

fn user(user: &UserInfo) -> Json {
    let mut doc = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        doc["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        doc["extra"] = json!(user.extra);
    }
    doc
}

fn reference(asked: &Asked<'_>) -> Option<Json> {
    let target = asked.target?;
    let parts = [
        ("resource", target.gvr.resource.as_str()),
        ("namespace", target.namespace()),
        ("name", target.name()),
        ("apiGroup", &target.gvr.group),
        ("apiVersion", &target.gvr.version),
        ("subresource", target.subresource()),
    ];
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
    Some(Json::Object(parts.map(|(name, text)| (name.to_string(), json!(text))).collect()))
}

impl Trail {
    pub(super) fn begin(auditor: Arc<Auditor>, applied: Applied, asked: &Asked<'_>) -> Trail {
        let mut event = Map::new();
        let mut put = |name: &str, value: Json| event.insert(name.to_string(), value);
        put("kind", json!("Event"));
        put("apiVersion", json!("audit.k8s.io/v1"));
        put("level", json!(applied.level.name()));
        put("auditID", json!(asked.id));
        put("stage", Json::Null);
        put("requestURI", json!(asked.uri));
        put("verb", json!(asked.verb));
        put("user", user(asked.user));
        if let Some(acting) = asked.impersonated {
            put("impersonatedUser", user(acting));
        }
        if let Some(constraint) = asked.constraint {
            put("authenticationMetadata", json!({ "impersonationConstraint": constraint }));
        }
        put("sourceIPs", json!(asked.sources));
        if !asked.agent.is_empty() {
            put("userAgent", json!(asked.agent));
        }
        if let Some(reference) = reference(asked) {
            put("objectRef", reference);
        }
        let now = auditor.now().to_micro_string();
        put("requestReceivedTimestamp", json!(now));
        let trail = Trail { auditor, applied, event: Mutex::new(event) };
        trail.note(Stage::RequestReceived);
        trail
    }

    fn lock(&self) -> MutexGuard<'_, Map<String, Json>> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, stage: Stage) {
        if self.applied.omit_stages.contains(&stage) {
            return;
        }
        let mut event = self.lock();
        event.insert("stage".into(), json!(stage.name()));
        event.insert("stageTimestamp".into(), json!(self.auditor.now().to_micro_string()));
        self.auditor.write(&event);
    }

    /// Adds an annotation; the first of a name stays.
    pub fn annotate(&self, name: &str, text: &str) {
        let mut event = self.lock();
        if let Json::Object(annotations) = event.entry("annotations").or_insert_with(|| json!({})) {
            annotations.entry(name).or_insert_with(|| json!(text));
        }
    }

    /// What is asked for.
    pub(crate) fn asked(&self, request: &Request) {
        let document = match &request.operation {
            Operation::Create { body, .. } | Operation::Update { body, .. } => body,
            Operation::Patch { patch, .. } => &patch.body,
            _ => return,
        };
        let mut event = self.lock();
        if let Some(reference) = event.get_mut("objectRef") {
            for field in ["namespace", "name", "uid", "resourceVersion"] {
                if let (Some(text), None) = (document["metadata"][field].as_str(), reference.get(field)) {
                    reference[field] = json!(text);
                }
            }
        }
        if self.applied.level >= Level::Request {
            event.insert("requestObject".into(), self.without_managers(document.clone()));
        }
    }

    fn without_managers(&self, mut document: Json) -> Json {
        if self.applied.omit_managed_fields {
            holdfast_core::json::remove(&mut document, &["metadata", "managedFields"]);
        }
        document
    }

    fn whole(&self, object: &Object) -> Json {
        if self.applied.omit_managed_fields { object.to_json() } else { object.to_json_whole() }
    }

    /// What is answered. A stream is only begun by it.
    pub(crate) fn answered(&self, result: &Result<Reply, Status>) {
        let reply = match result {
            Err(status) => return self.failed(status),
            Ok(reply) => reply,
        };
        let (code, document) = match reply {
            Reply::Object { object, created } => (if *created { 201 } else { 200 }, Some(object)),
            Reply::Deleted(crate::Deleted::Gone(object) | crate::Deleted::Marked(object)) => (200, Some(object)),
            Reply::List(_) | Reply::Watch(_) | Reply::Connected(_) => (200, None),
        };
        self.code(code);
        if self.applied.level < Level::RequestResponse {
            return;
        }
        let document = match reply {
            Reply::List(list) => Some(json!({
                "kind": "List",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": list.revision.to_string()},
                "items": list.items.iter().map(|object| self.whole(object)).collect::<Vec<_>>(),
            })),
            _ => document.map(|object| self.whole(object)),
        };
        if let Some(document) = document {
            self.lock().insert("responseObject".into(), document);
        }
    }

    /// The answer is an error.
    pub(crate) fn failed(&self, status: &Status) {
        let doc = serde_json::to_value(status).unwrap_or_default();
        let mut event = self.lock();
        if self.applied.level >= Level::RequestResponse {
            event.insert("responseObject".into(), doc.clone());
        }
        let mut short = doc;
        for field in ["kind", "apiVersion"] {
            holdfast_core::json::remove(&mut short, &[field]);
        }
        event.insert("responseStatus".into(), short);
    }

    /// The answer has this code, as far as nothing more is known of it.
    pub(crate) fn code(&self, code: u16) {
        let mut event = self.lock();
        event.entry("responseStatus").or_insert_with(|| json!({"metadata": {}, "code": code}));
    }

    /// The answer goes on for long.
    pub(crate) fn started(&self) {
        self.note(Stage::ResponseStarted);
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let stage = if std::thread::panicking() { Stage::Panic } else { Stage::ResponseComplete };
        self.note(stage);
    }
}

impl Auditor {
    fn now(&self) -> Timestamp {
        Timestamp::from_wall(self.world.wall().0)
    }
}
