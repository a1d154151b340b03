//! `log`, `exec`, `attach`, `portforward`: the request is checked, then the node is asked.

use crate::engine::{Engine, Resource};
use holdfast_core::json::str_at;
use holdfast_core::{Json, Status};
use holdfast_server::stream::pod_calls::{Query, exec_call, forward_call, log_call, started};
use holdfast_server::{Connected, PodPorts, RequestContext};

/// Opens a stream of a pod.
///
/// # Errors
/// 400 and 422 with upstream's texts, 503 when the node is not reachable.
pub(crate) async fn connect(
    engine: &Engine,
    _cx: &RequestContext,
    resource: &Resource<'_>,
    subresource: &str,
    query: &[(String, String)],
) -> Result<Connected, Status> {
    if resource.kind.kind != "Pod" || resource.kind.subresource(subresource).is_none() {
        return Err(Status::no_such_path());
    }
    let query = Query(query);
    let pod = engine.read(resource).await?.to_json();
    match subresource {
        "log" => {
            let call = log_call(&pod, &query, engine.now())?;
            let node = node_of(&pod);
            if node.is_empty() {
                // A pod that is nowhere yet has an empty log.
                let (_, receiver) = tokio::sync::mpsc::channel(1);
                return Ok(Connected::Bytes(receiver));
            }
            started(&pod, &call.container.container, call.previous)?;
            engine.node_calls()?.logs(node, call).await.map(Connected::Bytes)
        }
        "exec" | "attach" => {
            let call = exec_call(&pod, &query, subresource == "exec")?;
            let node = node_of(&pod);
            if node.is_empty() {
                return Err(Status::bad_request(format!(
                    "pod {} does not have a host assigned",
                    str_at(&pod, &["metadata", "name"]).unwrap_or_default()
                )));
            }
            engine.node_calls()?.exec(node, call).await.map(Connected::Session)
        }
        "portforward" => {
            let call = forward_call(&pod)?;
            Ok(Connected::Ports(PodPorts {
                calls: engine.node_calls()?.clone(),
                node: node_of(&pod).to_string(),
                pod: call,
            }))
        }
        _ => Err(Status::not_implemented(format!("pods/{subresource}"))),
    }
}

fn node_of(pod: &Json) -> &str {
    str_at(pod, &["spec", "nodeName"]).unwrap_or_default()
}
