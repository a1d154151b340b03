//! The chain behind the codec: authorization, then the registry.

use crate::audit::{Asked, Auditor, Trail};
use crate::docs::access::Decisions;
use crate::{Attributes, Authorizer, Connected, Decision, Deleted, Registry, RequestContext, Selected};
use holdfast_core::{
    DeleteOptions, FieldSelector, Json, ListOptions, Object, ObjectList, Patch, Reason, Status, Target, UserInfo,
    Watch, WriteOptions, names,
};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// What is asked.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are the methods of Registry")]
pub enum Operation {
    Get,
    List(ListOptions),
    Watch(ListOptions),
    Create {
        body: Json,
        options: WriteOptions,
    },
    Update {
        body: Json,
        options: WriteOptions,
    },
    Patch {
        patch: Patch,
        options: WriteOptions,
    },
    Delete(DeleteOptions),
    DeleteCollection {
        options: DeleteOptions,
        selection: ListOptions,
    },
    /// `get` or `create` of a streaming subresource; `create` says which RBAC verb it needs.
    Connect {
        query: Vec<(String, String)>,
        create: bool,
    },
}

impl Operation {
    /// The verb that authorization judges.
    pub fn verb(&self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::List(_) => "list",
            Operation::Watch(_) => "watch",
            Operation::Create { .. } => "create",
            Operation::Update { .. } => "update",
            Operation::Patch { .. } => "patch",
            Operation::Delete(_) => "delete",
            Operation::DeleteCollection { .. } => "deletecollection",
            Operation::Connect { create, .. } => {
                if *create {
                    "create"
                } else {
                    "get"
                }
            }
        }
    }
}

/// A request, decoded.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks, and what travels along.
    pub cx: RequestContext,
    /// About what.
    pub target: Target,
    /// What.
    pub operation: Operation,
}

/// An answer, not yet encoded.
#[allow(missing_docs, reason = "the variants are the results of Registry")]
pub enum Reply {
    Object { object: Arc<Object>, created: bool },
    List(ObjectList),
    Watch(Watch),
    Deleted(Deleted),
    Connected(Connected),
}

/// The API behind its codecs.
pub struct Api {
    registry: Arc<dyn Registry>,
    authorizer: Arc<dyn Authorizer>,
    auditor: Option<Arc<Auditor>>,
    decisions: Arc<Decisions>,
}

impl Api {
    /// An API over a registry, guarded by an authorizer.
    pub fn new(registry: Arc<dyn Registry>, authorizer: Arc<dyn Authorizer>) -> Api {
        Api { registry, authorizer, auditor: None, decisions: Arc::new(Decisions::new()) }
    }

    /// The same with an audit log.
    pub fn with_auditor(self, auditor: Option<Arc<Auditor>>) -> Api {
        Api { auditor, ..self }
    }

    /// What the authorizer has said so far.
    pub(crate) fn decisions(&self) -> &Arc<Decisions> {
        &self.decisions
    }

    /// What notes requests, if anything does.
    pub(crate) fn auditor(&self) -> Option<&Arc<Auditor>> {
        self.auditor.as_ref()
    }

    /// The authorizer, for requests that are no resource's.
    pub fn authorizer(&self) -> &Arc<dyn Authorizer> {
        &self.authorizer
    }

    /// Runs one request.
    ///
    /// # Errors
    /// 403 when the user may not, else whatever the registry says.
    pub async fn call(&self, mut request: Request) -> Result<Reply, Status> {
        if let Some(auditor) = &self.auditor {
            request.cx.trail = begin(auditor, &request);
        }
        let verb = request.operation.verb();
        let selected = match &request.operation {
            Operation::List(options) | Operation::Watch(options) => selected_by(options),
            Operation::DeleteCollection { selection, .. } => selected_by(selection),
            _ => Selected::default(),
        };
        let target = judged(&request.target, verb, &selected.fields);
        if let Err(status) = self.authorize_selected(&request.cx, &target, verb, &selected).await {
            if let Some(trail) = &request.cx.trail {
                trail.failed(&status);
            }
            return Err(status);
        }
        self.run(request).await
    }

    /// Runs a request that was authorized.
    pub(crate) async fn run(&self, request: Request) -> Result<Reply, Status> {
        let trail = request.cx.trail.clone();
        if let Some(trail) = &trail {
            trail.asked(&request);
        }
        let result = self.dispatch(request).await;
        if let Some(trail) = &trail {
            trail.answered(&result);
        }
        result
    }

    async fn dispatch(&self, request: Request) -> Result<Reply, Status> {
        let Request { cx, target, operation } = request;
        let registry = &self.registry;
        match operation {
            Operation::Get => registry.get(&cx, &target).await.map(|object| Reply::Object { object, created: false }),
            Operation::List(options) => registry.list(&cx, &target, &options).await.map(Reply::List),
            Operation::Watch(options) => registry.watch(&cx, &target, &options).await.map(Reply::Watch),
            Operation::Create { body, options } => {
                let object = registry.create(&cx, &target, body, &options).await?;
                Ok(Reply::Object { object, created: true })
            }
            Operation::Update { body, options } => {
                let (object, created) = registry.update(&cx, &target, body, &options).await?;
                Ok(Reply::Object { object, created })
            }
            Operation::Patch { patch, options } => {
                let (object, created) = registry.patch(&cx, &target, patch, &options).await?;
                Ok(Reply::Object { object, created })
            }
            Operation::Delete(options) => registry.delete(&cx, &target, &options).await.map(Reply::Deleted),
            Operation::DeleteCollection { options, selection } => {
                registry.delete_collection(&cx, &target, &options, &selection).await.map(Reply::List)
            }
            Operation::Connect { query, .. } => registry.connect(&cx, &target, &query).await.map(Reply::Connected),
        }
    }

    /// Asks the authorizer, and notes what it says.
    ///
    /// # Errors
    /// 403 when it does not allow the request.
    pub(crate) async fn decide(
        &self,
        cx: &RequestContext,
        attributes: &Attributes<'_>,
        selected: &Selected,
    ) -> Result<(), Status> {
        let began = Instant::now();
        let decision = self.authorizer.authorize_selected(attributes, selected).await;
        self.decisions.made(&decision, began.elapsed());
        if cx.trail.is_some() {
            let reason = match decision {
                Decision::Allow => self.authorizer.reason(attributes).await,
                _ => String::new(),
            };
            cx.decided(&decision, &reason);
        }
        match decision {
            Decision::Allow => Ok(()),
            Decision::Deny(why) | Decision::NoOpinion(why) => Err(refusal(attributes, &why)),
        }
    }

    /// Whether the user of `cx` may; the HTTP chain asks before it reads a body.
    pub(crate) async fn authorize(&self, cx: &RequestContext, target: &Target, verb: &str) -> Result<(), Status> {
        self.authorize_selected(cx, target, verb, &Selected::default()).await
    }

    /// The same about some objects of a collection.
    pub(crate) async fn authorize_selected(
        &self,
        cx: &RequestContext,
        target: &Target,
        verb: &str,
        selected: &Selected,
    ) -> Result<(), Status> {
        let attributes = Attributes { user: &cx.user, verb, target: Some(target), path: "" };
        self.decide(cx, &attributes, selected).await
    }
}

fn selected_by(options: &ListOptions) -> Selected {
    Selected { fields: options.fields.clone(), labels: options.labels.clone() }
}

/// The trail of a request that comes from within: it has no address and no headers.
fn begin(auditor: &Arc<Auditor>, request: &Request) -> Option<Arc<Trail>> {
    let Request { cx, target, operation } = request;
    let path = target.path();
    auditor.begin(&Asked {
        id: &cx.request_id,
        user: &cx.user,
        impersonated: None,
        constraint: None,
        verb: operation.verb(),
        target: Some(target),
        path: &path,
        uri: &path,
        sources: vec!["::1".to_string()],
        agent: "",
    })
}

/// The refusal of a request, whatever it is about.
pub(crate) fn refusal(attributes: &Attributes<'_>, why: &str) -> Status {
    let Attributes { user, verb, target, path } = attributes;
    match target {
        Some(target) => denied(user, target, verb, why),
        None => {
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            let text = format!("forbidden: User {:?} cannot {verb} path {path:?}{why}", user.name);
            Status::failure(403, Reason::Forbidden, text)
        }
    }
}

/// What rights are asked about. A list or watch of one name is about that object, as upstream has it: the right to that name
/// is enough.
pub(crate) fn judged<'a>(target: &'a Target, verb: &str, fields: &FieldSelector) -> Cow<'a, Target> {
    let name = fields.required("metadata.name").filter(|_| target.name.is_none() && matches!(verb, "list" | "watch"));
    match name.filter(|name| !name.is_empty() && names::path_segment(name).is_empty()) {
        Some(name) => Cow::Owned(Target { name: Some(name.to_string()), ..target.clone() }),
        None => Cow::Borrowed(target),
    }
}

/// Upstream's text of a refusal.
pub(crate) fn denied(user: &UserInfo, target: &Target, verb: &str, why: &str) -> Status {
    let resource = match target.subresource() {
        "" => target.gvr.resource.clone(),
        sub => format!("{}/{sub}", target.gvr.resource),
    };
    let scope = match &target.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_string(),
    };
    let group = &target.gvr.group;
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    let text = format!("User {:?} cannot {verb} resource {resource:?} in API group {group:?} {scope}{why}", user.name);
    let status = Status::forbidden(&target.gvr, target.name(), text);
    debug_assert!(status.is(Reason::Forbidden));
    status
}
