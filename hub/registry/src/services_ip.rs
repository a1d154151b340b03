//! Addresses and node ports of Services, as keys of the store.
//!
//! `/allocations/services/<ip>` and `/allocations/nodeports/<port>` name their owner. They are put, under the
//! condition that they are absent, in the transaction that writes the Service, so that two hubs or two
//! requests can never hand out the same twice, and nothing leaks when a write fails.
//!
//! In the same transaction comes and goes the IPAddress that shows the address to clients. Whoever makes one by hand keeps
//! that address from Services; whoever deletes one frees nothing, and a controller makes it again. Addresses come from the
//! hub's own range, then from ServiceCIDRs that are ready.

use crate::engine::{Engine, Resource, known, store_error};
use crate::generic::commit::{Meaning, Write};
use crate::generic::managers::tracked;
use crate::generic::update::Part;
use crate::kinds::service::needs_health_check;
use crate::strategy::{Rules, strategy_of};
use crate::{keys, meta};
use bytes::Bytes;
use holdfast_core::json::{at, at_mut, items_at, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Gvk, Gvr, Json, Object, Status, WriteOptions};
use holdfast_store::Condition;
use ipnet::Ipv4Net;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const IPS: &str = "/allocations/services/";
const PORTS: &str = "/allocations/nodeports/";
const OUT_OF_RANGE: &str = "provided port is not in the valid range. The range of valid ports is 30000-32767";
/// The range of node ports, upstream's default.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

const NETWORKING: &str = "networking.k8s.io";

fn addresses() -> Gvr {
    Gvr::new(NETWORKING, "v1", "ipaddresses")
}

/// The key of the IPAddress of an address.
fn published(ip: &str) -> Result<String, Status> {
    Ok(keys::object(known(&addresses())?, "", ip))
}

fn freed(key: &str) -> Result<Vec<Allocation>, Status> {
    let mut changes = vec![Allocation::Free { key: key.to_string() }];
    if let Some(ip) = key.strip_prefix(IPS) {
        changes.push(Allocation::Free { key: published(ip)? });
    }
    Ok(changes)
}

/// The Service that has something.
struct Owner<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Owner<'_> {
    /// The IPAddress of an address of it.
    async fn address(&self, engine: &Engine, ip: &str) -> Result<Bytes, Status> {
        let gvr = addresses();
        let kind = known(&gvr)?;
        let mut doc = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": { "name": ip, "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            } },
            "spec": { "parentRef": { "resource": "services", "namespace": self.namespace, "name": self.name } },
        });
        meta::stamp(&mut doc, engine.env.random_uuid(), engine.now());
        let strategy = Rules::BuiltIn(strategy_of(kind));
        let resource = Resource { kind, strategy, gvr: &gvr, namespace: "", name: ip };
        let options = WriteOptions { field_manager: "holdfast-hub".into(), ..WriteOptions::default() };
        let managed = tracked(engine, &resource, Part::Main, None, None, &doc, &options).await;
        Ok(Object::with_managed_fields(doc, &managed.text)?.body().clone())
    }
}

/// One change of the allocations.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Allocation {
    Take { key: String, owner: Bytes },
    Free { key: String },
}

impl Allocation {
    /// Adds the change to a transaction.
    pub(crate) fn join(self, write: &mut Write) {
        match self {
            Allocation::Take { key, owner } => {
                write.check(key.clone(), Condition::Absent, Meaning::Allocation);
                write.put(key, owner);
            }
            Allocation::Free { key } => write.delete(key),
        }
    }
}

/// The range of Service addresses.
pub(crate) struct ServiceAddresses {
    range: Ipv4Net,
}

fn has_cluster_ip(doc: &Json) -> bool {
    str_at(doc, &["spec", "type"]) != Some("ExternalName")
}

fn wants_node_ports(doc: &Json) -> bool {
    match str_at(doc, &["spec", "type"]) {
        Some("NodePort") => true,
        Some("LoadBalancer") => {
            at(doc, &["spec", "allocateLoadBalancerNodePorts"]).and_then(Json::as_bool) != Some(false)
        }
        _ => false,
    }
}

/// The addresses and ports that a Service holds, as keys.
fn held(doc: &Json) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    if let Some(ip) = str_at(doc, &["spec", "clusterIP"]).filter(|ip| !ip.is_empty() && *ip != "None") {
        keys.insert(format!("{IPS}{ip}"));
    }
    for port in items_at(doc, &["spec", "ports"]) {
        if let Some(number) = port.get("nodePort").and_then(Json::as_u64).filter(|number| *number != 0) {
            keys.insert(format!("{PORTS}{number}"));
        }
    }
    if let Some(port) = at(doc, &["spec", "healthCheckNodePort"]).and_then(Json::as_u64).filter(|number| *number != 0) {
        keys.insert(format!("{PORTS}{port}"));
    }
    keys
}

impl ServiceAddresses {
    pub(crate) fn new(range: Ipv4Net) -> ServiceAddresses {
        ServiceAddresses { range }
    }

    /// The address of the Service `kubernetes`.
    pub(crate) fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.range.network()).saturating_add(1))
    }

    /// The hub's own range.
    pub(crate) fn range(&self) -> Ipv4Net {
        self.range.trunc()
    }

    /// All ranges: the hub's own, and those of the ServiceCIDRs that are ready and stay.
    async fn ranges(&self, engine: &Engine) -> Result<Vec<Ipv4Net>, Status> {
        let mut ranges = vec![self.range()];
        for object in engine.find_all(&Gvr::new(NETWORKING, "v1", "servicecidrs"), "").await? {
            let doc = object.to_json();
            let is_ready = |condition: &Json| {
                str_at(condition, &["type"]) == Some("Ready") && str_at(condition, &["status"]) == Some("True")
            };
            if object.meta.is_deleting() || !items_at(&doc, &["status", "conditions"]).iter().any(is_ready) {
                continue;
            }
            let cidrs = items_at(&doc, &["spec", "cidrs"]).iter().filter_map(Json::as_str);
            for range in cidrs.filter_map(|cidr| cidr.parse::<Ipv4Net>().ok()).map(|range| range.trunc()) {
                if !ranges.contains(&range) {
                    ranges.push(range);
                }
            }
        }
        Ok(ranges)
    }

    /// Frees what a Service that goes held.
    ///
    /// # Errors
    /// Never, unless the kind of addresses is not served.
    pub(crate) fn release(&self, old: &Json) -> Result<Vec<Allocation>, Status> {
        let mut changes = Vec::new();
        for key in held(old) {
            changes.extend(freed(&key)?);
        }
        Ok(changes)
    }

    /// Fills what a Service needs and was not given; returns the changes that its write carries. What was asked
    /// for by name and is taken is refused; what was chosen here and is lost to another is chosen anew.
    ///
    /// # Errors
    /// 422 for addresses and ports out of range or taken, 500 when nothing is free.
    pub(crate) async fn allocate(
        &self,
        engine: &Engine,
        old: Option<&Json>,
        doc: &mut Json,
    ) -> Result<Vec<Allocation>, Status> {
        let before = old.map(held).unwrap_or_default();
        let mut errors = FieldErrors::new();
        if has_cluster_ip(doc) {
            match str_at(doc, &["spec", "clusterIP"]).unwrap_or_default().to_string().as_str() {
                "None" => {}
                "" => {
                    let ranges = self.ranges(engine).await?;
                    let ip = self.pick_ip(engine, &ranges).await?.to_string();
                    set(doc, &["spec", "clusterIP"], ip);
                }
                asked => self.check_ip(engine, asked, &before, &mut errors).await?,
            }
            let ip = str_at(doc, &["spec", "clusterIP"]).unwrap_or_default().to_string();
            set(doc, &["spec", "clusterIPs"], vec![ip]);
        } else {
            remove(doc, &["spec", "clusterIP"]);
            remove(doc, &["spec", "clusterIPs"]);
        }
        self.fill_ports(engine, doc, &before, &mut errors).await?;
        self.fill_health_check(engine, doc, &before, &mut errors).await?;
        if !errors.is_empty() {
            let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
            return Err(Status::invalid(&Gvk::new("v1", "Service"), name, &errors));
        }
        let owner = Owner {
            namespace: str_at(doc, &["metadata", "namespace"]).unwrap_or_default(),
            name: str_at(doc, &["metadata", "name"]).unwrap_or_default(),
        };
        let after = held(doc);
        let mut changes = Vec::new();
        for key in after.difference(&before) {
            if let Some(ip) = key.strip_prefix(IPS) {
                changes.push(Allocation::Take { key: published(ip)?, owner: owner.address(engine, ip).await? });
            }
            let owner = Bytes::from(format!("{}/{}", owner.namespace, owner.name));
            changes.push(Allocation::Take { key: key.clone(), owner });
        }
        for key in before.difference(&after) {
            changes.extend(freed(key)?);
        }
        Ok(changes)
    }

    /// Whether nobody has what the key stands for; an address may be kept by an IPAddress alone.
    async fn is_free(&self, engine: &Engine, key: &str) -> Result<bool, Status> {
        if let Some(ip) = key.strip_prefix(IPS)
            && engine.store.get(&published(ip)?).await.map_err(store_error)?.is_some()
        {
            return Ok(false);
        }
        Ok(engine.store.get(key).await.map_err(store_error)?.is_none())
    }

    async fn check_ip(
        &self,
        engine: &Engine,
        asked: &str,
        before: &BTreeSet<String>,
        errors: &mut FieldErrors,
    ) -> Result<(), Status> {
        let path = FieldPath::new("spec.clusterIPs");
        let shown = Json::from(vec![asked]);
        let Ok(ip) = asked.parse::<Ipv4Addr>() else {
            // Already told by validation.
            return Ok(());
        };
        let key = format!("{IPS}{asked}");
        if before.contains(&key) {
            return Ok(());
        }
        let within = |range: &Ipv4Net| range.contains(&ip) && ip != range.network() && ip != range.broadcast();
        if !self.ranges(engine).await?.iter().any(within) {
            let range = self.range();
            let text = format!(
                "failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. The range of \
                 valid IPs is {range}"
            );
            errors.invalid(&path, shown, text);
        } else if !self.is_free(engine, &key).await? {
            errors.invalid(&path, shown, format!("failed to allocate IP {asked}: provided IP is already allocated"));
        }
        Ok(())
    }

    /// A free address of the first range that has one: at random in the upper part, so that the lower part stays for those
    /// asked for by name.
    async fn pick_ip(&self, engine: &Engine, ranges: &[Ipv4Net]) -> Result<Ipv4Addr, Status> {
        for range in ranges {
            let first = u32::from(range.network()).saturating_add(1);
            let last = u32::from(range.broadcast()).saturating_sub(1);
            let size = last.saturating_sub(first).saturating_add(1);
            let reserved = (size / 16).clamp(16, 256).min(size / 2).max(1);
            let upper = (first.saturating_add(reserved), size - reserved);
            for (low, count) in [upper, (first.saturating_add(1), reserved.saturating_sub(1))] {
                if count == 0 {
                    continue;
                }
                let offset = (engine.env.random_u64() % u64::from(count)) as u32;
                for step in 0..count {
                    let ip = Ipv4Addr::from(low + (offset + step) % count);
                    if self.is_free(engine, &format!("{IPS}{ip}")).await? {
                        return Ok(ip);
                    }
                }
            }
        }
        Err(Status::internal("failed to allocate a serviceIP: range is full"))
    }

    async fn fill_ports(
        &self,
        engine: &Engine,
        doc: &mut Json,
        before: &BTreeSet<String>,
        errors: &mut FieldErrors,
    ) -> Result<(), Status> {
        let wanted = wants_node_ports(doc);
        let path = FieldPath::new("spec.ports");
        let mut taken: BTreeSet<(u64, String)> = BTreeSet::new();
        let count = items_at(doc, &["spec", "ports"]).len();
        for index in 0..count {
            let port = &items_at(doc, &["spec", "ports"])[index];
            let protocol = str_at(port, &["protocol"]).unwrap_or("TCP").to_string();
            let number = port.get("nodePort").and_then(Json::as_u64).unwrap_or(0);
            let at = path.index(index).child("nodePort");
            if number != 0 {
                let key = format!("{PORTS}{number}");
                if !u16::try_from(number).is_ok_and(|number| NODE_PORTS.contains(&number)) {
                    errors.invalid(&at, number, OUT_OF_RANGE);
                } else if !taken.insert((number, protocol)) {
                    errors.duplicate(&at, number);
                } else if !before.contains(&key) && !self.is_free(engine, &key).await? {
                    errors.invalid(&at, number, "provided port is already allocated");
                }
                continue;
            }
            if !wanted {
                continue;
            }
            let number = self.pick_port(engine, &taken).await?;
            taken.insert((u64::from(number), protocol));
            if let Some(port) = at_mut(doc, &["spec", "ports"]).and_then(|ports| ports.get_mut(index)) {
                set(port, &["nodePort"], number);
            }
        }
        Ok(())
    }

    /// The port at which a balancer asks a node whether it has endpoints.
    async fn fill_health_check(
        &self,
        engine: &Engine,
        doc: &mut Json,
        before: &BTreeSet<String>,
        errors: &mut FieldErrors,
    ) -> Result<(), Status> {
        if !needs_health_check(doc) {
            return Ok(());
        }
        let ports = items_at(doc, &["spec", "ports"]).iter().filter_map(|port| port.get("nodePort")?.as_u64());
        let taken: BTreeSet<(u64, String)> = ports.map(|number| (number, String::new())).collect();
        let asked = at(doc, &["spec", "healthCheckNodePort"]).and_then(Json::as_u64).unwrap_or(0);
        if asked == 0 {
            let number = self.pick_port(engine, &taken).await?;
            set(doc, &["spec", "healthCheckNodePort"], number);
            return Ok(());
        }
        let path = FieldPath::new("spec.healthCheckNodePort");
        let key = format!("{PORTS}{asked}");
        if !u16::try_from(asked).is_ok_and(|number| NODE_PORTS.contains(&number)) {
            errors.invalid(&path, asked, OUT_OF_RANGE);
        } else if taken.contains(&(asked, String::new()))
            || !before.contains(&key) && !self.is_free(engine, &key).await?
        {
            errors.invalid(&path, asked, "provided port is already allocated");
        }
        Ok(())
    }

    async fn pick_port(&self, engine: &Engine, taken: &BTreeSet<(u64, String)>) -> Result<u16, Status> {
        let count = NODE_PORTS.end() - NODE_PORTS.start() + 1;
        let offset = (engine.env.random_u64() % u64::from(count)) as u16;
        for step in 0..count {
            let port = NODE_PORTS.start() + (offset + step) % count;
            let mine = taken.iter().any(|(number, _)| *number == u64::from(port));
            if !mine && self.is_free(engine, &format!("{PORTS}{port}")).await? {
                return Ok(port);
            }
        }
        Err(Status::internal("failed to allocate a nodePort: range is full"))
    }
}
