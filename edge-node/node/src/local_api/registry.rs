//! [`LocalRegistry`]: the verbs over what the node holds.

use super::versions::Versions;
use super::{READ_ONLY, source, watch};
use crate::parts::EventIndex;
use crate::store::SharedStore;
use async_trait::async_trait;
use holdfast_core::verbs::VersionMatch;
use holdfast_core::{
    DeleteOptions, Json, ListOptions, Object, ObjectList, Patch, Revision, Status, Target, Timestamp, Watch,
    WriteOptions,
};
use holdfast_env::World;
use holdfast_kinds::{Kind, Selection, convert};
use holdfast_server::stream::pod_calls::{Query, exec_call, forward_call, log_call, started};
use holdfast_server::{Connected, Deleted, NodeCalls, PodPorts, Registry, RequestContext};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Versions between two numbers of facts: far more changes than a fact can cause.
const VERSIONS_PER_FACT: u64 = 1 << 20;

/// The node's registry.
pub struct LocalRegistry(Arc<Shared>);

/// What the registry's watches share.
pub(super) struct Shared {
    pub(super) env: World,
    pub(super) store: Arc<SharedStore>,
    events: Arc<dyn EventIndex>,
    calls: Arc<dyn NodeCalls>,
    node_name: String,
    versions: Mutex<Versions>,
}

impl Shared {
    pub(super) fn versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what a kind is now.
    ///
    /// # Errors
    /// 503 when the index of Events cannot be asked.
    pub(super) async fn observe(&self, kind: &'static Kind) -> Result<(), Status> {
        let current = if kind.kind == "Event" {
            let found = self.events.find(None, None).await;
            source::events(found.map_err(|err| Status::unavailable(err, 1))?)
        } else {
            source::items(&self.store, kind)
        };
        self.versions().observe(kind.plural, current);
        Ok(())
    }
}

impl LocalRegistry {
    /// A registry over what `store` and `events` hold; `calls` reach into the pods. Versions begin above those of
    /// earlier lives of this node, whose facts had lower numbers.
    pub fn new(
        env: World,
        store: Arc<SharedStore>,
        events: Arc<dyn EventIndex>,
        calls: Arc<dyn NodeCalls>,
        node_name: &str,
    ) -> Arc<LocalRegistry> {
        let next = store.read(|state| state.outbox().next());
        let versions = Versions::new(next.0.max(1).saturating_mul(VERSIONS_PER_FACT));
        let node_name = node_name.to_string();
        Arc::new(LocalRegistry(Arc::new(Shared {
            env,
            store,
            events,
            calls,
            node_name,
            versions: Mutex::new(versions),
        })))
    }

    /// Lets go of what was kept for watches; whoever watched must list anew.
    pub fn forget(&self) {
        self.0.versions().forget();
    }

    async fn find(&self, at: &Target) -> Result<Arc<Object>, Status> {
        let kind = kind(at)?;
        self.0.observe(kind).await?;
        let versions = self.0.versions();
        let found = versions
            .objects(kind.plural)
            .map(|(_, object)| object)
            .find(|object| object.meta.name == at.name() && object.meta.namespace == at.namespace());
        found.cloned().ok_or_else(|| Status::not_found(&at.gvr, at.name()))
    }
}

fn kind(at: &Target) -> Result<&'static Kind, Status> {
    let gvr = &at.gvr;
    holdfast_kinds::by_gvr(&gvr.group, &gvr.version, &gvr.resource).ok_or_else(Status::no_such_path)
}

fn refused(at: &Target, verb: &str) -> Status {
    Status::read_only(&at.gvr, verb, READ_ONLY)
}

#[async_trait]
impl Registry for LocalRegistry {
    async fn get(&self, _cx: &RequestContext, at: &Target) -> Result<Arc<Object>, Status> {
        convert::shown(kind(at)?, self.find(at).await?)
    }

    async fn list(&self, _cx: &RequestContext, at: &Target, options: &ListOptions) -> Result<ObjectList, Status> {
        options.validate(false)?;
        if options.continue_token.is_some() {
            return Err(Status::expired("this node's lists come whole: no list here has a second page"));
        }
        let kind = kind(at)?;
        let selection = Selection::new(kind, options, at.name.as_deref())?;
        self.0.observe(kind).await?;
        let versions = self.0.versions();
        let revision = versions.now();
        if let Some(asked) = options.resource_version.filter(|asked| *asked != Revision(0) && *asked != revision)
            && (asked > revision || options.version_match == Some(VersionMatch::Exact))
        {
            return Err(Status::expired(format!(
                "resource version {asked} is not this node's now, which is {revision}"
            )));
        }
        let wanted = |object: &&Arc<Object>| {
            at.namespace.as_ref().is_none_or(|namespace| object.meta.namespace == *namespace)
                && selection.matches(object)
        };
        let items = versions.objects(kind.plural).map(|(_, object)| object).filter(wanted);
        let items = items.map(|object| convert::shown(kind, object.clone())).collect::<Result<_, _>>()?;
        Ok(ObjectList { items, revision, continue_token: None, remaining: None })
    }

    async fn watch(&self, _cx: &RequestContext, at: &Target, options: &ListOptions) -> Result<Watch, Status> {
        watch::open(&self.0, kind(at)?, at, options).await
    }

    async fn create(&self, _: &RequestContext, at: &Target, _: Json, _: &WriteOptions) -> Result<Arc<Object>, Status> {
        Err(refused(at, "create"))
    }

    async fn update(
        &self,
        _: &RequestContext,
        at: &Target,
        _: Json,
        _: &WriteOptions,
    ) -> Result<(Arc<Object>, bool), Status> {
        Err(refused(at, "update"))
    }

    async fn patch(
        &self,
        _: &RequestContext,
        at: &Target,
        _: Patch,
        _: &WriteOptions,
    ) -> Result<(Arc<Object>, bool), Status> {
        Err(refused(at, "patch"))
    }

    async fn delete(&self, _: &RequestContext, at: &Target, _: &DeleteOptions) -> Result<Deleted, Status> {
        Err(refused(at, "delete"))
    }

    async fn delete_collection(
        &self,
        _: &RequestContext,
        at: &Target,
        _: &DeleteOptions,
        _: &ListOptions,
    ) -> Result<ObjectList, Status> {
        Err(refused(at, "deletecollection"))
    }

    async fn connect(
        &self,
        _cx: &RequestContext,
        at: &Target,
        query: &[(String, String)],
    ) -> Result<Connected, Status> {
        if kind(at)?.kind != "Pod" {
            return Err(Status::no_such_path());
        }
        let query = Query(query);
        let pod = self.find(at).await?.to_json();
        match at.subresource() {
            "log" => {
                let call = log_call(&pod, &query, Timestamp::from_wall(self.0.env.wall().0))?;
                started(&pod, &call.container.container, call.previous)?;
                self.0.calls.logs(&self.0.node_name, call).await.map(Connected::Bytes)
            }
            "exec" | "attach" => {
                let call = exec_call(&pod, &query, at.subresource() == "exec")?;
                self.0.calls.exec(&self.0.node_name, call).await.map(Connected::Session)
            }
            "portforward" => {
                let (calls, node) = (self.0.calls.clone(), self.0.node_name.clone());
                Ok(Connected::Ports(PodPorts { calls, node, pod: forward_call(&pod)? }))
            }
            _ => Err(Status::no_such_path()),
        }
    }
}
