//! Endpoints, for those who do not read EndpointSlices yet: for each Service with a selector, the addresses of its pods.

use crate::endpoint_slice::{Service, ports, selecting, selects};
use crate::limits::{ENDPOINTS_ADDRESSES, WORKERS};
use crate::shared::{Shared, core, start_after, synced};
use crate::views::PodView;
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Client, Item, Key, Outcome, ReconcileError, Reconciler, WorkQueue, decode, run_controller,
};
use holdfast_core::json::{at, items_at, remove, set};
use holdfast_core::{DeleteOptions, Json, Object, Reason, Status, Target};
use holdfast_env::{Task, World};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "endpoint-controller";
/// Whose Endpoints are ours.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

struct Controller {
    client: Arc<dyn Client>,
    services: Arc<Cache<Arc<Object>>>,
    endpoints: Arc<Cache<Arc<Object>>>,
    pods: Arc<Cache<PodView>>,
}

/// Whether this controller made it.
pub(crate) fn is_ours(item: &Item<Arc<Object>>) -> bool {
    item.meta.labels.get(MANAGED_BY).is_some_and(|manager| manager == NAME)
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared) -> Task {
    let queue = WorkQueue::new(world.clone());
    shared.services.enqueue_self(&queue);
    shared.endpoints.enqueue(&queue, |change| {
        // What is gone may be missed; what is found at the start may have lost its Service meanwhile.
        let lost = change.new.is_none();
        let found = change.old.is_none() && change.new.as_ref().is_some_and(|item| is_ours(item));
        (lost || found).then(|| change.key.clone()).into_iter().collect()
    });
    let services = shared.services.cache().clone();
    shared.pods.enqueue(&queue, move |change| selecting(&services, change));
    let controller = Arc::new(Controller {
        client,
        services: shared.services.cache().clone(),
        endpoints: shared.endpoints.cache().clone(),
        pods: shared.pods.cache().clone(),
    });
    let env = world.clone();
    let caches = vec![synced(&shared.services), synced(&shared.endpoints), synced(&shared.pods)];
    start_after(world, NAME, caches, move || run_controller(&env, NAME, controller, queue, WORKERS))
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let existing = self.endpoints.get(key);
        let Some(service) = self.services.get(key).filter(|service| !service.meta.is_deleting()) else {
            // Nobody owns them, and so nobody else would take them away; as upstream, whoever made them.
            if let Some(item) = existing.filter(|item| !item.meta.is_deleting()) {
                self.delete(&item).await?;
            }
            return Ok(Outcome::Done);
        };
        let wanted: Service = decode(&service.value);
        if !wanted.has_pods() {
            return Ok(Outcome::Done);
        }
        let pods = self.pods.in_namespace(&key.namespace);
        let subsets = subsets(&wanted, key, &pods);
        let mut doc = match &existing {
            Some(item) => item.value.to_json(),
            None => json!({"apiVersion": "v1", "kind": "Endpoints",
                "metadata": {"name": key.name, "namespace": key.namespace}}),
        };
        let before = doc.clone();
        complete(&mut doc, &service.value, &wanted, subsets);
        if existing.is_some() && doc == before {
            return Ok(Outcome::Done);
        }
        let written = match &existing {
            Some(_) => self.client.update(&key.target(core("endpoints")), doc).await,
            None => self.client.create(&Target::collection(core("endpoints"), &key.namespace), doc).await,
        };
        match written {
            Err(status) if status.message().contains("because it is being terminated") => Ok(Outcome::Done),
            other => other.map(|_| Outcome::Done).map_err(ReconcileError::from),
        }
    }
}

impl Controller {
    async fn delete(&self, item: &Item<Arc<Object>>) -> Result<(), Status> {
        match self.client.delete(&item.key().target(core("endpoints")), &DeleteOptions::default()).await {
            Err(status) if status.is(Reason::NotFound) => Ok(()),
            other => other,
        }
    }
}

/// Sets what this controller decides: labels of the Service, subsets, and whether some had to be left out.
fn complete(doc: &mut Json, object: &Object, service: &Service, mut subsets: Vec<Subset>) {
    let mut labels = object.meta.labels.clone();
    labels.remove(HEADLESS);
    labels.insert(MANAGED_BY.into(), NAME.into());
    if service.is_headless() {
        labels.insert(HEADLESS.into(), String::new());
    }
    set(doc, &["metadata", "labels"], json!(labels));
    if truncate(&mut subsets, ENDPOINTS_ADDRESSES) {
        set(doc, &["metadata", "annotations", OVER_CAPACITY], "truncated");
    } else if at(doc, &["metadata", "annotations", OVER_CAPACITY]).is_some() {
        remove(doc, &["metadata", "annotations", OVER_CAPACITY]);
    }
    let subsets: Vec<Json> = subsets.into_iter().map(Subset::into_json).collect();
    if items_at(doc, &["subsets"]) != subsets.as_slice() {
        set(doc, &["subsets"], subsets);
    }
}

/// Addresses that all have these ports.
#[derive(Debug, Default, PartialEq)]
struct Subset {
    ready: Vec<Json>,
    unready: Vec<Json>,
    ports: Vec<Json>,
}

impl Subset {
    fn into_json(self) -> Json {
        let mut doc = json!({});
        for (field, values) in [("addresses", self.ready), ("notReadyAddresses", self.unready), ("ports", self.ports)] {
            if !values.is_empty() {
                set(&mut doc, &[field], values);
            }
        }
        doc
    }
}

/// The subsets of a Service: ports that the same addresses have stand together, whatever the pods call them.
fn subsets(service: &Service, key: &Key, pods: &[Arc<Item<PodView>>]) -> Vec<Subset> {
    /// An address with whether it is ready, by what it is known by.
    type Addresses = BTreeMap<String, (Json, bool)>;
    let mut by_port: BTreeMap<String, (Option<Json>, Addresses)> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.value.ended() && selects(service.selector(), &pod.meta.labels)) {
        let Some(ip) = service.address_of(&pod.value) else { continue };
        if pod.meta.is_deleting() && !service.publishes_unready() {
            continue;
        }
        let ready = pod.value.ready || service.publishes_unready();
        let known_by = format!("{ip}/{}", pod.meta.uid);
        let mut offered: Vec<Option<Json>> = match ports(service, &pod.value) {
            Json::Array(ports) => ports.into_iter().map(|port| Some(nameless(port))).collect(),
            _ => Vec::new(),
        };
        if !service.has_ports() && service.is_headless() {
            offered.push(None);
        }
        for port in offered {
            let text = port.as_ref().map(Json::to_string).unwrap_or_default();
            let (_, addresses) = by_port.entry(text).or_insert_with(|| (port, Addresses::new()));
            addresses.insert(known_by.clone(), (address(key, pod, ip), ready));
        }
    }
    let mut by_addresses: BTreeMap<Vec<(String, bool)>, Subset> = BTreeMap::new();
    for (port, addresses) in by_port.into_values() {
        let who = addresses.iter().map(|(known_by, (_, ready))| (known_by.clone(), *ready)).collect();
        let subset = by_addresses.entry(who).or_insert_with(|| {
            let (ready, unready): (Vec<_>, Vec<_>) = addresses.into_values().partition(|(_, ready)| *ready);
            let bare = |all: Vec<(Json, bool)>| all.into_iter().map(|(address, _)| address).collect();
            Subset { ready: bare(ready), unready: bare(unready), ports: Vec::new() }
        });
        subset.ports.extend(port);
    }
    by_addresses.into_values().collect()
}

/// A port as Endpoints have it: without an empty name.
fn nameless(mut port: Json) -> Json {
    if port["name"] == "" {
        remove(&mut port, &["name"]);
    }
    port
}

fn address(key: &Key, pod: &Item<PodView>, ip: &str) -> Json {
    let mut address = json!({"ip": ip, "targetRef": {"kind": "Pod", "namespace": pod.meta.namespace,
        "name": pod.meta.name, "uid": pod.meta.uid}});
    if !pod.value.node.is_empty() {
        set(&mut address, &["nodeName"], pod.value.node.clone());
    }
    if !pod.value.hostname.is_empty() && pod.value.subdomain == key.name {
        set(&mut address, &["hostname"], pod.value.hostname.clone());
    }
    address
}

/// Leaves out what is too much, unready addresses first; whether it did.
fn truncate(subsets: &mut Vec<Subset>, most: usize) -> bool {
    let count = |subset: &Subset| subset.ready.len() + subset.unready.len();
    if subsets.iter().map(count).sum::<usize>() <= most {
        return false;
    }
    let mut left = most;
    for addresses in subsets.iter_mut().map(|subset| &mut subset.ready) {
        addresses.truncate(left);
        left -= addresses.len();
    }
    for addresses in subsets.iter_mut().map(|subset| &mut subset.unready) {
        addresses.truncate(left);
        left -= addresses.len();
    }
    subsets.retain(|subset| count(subset) > 0);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subset(ready: usize, unready: usize) -> Subset {
        let all = |from: usize, count: usize| (from..from + count).map(|n| json!({"ip": n})).collect();
        Subset { ready: all(0, ready), unready: all(1000, unready), ports: vec![json!({"port": 1})] }
    }

    #[test]
    fn unready_addresses_are_left_out_first() {
        let mut all = vec![subset(2, 3), subset(4, 0)];
        assert!(!truncate(&mut all, 9));
        assert!(truncate(&mut all, 7));
        assert_eq!(all, [subset(2, 1), subset(4, 0)]);
        assert!(truncate(&mut all, 2));
        assert_eq!(all, [subset(2, 0)]);
    }
}
