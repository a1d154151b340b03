//! The words of a request: what is asked of which resource, and what comes back.
//!
//! Shared by the API server, its in-process client, the node's local API and every controller.

use crate::{FieldErrors, FieldPath, FieldSelector, Gvk, Gvr, Json, LabelSelector, Object, Revision, Status};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a request is about: a resource, and where it narrows, a namespace, a name, a subresource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The resource.
    pub gvr: Gvr,
    /// Namespace; `None` for cluster-scoped resources and for all namespaces.
    pub namespace: Option<String>,
    /// Name; `None` for collections.
    pub name: Option<String>,
    /// Subresource such as `status`.
    pub subresource: Option<String>,
}

impl Target {
    /// A collection; an empty namespace means all.
    pub fn collection(gvr: Gvr, namespace: &str) -> Target {
        let namespace = (!namespace.is_empty()).then(|| namespace.to_string());
        Target { gvr, namespace, name: None, subresource: None }
    }

    /// One object; an empty namespace means cluster-scoped.
    pub fn object(gvr: Gvr, namespace: &str, name: &str) -> Target {
        Target { name: Some(name.to_string()), ..Target::collection(gvr, namespace) }
    }

    /// A subresource of this object.
    #[must_use]
    pub fn with_subresource(mut self, subresource: &str) -> Target {
        self.subresource = Some(subresource.to_string());
        self
    }

    /// Where it is on an API server (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris>).
    pub fn path(&self) -> String {
        let Gvr { group, version, resource } = &self.gvr;
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let scope = self.namespace.as_ref().map(|namespace| format!("/namespaces/{namespace}"));
        let rest = [&self.name, &self.subresource].into_iter().flatten().map(|part| format!("/{part}"));
        format!("{root}{}/{resource}{}", scope.unwrap_or_default(), rest.collect::<String>())
    }

    /// The name, or the empty string.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The namespace, or the empty string.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// The subresource, or the empty string.
    pub fn subresource(&self) -> &str {
        self.subresource.as_deref().unwrap_or_default()
    }
}

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// Exactly that revision.
    Exact,
    /// That revision or any later.
    NotOlderThan,
}

/// Options of get, list, watch and deletecollection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Labels to select.
    pub labels: LabelSelector,
    /// Fields to select.
    pub fields: FieldSelector,
    /// At most so many items; 0 for all.
    pub limit: usize,
    /// Where an earlier page ended.
    pub continue_token: Option<String>,
    /// `resourceVersion` as sent; `None` when unset, `Some(0)` means any cached state.
    pub resource_version: Option<Revision>,
    /// `resourceVersionMatch`.
    pub version_match: Option<VersionMatch>,
    /// Watch: bookmarks are wanted.
    pub allow_bookmarks: bool,
    /// Watch: begin with the current objects and an `initial-events-end` bookmark.
    pub send_initial_events: Option<bool>,
    /// Watch: end after so many seconds.
    pub timeout_seconds: Option<u64>,
}

impl ListOptions {
    /// Whether they contradict each other (`ValidateListOptions` of apimachinery).
    ///
    /// # Errors
    /// 422 about `ListOptions.meta.k8s.io`, with upstream's texts.
    pub fn validate(&self, watch: bool) -> Result<(), Status> {
        let mut errors = FieldErrors::new();
        let path = FieldPath::new("resourceVersionMatch");
        if watch {
            match (self.send_initial_events, self.version_match) {
                (None, Some(_)) => errors.forbidden(
                    &path,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ),
                (Some(_), Some(VersionMatch::NotOlderThan)) | (None, None) => {}
                (Some(_), _) => {
                    errors.forbidden(&path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
                }
            }
        } else {
            if self.send_initial_events.is_some() {
                errors.forbidden(&FieldPath::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
            }
            if let Some(wanted) = self.version_match {
                if self.resource_version.is_none() {
                    errors.forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
                }
                if self.continue_token.is_some() {
                    errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
                }
                if wanted == VersionMatch::Exact && self.resource_version == Some(Revision(0)) {
                    errors.forbidden(&path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
                }
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(&Gvk::new("meta.k8s.io/v1", "ListOptions"), "", &errors))
    }
}

/// How strict decoding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Unknown and duplicate fields are dropped silently.
    Ignore,
    /// … with a warning (the default upstream).
    #[default]
    Warn,
    /// … refused with 400.
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Go through everything but store nothing.
    pub dry_run: bool,
    /// Who owns the fields; empty when unset.
    pub field_manager: String,
    /// How strict decoding is.
    pub field_validation: FieldValidation,
    /// Apply only: take fields over from other managers.
    pub force: bool,
}

/// `propagationPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Dependents stay and lose the owner.
    Orphan,
    /// Dependents go afterwards.
    Background,
    /// Dependents go first.
    Foreground,
}

/// Conditions on what is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    /// The UID that it must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The `resourceVersion` that it must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// Options of delete (`meta/v1 DeleteOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    /// Seconds of grace; `None` for the object's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i64>,
    /// Conditions on what is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditions: Option<Preconditions>,
    /// What happens to dependents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<Propagation>,
    /// The old form of `propagationPolicy: Orphan`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orphan_dependents: Option<bool>,
    /// `["All"]` stores nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dry_run: Vec<String>,
}

/// The media type of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge patch.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// A patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// How to read `body`.
    pub patch_type: PatchType,
    /// The patch document.
    pub body: Json,
}

/// What a list came to.
#[derive(Clone, Debug)]
pub struct ObjectList {
    /// The objects, by key.
    pub items: Vec<Arc<Object>>,
    /// The revision of the whole list.
    pub revision: Revision,
    /// Where the next page begins; `None` when this is the last.
    pub continue_token: Option<String>,
    /// How many items follow, where that is known.
    pub remaining: Option<u64>,
}

/// The sort of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEventType {
    /// The object came to be, or into the selection.
    Added,
    /// The object changed.
    Modified,
    /// The object went, or out of the selection.
    Deleted,
    /// Nothing changed up to this revision.
    Bookmark,
}

impl WatchEventType {
    /// The word of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            WatchEventType::Added => "ADDED",
            WatchEventType::Modified => "MODIFIED",
            WatchEventType::Deleted => "DELETED",
            WatchEventType::Bookmark => "BOOKMARK",
        }
    }
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    /// What happened.
    pub event_type: WatchEventType,
    /// The object after the change; before it for a deletion, at the deletion's revision. For a bookmark an
    /// object with metadata only, annotated `k8s.io/initial-events-end: "true"` where it ends the initial events.
    pub object: Arc<Object>,
}

impl WatchEvent {
    /// A bookmark that says: nothing else changed up to `revision`.
    ///
    /// # Errors
    /// Never in practice: the object is made here.
    pub fn bookmark(gvk: &Gvk, revision: Revision, ends_initial: bool) -> Result<WatchEvent, Status> {
        let mut metadata = serde_json::Map::new();
        if ends_initial {
            metadata.insert("annotations".into(), serde_json::json!({ INITIAL_EVENTS_END: "true" }));
        }
        let doc = serde_json::json!({"apiVersion": gvk.api_version(), "kind": gvk.kind, "metadata": metadata});
        let object = Arc::new(Object::from_json(doc)?.at_revision(revision));
        Ok(WatchEvent { event_type: WatchEventType::Bookmark, object })
    }
}

/// The annotation of the bookmark that ends the initial events of a streaming list.
pub const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// A running watch. Ends with `None`, or after one error (410 when the watcher fell behind).
pub trait WatchStream: Send {
    /// The next event, as `futures::Stream` has it.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchEvent, Status>>>;
}

/// A boxed watch.
pub type Watch = Box<dyn WatchStream>;

impl dyn WatchStream {
    /// The next event. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<WatchEvent, Status>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}
