//! EndpointSlice: for each Service with a selector, the addresses of its pods and how they are.
//!
//! An endpoint stays in the slice that it is in, so that a change of one pod is a change of one slice.

use crate::limits::{SLICE_ENDPOINTS, WORKERS};
use crate::shared::{Shared, start_after, synced};
use crate::views::{NodeView, PodView};
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Change, Client, Expectations, Item, Key, Outcome, ReconcileError, Reconciler, WorkQueue, decode,
    run_controller,
};
use holdfast_core::{DeleteOptions, Gvr, Json, Object, Reason, Status, Target, json as path};
use holdfast_env::{Task, World};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";

/// What of a Service counts for its endpoints.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    spec: Spec,
}

impl Service {
    pub(crate) fn selector(&self) -> &BTreeMap<String, String> {
        &self.spec.selector
    }

    pub(crate) fn has_selector(&self) -> bool {
        !self.spec.selector.is_empty()
    }

    /// Whether pods are its endpoints.
    pub(crate) fn has_pods(&self) -> bool {
        self.has_selector() && self.spec.r#type != "ExternalName"
    }

    pub(crate) fn is_headless(&self) -> bool {
        self.spec.cluster_ip == "None"
    }

    pub(crate) fn has_ports(&self) -> bool {
        !self.spec.ports.is_empty()
    }

    pub(crate) fn publishes_unready(&self) -> bool {
        self.spec.publish_not_ready_addresses
    }

    /// The address of a pod of the Service's first family.
    pub(crate) fn address_of<'a>(&self, pod: &'a PodView) -> Option<&'a str> {
        let is_v6 = self.spec.ip_families.first().is_some_and(|family| family == "IPv6");
        pod.ips.iter().find(|ip| ip.contains(':') == is_v6).map(String::as_str)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: BTreeMap<String, String>,
    r#type: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    ports: Vec<Port>,
    ip_families: Vec<String>,
    publish_not_ready_addresses: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: String,
    protocol: String,
    port: i64,
    target_port: Json,
    app_protocol: Option<String>,
}

struct Controller {
    world: World,
    client: Arc<dyn Client>,
    services: Arc<Cache<Arc<Object>>>,
    slices: Arc<Cache<Arc<Object>>>,
    pods: Arc<Cache<PodView>>,
    nodes: Arc<Cache<NodeView>>,
    expectations: Arc<Expectations>,
}

pub(crate) fn gvr() -> Gvr {
    Gvr::new("discovery.k8s.io", "v1", "endpointslices")
}

/// The Service of a slice that `manager` made.
pub(crate) fn service_of(slice: &Item<Arc<Object>>, manager: &str) -> Option<Key> {
    let ours = slice.meta.labels.get(MANAGED_BY).is_some_and(|name| name == manager);
    let name = slice.meta.labels.get(SERVICE_NAME).filter(|_| ours)?;
    Some(Key::new(&slice.meta.namespace, name))
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared) -> Task {
    let queue = WorkQueue::new(world.clone());
    let expectations = Arc::new(Expectations::default());
    shared.services.enqueue_self(&queue);
    let seen = expectations.clone();
    shared.slices.enqueue(&queue, move |change| {
        let service = change.latest().and_then(|slice| service_of(slice, MANAGER));
        if let (Some(service), None) = (&service, &change.old) {
            seen.created(service);
        }
        service.into_iter().collect()
    });
    let services = shared.services.cache().clone();
    shared.pods.enqueue(&queue, move |change| selecting(&services, change));
    let services = shared.services.cache().clone();
    shared.nodes.enqueue(&queue, move |change| {
        let zone = |item: &Arc<Item<NodeView>>| item.meta.labels.get(ZONE).cloned();
        if change.old.as_ref().and_then(zone) == change.new.as_ref().and_then(zone) {
            return Vec::new();
        }
        services.all().iter().map(|service| service.key()).collect()
    });
    let controller = Arc::new(Controller {
        world: world.clone(),
        client,
        services: shared.services.cache().clone(),
        slices: shared.slices.cache().clone(),
        pods: shared.pods.cache().clone(),
        nodes: shared.nodes.cache().clone(),
        expectations,
    });
    let env = world.clone();
    let caches = vec![synced(&shared.services), synced(&shared.slices), synced(&shared.pods), synced(&shared.nodes)];
    start_after(world, "endpointslice-controller", caches, move || {
        run_controller(&env, "endpointslice-controller", controller, queue, WORKERS)
    })
}

/// The Services that a changed pod is or was of.
pub(crate) fn selecting(services: &Cache<Arc<Object>>, change: &Change<PodView>) -> Vec<Key> {
    let unchanged = match (&change.old, &change.new) {
        (Some(old), Some(new)) => old.revision == new.revision && old.meta.uid == new.meta.uid,
        _ => false,
    };
    if unchanged {
        return Vec::new();
    }
    let all = services.in_namespace(&change.key.namespace);
    let selecting = all.into_iter().filter(|service| {
        let selector = decode::<Service>(&service.value).spec.selector;
        !selector.is_empty() && change.states().any(|pod| selects(&selector, &pod.meta.labels))
    });
    selecting.map(|service| service.key()).collect()
}

pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(item) = self.services.get(key).filter(|service| !service.meta.is_deleting()) else {
            // Its slices name it as their owner and go with it.
            self.expectations.forget(key);
            return Ok(Outcome::Done);
        };
        let service: Service = decode(&item.value);
        if !service.has_pods() {
            return Ok(Outcome::Done);
        }
        if !self.expectations.fulfilled(key, self.world.monotonic()) {
            return Err(ReconcileError::Wait("the cache does not show the last slices yet".into()));
        }
        let mut existing: Vec<Slice> = self
            .slices
            .in_namespace(&key.namespace)
            .iter()
            .filter_map(|slice| {
                (service_of(slice, MANAGER).as_ref() == Some(key) && !slice.meta.is_deleting())
                    .then(|| Slice::of(&slice.value))
            })
            .collect();
        let mut wanted = Vec::new();
        let families = match service.spec.ip_families.is_empty() {
            true => vec!["IPv4".to_string()],
            false => service.spec.ip_families.clone(),
        };
        for family in &families {
            let groups = self.groups(key, &service, family);
            wanted.extend(fill(&mut existing, family, groups));
        }
        self.write(&item.value, &service, existing, wanted).await?;
        Ok(Outcome::Done)
    }
}

/// Endpoints by the ports that they have (they differ where a port is named), in the order of pods.
type Groups = BTreeMap<String, (Json, Vec<Json>)>;

impl Controller {
    fn groups(&self, key: &Key, service: &Service, family: &str) -> Groups {
        let mut groups = Groups::new();
        for pod in self.pods.in_namespace(&key.namespace) {
            if pod.value.ended() || !selects(&service.spec.selector, &pod.meta.labels) {
                continue;
            }
            let is_v6 = |ip: &&String| ip.contains(':');
            let Some(ip) = pod.value.ips.iter().find(|ip| is_v6(ip) == (family == "IPv6")) else { continue };
            let ports = ports(service, &pod.value);
            let endpoint = self.endpoint(key, service, &pod, ip);
            groups.entry(ports.to_string()).or_insert((ports, Vec::new())).1.push(endpoint);
        }
        if groups.is_empty() {
            // A Service without pods has one empty slice, so that who waits for it sees that it was looked at.
            groups.insert(String::new(), (json!([]), Vec::new()));
        }
        groups
    }

    fn endpoint(&self, key: &Key, service: &Service, pod: &Item<PodView>, ip: &str) -> Json {
        let terminating = pod.meta.is_deleting();
        let serving = pod.value.ready;
        let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
        let mut endpoint = json!({
            "addresses": [ip],
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
            "targetRef": {"kind": "Pod", "namespace": pod.meta.namespace, "name": pod.meta.name, "uid": pod.meta.uid},
        });
        if !pod.value.hostname.is_empty() && pod.value.subdomain == key.name {
            path::set(&mut endpoint, &["hostname"], pod.value.hostname.clone());
        }
        if !pod.value.node.is_empty() {
            path::set(&mut endpoint, &["nodeName"], pod.value.node.clone());
            let node = self.nodes.get(&Key::new("", &pod.value.node));
            if let Some(zone) = node.as_ref().and_then(|node| node.meta.labels.get(ZONE)) {
                path::set(&mut endpoint, &["zone"], zone.clone());
            }
        }
        endpoint
    }

    async fn write(
        &self,
        object: &Object,
        service: &Service,
        existing: Vec<Slice>,
        wanted: Vec<Slice>,
    ) -> Result<(), Status> {
        let key = Key::of(object);
        let labels = labels(object, service);
        let fresh = wanted.iter().filter(|slice| slice.object.is_none()).count();
        if fresh > 0 {
            self.expectations.expect_creations(&key, fresh, self.world.monotonic());
        }
        for slice in wanted {
            match &slice.object {
                Some(old) => self.update(old, &slice, &labels).await?,
                None => {
                    let result = self.create(object, &slice, &labels).await;
                    if result.is_err() {
                        self.expectations.created(&key);
                    }
                    result?;
                }
            }
        }
        // What `fill` did not take is not needed any more.
        for slice in existing.iter().filter_map(|slice| slice.object.as_ref()) {
            let at = Key::of(slice).target(gvr());
            match self.client.delete(&at, &DeleteOptions::default()).await {
                Err(status) if status.is(Reason::NotFound) => {}
                other => other?,
            }
        }
        Ok(())
    }

    async fn update(&self, old: &Arc<Object>, slice: &Slice, labels: &BTreeMap<String, String>) -> Result<(), Status> {
        let before = old.to_json();
        let mut doc = before.clone();
        path::set(&mut doc, &["endpoints"], slice.endpoints.clone());
        path::set(&mut doc, &["ports"], slice.ports.clone());
        path::set(&mut doc, &["metadata", "labels"], json!(labels));
        let same = old.meta.labels == *labels
            && path::items_at(&before, &["endpoints"]) == slice.endpoints.as_slice()
            && path::items_at(&before, &["ports"]) == path::items_at(&doc, &["ports"]);
        if same {
            return Ok(());
        }
        self.client.update(&Key::of(old).target(gvr()), doc).await.map(|_| ())
    }

    async fn create(&self, service: &Object, slice: &Slice, labels: &BTreeMap<String, String>) -> Result<(), Status> {
        let body = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", service.meta.name),
                "namespace": service.meta.namespace,
                "labels": labels,
                "ownerReferences": [crate::claim::controller_ref(service)],
            },
            "addressType": slice.family, "endpoints": slice.endpoints, "ports": slice.ports,
        });
        let at = Target::collection(gvr(), &service.meta.namespace);
        match self.client.create(&at, body).await {
            Err(status) if status.message().contains("because it is being terminated") => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// The labels of the Service, and what makes the slice ours.
fn labels(object: &Object, service: &Service) -> BTreeMap<String, String> {
    let mut labels = object.meta.labels.clone();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.into(), object.meta.name.clone());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if service.is_headless() {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels
}

/// The ports of a Service at one pod; a name that the pod does not know is left out.
pub(crate) fn ports(service: &Service, pod: &PodView) -> Json {
    let protocol = |text: &str| if text.is_empty() { "TCP".to_string() } else { text.to_string() };
    let mut ports = Vec::new();
    for port in &service.spec.ports {
        let wire = protocol(&port.protocol);
        let number = match &port.target_port {
            Json::Number(number) => number.as_i64().filter(|number| *number != 0).or(Some(port.port)),
            Json::String(name) => {
                let named = pod.ports.iter().find(|p| p.name == *name && protocol(&p.protocol) == wire);
                named.map(|port| port.container_port)
            }
            _ => Some(port.port),
        };
        let Some(number) = number else { continue };
        let mut entry = json!({"name": port.name, "protocol": wire, "port": number});
        if let Some(app) = &port.app_protocol {
            path::set(&mut entry, &["appProtocol"], app.clone());
        }
        ports.push(entry);
    }
    Json::Array(ports)
}

/// A slice, as it is or as it should be.
struct Slice {
    object: Option<Arc<Object>>,
    family: String,
    ports: Json,
    endpoints: Vec<Json>,
}

impl Slice {
    fn of(object: &Arc<Object>) -> Slice {
        let doc = object.to_json();
        Slice {
            object: Some(object.clone()),
            family: path::str_at(&doc, &["addressType"]).unwrap_or_default().to_string(),
            ports: Json::Array(path::items_at(&doc, &["ports"]).to_vec()),
            endpoints: path::items_at(&doc, &["endpoints"]).to_vec(),
        }
    }
}

fn uid(endpoint: &Json) -> &str {
    path::str_at(endpoint, &["targetRef", "uid"]).unwrap_or_default()
}

/// Takes from `existing` what can be used on and makes the rest.
fn fill(existing: &mut Vec<Slice>, family: &str, groups: Groups) -> Vec<Slice> {
    let mut result = Vec::new();
    let needed: Vec<Json> = groups.values().map(|(ports, _)| ports.clone()).collect();
    for (_, (ports, endpoints)) in groups {
        let (mut usable, rest): (Vec<Slice>, Vec<Slice>) =
            existing.drain(..).partition(|slice| slice.family == family && slice.ports == ports);
        *existing = rest;
        let mut left: BTreeMap<String, Json> = endpoints.into_iter().map(|e| (uid(&e).to_string(), e)).collect();
        for slice in &mut usable {
            let kept: Vec<Json> = slice.endpoints.iter().filter_map(|old| left.remove(uid(old))).collect();
            slice.endpoints = kept;
        }
        let mut left = left.into_values();
        for slice in &mut usable {
            let room = SLICE_ENDPOINTS.saturating_sub(slice.endpoints.len());
            slice.endpoints.extend(left.by_ref().take(room));
        }
        loop {
            let endpoints: Vec<Json> = left.by_ref().take(SLICE_ENDPOINTS).collect();
            if endpoints.is_empty() && !(usable.is_empty() && result.is_empty()) {
                break;
            }
            let none = endpoints.is_empty();
            // Rather change a slice whose ports nobody has any more than replace it.
            let spare = existing.iter().position(|slice| slice.family == family && !needed.contains(&slice.ports));
            let object = spare.and_then(|at| existing.remove(at).object);
            usable.push(Slice { object, family: family.into(), ports: ports.clone(), endpoints });
            if none {
                break;
            }
        }
        // Empty ones go, but one stays for a Service without pods.
        let (full, empty): (Vec<Slice>, Vec<Slice>) = usable.into_iter().partition(|s| !s.endpoints.is_empty());
        let spare = full.is_empty();
        result.extend(full);
        let mut empty = empty.into_iter();
        if spare {
            result.extend(empty.next());
        }
        existing.extend(empty);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(range: std::ops::Range<usize>) -> Vec<Json> {
        range.map(|n| json!({"targetRef": {"uid": format!("u{n:03}")}})).collect()
    }

    fn slice(endpoints: Vec<Json>) -> Slice {
        let object = Object::from_json(json!({"metadata": {"name": "s"}})).unwrap();
        Slice { object: Some(Arc::new(object)), family: "IPv4".into(), ports: json!([1]), endpoints }
    }

    fn group(endpoints: Vec<Json>) -> Groups {
        [("p".to_string(), (json!([1]), endpoints))].into()
    }

    #[test]
    fn endpoints_stay_where_they_are_and_slices_hold_a_hundred() {
        let mut existing = vec![slice(endpoints(0..100)), slice(endpoints(100..150))];
        let filled = fill(&mut existing, "IPv4", group(endpoints(50..230)));
        let sizes: Vec<usize> = filled.iter().map(|slice| slice.endpoints.len()).collect();
        assert_eq!((sizes, existing.len()), (vec![100, 80], 0));
        assert_eq!(filled[0].endpoints[..50], endpoints(50..100)[..]);
        assert_eq!(filled[1].endpoints[..50], endpoints(100..150)[..]);
        let fresh = fill(&mut Vec::new(), "IPv4", group(endpoints(0..250)));
        assert_eq!(fresh.iter().map(|slice| slice.endpoints.len()).collect::<Vec<_>>(), [100, 100, 50]);
    }

    #[test]
    fn a_service_without_pods_keeps_one_empty_slice() {
        let none: Groups = [(String::new(), (json!([]), Vec::new()))].into();
        let mut existing = Vec::new();
        assert_eq!(fill(&mut existing, "IPv4", none).len(), 1);
        let mut existing = vec![slice(endpoints(0..5)), slice(endpoints(5..9))];
        let kept = fill(&mut existing, "IPv4", group(Vec::new()));
        assert_eq!((kept.len(), kept[0].endpoints.len(), existing.len()), (1, 0, 1));
    }
}
