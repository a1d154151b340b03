//! Endpoints, the forerunner of EndpointSlice.

use crate::Kind;
use crate::show::{AGE, NAME, NONE, age, column, int, name, text};
use holdfast_core::Json;
use holdfast_core::json::items_at;

/// core/v1 Endpoints.
pub(crate) const ENDPOINTS: Kind = Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    schema: "io.k8s.api.core.v1.Endpoints",
    columns: &[NAME, column("Endpoints", "string", "Addresses and ports of the Service."), AGE],
    row: |doc, now| vec![name(doc), endpoints(doc).into(), age(doc, now)],
    ..Kind::BASE
};

/// At most three of the addresses, with each port.
fn endpoints(doc: &Json) -> String {
    const SHOWN: usize = 3;
    let subsets = items_at(doc, &["subsets"]);
    if subsets.is_empty() {
        return NONE.to_string();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = items_at(subset, &["addresses"]).iter().map(|address| text(address, &["ip"]));
        let ports = items_at(subset, &["ports"]);
        if ports.is_empty() {
            all.extend(addresses.clone().map(str::to_string));
        }
        for port in ports {
            let number = int(port, &["port"]);
            all.extend(addresses.clone().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{number}"),
                false => format!("{ip}:{number}"),
            }));
        }
    }
    match all.len() {
        n if n > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), n - SHOWN),
        _ => all.join(","),
    }
}
