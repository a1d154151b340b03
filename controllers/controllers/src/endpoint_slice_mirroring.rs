//! EndpointSlices of hand-made Endpoints: what somebody wrote for a Service without a selector reaches those who read slices
//! alone, such as the nodes.

use crate::endpoint_slice::{Service, gvr, service_of};
use crate::endpoints;
use crate::limits::{MIRRORED_ENDPOINTS, WORKERS};
use crate::shared::{Shared, start_after, synced};
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Client, Expectations, Item, Key, Outcome, ReconcileError, Reconciler, WorkQueue, decode, run_controller,
};
use holdfast_core::json::{at, items_at, set, str_at};
use holdfast_core::{DeleteOptions, Json, Object, Reason, Status, Target};
use holdfast_env::{Task, World};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

const NAME: &str = "endpointslicemirroring-controller";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// What is about the Endpoints themselves.
const OWN_ANNOTATIONS: &[&str] =
    &["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

struct Controller {
    world: World,
    client: Arc<dyn Client>,
    services: Arc<Cache<Arc<Object>>>,
    endpoints: Arc<Cache<Arc<Object>>>,
    slices: Arc<Cache<Arc<Object>>>,
    expectations: Arc<Expectations>,
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared) -> Task {
    let queue = WorkQueue::new(world.clone());
    let expectations = Arc::new(Expectations::default());
    shared.services.enqueue(&queue, |change| {
        // Only whether there is one without a selector counts.
        let mirrored = |item: &Arc<Item<Arc<Object>>>| !decode::<Service>(&item.value).has_selector();
        let (before, now) = (change.old.as_ref().map(mirrored), change.new.as_ref().map(mirrored));
        (before != now).then(|| change.key.clone()).into_iter().collect()
    });
    shared.endpoints.enqueue(&queue, |change| {
        let by_hand = change.states().any(|item| !endpoints::is_ours(item));
        by_hand.then(|| change.key.clone()).into_iter().collect()
    });
    let seen = expectations.clone();
    shared.slices.enqueue(&queue, move |change| {
        let key = change.latest().and_then(|slice| service_of(slice, MANAGER));
        if let (Some(key), None) = (&key, &change.old) {
            seen.created(key);
        }
        key.into_iter().collect()
    });
    let controller = Arc::new(Controller {
        world: world.clone(),
        client,
        services: shared.services.cache().clone(),
        endpoints: shared.endpoints.cache().clone(),
        slices: shared.slices.cache().clone(),
        expectations,
    });
    let env = world.clone();
    let caches = vec![synced(&shared.services), synced(&shared.endpoints), synced(&shared.slices)];
    start_after(world, NAME, caches, move || run_controller(&env, NAME, controller, queue, WORKERS))
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        if !self.expectations.fulfilled(key, self.world.monotonic()) {
            return Err(ReconcileError::Wait("the cache does not show the last slices yet".into()));
        }
        let all = self.slices.in_namespace(&key.namespace).into_iter();
        let mut existing: Vec<Arc<Object>> = all
            .filter(|slice| service_of(slice, MANAGER).as_ref() == Some(key) && !slice.meta.is_deleting())
            .map(|slice| slice.value.clone())
            .collect();
        let Some(object) = self.mirrored(key) else {
            self.expectations.forget(key);
            self.delete(existing).await?;
            return Ok(Outcome::Done);
        };
        let mut fresh = Vec::new();
        for wanted in slices(&object) {
            let same = |old: &Arc<Object>| {
                let old = old.to_json();
                old["addressType"] == wanted["addressType"]
                    && items_at(&old, &["ports"]) == items_at(&wanted, &["ports"])
            };
            match existing.iter().position(same) {
                Some(place) => self.update(&existing.remove(place), &wanted).await?,
                None => fresh.push(wanted),
            }
        }
        // Rather change a slice whose ports nobody has any more than replace it.
        for wanted in fresh {
            match existing.iter().position(|old| old.to_json()["addressType"] == wanted["addressType"]) {
                Some(place) => self.update(&existing.remove(place), &wanted).await?,
                None => self.create(key, wanted).await?,
            }
        }
        self.delete(existing).await?;
        Ok(Outcome::Done)
    }
}

impl Controller {
    /// The Endpoints of a key, if slices are to be made of them.
    fn mirrored(&self, key: &Key) -> Option<Arc<Object>> {
        let endpoints = self.endpoints.get(key).filter(|item| !item.meta.is_deleting())?;
        let service = self.services.get(key)?;
        let skipped = endpoints.meta.labels.get(SKIP).is_some_and(|skip| skip == "true")
            || endpoints.meta.annotations.contains_key(LEADER);
        (!skipped && !decode::<Service>(&service.value).has_selector()).then(|| endpoints.value.clone())
    }

    async fn update(&self, old: &Arc<Object>, wanted: &Json) -> Result<(), Status> {
        let before = old.to_json();
        let mut doc = before.clone();
        for field in [&["endpoints"][..], &["ports"], &["metadata", "labels"], &["metadata", "annotations"]] {
            let value = at(wanted, field).cloned().unwrap_or_default();
            let empty = value.as_object().is_some_and(|map| map.is_empty());
            if at(&before, field) != Some(&value) && !(empty && at(&before, field).is_none()) {
                set(&mut doc, field, value);
            }
        }
        if doc == before {
            return Ok(());
        }
        self.client.update(&Key::of(old).target(gvr()), doc).await.map(|_| ())
    }

    async fn create(&self, key: &Key, wanted: Json) -> Result<(), Status> {
        self.expectations.expect_creations(key, 1, self.world.monotonic());
        let created = self.client.create(&Target::collection(gvr(), &key.namespace), wanted).await;
        if created.is_err() {
            self.expectations.created(key);
        }
        match created {
            Err(status) if status.message().contains("because it is being terminated") => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn delete(&self, slices: Vec<Arc<Object>>) -> Result<(), Status> {
        for slice in slices {
            match self.client.delete(&Key::of(&slice).target(gvr()), &DeleteOptions::default()).await {
                Err(status) if status.is(Reason::NotFound) => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// The slices that say what Endpoints say: one a set of ports and family of addresses.
fn slices(object: &Object) -> Vec<Json> {
    let doc = object.to_json();
    let mut groups: BTreeMap<(bool, String), (Json, Vec<Json>)> = BTreeMap::new();
    for subset in items_at(&doc, &["subsets"]) {
        let ports: Json = items_at(subset, &["ports"]).iter().map(named).collect();
        let mut left = MIRRORED_ENDPOINTS;
        for (list, ready) in [("addresses", true), ("notReadyAddresses", false)] {
            for address in items_at(subset, &[list]) {
                let Some(ip) = str_at(address, &["ip"]).and_then(|ip| ip.parse::<IpAddr>().ok()) else { continue };
                if left == 0 {
                    tracing::debug!(object = %object.key(), "Endpoints have more addresses than one slice may");
                    break;
                }
                left -= 1;
                let group = groups.entry((ip.is_ipv6(), ports.to_string())).or_insert((ports.clone(), Vec::new()));
                group.1.push(endpoint(address, &ip, ready));
            }
        }
    }
    let wanted = |((is_v6, _), (ports, mut endpoints)): ((bool, String), (Json, Vec<Json>))| {
        endpoints.truncate(MIRRORED_ENDPOINTS);
        let mut labels = object.meta.labels.clone();
        labels.insert("kubernetes.io/service-name".into(), object.meta.name.clone());
        labels.insert("endpointslice.kubernetes.io/managed-by".into(), MANAGER.into());
        let annotations = object.meta.annotations.iter().filter(|(name, _)| !OWN_ANNOTATIONS.contains(&name.as_str()));
        let annotations: BTreeMap<&String, &String> = annotations.collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", object.meta.name),
                "namespace": object.meta.namespace,
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [crate::claim::controller_ref(object)],
            },
            "addressType": if is_v6 { "IPv6" } else { "IPv4" }, "endpoints": endpoints, "ports": ports,
        })
    };
    groups.into_iter().map(wanted).collect()
}

/// A port as slices have it: always with a name.
fn named(port: &Json) -> Json {
    let mut named = json!({"name": "", "protocol": "TCP"});
    for (field, value) in port.as_object().into_iter().flatten() {
        set(&mut named, &[field.as_str()], value.clone());
    }
    named
}

fn endpoint(address: &Json, ip: &IpAddr, ready: bool) -> Json {
    let mut endpoint = json!({"addresses": [ip.to_string()], "conditions": {"ready": ready}});
    for field in ["targetRef", "nodeName", "hostname"] {
        if let Some(value) = at(address, &[field]).filter(|value| !value.is_null()) {
            set(&mut endpoint, &[field], value.clone());
        }
    }
    endpoint
}
