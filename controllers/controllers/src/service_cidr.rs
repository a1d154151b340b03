//! The addresses of Services as clients see them: ServiceCIDRs become ready and stay while their addresses are used, and each
//! address of a Service has its IPAddress, whatever somebody did to it.
//!
//! The registry gives addresses and writes IPAddresses with the Services themselves; here is only what mends.

use crate::limits::{SERVICE_CIDR_GRACE, WORKERS};
use crate::shared::{Shared, core, start_after, synced};
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Change, Client, Informer, Item, Key, Outcome, Project, ReconcileError, Reconciler, WorkQueue, run_controller,
};
use holdfast_core::json::{items_at, set, str_at};
use holdfast_core::verbs::Preconditions;
use holdfast_core::{DeleteOptions, Gvr, Json, Object, ObjectMeta, Reason, Status, Target, Timestamp};
use holdfast_env::{Task, World};
use ipnet::IpNet;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;

const NAME: &str = "service-cidrs-controller";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const ALLOCATOR: &str = "ipallocator.k8s.io";

fn gvr(plural: &str) -> Gvr {
    Gvr::new("networking.k8s.io", "v1", plural)
}

/// An IPAddress: the Service that it was given to by the allocator.
struct Given(Option<Key>);

impl Project for Given {
    fn project(object: &Arc<Object>) -> Given {
        let ours = object.meta.labels.get(MANAGED_BY).is_some_and(|manager| manager == ALLOCATOR);
        let parent = |field: &str| object.skim_str(&["spec", "parentRef", field]).unwrap_or_default();
        Given(ours.then(|| Key::new(&parent("namespace"), &parent("name"))))
    }

    fn slim(meta: &mut ObjectMeta) {
        meta.labels.clear();
        meta.annotations.clear();
    }
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// A ServiceCIDR, by name.
    Range(String),
    /// Whether a Service's address has its IPAddress.
    Service(Key),
    /// Whether an IPAddress has its Service.
    Address(String),
}

struct Controller {
    world: World,
    client: Arc<dyn Client>,
    ranges: Arc<Cache<Arc<Object>>>,
    addresses: Arc<Cache<Given>>,
    services: Arc<Cache<Arc<Object>>>,
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared) -> Vec<Task> {
    let ranges: Informer<Arc<Object>> = Informer::new(world, client.clone(), gvr("servicecidrs"));
    let addresses: Informer<Given> = Informer::new(world, client.clone(), gvr("ipaddresses"));
    let queue = WorkQueue::new(world.clone());
    let all = ranges.cache().clone();
    // Whether a range may go depends on all ranges, of which there are few.
    ranges.enqueue(&queue, move |_| all.all().iter().map(|range| Work::Range(range.meta.name.clone())).collect());
    let all = ranges.cache().clone();
    addresses.enqueue(&queue, move |change| of_address(&all, change));
    shared.services.enqueue(&queue, |change| {
        let ip = |item: &Arc<Item<Arc<Object>>>| cluster_ip(&item.value);
        let (before, now) = (change.old.as_ref().and_then(ip), change.new.as_ref().and_then(ip));
        let left = before.filter(|_| before != now).map(|ip| Work::Address(ip.to_string()));
        left.into_iter().chain([Work::Service(change.key.clone())]).collect()
    });
    let controller = Arc::new(Controller {
        world: world.clone(),
        client,
        ranges: ranges.cache().clone(),
        addresses: addresses.cache().clone(),
        services: shared.services.cache().clone(),
    });
    let env = world.clone();
    let caches = vec![synced(&ranges), synced(&addresses), synced(&shared.services)];
    let work = start_after(world, NAME, caches, move || run_controller(&env, NAME, controller, queue, WORKERS));
    vec![work, ranges.start(), addresses.start()]
}

fn of_address(ranges: &Cache<Arc<Object>>, change: &Change<Given>) -> Vec<Work> {
    let same = change.old.as_ref().map(|old| old.revision) == change.new.as_ref().map(|new| new.revision);
    if same {
        return Vec::new();
    }
    let mut work: Vec<Work> = change.states().filter_map(|item| item.value.0.clone()).map(Work::Service).collect();
    work.dedup();
    if change.new.is_some() {
        work.push(Work::Address(change.key.name.clone()));
    } else {
        // The last one of a range that waits may have gone.
        let waiting = ranges.all().into_iter().filter(|range| range.meta.is_deleting());
        work.extend(waiting.map(|range| Work::Range(range.meta.name.clone())));
    }
    work
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Work;

    async fn reconcile(&self, work: &Work) -> Result<Outcome, ReconcileError> {
        match work {
            Work::Range(name) => self.range(name).await,
            Work::Service(key) => self.service(key).await,
            Work::Address(ip) => self.address(ip).await,
        }
    }
}

/// The address that a Service has; none for one without, or without a cluster's address at all.
fn cluster_ip(service: &Object) -> Option<IpAddr> {
    service.skim_str(&["spec", "clusterIP"])?.parse().ok()
}

fn cidrs(range: &Object) -> Vec<IpNet> {
    let doc = range.to_json();
    let cidrs = items_at(&doc, &["spec", "cidrs"]).iter().filter_map(Json::as_str);
    cidrs.filter_map(|cidr| cidr.parse().ok()).collect()
}

impl Controller {
    /// Makes the IPAddress of a Service that lost it.
    async fn service(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(service) = self.services.get(key) else { return Ok(Outcome::Done) };
        let Some(ip) = cluster_ip(&service.value) else { return Ok(Outcome::Done) };
        if self.addresses.get(&Key::new("", &ip.to_string())).is_some() {
            return Ok(Outcome::Done);
        }
        // Both come in one transaction, but by two watches: only what the API says is missing.
        let at = Target::object(gvr("ipaddresses"), "", &ip.to_string());
        match self.client.get(&at).await {
            Err(status) if status.is(Reason::NotFound) => {}
            other => return other.map(|_| Outcome::Done).map_err(ReconcileError::from),
        }
        let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
        let body = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {"name": ip.to_string(), "labels": {FAMILY: family, MANAGED_BY: ALLOCATOR}},
            "spec": {"parentRef": {"resource": "services", "namespace": key.namespace, "name": key.name}},
        });
        match self.client.create(&Target::collection(gvr("ipaddresses"), ""), body).await {
            Err(status) if status.is(Reason::AlreadyExists) => Ok(Outcome::Done),
            other => {
                other?;
                tracing::info!(service = %key, %ip, "Made the IPAddress of a Service again");
                Ok(Outcome::Done)
            }
        }
    }

    /// Removes an IPAddress whose Service is gone or has another address.
    async fn address(&self, ip: &str) -> Result<Outcome, ReconcileError> {
        let Some(item) = self.addresses.get(&Key::new("", ip)) else { return Ok(Outcome::Done) };
        let Some(key) = &item.value.0 else { return Ok(Outcome::Done) };
        let has = |service: &Object| cluster_ip(service).is_some_and(|has| has.to_string() == ip);
        if self.services.get(key).is_some_and(|service| has(&service.value)) {
            return Ok(Outcome::Done);
        }
        // The cache may not have heard of it yet.
        match self.client.get(&key.target(core("services"))).await {
            Ok(service) if has(&service) => return Ok(Outcome::Done),
            Err(status) if !status.is(Reason::NotFound) => return Err(status.into()),
            _ => {}
        }
        let preconditions = Preconditions { uid: Some(item.meta.uid.clone()), ..Preconditions::default() };
        let options = DeleteOptions { preconditions: Some(preconditions), ..DeleteOptions::default() };
        match self.client.delete(&Target::object(gvr("ipaddresses"), "", ip), &options).await {
            Err(status) if status.is(Reason::NotFound) || status.is(Reason::Conflict) => Ok(Outcome::Done),
            other => {
                other?;
                tracing::info!(service = %key, ip, "Removed an IPAddress that no Service has");
                Ok(Outcome::Done)
            }
        }
    }

    async fn range(&self, name: &str) -> Result<Outcome, ReconcileError> {
        let Some(item) = self.ranges.get(&Key::new("", name)) else { return Ok(Outcome::Done) };
        let held = item.meta.finalizers.iter().any(|one| one == FINALIZER);
        let Some(deleted) = item.meta.deletion_timestamp else {
            if !held {
                self.write_finalizers(&item, item.meta.finalizers.iter().chain([&FINALIZER.to_string()])).await?;
                // The write brings this range back.
                return Ok(Outcome::Done);
            }
            self.say(&item, "True", "", "Kubernetes Service CIDR is ready").await?;
            return Ok(Outcome::Done);
        };
        if !held {
            return Ok(Outcome::Done);
        }
        if self.is_needed(&item) {
            let why = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
            self.say(&item, "False", "Terminating", why).await?;
            return Ok(Outcome::Done);
        }
        let since = Timestamp::from_wall(self.world.wall().0).since(deleted);
        if since < SERVICE_CIDR_GRACE {
            return Ok(Outcome::RequeueAfter(SERVICE_CIDR_GRACE - since));
        }
        let kept = item.meta.finalizers.iter().filter(|one| *one != FINALIZER);
        match self.write_finalizers(&item, kept).await {
            Err(status) if status.is(Reason::NotFound) => Ok(Outcome::Done),
            other => other.map(|()| Outcome::Done).map_err(ReconcileError::from),
        }
    }

    /// Whether addresses of a range that goes would be in none.
    fn is_needed(&self, range: &Item<Arc<Object>>) -> bool {
        let all = self.ranges.all();
        let others: Vec<IpNet> = all
            .iter()
            .filter(|other| other.meta.name != range.meta.name)
            .flat_map(|other| cidrs(&other.value))
            .collect();
        let own = cidrs(&range.value);
        if own.iter().all(|cidr| others.iter().any(|other| other.contains(cidr))) {
            return false;
        }
        let addresses = self.addresses.all();
        let mut given = addresses.iter().filter(|item| item.value.0.is_some());
        given.any(|item| {
            let ip = item.meta.name.parse::<IpAddr>();
            let within = |cidrs: &[IpNet], ip: &IpAddr| cidrs.iter().any(|cidr| cidr.contains(ip));
            ip.is_ok_and(|ip| within(&own, &ip) && !within(&others, &ip))
        })
    }

    async fn write_finalizers<'a>(
        &self,
        range: &Item<Arc<Object>>,
        finalizers: impl Iterator<Item = &'a String>,
    ) -> Result<(), Status> {
        let mut doc = range.value.to_json();
        let finalizers: Vec<&String> = finalizers.collect();
        set(&mut doc, &["metadata", "finalizers"], json!(finalizers));
        self.client.update(&range.key().target(gvr("servicecidrs")), doc).await.map(|_| ())
    }

    /// Writes the condition `Ready` where it says something else.
    async fn say(&self, range: &Item<Arc<Object>>, status: &str, reason: &str, message: &str) -> Result<(), Status> {
        let mut doc = range.value.to_json();
        let mut conditions = items_at(&doc, &["status", "conditions"]).to_vec();
        let old = conditions.iter().position(|condition| str_at(condition, &["type"]) == Some("Ready"));
        let is = |field: &str, value: &str| {
            old.is_some_and(|place| str_at(&conditions[place], &[field]).unwrap_or_default() == value)
        };
        let same = is("status", status);
        if same && is("reason", reason) && is("message", message) {
            return Ok(());
        }
        let now = Timestamp::from_wall(self.world.wall().0).to_string();
        let since = old.filter(|_| same).and_then(|place| conditions[place].get("lastTransitionTime").cloned());
        let condition = json!({"type": "Ready", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since.unwrap_or_else(|| Json::from(now))});
        match old {
            Some(place) => conditions[place] = condition,
            None => conditions.push(condition),
        }
        set(&mut doc, &["status", "conditions"], conditions);
        let at = range.key().target(gvr("servicecidrs")).with_subresource("status");
        self.client.update(&at, doc).await.map(|_| ())
    }
}
