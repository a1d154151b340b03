//! What stands behind the API: objects by verb, and streams of pods.

use crate::Decision;
use crate::audit::Trail;
use crate::chain::gate::Place;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::calls::{ExecCall, ForwardCall, LogCall, Page, PageCall};
use holdfast_core::{
    DeleteOptions, Gvr, Json, ListOptions, Object, ObjectList, Patch, Status, Target, UserInfo, Watch, WriteOptions,
};
use holdfast_env::BiStream;
use holdfast_env::session::ExecSession;
use std::any::Any;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// What travels with a request through every layer.
#[derive(Clone, Debug, Default)]
pub struct RequestContext {
    /// Who asks.
    pub user: UserInfo,
    /// Names the request in logs and audit; travels to the node.
    pub request_id: String,
    /// Collects warnings for the `Warning` headers.
    pub warnings: Arc<Mutex<Vec<String>>>,
    /// Something that only the layer above and the registry understand: the hub's link passes store operations
    /// here that must commit in the same transaction as the write.
    pub extension: Option<Arc<dyn Any + Send + Sync>>,
    /// What is noted of the request in the audit log; `None` when nothing is.
    pub trail: Option<Arc<Trail>>,
    /// The request's place among those that are answered at once; a write keeps it until it is done, whether its client stays
    /// or not.
    pub place: Option<Place>,
}

impl RequestContext {
    /// A context of `user`.
    pub fn new(user: UserInfo, request_id: impl Into<String>) -> RequestContext {
        RequestContext { user, request_id: request_id.into(), ..RequestContext::default() }
    }

    /// Adds a warning for the client.
    pub fn warn(&self, text: impl Into<String>) {
        if let Ok(mut warnings) = self.warnings.lock() {
            warnings.push(text.into());
        }
    }

    /// Annotates what is noted of the request in the audit log; the first annotation of a name stays.
    pub fn annotate(&self, name: &str, text: &str) {
        if let Some(trail) = &self.trail {
            trail.annotate(name, text);
        }
    }

    /// Annotates with what the authorizer said.
    pub(crate) fn decided(&self, decision: &Decision, reason: &str) {
        let (word, why) = match decision {
            Decision::Allow => ("allow", reason),
            Decision::Deny(why) | Decision::NoOpinion(why) => ("forbid", why.as_str()),
        };
        self.annotate("authorization.k8s.io/decision", word);
        self.annotate("authorization.k8s.io/reason", why);
    }
}

/// How a deletion came out.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// It is gone; this was its last state.
    Gone(Arc<Object>),
    /// It is marked and goes later (grace, finalizers).
    Marked(Arc<Object>),
}

/// The ports of one pod.
#[derive(Clone)]
pub struct PodPorts {
    /// Reaches the node.
    pub calls: Arc<dyn NodeCalls>,
    /// The pod's node.
    pub node: String,
    /// The pod; the port says nothing yet.
    pub pod: ForwardCall,
}

impl PodPorts {
    /// Connects to a port.
    ///
    /// # Errors
    /// As [`NodeCalls::forward`].
    pub async fn open(&self, port: u16) -> Result<BiStream, Status> {
        self.calls.forward(&self.node, ForwardCall { port, ..self.pod.clone() }).await
    }
}

/// The parameter of a connection to a node's page that holds the page's query; `path` holds its path.
pub const NODE_QUERY: &str = "query";

/// A stream of a pod.
pub enum Connected {
    /// Bytes as they come (logs). Bounded; ends with the sender.
    Bytes(mpsc::Receiver<Result<Bytes, Status>>),
    /// A session with a process (exec, attach).
    Session(ExecSession),
    /// Connections to the pod's ports (portforward).
    Ports(PodPorts),
    /// The port of a pod that requests are to be sent on to (proxy).
    Backend {
        /// The pod.
        ports: PodPorts,
        /// Which port.
        port: u16,
        /// Whether TLS is spoken there.
        tls: bool,
    },
    /// A page of a node (its proxy).
    Page(Page),
}

/// Objects by verb. Implementations: the hub's over its store, the node's over its journal.
///
/// All methods judge the request's content, never the user's rights. Errors are complete: name, group and
/// causes are filled as upstream does.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// One object, or a subresource that is a view of it (`scale`, `status`).
    async fn get(&self, cx: &RequestContext, at: &Target) -> Result<Arc<Object>, Status>;

    /// A collection.
    async fn list(&self, cx: &RequestContext, at: &Target, options: &ListOptions) -> Result<ObjectList, Status>;

    /// Changes of a collection, or of one object when the target has a name.
    async fn watch(&self, cx: &RequestContext, at: &Target, options: &ListOptions) -> Result<Watch, Status>;

    /// Creates; with a subresource, acts on it (`binding`, `eviction`, `token`), and the result is its document.
    async fn create(
        &self,
        cx: &RequestContext,
        at: &Target,
        body: Json,
        options: &WriteOptions,
    ) -> Result<Arc<Object>, Status>;

    /// Replaces; the flag says whether it was created.
    async fn update(
        &self,
        cx: &RequestContext,
        at: &Target,
        body: Json,
        options: &WriteOptions,
    ) -> Result<(Arc<Object>, bool), Status>;

    /// Patches; the flag says whether it was created (apply).
    async fn patch(
        &self,
        cx: &RequestContext,
        at: &Target,
        patch: Patch,
        options: &WriteOptions,
    ) -> Result<(Arc<Object>, bool), Status>;

    /// Deletes one object.
    async fn delete(&self, cx: &RequestContext, at: &Target, options: &DeleteOptions) -> Result<Deleted, Status>;

    /// Deletes what the options select; returns what it was.
    async fn delete_collection(
        &self,
        cx: &RequestContext,
        at: &Target,
        options: &DeleteOptions,
        selection: &ListOptions,
    ) -> Result<ObjectList, Status>;

    /// Opens a stream of a pod (`log`, `exec`, `attach`, `portforward`), or finds what a proxy is to; `query` holds the decoded parameters in order.
    async fn connect(&self, cx: &RequestContext, at: &Target, query: &[(String, String)]) -> Result<Connected, Status>;

    /// What is stored of a resource, about; `None` where that is not known.
    async fn stored(&self, _gvr: &Gvr) -> Option<Stored> {
        None
    }
}

/// How much is stored of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// How many objects.
    pub objects: u64,
    /// Bytes of one of them, on average.
    pub bytes_each: u64,
}

/// Reaches into nodes. Implemented by the hub's links; a node's local API goes straight to its pods.
#[async_trait]
pub trait NodeCalls: Send + Sync + 'static {
    /// A container's log. 503 with the reason when the node is not connected.
    async fn logs(&self, node: &str, call: LogCall) -> Result<mpsc::Receiver<Result<Bytes, Status>>, Status>;

    /// A command in a container, or its own streams.
    async fn exec(&self, node: &str, call: ExecCall) -> Result<ExecSession, Status>;

    /// A connection to a port of a pod; dropping it ends the connection. 404 and 400 for a pod that is not there or does
    /// not run, 500 with the kernel's words when nothing listens, 503 when the node is not connected.
    async fn forward(&self, node: &str, call: ForwardCall) -> Result<BiStream, Status>;

    /// A page that the node serves of itself. 404 for one that it does not have, 503 when the node is not connected.
    async fn page(&self, _node: &str, _call: PageCall) -> Result<Page, Status> {
        Err(Status::not_implemented("pages of nodes"))
    }
}
