//! The API in memory: revisions, conflicts, the split of status, finalizers, grace, watches with bookmarks and 410.
//!
//! What it leaves to the real registry: defaulting, validation, authorization, admission.

use crate::{Client, Key, ResourceKind};
use async_trait::async_trait;
use holdfast_core::verbs::INITIAL_EVENTS_END;
use holdfast_core::{
    DeleteOptions, Gvr, Json, ListOptions, Object, ObjectList, Patch, PatchType, Revision, Status, Target, Timestamp,
    Watch, WatchEvent, WatchEventType, WatchStream, json as path,
};
use holdfast_env::{BoxFuture, World};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Group, version, plural, kind, namespaced.
const KINDS: &[(&str, &str, &str, &str, bool)] = &[
    ("", "v1", "namespaces", "Namespace", false),
    ("", "v1", "nodes", "Node", false),
    ("", "v1", "pods", "Pod", true),
    ("", "v1", "persistentvolumes", "PersistentVolume", false),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true),
    ("", "v1", "resourcequotas", "ResourceQuota", true),
    ("", "v1", "services", "Service", true),
    ("", "v1", "configmaps", "ConfigMap", true),
    ("", "v1", "secrets", "Secret", true),
    ("", "v1", "serviceaccounts", "ServiceAccount", true),
    ("", "v1", "events", "Event", true),
    ("", "v1", "endpoints", "Endpoints", true),
    ("apps", "v1", "deployments", "Deployment", true),
    ("apps", "v1", "replicasets", "ReplicaSet", true),
    ("apps", "v1", "statefulsets", "StatefulSet", true),
    ("", "v1", "replicationcontrollers", "ReplicationController", true),
    ("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", false),
    ("coordination.k8s.io", "v1", "leases", "Lease", true),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true),
    ("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", false),
    ("networking.k8s.io", "v1", "ipaddresses", "IPAddress", false),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false),
    ("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false),
];

type Place = (Gvr, Key);

struct Entry {
    revision: Revision,
    gvr: Gvr,
    old: Option<Arc<Object>>,
    new: Option<Arc<Object>>,
}

struct Fault {
    verb: String,
    resource: String,
    left: usize,
    status: Status,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Place, Arc<Object>>,
    revision: u64,
    compacted: u64,
    log: Vec<Entry>,
    wakers: Vec<Waker>,
    epoch: u64,
    faults: Vec<Fault>,
    calls: Vec<(String, String)>,
    rights: Vec<(String, String)>,
}

/// The API of a test. Use it as the [`Client`] of every controller, and through its own methods as the rest of the
/// world: kubelets, users.
pub struct MemoryApi {
    world: World,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(at: &Target) -> Place {
    (at.gvr.clone(), Key::new(at.namespace(), at.name()))
}

impl State {
    fn find(&self, at: &Target) -> Result<Arc<Object>, Status> {
        self.objects.get(&place(at)).cloned().ok_or_else(|| Status::not_found(&at.gvr, at.name()))
    }

    fn put(&mut self, gvr: &Gvr, doc: Json) -> Result<Arc<Object>, Status> {
        self.revision += 1;
        let revision = Revision(self.revision);
        let object = Arc::new(Object::from_json(doc)?.at_revision(revision));
        let old = self.objects.insert((gvr.clone(), Key::of(&object)), object.clone());
        self.log.push(Entry { revision, gvr: gvr.clone(), old, new: Some(object.clone()) });
        Ok(object)
    }

    fn remove(&mut self, gvr: &Gvr, key: &Key) {
        if let Some(old) = self.objects.remove(&(gvr.clone(), key.clone())) {
            self.revision += 1;
            let revision = Revision(self.revision);
            self.log.push(Entry { revision, gvr: gvr.clone(), old: Some(old), new: None });
        }
    }

    /// Stores `doc` over `old`, or lets the object go when its last finalizer went.
    fn settle(&mut self, gvr: &Gvr, old: &Object, doc: Json) -> Result<Arc<Object>, Status> {
        let unheld = path::items_at(&doc, &["metadata", "finalizers"]).is_empty()
            && path::items_at(&doc, &["spec", "finalizers"]).is_empty();
        let grace = path::i64_at(&doc, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
        let deleting = path::at(&doc, &["metadata", "deletionTimestamp"]).is_some();
        let mut same = doc.clone();
        path::remove(&mut same, &["metadata", "resourceVersion"]);
        let mut before = old.to_json();
        path::remove(&mut before, &["metadata", "resourceVersion"]);
        if same == before {
            return Ok(Arc::new(old.clone()));
        }
        let object = self.put(gvr, doc)?;
        if deleting && unheld && grace == 0 {
            self.remove(gvr, &Key::of(&object));
        }
        Ok(object)
    }
}

impl MemoryApi {
    /// An empty API.
    pub fn new(world: &World) -> Arc<MemoryApi> {
        Arc::new(MemoryApi { world: world.clone(), state: Arc::default() })
    }

    /// The kinds that it serves.
    pub fn kinds() -> Vec<ResourceKind> {
        let kind = |&(group, version, plural, kind, namespaced): &(&str, &str, &str, &str, bool)| {
            ResourceKind::new(Gvr::new(group, version, plural), kind, namespaced)
        };
        KINDS.iter().map(kind).collect()
    }

    fn gvr(resource: &str) -> Gvr {
        let found = KINDS.iter().find(|kind| kind.2 == resource);
        found.map_or_else(|| panic!("no kind {resource}"), |kind| Gvr::new(kind.0, kind.1, kind.2))
    }

    /// Locks for a change and wakes watchers after it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.state);
        let result = change(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    fn enter(&self, verb: &str, at: &Target) -> Result<(), Status> {
        let mut state = lock(&self.state);
        let resource = match at.subresource() {
            "" => at.gvr.resource.clone(),
            sub => format!("{}/{sub}", at.gvr.resource),
        };
        state.calls.push((verb.into(), resource.clone()));
        let fault = state.faults.iter_mut().find(|f| f.left > 0 && f.verb == verb && f.resource == resource);
        match fault {
            Some(fault) => {
                fault.left -= 1;
                Err(fault.status.clone())
            }
            None => Ok(()),
        }
    }

    fn stamp(&self) -> Timestamp {
        Timestamp::from_wall(self.world.wall().0)
    }

    /// Stores a document as it is, status included; what is missing of metadata is made up.
    ///
    /// # Panics
    /// When it is no object of a known kind.
    pub fn seed(&self, mut doc: Json) -> Arc<Object> {
        let kind = path::str_at(&doc, &["kind"]).unwrap_or_default().to_string();
        let found = KINDS.iter().find(|entry| entry.3 == kind);
        let gvr = found.map_or_else(|| panic!("no kind {kind}"), |entry| Gvr::new(entry.0, entry.1, entry.2));
        self.complete(&gvr, &mut doc);
        self.change(|state| state.put(&gvr, doc)).unwrap_or_else(|err| panic!("{err}"))
    }

    /// Changes a stored document past every check.
    ///
    /// # Panics
    /// When there is no such object.
    pub fn edit(&self, resource: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Json)) {
        let gvr = MemoryApi::gvr(resource);
        self.change(|state| {
            let old = state.find(&Target::object(gvr.clone(), namespace, name)).unwrap_or_else(|err| panic!("{err}"));
            let mut doc = old.to_json();
            edit(&mut doc);
            state.put(&gvr, doc).unwrap_or_else(|err| panic!("{err}"));
        });
    }

    /// Removes an object past every finalizer and grace, as a kubelet's last word does.
    pub fn remove(&self, resource: &str, namespace: &str, name: &str) {
        self.change(|state| state.remove(&MemoryApi::gvr(resource), &Key::new(namespace, name)));
    }

    /// All documents of a resource, by key.
    pub fn all(&self, resource: &str) -> Vec<Json> {
        let gvr = MemoryApi::gvr(resource);
        let state = lock(&self.state);
        state.objects.iter().filter(|((at, _), _)| *at == gvr).map(|(_, object)| object.to_json()).collect()
    }

    /// One document.
    pub fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<Json> {
        let at = Target::object(MemoryApi::gvr(resource), namespace, name);
        lock(&self.state).find(&at).ok().map(|object| object.to_json())
    }

    /// How often a verb was called, whatever the resource.
    pub fn count(&self, verb: &str) -> usize {
        lock(&self.state).calls.iter().filter(|(called, _)| called == verb).count()
    }

    /// How often a verb was called for a resource (`pods`, `pods/binding`).
    pub fn calls(&self, verb: &str, resource: &str) -> usize {
        lock(&self.state).calls.iter().filter(|(called, at)| called == verb && at == resource).count()
    }

    /// Makes the next `times` calls fail.
    pub fn fail(&self, verb: &str, resource: &str, times: usize, status: Status) {
        let fault = Fault { verb: verb.into(), resource: resource.into(), left: times, status };
        lock(&self.state).faults.push(fault);
    }

    /// Lets access reviews say that a user may create this resource or subresource.
    pub fn grant(&self, user: &str, resource: &str) {
        lock(&self.state).rights.push((user.into(), resource.into()));
    }

    /// The answer to an access review.
    fn review(&self, mut body: Json) -> Result<Arc<Object>, Status> {
        let text = |field: &[&str]| path::str_at(&body, field).unwrap_or_default().to_string();
        let asked = (text(&["spec", "user"]), text(&["spec", "resourceAttributes", "subresource"]));
        let allowed = lock(&self.state).rights.contains(&asked);
        path::set(&mut body, &["status", "allowed"], allowed);
        Object::from_json(body).map(Arc::new)
    }

    /// Ends every watch.
    pub fn cut(&self) {
        self.change(|state| state.epoch += 1);
    }

    /// Forgets history.
    pub fn compact(&self) {
        self.change(|state| state.compacted = state.revision);
    }

    fn complete(&self, gvr: &Gvr, doc: &mut Json) {
        let name = path::str_at(doc, &["metadata", "name"]).unwrap_or_default().to_string();
        if name.is_empty() {
            let stem = path::str_at(doc, &["metadata", "generateName"]).unwrap_or_default().to_string();
            let suffix = format!("{:05}", self.world.random_u64() % 100_000);
            path::set(doc, &["metadata", "name"], format!("{stem}{suffix}"));
        }
        path::default(doc, &["metadata", "uid"], self.world.random_uuid());
        path::default(doc, &["metadata", "creationTimestamp"], self.stamp().to_string());
        path::default(doc, &["metadata", "generation"], 1);
        if gvr.resource == "namespaces" {
            path::default(doc, &["spec", "finalizers"], json!(["kubernetes"]));
            path::default(doc, &["status", "phase"], "Active");
        }
        if gvr.resource == "pods" {
            path::default(doc, &["status", "phase"], "Pending");
        }
    }

    fn write(&self, at: &Target, change: impl FnOnce(&mut Json) -> Result<(), Status>) -> Result<Arc<Object>, Status> {
        self.change(|state| {
            let old = state.find(at)?;
            let before = old.to_json();
            let mut after = before.clone();
            change(&mut after)?;
            let version = path::str_at(&after, &["metadata", "resourceVersion"]).unwrap_or_default();
            if !version.is_empty() && version != old.revision.to_string() {
                return Err(Status::stale(&at.gvr, at.name()));
            }
            let uid = path::str_at(&after, &["metadata", "uid"]).unwrap_or_default();
            if !uid.is_empty() && uid != old.meta.uid {
                return Err(Status::conflict(&at.gvr, at.name(), "the UID in the precondition does not match"));
            }
            for kept in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
                path::copy(&before, &mut after, &["metadata", kept]);
            }
            match at.subresource() {
                "status" | "approval" => {
                    let status = path::at(&after, &["status"]).cloned();
                    after = before.clone();
                    if let Some(status) = status {
                        path::set(&mut after, &["status"], status);
                    }
                }
                "finalize" => {
                    let finalizers = path::at(&after, &["spec", "finalizers"]).cloned().unwrap_or(json!([]));
                    after = before.clone();
                    path::set(&mut after, &["spec", "finalizers"], finalizers);
                }
                _ => {
                    // Pods of this API let tests set anything; else the status has its own door.
                    path::copy(&before, &mut after, &["status"]);
                    if path::at(&before, &["spec"]) != path::at(&after, &["spec"]) {
                        path::set(&mut after, &["metadata", "generation"], old.meta.generation + 1);
                    }
                }
            }
            state.settle(&at.gvr, &old, after)
        })
    }

    fn bind(&self, at: &Target, body: &Json) -> Result<Arc<Object>, Status> {
        let node = path::str_at(body, &["target", "name"]).unwrap_or_default().to_string();
        self.change(|state| {
            let old = state.find(at)?;
            let mut doc = old.to_json();
            if path::str_at(&doc, &["spec", "nodeName"]).is_some_and(|name| !name.is_empty()) {
                return Err(Status::conflict(&at.gvr, at.name(), "pod is already assigned to a node"));
            }
            path::set(&mut doc, &["spec", "nodeName"], node);
            state.put(&at.gvr, doc)
        })
    }
}

fn merge(doc: &mut Json, patch: &Json) {
    let Json::Object(patch) = patch else {
        *doc = patch.clone();
        return;
    };
    if !doc.is_object() {
        *doc = json!({});
    }
    let Json::Object(map) = doc else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.shift_remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Json::Null), value);
        }
    }
}

fn selects(object: &Object, at: &Target, options: &ListOptions) -> bool {
    if at.namespace.as_ref().is_some_and(|namespace| *namespace != object.meta.namespace) {
        return false;
    }
    let doc = if options.fields.is_empty() { Json::Null } else { object.to_json() };
    let field = |field: &str| {
        let steps: Vec<&str> = field.split('.').collect();
        path::str_at(&doc, &steps).unwrap_or_default().to_string()
    };
    options.labels.matches(&object.meta.labels) && (options.fields.is_empty() || options.fields.matches(field))
}

#[async_trait]
impl Client for MemoryApi {
    async fn get(&self, at: &Target) -> Result<Arc<Object>, Status> {
        self.enter("get", at)?;
        lock(&self.state).find(at)
    }

    async fn list(&self, at: &Target, options: &ListOptions) -> Result<ObjectList, Status> {
        self.enter("list", at)?;
        let state = lock(&self.state);
        let items = state.objects.iter().filter(|((gvr, _), object)| *gvr == at.gvr && selects(object, at, options));
        let items = items.map(|(_, object)| object.clone()).collect();
        Ok(ObjectList { items, revision: Revision(state.revision), continue_token: None, remaining: None })
    }

    async fn watch(&self, at: &Target, options: &ListOptions) -> Result<Watch, Status> {
        self.enter("watch", at)?;
        let state = lock(&self.state);
        let from = options.resource_version.unwrap_or_default();
        let initial = options.send_initial_events.unwrap_or(from == Revision(0));
        let mut pending = VecDeque::new();
        if initial {
            let all = state.objects.iter().filter(|((gvr, _), object)| *gvr == at.gvr && selects(object, at, options));
            pending.extend(
                all.map(|(_, object)| WatchEvent { event_type: WatchEventType::Added, object: object.clone() }),
            );
            if options.send_initial_events == Some(true) {
                let mark = Object::from_json(json!({"metadata": {"annotations": {INITIAL_EVENTS_END: "true"}}}))?;
                let object = Arc::new(mark.at_revision(Revision(state.revision)));
                pending.push_back(WatchEvent { event_type: WatchEventType::Bookmark, object });
            }
        } else if from.0 < state.compacted {
            return Err(Status::expired(format!("too old resource version: {from} ({})", state.compacted)));
        }
        let from = if initial { state.revision } else { from.0 };
        let span = Duration::from_secs(options.timeout_seconds.unwrap_or(1800));
        Ok(Box::new(MemoryWatch {
            state: self.state.clone(),
            at: at.clone(),
            options: options.clone(),
            pending,
            // Revisions are dense and each has one entry, so the next entry's index is the revision.
            from,
            epoch: state.epoch,
            timer: self.world.sleep(span),
        }))
    }

    async fn create(&self, at: &Target, mut body: Json) -> Result<Arc<Object>, Status> {
        self.enter("create", at)?;
        if at.subresource() == "binding" {
            return self.bind(at, &body);
        }
        if at.gvr.resource == "subjectaccessreviews" {
            return self.review(body);
        }
        path::remove(&mut body, &["metadata", "resourceVersion"]);
        path::remove(&mut body, &["metadata", "uid"]);
        if let Some(namespace) = &at.namespace {
            path::set(&mut body, &["metadata", "namespace"], namespace.clone());
        }
        self.complete(&at.gvr, &mut body);
        let name = path::str_at(&body, &["metadata", "name"]).unwrap_or_default().to_string();
        self.change(|state| {
            let full = Target::object(at.gvr.clone(), at.namespace(), &name);
            if state.find(&full).is_ok() {
                return Err(Status::already_exists(&at.gvr, &name));
            }
            let home = Target::object(MemoryApi::gvr("namespaces"), "", at.namespace());
            if state.find(&home).is_ok_and(|home| home.meta.is_deleting()) {
                let why = format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    at.namespace()
                );
                return Err(Status::forbidden(&at.gvr, &name, why));
            }
            state.put(&at.gvr, body)
        })
    }

    async fn update(&self, at: &Target, body: Json) -> Result<Arc<Object>, Status> {
        self.enter("update", at)?;
        self.write(at, |doc| {
            *doc = body;
            Ok(())
        })
    }

    async fn patch(&self, at: &Target, patch: Patch) -> Result<Arc<Object>, Status> {
        self.enter("patch", at)?;
        if patch.patch_type != PatchType::Merge {
            return Err(Status::not_implemented("patches other than merge, in the memory API"));
        }
        self.write(at, |doc| {
            merge(doc, &patch.body);
            Ok(())
        })
    }

    async fn delete(&self, at: &Target, options: &DeleteOptions) -> Result<(), Status> {
        self.enter("delete", at)?;
        let now = self.stamp();
        self.change(|state| {
            let old = state.find(at)?;
            let wanted = options.preconditions.as_ref().and_then(|p| p.uid.clone());
            if wanted.is_some_and(|uid| uid != old.meta.uid) {
                return Err(Status::conflict(&at.gvr, at.name(), "the UID in the precondition does not match"));
            }
            let mut doc = old.to_json();
            let mut finalizers = old.meta.finalizers.clone();
            match options.propagation_policy {
                Some(holdfast_core::verbs::Propagation::Foreground) => finalizers.push("foregroundDeletion".into()),
                Some(holdfast_core::verbs::Propagation::Orphan) => finalizers.push("orphan".into()),
                _ => {}
            }
            finalizers.dedup();
            let own = path::i64_at(&doc, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30);
            let bound = path::str_at(&doc, &["spec", "nodeName"]).is_some_and(|node| !node.is_empty());
            let grace = match at.gvr.resource.as_str() {
                "pods" if bound => options.grace_period_seconds.unwrap_or(own),
                _ => 0,
            };
            let held = !path::items_at(&doc, &["spec", "finalizers"]).is_empty();
            if grace == 0 && finalizers.is_empty() && !held {
                state.remove(&at.gvr, &Key::of(&old));
                return Ok(());
            }
            if !old.meta.is_deleting() {
                let when = now.after(Duration::from_secs(u64::try_from(grace).unwrap_or(0)));
                path::set(&mut doc, &["metadata", "deletionTimestamp"], when.to_string());
                path::set(&mut doc, &["metadata", "deletionGracePeriodSeconds"], grace);
                path::set(&mut doc, &["metadata", "finalizers"], json!(finalizers));
                if at.gvr.resource == "namespaces" {
                    path::set(&mut doc, &["status", "phase"], "Terminating");
                }
                state.put(&at.gvr, doc)?;
            }
            Ok(())
        })
    }
}

struct MemoryWatch {
    state: Arc<Mutex<State>>,
    at: Target,
    options: ListOptions,
    pending: VecDeque<WatchEvent>,
    from: u64,
    epoch: u64,
    timer: BoxFuture<()>,
}

impl WatchStream for MemoryWatch {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchEvent, Status>>> {
        let mut state = lock(&self.state);
        let from = usize::try_from(self.from).unwrap_or(usize::MAX);
        for entry in state.log.get(from..).unwrap_or_default() {
            self.from = entry.revision.0;
            if entry.gvr != self.at.gvr {
                continue;
            }
            let was = entry.old.as_ref().is_some_and(|object| selects(object, &self.at, &self.options));
            let is = entry.new.as_ref().is_some_and(|object| selects(object, &self.at, &self.options));
            let event = match (was, is) {
                (false, true) => entry.new.clone().map(|o| (WatchEventType::Added, o)),
                (true, true) => entry.new.clone().map(|o| (WatchEventType::Modified, o)),
                (true, false) => {
                    entry.old.as_ref().map(|o| (WatchEventType::Deleted, Arc::new(o.at_revision(entry.revision))))
                }
                (false, false) => None,
            };
            self.pending.extend(event.map(|(event_type, object)| WatchEvent { event_type, object }));
        }
        if self.epoch != state.epoch {
            return Poll::Ready(None);
        }
        if let Some(event) = self.pending.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        state.wakers.push(cx.waker().clone());
        drop(state);
        self.timer.as_mut().poll(cx).map(|()| None)
    }
}
