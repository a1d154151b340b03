//! `proxy` of pods, services and nodes: which port of which pod a request means.

use crate::engine::Engine;
use holdfast_core::calls::{Page, PageCall};
use holdfast_core::json::{bool_at, i64_at, items_at, str_at};
use holdfast_core::{Gvr, Json, Reason, Status, Target};
use holdfast_server::stream::pod_calls::forward_call;
use holdfast_server::{Connected, NODE_QUERY, PodPorts};

/// The port of a pod that names none.
const HTTP: u16 = 80;

/// Finds what a request is for.
///
/// # Errors
/// 400 for a name that cannot be, 404 for what does not exist, 503 where nothing would answer.
pub(crate) async fn connect(engine: &Engine, at: &Target, asked: &[(String, String)]) -> Result<Connected, Status> {
    let noun = at.gvr.resource.trim_end_matches('s');
    if noun == "node" {
        return page(engine, at, asked).await.map(Connected::Page);
    }
    let (scheme, name, port) =
        split(at.name()).ok_or_else(|| Status::bad_request(format!("invalid {noun} request {:?}", at.name())))?;
    let tls = scheme == "https";
    if noun == "service" {
        let (ports, port) = endpoint(engine, at.namespace(), name, port).await?;
        return Ok(Connected::Backend { ports, port, tls });
    }
    let pod = find(engine, &at.gvr, at.namespace(), name).await?;
    let port = pod_port(&pod, port).ok_or_else(|| Status::bad_request(format!("{port:?} is no port")))?;
    Ok(Connected::Backend { ports: ports_of(engine, &pod)?, port, tls })
}

/// A page of a node. Whatever port is named, there is one server.
async fn page(engine: &Engine, at: &Target, asked: &[(String, String)]) -> Result<Page, Status> {
    let (_, name, _) =
        split(at.name()).ok_or_else(|| Status::bad_request(format!("invalid node request {:?}", at.name())))?;
    find(engine, &at.gvr, "", name).await?;
    let of = |wanted: &str| {
        let found = asked.iter().find(|(key, _)| key == wanted);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    engine.node_calls()?.page(name, PageCall { path: of("path"), query: of(NODE_QUERY) }).await
}

/// The ports of a pod, over the link of its node.
fn ports_of(engine: &Engine, pod: &Json) -> Result<PodPorts, Status> {
    let call = forward_call(pod)?;
    let node = str_at(pod, &["spec", "nodeName"]).unwrap_or_default().to_string();
    Ok(PodPorts { calls: engine.node_calls()?.clone(), node, pod: call })
}

/// `[SCHEME:]NAME[:PORT]`, where a scheme needs both colons.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = text.split(':').collect();
    let (scheme, name, port) = match parts[..] {
        [name] => ("", name, ""),
        [name, port] => ("", name, port),
        [scheme, name, port] => (scheme, name, port),
        _ => return None,
    };
    (!name.is_empty() && ["", "http", "https"].contains(&scheme)).then_some((scheme, name, port))
}

async fn find(engine: &Engine, gvr: &Gvr, namespace: &str, name: &str) -> Result<Json, Status> {
    let found = engine.find(gvr, namespace, name).await?;
    found.map(|object| object.to_json()).ok_or_else(|| Status::not_found(gvr, name))
}

/// The port that was asked for, or the first that a container declares.
fn pod_port(pod: &Json, asked: &str) -> Option<u16> {
    if !asked.is_empty() {
        return asked.parse().ok().filter(|port| *port > 0);
    }
    let ports = items_at(pod, &["spec", "containers"]).iter().flat_map(|container| items_at(container, &["ports"]));
    let declared = ports.filter_map(|port| i64_at(port, &["containerPort"])).next();
    Some(declared.and_then(|port| u16::try_from(port).ok()).unwrap_or(HTTP))
}

fn unavailable(text: String) -> Status {
    Status::failure(503, Reason::ServiceUnavailable, text)
}

/// One of a service's endpoints that are ready, drawn by lot, by the number or name of the service's port.
///
/// # Errors
/// 404 without the service, 503 when nothing would answer.
pub(crate) async fn endpoint(
    engine: &Engine,
    namespace: &str,
    name: &str,
    asked: &str,
) -> Result<(PodPorts, u16), Status> {
    let service = find(engine, &Gvr::new("", "v1", "services"), namespace, name).await?;
    let port_name = port_name(&service, name, asked)?;
    let slices = engine.find_all(&Gvr::new("discovery.k8s.io", "v1", "endpointslices"), namespace).await?;
    let mut ends: Vec<(String, u16)> = Vec::new();
    for slice in slices.iter().filter(|slice| {
        slice.meta.labels.iter().any(|(key, value)| &**key == "kubernetes.io/service-name" && &**value == name)
    }) {
        ends.extend(ends_of(&slice.to_json(), &port_name));
    }
    if ends.is_empty() {
        return Err(unavailable(format!("no endpoints available for service {name:?}")));
    }
    let drawn = usize::try_from(engine.env.random_u64() % ends.len() as u64).unwrap_or(0);
    let (pod, port) = ends.swap_remove(drawn);
    let pod = find(engine, &Gvr::new("", "v1", "pods"), namespace, &pod).await?;
    Ok((ports_of(engine, &pod)?, port))
}

/// The name of a service's port, by which its endpoints are found.
fn port_name(service: &Json, name: &str, asked: &str) -> Result<String, Status> {
    let Ok(number) = asked.parse::<i64>() else { return Ok(asked.to_string()) };
    let mut ports = items_at(service, &["spec", "ports"]).iter();
    match ports.find(|port| i64_at(port, &["port"]) == Some(number)) {
        Some(port) => Ok(str_at(port, &["name"]).unwrap_or_default().to_string()),
        None => Err(unavailable(format!("no service port {number} found for service {name:?}"))),
    }
}

/// The pods of a slice that are ready, with the number of the port.
fn ends_of(slice: &Json, port_name: &str) -> Vec<(String, u16)> {
    let mut ports = items_at(slice, &["ports"]).iter();
    let port = ports.find(|port| str_at(port, &["name"]).unwrap_or_default() == port_name);
    let Some(port) = port.and_then(|port| i64_at(port, &["port"])).and_then(|port| u16::try_from(port).ok()) else {
        return Vec::new();
    };
    let ready = |endpoint: &&Json| bool_at(endpoint, &["conditions", "ready"]).unwrap_or(true);
    let pod = |endpoint: &Json| {
        let of_pod = str_at(endpoint, &["targetRef", "kind"]) == Some("Pod");
        str_at(endpoint, &["targetRef", "name"]).filter(|_| of_pod).map(|name| (name.to_string(), port))
    };
    items_at(slice, &["endpoints"]).iter().filter(ready).filter_map(pod).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_carry_a_scheme_and_a_port() {
        assert_eq!(split("web"), Some(("", "web", "")));
        assert_eq!(split("web:80"), Some(("", "web", "80")));
        assert_eq!(split("https:web:"), Some(("https", "web", "")));
        for bad in ["", ":80", "ftp:web:21", "a:b:c:d"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn ports_and_endpoints_are_those_that_are_meant() {
        let pod = json!({"spec": {"containers": [{}, {"ports": [{"containerPort": 8080}]}]}});
        assert_eq!((pod_port(&pod, ""), pod_port(&pod, "9"), pod_port(&pod, "x")), (Some(8080), Some(9), None));
        assert_eq!(pod_port(&json!({}), ""), Some(80));
        let service = json!({"spec": {"ports": [{"port": 80, "name": "web"}]}});
        assert_eq!(port_name(&service, "s", "80").unwrap(), "web");
        assert_eq!(port_name(&service, "s", "other").unwrap(), "other");
        let refused = port_name(&service, "s", "81").unwrap_err();
        assert_eq!((refused.code(), refused.message()), (503, "no service port 81 found for service \"s\""));
        let slice = json!({
            "ports": [{"name": "web", "port": 8080}],
            "endpoints": [
                {"conditions": {"ready": false}, "targetRef": {"kind": "Pod", "name": "a"}},
                {"conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "b"}},
                {"addresses": ["1.2.3.4"]},
            ],
        });
        assert_eq!(ends_of(&slice, "web"), [("b".to_string(), 8080)]);
        assert!(ends_of(&slice, "").is_empty());
    }
}
