//! Service.

use super::{proxy_of, status_of};
use crate::Kind;
use crate::show::{AGE, NAME, NONE, age, column, int, labels, name, or, text, wide};
use holdfast_core::json::{at, items_at};
use holdfast_core::{Json, Timestamp};
use std::collections::BTreeSet;

/// core/v1 Service.
pub(crate) const SERVICE: Kind = Kind {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    subresources: &[proxy_of("ServiceProxyOptions"), status_of("Service")],
    schema: "io.k8s.api.core.v1.Service",
    columns: &[
        NAME,
        column("Type", "string", "How the service is exposed."),
        column("Cluster-IP", "string", "Its address inside the cluster."),
        column("External-IP", "string", "Its addresses outside of the cluster."),
        column("Port(s)", "string", "Its ports, with node ports and protocols."),
        AGE,
        wide("Selector", "string", "The labels of its pods."),
    ],
    row,
    field_selectors: &["spec.clusterIP", "spec.type"],
    field: |doc, field| match field {
        "spec.clusterIP" => text(doc, &["spec", "clusterIP"]).to_string(),
        "spec.type" => text(doc, &["spec", "type"]).to_string(),
        _ => String::new(),
    },
    returns_deleted: true,
    ..Kind::BASE
};

fn row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let first = items_at(doc, &["spec", "clusterIPs"]).first().and_then(Json::as_str);
    let cluster_ip = first.unwrap_or_else(|| text(doc, &["spec", "clusterIP"]));
    vec![
        name(doc),
        text(doc, &["spec", "type"]).into(),
        or(cluster_ip, NONE).into(),
        external_ip(doc).into(),
        ports(doc).into(),
        age(doc, now),
        labels(at(doc, &["spec", "selector"])).into(),
    ]
}

fn ports(doc: &Json) -> String {
    let ports: Vec<String> = items_at(doc, &["spec", "ports"])
        .iter()
        .map(|port| {
            let (number, protocol) = (int(port, &["port"]), text(port, &["protocol"]));
            match int(port, &["nodePort"]) {
                0 => format!("{number}/{protocol}"),
                node_port => format!("{number}:{node_port}/{protocol}"),
            }
        })
        .collect();
    or(&ports.join(","), NONE).to_string()
}

fn external_ip(doc: &Json) -> String {
    let external: Vec<&str> = items_at(doc, &["spec", "externalIPs"]).iter().filter_map(Json::as_str).collect();
    match text(doc, &["spec", "type"]) {
        "ClusterIP" | "NodePort" => or(&external.join(","), NONE).to_string(),
        "LoadBalancer" => {
            let balancers: BTreeSet<&str> = items_at(doc, &["status", "loadBalancer", "ingress"])
                .iter()
                .map(|ingress| or(text(ingress, &["ip"]), text(ingress, &["hostname"])))
                .filter(|address| !address.is_empty())
                .collect();
            let all: Vec<&str> = balancers.into_iter().chain(external).collect();
            or(&all.join(","), "<pending>").to_string()
        }
        "ExternalName" => text(doc, &["spec", "externalName"]).to_string(),
        _ => "<unknown>".into(),
    }
}
