//! metrics.k8s.io (`kubectl top`): what nodes and pods use. The nodes are asked when somebody wants to know; a link carries nothing
//! of it otherwise. What cannot be asked, or has nothing to say yet, is left out, as metrics-server does.

use crate::engine::{Engine, Resource};
use futures_util::StreamExt;
use holdfast_core::calls::PageCall;
use holdfast_core::json::{at, items_at, str_at};
use holdfast_core::{Gvr, Json, ListOptions, Object, ObjectList, Status, Timestamp};
use holdfast_kinds::{Selection, metrics};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Nodes that are asked at a time.
const AT_ONCE: usize = 16;
/// How long one may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Whether a resource is what something uses.
pub(crate) fn are(gvr: &Gvr) -> bool {
    gvr.group == metrics::GROUP
}

/// What one node or pod uses.
///
/// # Errors
/// 404 for what does not exist, and for what nothing is known of now.
pub(crate) async fn get(engine: &Engine, resource: &Resource<'_>) -> Result<Arc<Object>, Status> {
    let not_found = || Status::not_found(resource.gvr, resource.name);
    let object = engine.find(&subject(resource), resource.namespace, resource.name).await?.ok_or_else(not_found)?;
    let found = ask(engine, resource, vec![object]).await?;
    found.into_iter().next().ok_or_else(not_found)
}

/// What those use that `options` select, by their own labels and names.
///
/// # Errors
/// 400 for a bad selector.
pub(crate) async fn list(
    engine: &Engine,
    resource: &Resource<'_>,
    options: &ListOptions,
) -> Result<ObjectList, Status> {
    options.validate(false)?;
    let name = (!resource.name.is_empty()).then_some(resource.name);
    let selection = Selection::new(resource.kind, options, name)?;
    let mut objects = engine.find_all(&subject(resource), resource.namespace).await?;
    objects.retain(|object| selection.matches(object));
    let items = ask(engine, resource, objects).await?;
    Ok(ObjectList { items, revision: engine.store.revision(), continue_token: None, remaining: None })
}

/// The kind that is measured.
fn subject(resource: &Resource<'_>) -> Gvr {
    Gvr::new("", "v1", resource.kind.plural)
}

/// Asks the nodes of `subjects`, each once; the answers in the order of the subjects.
async fn ask(engine: &Engine, resource: &Resource<'_>, subjects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, Status> {
    let of_pods = resource.kind.namespaced;
    let node = |object: &Object| match of_pods {
        true => object.skim_str(&["spec", "nodeName"]).unwrap_or_default(),
        false => object.meta.name.to_string(),
    };
    let placed: Vec<(String, Arc<Object>)> =
        subjects.into_iter().map(|subject| (node(&subject), subject)).filter(|(node, _)| !node.is_empty()).collect();
    let nodes: BTreeSet<String> = placed.iter().map(|(node, _)| node.clone()).collect();
    let answers: BTreeMap<String, Json> = futures_util::stream::iter(nodes)
        .map(|node| async move { summary(engine, &node).await.map(|summary| (node, summary)) })
        .buffer_unordered(AT_ONCE)
        .filter_map(|answer| async move { answer })
        .collect()
        .await;
    let measured = placed.iter().filter_map(|(node, subject)| {
        let summary = answers.get(node)?;
        if of_pods { of_pod(subject, summary) } else { of_node(subject, summary) }
    });
    measured.map(|document| Object::from_json(document).map(Arc::new)).collect()
}

/// What a node says; `None` when it cannot be asked.
async fn summary(engine: &Engine, node: &str) -> Option<Json> {
    let calls = engine.node_calls().ok()?;
    let call = PageCall { path: "/stats/summary".into(), query: "only_cpu_and_memory=true".into() };
    let page = match engine.env.timeout(ANSWER, calls.page(node, call)).await? {
        Ok(page) => page,
        Err(err) => {
            tracing::debug!(node, %err, "A node does not say what it uses");
            return None;
        }
    };
    serde_json::from_slice(&page.body).ok()
}

fn of_node(node: &Object, summary: &Json) -> Option<Json> {
    let stats = at(summary, &["node"])?;
    let mut document = head("NodeMetrics", node, summary, stats)?;
    document["usage"] = usage(stats)?;
    Some(document)
}

fn of_pod(pod: &Object, summary: &Json) -> Option<Json> {
    let is_it = |stats: &&Json| str_at(stats, &["podRef", "uid"]) == Some(&*pod.meta.uid);
    let stats = items_at(summary, &["pods"]).iter().find(is_it)?;
    let containers = items_at(stats, &["containers"]);
    let mut document = head("PodMetrics", pod, summary, containers.first()?)?;
    // One that has just begun has no speed yet, and its pod's sum would be wrong without it.
    let all: Option<Vec<Json>> = containers
        .iter()
        .map(|container| Some(json!({"name": str_at(container, &["name"])?, "usage": usage(container)?})))
        .collect();
    document["containers"] = all?.into();
    document["metadata"]["namespace"] = json!(pod.meta.namespace);
    Some(document)
}

fn head(kind: &str, object: &Object, summary: &Json, stats: &Json) -> Option<Json> {
    let time = Timestamp::parse(str_at(stats, &["cpu", "time"])?)?;
    let labels: BTreeMap<&str, &str> = object.meta.labels.iter().map(|(key, value)| (&**key, &**value)).collect();
    let mut document = json!({
        "kind": kind, "apiVersion": format!("{}/v1beta1", metrics::GROUP),
        "metadata": {"name": object.meta.name, "creationTimestamp": time},
        "timestamp": time,
        "window": str_at(summary, &["window"]).unwrap_or("0s"),
    });
    if !labels.is_empty() {
        document["metadata"]["labels"] = json!(labels);
    }
    Some(document)
}

/// Quantities as metrics-server writes them.
fn usage(stats: &Json) -> Option<Json> {
    let number = |path: &[&str]| at(stats, path)?.as_u64();
    let cpu = number(&["cpu", "usageNanoCores"])?;
    let memory = number(&["memory", "workingSetBytes"])? / 1024;
    Some(json!({"cpu": format!("{cpu}n"), "memory": format!("{memory}Ki")}))
}
