//! Addresses and node ports of Services, as keys of the store.
//!
//! `/allocations/services/<ip>` and `/allocations/nodeports/<port>` name their owner. They are put, under the
//! condition that they are absent, in the transaction that writes the Service, so that two hubs or two
//! requests can never hand out the same twice, and nothing leaks when a write fails.

use crate::engine::{Engine, store_error};
use crate::generic::commit::{Meaning, Write};
use bytes::Bytes;
use holdfast_core::json::{at, at_mut, items_at, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Gvk, Json, Status};
use holdfast_store::Condition;
use ipnet::Ipv4Net;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const IPS: &str = "/allocations/services/";
const PORTS: &str = "/allocations/nodeports/";
/// The range of node ports, upstream's default.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// One change of the allocations.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Allocation {
    Take { key: String, owner: String },
    Free { key: String },
}

impl Allocation {
    /// Adds the change to a transaction.
    pub(crate) fn join(self, write: &mut Write) {
        match self {
            Allocation::Take { key, owner } => {
                write.check(key.clone(), Condition::Absent, Meaning::Allocation);
                write.put(key, Bytes::from(owner));
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

    /// Frees what a Service that goes held.
    pub(crate) fn release(&self, old: &Json) -> Vec<Allocation> {
        held(old).into_iter().map(|key| Allocation::Free { key }).collect()
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
                    let ip = self.pick_ip(engine).await?.to_string();
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
        if !errors.is_empty() {
            let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
            return Err(Status::invalid(&Gvk::new("v1", "Service"), name, &errors));
        }
        let owner = format!(
            "{}/{}",
            str_at(doc, &["metadata", "namespace"]).unwrap_or_default(),
            str_at(doc, &["metadata", "name"]).unwrap_or_default()
        );
        let after = held(doc);
        let mut changes: Vec<Allocation> =
            after.difference(&before).map(|key| Allocation::Take { key: key.clone(), owner: owner.clone() }).collect();
        changes.extend(before.difference(&after).map(|key| Allocation::Free { key: key.clone() }));
        Ok(changes)
    }

    async fn is_free(&self, engine: &Engine, key: &str) -> Result<bool, Status> {
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
        let usable = self.range.contains(&ip) && ip != self.range.network() && ip != self.range.broadcast();
        let key = format!("{IPS}{asked}");
        if before.contains(&key) {
            return Ok(());
        }
        if !usable {
            let range = self.range.trunc();
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

    /// A free address: at random in the upper part, so that the lower part stays for those asked for by name.
    async fn pick_ip(&self, engine: &Engine) -> Result<Ipv4Addr, Status> {
        let (first, last) = (u32::from(self.range.network()) + 1, u32::from(self.range.broadcast()).saturating_sub(1));
        let size = last.saturating_sub(first).saturating_add(1);
        let reserved = (size / 16).clamp(16, 256).min(size / 2).max(1);
        for (low, count) in [(first + reserved, size - reserved), (first + 1, reserved.saturating_sub(1))] {
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
                    errors.invalid(
                        &at,
                        number,
                        "provided port is not in the valid range. The range of valid ports is 30000-32767",
                    );
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
