//! discovery.k8s.io: EndpointSlice.

use crate::Kind;
use crate::show::{AGE, NAME, age, column, name, text, up_to_three};
use holdfast_core::json::{i64_at, items_at, str_at};
use holdfast_core::{Json, Timestamp};

/// discovery.k8s.io/v1 EndpointSlice.
pub(crate) const ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    schema: "io.k8s.api.discovery.v1.EndpointSlice",
    columns: &[
        NAME,
        column("AddressType", "string", "What its addresses are."),
        column("Ports", "string", "The ports of its endpoints."),
        column("Endpoints", "string", "The addresses of its endpoints."),
        AGE,
    ],
    row,
    ..Kind::BASE
};

fn row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let ports: Vec<String> = items_at(doc, &["ports"])
        .iter()
        .map(|port| match i64_at(port, &["port"]) {
            Some(number) => number.to_string(),
            None => str_at(port, &["name"]).unwrap_or("*").to_string(),
        })
        .collect();
    let addresses: Vec<String> = items_at(doc, &["endpoints"])
        .iter()
        .flat_map(|endpoint| items_at(endpoint, &["addresses"]))
        .filter_map(|address| address.as_str().map(str::to_string))
        .collect();
    vec![
        name(doc),
        text(doc, &["addressType"]).into(),
        up_to_three(&ports).into(),
        up_to_three(&addresses).into(),
        age(doc, now),
    ]
}
