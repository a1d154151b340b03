//! [`HubRegistry`]: which part of the engine serves which verb and subresource.

use crate::admission::dynamic;
use crate::config::HubRegistryConfig;
use crate::custom;
use crate::engine::{Engine, Resource};
use crate::generic::update::Part;
use crate::generic::{self, view};
use crate::metrics as metrics_text;
use crate::subresources::{binding, components, eviction, metrics, proxy, reviews, scale, streams, token};
use crate::tokens::ServiceAccountAuthenticator;
use crate::{bootstrap, event_expiry, rbac::RbacAuthorizer};
use async_trait::async_trait;
use holdfast_core::{
    DeleteOptions, Gvr, Json, ListOptions, Object, ObjectList, Patch, Status, Target, Watch, WriteOptions,
};
use holdfast_env::Task;
use holdfast_server::{
    Authenticator, Authorizer, Connected, Deleted, LiveKinds, NodeCalls, Registry, RequestContext, Stored, WebhookCalls,
};
use std::sync::Arc;
use std::time::Duration;

/// The hub's registry over its store.
pub struct HubRegistry {
    engine: Arc<Engine>,
}

impl HubRegistry {
    /// A registry over a store. Nothing is written until [`HubRegistry::ensure_defaults`].
    pub fn new(config: HubRegistryConfig) -> HubRegistry {
        HubRegistry { engine: Arc::new(Engine::new(config)) }
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Tells how nodes are reached. Only the first call counts; without it streams answer 503.
    pub fn set_node_calls(&self, calls: Arc<dyn NodeCalls>) {
        let _ = self.engine.node_calls.set(calls);
    }

    /// Tells how webhooks are asked. Only the first call counts; without it they count as unreachable.
    pub fn set_webhook_calls(&self, calls: Arc<dyn WebhookCalls>) {
        let _ = self.engine.webhook_calls.set(calls);
    }

    /// Tells who knows tokens that are no ServiceAccount's, for TokenReviews. Only the first call counts.
    pub fn set_token_authenticators(&self, authenticators: Vec<Arc<dyn Authenticator>>) {
        let _ = self.engine.token_authenticators.set(authenticators);
    }

    /// Tells who judges access reviews, and escalation of Roles. Only the first call counts.
    pub fn set_authorizer(&self, authorizer: Arc<dyn Authorizer>) {
        let _ = self.engine.authorizer.set(authorizer);
    }

    /// Starts the authorizer (nodes, then RBAC) over the same store and makes it the judge of access reviews.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start_authorizer(&self) -> Result<Arc<RbacAuthorizer>, Status> {
        let authorizer = RbacAuthorizer::start(self.engine.clone()).await?;
        self.set_authorizer(authorizer.clone());
        Ok(authorizer)
    }

    /// What is served: the built-in kinds, and those of the definitions once [`HubRegistry::start_custom_kinds`] reads them.
    pub fn kinds(&self) -> &Arc<LiveKinds> {
        self.engine.customs.live()
    }

    /// Serves what the stored CustomResourceDefinitions define, and follows their changes until the returned owner is
    /// dropped.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start_custom_kinds(&self) -> Result<Task, Status> {
        custom::start(self.engine.clone()).await
    }

    /// Appends what it counts to the text of `/metrics`.
    pub fn metrics(&self, out: &mut String) {
        metrics_text::write(&self.engine, out);
    }

    /// Tells who ServiceAccount tokens are from.
    pub fn token_authenticator(&self) -> ServiceAccountAuthenticator {
        ServiceAccountAuthenticator::new(self.engine.clone())
    }

    /// Starts the task that removes Events older than `ttl` (upstream: an hour). It ends with the returned owner.
    pub fn start_event_expiry(&self, ttl: Duration) -> Task {
        let engine = self.engine.clone();
        self.engine.env.spawn("event-expiry", Box::pin(async move { event_expiry::run(&engine, ttl).await }))
    }

    /// Starts the task that keeps the flow schemas and priority levels of every cluster as they are to be. It ends with the
    /// returned owner.
    pub fn start_flow_control(self: &Arc<Self>) -> Task {
        let registry = self.clone();
        let keep = async move { bootstrap::keep_flow_control(&registry, &registry.engine).await };
        self.engine.env.spawn("flow-control", Box::pin(keep))
    }

    /// Makes the objects that every cluster has, where they are missing, as upstream does at start:
    /// namespaces, priority classes, runtime classes, roles and bindings, the Service `kubernetes`.
    /// `api_port` is the port that the Service's `https` port leads to.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn ensure_defaults(&self, api_port: u16) -> Result<(), Status> {
        bootstrap::ensure(self, &self.engine, api_port).await
    }

    /// The kind behind a target. Whoever uses an old one is told what to use instead, as upstream does.
    ///
    /// # Errors
    /// As [`Engine::resource`].
    fn resource<'a>(&self, cx: &RequestContext, at: &'a Target) -> Result<Resource<'a>, Status> {
        let resource = self.engine.resource(at)?;
        match (resource.kind.group, resource.kind.kind) {
            ("", "ComponentStatus") => cx.warn("v1 ComponentStatus is deprecated in v1.19+"),
            ("", "Endpoints") => {
                cx.warn("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice");
            }
            _ => {}
        }
        if let Some(text) = resource.strategy.custom().and_then(|custom| custom.deprecation.as_deref()) {
            cx.warn(text);
        }
        Ok(resource)
    }
}

/// Whoever deletes a Job and does not say what becomes of its pods is told what does, as upstream does.
fn warn_of_orphans(cx: &RequestContext, resource: &Resource<'_>, options: &DeleteOptions) {
    let unsaid = options.propagation_policy.is_none() && options.orphan_dependents.is_none();
    if unsaid && (resource.kind.group, resource.kind.kind) == ("batch", "Job") {
        cx.warn(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or \
             set propagationPolicy=Orphan to suppress this warning",
        );
    }
}

#[async_trait]
impl Registry for HubRegistry {
    async fn get(&self, cx: &RequestContext, at: &Target) -> Result<Arc<Object>, Status> {
        let resource = self.resource(cx, at)?;
        if components::are(&at.gvr) {
            return components::get(&at.gvr, resource.name);
        }
        if metrics::are(&at.gvr) {
            return metrics::get(&self.engine, &resource).await;
        }
        self.engine.sync().await?;
        if at.subresource() == "scale" {
            return scale::get(&self.engine, &resource).await;
        }
        match Part::of(&resource, at.subresource())? {
            Part::Main | Part::Status | Part::Scale | Part::Approval | Part::EphemeralContainers | Part::Resize => {}
            Part::Finalize => return Err(Status::method_not_allowed(&at.gvr, "get")),
        }
        view::shown(&self.engine, &resource, self.engine.read(&resource).await?).await
    }

    async fn list(&self, cx: &RequestContext, at: &Target, options: &ListOptions) -> Result<ObjectList, Status> {
        let resource = self.resource(cx, at)?;
        if components::are(&at.gvr) {
            return components::list(self.engine.store.revision());
        }
        if metrics::are(&at.gvr) {
            return metrics::list(&self.engine, &resource, options).await;
        }
        generic::list::list(&self.engine, &resource, options).await
    }

    async fn watch(&self, cx: &RequestContext, at: &Target, options: &ListOptions) -> Result<Watch, Status> {
        let resource = self.resource(cx, at)?;
        generic::watch::watch(&self.engine, &resource, options).await
    }

    async fn create(
        &self,
        cx: &RequestContext,
        at: &Target,
        body: Json,
        options: &WriteOptions,
    ) -> Result<Arc<Object>, Status> {
        if reviews::is_review(&at.gvr) {
            return reviews::create(&self.engine, cx, at, body, options).await;
        }
        let resource = self.resource(cx, at)?;
        if !at.subresource().is_empty() && resource.kind.subresource(at.subresource()).is_none() {
            return Err(Status::no_such_path());
        }
        self.engine.sync().await?;
        match (at.gvr.resource.as_str(), at.subresource()) {
            ("bindings", "") => {
                let named = binding::pod_of(at, &body)?;
                let resource = self.engine.resource(&named)?;
                binding::create(&self.engine, cx, &resource, body, options).await
            }
            (_, "") => generic::create::create(&self.engine, cx, &resource, body, options).await,
            ("pods", "binding") => binding::create(&self.engine, cx, &resource, body, options).await,
            ("pods", "eviction") => eviction::create(&self.engine, cx, &resource, body, options).await,
            ("serviceaccounts", "token") => token::create(&self.engine, cx, &resource, body, options).await,
            _ => Err(Status::method_not_allowed(&at.gvr, "create")),
        }
    }

    async fn update(
        &self,
        cx: &RequestContext,
        at: &Target,
        body: Json,
        options: &WriteOptions,
    ) -> Result<(Arc<Object>, bool), Status> {
        let resource = self.resource(cx, at)?;
        self.engine.sync().await?;
        if at.subresource() == "scale" {
            return scale::update(&self.engine, cx, &resource, body, options).await.map(|object| (object, false));
        }
        let part = Part::of(&resource, at.subresource())?;
        generic::update::update(&self.engine, cx, &resource, part, body, options).await
    }

    async fn patch(
        &self,
        cx: &RequestContext,
        at: &Target,
        patch: Patch,
        options: &WriteOptions,
    ) -> Result<(Arc<Object>, bool), Status> {
        let resource = self.resource(cx, at)?;
        self.engine.sync().await?;
        if at.subresource() == "scale" {
            return scale::patch(&self.engine, cx, &resource, &patch, options).await.map(|object| (object, false));
        }
        let part = Part::of(&resource, at.subresource())?;
        generic::patch::patch(&self.engine, cx, &resource, part, &patch, options).await
    }

    async fn delete(&self, cx: &RequestContext, at: &Target, options: &DeleteOptions) -> Result<Deleted, Status> {
        let resource = self.resource(cx, at)?;
        if !at.subresource().is_empty() {
            return Err(Status::method_not_allowed(&at.gvr, "delete"));
        }
        warn_of_orphans(cx, &resource, options);
        self.engine.sync().await?;
        generic::delete::delete(&self.engine, cx, &resource, options).await
    }

    async fn delete_collection(
        &self,
        cx: &RequestContext,
        at: &Target,
        options: &DeleteOptions,
        selection: &ListOptions,
    ) -> Result<ObjectList, Status> {
        let resource = self.resource(cx, at)?;
        if !resource.kind.verbs.contains(&"deletecollection") {
            return Err(Status::method_not_allowed(&at.gvr, "deletecollection"));
        }
        warn_of_orphans(cx, &resource, options);
        self.engine.sync().await?;
        generic::delete_collection::delete_collection(&self.engine, cx, &resource, options, selection).await
    }

    async fn connect(&self, cx: &RequestContext, at: &Target, query: &[(String, String)]) -> Result<Connected, Status> {
        let resource = self.resource(cx, at)?;
        self.engine.sync().await?;
        let query = dynamic::connect(&self.engine, cx, &resource, at.subresource(), query).await?;
        if at.subresource() == "proxy" {
            return proxy::connect(&self.engine, at, &query).await;
        }
        streams::connect(&self.engine, cx, &resource, at.subresource(), &query).await
    }

    async fn stored(&self, gvr: &Gvr) -> Option<Stored> {
        generic::list::stored(&self.engine, gvr).await
    }
}
