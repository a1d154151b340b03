//! Admission that users configure: webhooks, and policies in expressions.
//!
//! Policies that mutate ([`mutation`]) and then mutating webhooks ([`mutating`]) come after the built-in mutating plug-ins,
//! policies that validate ([`policy`]) and then validating webhooks ([`validating`]) after the built-in validating ones. [`cache`] has the configurations compiled,
//! [`rules`] says which requests they are about, [`review`] is what a webhook is told and answers, [`asker`] lets
//! expressions ask about rights. Objects of the configurations' own group are judged by none of this, so that nobody
//! locks himself out, nor are the reviews of `authentication.k8s.io` and `authorization.k8s.io`, nor what the hub itself
//! writes. [`types`] says what of a policy does not fit the kinds that it is about.

mod asker;
mod cache;
mod connect;
pub(crate) mod expressions;
mod mutating;
mod mutation;
mod policy;
mod review;
mod rules;
mod types;
mod validating;

pub(crate) use cache::Cache;
pub(crate) use connect::connect;
pub(crate) use policy::kind_of;
pub(crate) use review::FAILED_WEBHOOK;
pub(crate) use types::observe;

use crate::engine::{Engine, Resource};
use crate::generic::decode::{Typed, to_storage};
use crate::generic::managers::take_sent;
use crate::generic::view;
use asker::HubAsker;
use cache::{Configurations, GROUP, Stage};
use expressions::Asker;
use holdfast_cel::kubernetes::authorizer::Resource as Checked;
use holdfast_core::json::{remove, set};
use holdfast_core::user::MASTERS;
use holdfast_core::verbs::FieldValidation;
use holdfast_core::{DeleteOptions, Gvk, Gvr, Json, Object, Revision, Status, WriteOptions};
use holdfast_kinds::Kind;
use holdfast_server::RequestContext;
use mutating::Again;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// The options of a request.
#[derive(Clone, Copy)]
pub(crate) enum Options<'a> {
    Write(&'a WriteOptions),
    Delete(&'a DeleteOptions),
    None,
}

/// A request, as the engine hands it over: references alone, since mostly nobody wants to know more.
pub(crate) struct Attempt<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) cx: &'a RequestContext,
    pub(crate) resource: &'a Resource<'a>,
    pub(crate) operation: Operation,
    /// Empty for the object itself.
    pub(crate) subresource: &'a str,
    /// The revision of what there is.
    pub(crate) revision: Option<Revision>,
    pub(crate) options: Options<'a>,
}

/// The hub itself: it starts, and clears away what definitions leave, while those whom it would ask are down.
const HUB: [&str; 2] = ["system:apiserver", "system:holdfast:hub"];

fn namespaces() -> Gvr {
    Gvr::new("", "v1", "namespaces")
}

impl<'a> Attempt<'a> {
    /// All that judges writes, and the request as that sees it; `None` when nothing judges it.
    async fn judged(
        &self,
        stage: Stage,
        doc: Option<&Json>,
    ) -> Result<Option<(Arc<Configurations>, Asked<'a>)>, Status> {
        let all = self.engine.configurations.current(self.engine).await?;
        if !all.has(stage) || self.is_exempt() {
            return Ok(None);
        }
        Ok(Some((all, self.asked(doc))))
    }

    /// Whether anything judges such a request at all.
    ///
    /// # Errors
    /// The store's, when the configurations have to be read.
    pub(crate) async fn is_judged(&self) -> Result<bool, Status> {
        let all = self.engine.configurations.current(self.engine).await?;
        Ok((all.has(Stage::Mutating) || all.has(Stage::Validating)) && !self.is_exempt())
    }

    fn is_exempt(&self) -> bool {
        let user = &self.cx.user;
        self.resource.kind.group == GROUP || (HUB.contains(&user.name.as_str()) && user.is_in(MASTERS))
    }

    fn asked(&self, doc: Option<&Json>) -> Asked<'a> {
        let Attempt { engine, cx, resource, operation, subresource, revision, options } = *self;
        let name = match resource.name {
            "" => doc.and_then(|doc| holdfast_core::json::str_at(doc, &["metadata", "name"])).unwrap_or_default(),
            name => name,
        };
        let is_namespace = resource.kind.group.is_empty() && resource.kind.kind == "Namespace";
        let namespace = if is_namespace { name } else { resource.namespace };
        let dry_run = match options {
            Options::Write(options) => options.dry_run,
            Options::Delete(options) => !options.dry_run.is_empty(),
            Options::None => false,
        };
        let checked = Checked {
            group: resource.gvr.group.as_str().into(),
            resource: resource.gvr.resource.as_str().into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Checked::default()
        };
        let authorizer = engine.authorizer.get().map(|authorizer| HubAsker::of(authorizer, &cx.user));
        Asked {
            engine,
            cx,
            resource,
            kind: resource.kind,
            subresource,
            operation,
            name: name.to_string(),
            namespace: namespace.to_string(),
            dry_run,
            revision,
            options: self.options_document(),
            asker: authorizer.map(|authorizer| Asker { authorizer, resource: checked }),
            namespace_object: OnceCell::new(),
        }
    }

    fn options_document(&self) -> Json {
        let kind = match self.operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
            Operation::Connect => return Json::Null,
        };
        let mut document = match self.options {
            Options::Write(options) => {
                let mut document = json!({});
                if options.dry_run {
                    set(&mut document, &["dryRun"], vec!["All"]);
                }
                if !options.field_manager.is_empty() {
                    set(&mut document, &["fieldManager"], options.field_manager.as_str());
                }
                let validation = match options.field_validation {
                    FieldValidation::Ignore => "Ignore",
                    FieldValidation::Warn => "Warn",
                    FieldValidation::Strict => "Strict",
                };
                set(&mut document, &["fieldValidation"], validation);
                document
            }
            Options::Delete(options) => serde_json::to_value(options).unwrap_or_else(|_| json!({})),
            Options::None => json!({}),
        };
        set(&mut document, &["apiVersion"], "meta.k8s.io/v1");
        set(&mut document, &["kind"], kind);
        document
    }

    /// Asks policies and mutating webhooks about `doc`, which they may change, and which is in stored form where it is an object of
    /// the kind. When it did change, built-in plug-ins may look again, and then [`Again::run`] is due.
    ///
    /// # Errors
    /// The refusal of a webhook, or 500 when one that must be asked cannot be.
    pub(crate) async fn mutate(&self, doc: &mut Json, old: Option<&Json>) -> Result<Option<Again<'a>>, Status> {
        match self.judged(Stage::Mutating, Some(&*doc)).await? {
            Some((all, asked)) => mutating::first(all, asked, doc, old).await,
            None => Ok(None),
        }
    }

    /// Asks policies and validating webhooks about what `doc` has become.
    ///
    /// # Errors
    /// As [`Attempt::mutate`]; a policy refuses with 422 or the code of its reason.
    pub(crate) async fn validate(&self, doc: Option<&Json>, old: Option<&Json>) -> Result<(), Status> {
        let Some((all, asked)) = self.judged(Stage::Validating, doc.or(old)).await? else { return Ok(()) };
        policy::judge(&all.policies, &asked, doc, old).await?;
        validating::judge(&all.validating, &asked, doc, old).await
    }

    /// All of a deletion, which nobody can change.
    ///
    /// # Errors
    /// As [`Attempt::mutate`], and 500 for a webhook that would change something.
    pub(crate) async fn delete(&self, old: &Json) -> Result<(), Status> {
        if let Some((all, asked)) = self.judged(Stage::Mutating, Some(old)).await? {
            mutating::only_ask(&all, &asked, old).await?;
        }
        self.validate(None, Some(old)).await
    }
}

/// A request that something judges.
pub(crate) struct Asked<'a> {
    engine: &'a Engine,
    cx: &'a RequestContext,
    resource: &'a Resource<'a>,
    kind: &'static Kind,
    subresource: &'a str,
    operation: Operation,
    name: String,
    /// For a Namespace its own name.
    namespace: String,
    dry_run: bool,
    revision: Option<Revision>,
    options: Json,
    asker: Option<Asker>,
    namespace_object: OnceCell<Option<Arc<Object>>>,
}

impl Asked<'_> {
    fn is_namespace(&self) -> bool {
        self.kind.group.is_empty() && self.kind.kind == "Namespace"
    }

    /// What the document of the request is, in a version of the resource's kind.
    fn gvk(&self, kind: &Kind) -> Gvk {
        match kind.subresource(self.subresource) {
            Some(part) => {
                let version =
                    if part.group == kind.group && part.kind == kind.kind { kind.version } else { part.version };
                Gvk { group: part.group.into(), version: version.into(), kind: part.kind.into() }
            }
            None => kind.gvk(),
        }
    }

    /// Whether the document is an object of the kind, and not one of a subresource's own.
    fn is_own(&self) -> bool {
        let part = self.kind.subresource(self.subresource);
        part.is_none_or(|part| part.group == self.kind.group && part.kind == self.kind.kind)
    }

    /// The other versions in which the same objects are served.
    fn other_versions(&self) -> Vec<&'static Kind> {
        let mut others: Vec<&'static Kind> = match self.kind.custom {
            Some(_) => self.engine.customs.versions_of(self.kind).iter().map(|custom| custom.kind).collect(),
            None => rules::built_in_versions(self.kind),
        };
        let has_part = |kind: &Kind| self.subresource.is_empty() || kind.subresource(self.subresource).is_some();
        others.retain(|kind| !std::ptr::eq(*kind, self.kind) && has_part(kind));
        others
    }

    /// The namespace of the request, if it is in one.
    async fn namespace_object(&self) -> Result<Option<&Arc<Object>>, Status> {
        let find = || async {
            match self.namespace.as_str() {
                "" => Ok(None),
                name => self.engine.find(&namespaces(), "", name).await,
            }
        };
        self.namespace_object.get_or_try_init(find).await.map(Option::as_ref)
    }

    /// A document of the request in a version of the kind, as webhooks and expressions see it.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    async fn shown(&self, kind: &Kind, doc: Option<&Json>) -> Result<Json, Status> {
        let Some(doc) = doc else { return Ok(Json::Null) };
        let mut doc = match self.is_own() {
            true => view::in_version(self.engine, self.resource.strategy.custom(), kind, doc).await?,
            false => doc.clone(),
        };
        if let Some(revision) = self.revision.filter(|_| doc.get("metadata").is_some()) {
            set(&mut doc, &["metadata", "resourceVersion"], revision.to_string());
        }
        Ok(doc)
    }

    /// A document that a webhook made, as the engine goes on with it.
    ///
    /// # Errors
    /// 400 for what does not fit the schema, 500 for what cannot be converted.
    async fn taken(&self, kind: &'static Kind, mut doc: Json) -> Result<Json, Status> {
        take_sent(&mut doc);
        remove(&mut doc, &["metadata", "resourceVersion"]);
        if !self.is_own() {
            return Ok(doc);
        }
        set(&mut doc, &["apiVersion"], kind.gvk().api_version());
        set(&mut doc, &["kind"], kind.kind);
        let typed = match kind.custom {
            Some(_) => self.engine.customs.by_gvr(&kind.gvr()),
            None => None,
        };
        let fields = match &typed {
            Some(custom) => Typed::Custom(custom),
            None => Typed::BuiltIn(kind.schema),
        };
        fields.drop_unknown(self.engine, &mut doc)?;
        let (Some(custom), Some(own)) = (typed, self.resource.strategy.custom()) else {
            to_storage(kind, &mut doc);
            self.resource.strategy.default(&mut doc);
            return Ok(doc);
        };
        custom.schema.default(&mut doc);
        view::in_version(self.engine, Some(own), self.kind, &doc).await
    }

    /// 403 about the object.
    fn forbidden(&self, why: impl std::fmt::Display) -> Status {
        Status::forbidden(self.resource.gvr, &self.name, why)
    }

    /// What is told of the request; without the documents, and without a name of its own.
    fn request(&self, kind: &Kind) -> Json {
        let gvk = |of: &Kind| {
            let Gvk { group, version, kind } = self.gvk(of);
            json!({ "group": group, "version": version, "kind": kind })
        };
        let gvr = |of: &Kind| json!({ "group": of.group, "version": of.version, "resource": of.plural });
        let user = &self.cx.user;
        let mut who = json!({ "username": user.name, "groups": user.groups });
        if !user.uid.is_empty() {
            set(&mut who, &["uid"], user.uid.as_str());
        }
        if !user.extra.is_empty() {
            set(&mut who, &["extra"], json!(user.extra));
        }
        let mut request = json!({
            "kind": gvk(kind), "resource": gvr(kind), "requestKind": gvk(self.kind), "requestResource": gvr(self.kind),
            "operation": self.operation.as_str(), "userInfo": who, "dryRun": self.dry_run,
        });
        let optional = [
            ("subResource", self.subresource),
            ("requestSubResource", self.subresource),
            ("name", self.name.as_str()),
            ("namespace", self.namespace.as_str()),
        ];
        for (field, text) in optional {
            if !text.is_empty() {
                set(&mut request, &[field], text);
            }
        }
        if !self.options.is_null() {
            set(&mut request, &["options"], self.options.clone());
        }
        request
    }
}

/// What is not there.
static NULL: Json = Json::Null;
