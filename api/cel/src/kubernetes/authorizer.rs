//! Authorization checks (documentation, section "Kubernetes authorizer library"). Who decides is the caller's.

use super::{Kubernetes, argument, value};
use crate::error::EvalError;
use crate::functions::{Args, Library};
use crate::types::Type;
use crate::value::{Outcome, Value};
use holdfast_core::names;
use std::sync::Arc;

pub(super) const PREFIX: &str = "kubernetes.authorization.";
pub(super) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
pub(super) const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
pub(super) const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
pub(super) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
pub(super) const DECISION: &str = "kubernetes.authorization.Decision";

/// Decides whether a request would be allowed.
pub trait Authorizer: Send + Sync {
    /// Decides for the user of the request, or for a ServiceAccount where one is named.
    fn authorize(&self, request: &Request) -> Decision;
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Namespace and name of the ServiceAccount that would ask; without it the user of the request.
    pub service_account: Option<(Arc<str>, Arc<str>)>,
    /// The verb.
    pub verb: Arc<str>,
    /// What the verb would be done to.
    pub target: Target,
}

/// What a verb would be done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A path that is no resource's.
    Path(Arc<str>),
    /// A resource, in any version.
    Resource(Resource),
}

/// A resource. Empty where nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// API group.
    pub group: Arc<str>,
    /// Plural name.
    pub resource: Arc<str>,
    /// Subresource.
    pub subresource: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Object's name.
    pub name: Arc<str>,
    /// Field selector, as it was written.
    pub field_selector: Arc<str>,
    /// Label selector, as it was written.
    pub label_selector: Arc<str>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong on deciding.
    pub error: Option<String>,
}

/// An authorizer, and for whom it is asked.
#[derive(Clone)]
pub struct Asker {
    authorizer: Arc<dyn Authorizer>,
    service_account: Option<(Arc<str>, Arc<str>)>,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asker").field("service_account", &self.service_account).finish_non_exhaustive()
    }
}

impl PartialEq for Asker {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.authorizer, &other.authorizer) && self.service_account == other.service_account
    }
}

/// A check of a path, being made.
#[derive(Clone, Debug, PartialEq)]
pub struct PathCheck {
    asker: Asker,
    path: Arc<str>,
}

/// A check within a group, being made.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupCheck {
    asker: Asker,
    group: Arc<str>,
}

/// A check of a resource, being made.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceCheck {
    asker: Asker,
    resource: Resource,
}

/// The type of the variable `authorizer`.
pub fn authorizer_type() -> Type {
    Type::object(AUTHORIZER)
}

/// The type of the variable `authorizer.requestResource`.
pub fn resource_check_type() -> Type {
    Type::object(RESOURCE_CHECK)
}

impl<'a> Value<'a> {
    /// What the variable `authorizer` holds.
    pub fn authorizer(authorizer: Arc<dyn Authorizer>) -> Value<'a> {
        value(Kubernetes::Authorizer(Asker { authorizer, service_account: None }))
    }

    /// What the variable `authorizer.requestResource` holds.
    pub fn resource_check(authorizer: Arc<dyn Authorizer>, resource: Resource) -> Value<'a> {
        let asker = Asker { authorizer, service_account: None };
        value(Kubernetes::ResourceCheck(ResourceCheck { asker, resource }))
    }
}

pub(super) fn declare(library: &mut Library) {
    let object = Type::object;
    let on = |name: &str, arguments: usize| {
        let mut params = vec![object(name)];
        params.resize(1 + arguments, Type::String);
        params
    };
    library.member("path", "authorizer_path", &on(AUTHORIZER, 1), object(PATH_CHECK), |args| {
        let (asker, path) = (argument!(args, 0, Authorizer)?.clone(), named(args, "path")?);
        Ok(value(Kubernetes::PathCheck(PathCheck { asker, path })))
    });
    library.member("group", "authorizer_group", &on(AUTHORIZER, 1), object(GROUP_CHECK), |args| {
        let (asker, group) = (argument!(args, 0, Authorizer)?.clone(), shared(args, 1)?);
        Ok(value(Kubernetes::GroupCheck(GroupCheck { asker, group })))
    });
    let account = on(AUTHORIZER, 2);
    library.member("serviceAccount", "authorizer_serviceaccount", &account, object(AUTHORIZER), service_account);
    library.member("resource", "groupcheck_resource", &on(GROUP_CHECK, 1), object(RESOURCE_CHECK), |args| {
        let check = argument!(args, 0, GroupCheck)?.clone();
        let resource = Resource { group: check.group, resource: named(args, "resource")?, ..Resource::default() };
        Ok(value(Kubernetes::ResourceCheck(ResourceCheck { asker: check.asker, resource })))
    });
    let (narrowing, narrowed) = (on(RESOURCE_CHECK, 1), object(RESOURCE_CHECK));
    library.member("subresource", "resourcecheck_subresource", &narrowing, narrowed.clone(), |args| {
        narrow(args, |resource| &mut resource.subresource)
    });
    library.member("namespace", "resourcecheck_namespace", &narrowing, narrowed.clone(), |args| {
        narrow(args, |resource| &mut resource.namespace)
    });
    library.member("name", "resourcecheck_name", &narrowing, narrowed.clone(), |args| {
        narrow(args, |resource| &mut resource.name)
    });
    library.member("fieldSelector", "authorizer_fieldselector", &narrowing, narrowed.clone(), |args| {
        narrow(args, |resource| &mut resource.field_selector)
    });
    library.member("labelSelector", "authorizer_labelselector", &narrowing, narrowed, |args| {
        narrow(args, |resource| &mut resource.label_selector)
    });
    library.member("check", "pathcheck_check", &on(PATH_CHECK, 1), object(DECISION), |args| {
        let check = argument!(args, 0, PathCheck)?;
        ask(&check.asker, shared(args, 1)?, Target::Path(check.path.clone()))
    });
    library.member("check", "resourcecheck_check", &on(RESOURCE_CHECK, 1), object(DECISION), |args| {
        let check = argument!(args, 0, ResourceCheck)?;
        ask(&check.asker, shared(args, 1)?, Target::Resource(check.resource.clone()))
    });
    let decision = on(DECISION, 0);
    library.member("errored", "decision_errored", &decision, Type::Bool, |args| {
        Ok(Value::Bool(argument!(args, 0, Decision)?.error.is_some()))
    });
    library.member("error", "decision_error", &decision, Type::String, |args| {
        Ok(Value::owned(argument!(args, 0, Decision)?.error.as_deref().unwrap_or_default()))
    });
    library.member("allowed", "decision_allowed", &decision, Type::Bool, |args| {
        Ok(Value::Bool(argument!(args, 0, Decision)?.allowed))
    });
    library.member("reason", "decision_reason", &decision, Type::String, |args| {
        Ok(Value::owned(&*argument!(args, 0, Decision)?.reason))
    });
}

fn shared(args: Args<'_, '_>, index: usize) -> Result<Arc<str>, EvalError> {
    Ok(Arc::from(&**args.text(index)?))
}

/// The first argument, which may not be empty.
fn named(args: Args<'_, '_>, what: &str) -> Result<Arc<str>, EvalError> {
    let text = shared(args, 1)?;
    if text.trim().is_empty() { Err(EvalError::new(format!("{what} must not be empty"))) } else { Ok(text) }
}

fn service_account<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let asker = argument!(args, 0, Authorizer)?;
    let (namespace, name) = (shared(args, 1)?, shared(args, 2)?);
    if !names::dns_subdomain(&name).is_empty() {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !names::dns_label(&namespace).is_empty() {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let asker = Asker { service_account: Some((namespace, name)), ..asker.clone() };
    Ok(value(Kubernetes::Authorizer(asker)))
}

fn narrow<'a>(args: Args<'_, 'a>, part: impl Fn(&mut Resource) -> &mut Arc<str>) -> Outcome<'a> {
    let mut check = argument!(args, 0, ResourceCheck)?.clone();
    *part(&mut check.resource) = shared(args, 1)?;
    Ok(value(Kubernetes::ResourceCheck(check)))
}

fn ask<'a>(asker: &Asker, verb: Arc<str>, target: Target) -> Outcome<'a> {
    let request = Request { service_account: asker.service_account.clone(), verb, target };
    Ok(value(Kubernetes::Decision(asker.authorizer.authorize(&request))))
}
