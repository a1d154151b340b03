//! CONNECT: the parameters of a stream as the document that upstream makes of them, and back.

use super::{Attempt, Operation, Options};
use crate::admission::timing::Half;
use crate::engine::{Engine, Resource};
use holdfast_core::{Json, Status};
use holdfast_kinds::Kind;
use holdfast_server::RequestContext;
use serde_json::{Map, json};

/// Whether a subresource is connected to: a log is only read.
fn connects(subresource: &str) -> bool {
    ["exec", "attach", "portforward", "proxy"].contains(&subresource)
}

/// Judges a connection; returns the parameters that it is to have.
///
/// # Errors
/// As [`Attempt::mutate`].
pub(crate) async fn connect<'q>(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    subresource: &str,
    query: &'q [(String, String)],
) -> Result<std::borrow::Cow<'q, [(String, String)]>, Status> {
    let attempt = Attempt {
        engine,
        cx,
        resource,
        operation: Operation::Connect,
        subresource,
        revision: None,
        options: Options::None,
    };
    if !connects(subresource) || !attempt.is_judged().await? {
        return Ok(query.into());
    }
    let before = document(resource.kind, subresource, query);
    let mut doc = before.clone();
    let step = engine.timing.step(&engine.env, Half::Admit, Operation::Connect);
    if let Some(again) = attempt.mutate(&mut doc, None).await? {
        again.run(&mut doc, None).await?;
    }
    step.passed();
    let step = engine.timing.step(&engine.env, Half::Validate, Operation::Connect);
    attempt.validate(Some(&doc), None).await?;
    step.passed();
    if doc == before { Ok(query.into()) } else { Ok(parameters(&doc).into()) }
}

/// `PodExecOptions` and the like.
fn document(kind: &Kind, subresource: &str, query: &[(String, String)]) -> Json {
    let options = kind.subresource(subresource).map_or("", |part| part.kind);
    let mut doc = json!({ "apiVersion": "v1", "kind": options });
    let mut put = |field: &str, value: Json| {
        if let Some(map) = doc.as_object_mut() {
            add(map, field, value);
        }
    };
    for (key, value) in query {
        match key.as_str() {
            "stdin" | "stdout" | "stderr" | "tty" => put(key, (!["false", "0"].contains(&value.as_str())).into()),
            "command" => put(key, json!([value])),
            "ports" => {
                let ports = value.split(',').filter_map(|port| port.trim().parse::<i64>().ok());
                put(key, ports.collect::<Vec<_>>().into());
            }
            "container" | "path" => put(key, value.as_str().into()),
            _ => {}
        }
    }
    doc
}

/// Sets a field, of which the first counts; lists grow.
fn add(map: &mut Map<String, Json>, field: &str, value: Json) {
    match map.get_mut(field) {
        Some(Json::Array(before)) => {
            if let Json::Array(more) = value {
                before.extend(more);
            }
        }
        Some(_) => {}
        None => drop(map.insert(field.to_string(), value)),
    }
}

/// The parameters that such a document stands for.
fn parameters(doc: &Json) -> Vec<(String, String)> {
    let mut query = Vec::new();
    for (key, value) in doc.as_object().into_iter().flatten() {
        if ["apiVersion", "kind"].contains(&key.as_str()) {
            continue;
        }
        let texts = match value {
            Json::Array(items) => items.iter().map(plain).collect(),
            other => vec![plain(other)],
        };
        query.extend(texts.into_iter().map(|text| (key.clone(), text)));
    }
    query
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_a_document_and_come_back() {
        let pods = holdfast_kinds::by_gvr("", "v1", "pods").unwrap();
        let ask = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
        };
        let query =
            ask(&[("container", "main"), ("command", "ls"), ("command", "-l"), ("stdin", "1"), ("tty", "false")]);
        let doc = document(pods, "exec", &query);
        let expected = json!({
            "apiVersion": "v1", "kind": "PodExecOptions", "container": "main", "command": ["ls", "-l"], "stdin": true,
            "tty": false,
        });
        assert_eq!(doc, expected);
        let back = parameters(&doc);
        assert_eq!(
            back,
            ask(&[("container", "main"), ("command", "ls"), ("command", "-l"), ("stdin", "true"), ("tty", "false")])
        );
        let doc = document(pods, "portforward", &ask(&[("ports", "80,81"), ("ports", "82")]));
        assert_eq!((&doc["kind"], &doc["ports"]), (&json!("PodPortForwardOptions"), &json!([80, 81, 82])));
    }
}
