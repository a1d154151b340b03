//! Patches of the three sorts. What is taken agrees with a slow model that is written as the standards are, a patch that was made
//! of two documents leads from one to the other, what is refused changes nothing, and nothing grows beyond what was sent.

use anyhow::{Result, ensure};
use holdfast_core::{Json, Status};
use holdfast_schema::{MAX_DEPTH, builtin, depth, json_patch, merge_patch};
use serde_json::{Map, json};

/// A document and a patch each, and another document.
pub(crate) const JSON_PATCHES: &[&str] = &[
    r#"{"doc":{"a":[1,{"b":"x"},[]],"c/d":{"e~f":null},"":0},"patch":[{"op":"test","path":"/a/1/b","value":"x"},{"op":"add","path":"/a/-","value":{"n":[1]}},{"op":"add","path":"/a/0","value":7},{"op":"replace","path":"/c~1d/e~0f","value":[2]},{"op":"move","from":"/a/1","path":"/m"},{"op":"copy","from":"/a","path":"/copied"},{"op":"remove","path":"/"}],"other":{"a":[1],"x":{"y":{"z":1}}}}"#,
    r#"{"doc":{"spec":{"list":[{"k":1},{"k":2},{"k":3}]}},"patch":[{"op":"move","from":"/spec/list/2","path":"/spec/list/0"},{"op":"copy","from":"/spec/list/0/k","path":"/spec/k"},{"op":"remove","path":"/spec/list/1"}],"other":{"spec":{"list":[{"k":3}],"k":null}}}"#,
];
pub(crate) const MERGE_PATCHES: &[&str] = &[
    r#"{"doc":{"a":{"b":1,"c":{"d":[1,2]}},"e":"x"},"patch":{"a":{"b":null,"c":{"d":[3],"f":{"g":null}}},"h":{}},"other":{"a":{"c":{}},"i":[null]}}"#,
];
pub(crate) const STRATEGIC_PATCHES: &[&str] = &[
    r#"{"doc":{"metadata":{"labels":{"a":"b"},"finalizers":["x.io/y"]},"spec":{"replicas":2,"strategy":{"type":"Recreate"},"template":{"spec":{"containers":[{"name":"c","image":"i:1","env":[{"name":"A","value":"1"}],"ports":[{"containerPort":80}]},{"name":"d"}],"tolerations":[{"key":"k"}],"volumes":[{"name":"v","emptyDir":{}}]}}}},"patch":{"metadata":{"labels":{"a":null,"c":"d"},"$deleteFromPrimitiveList/finalizers":["x.io/y"]},"spec":{"strategy":{"$retainKeys":["type"],"type":"RollingUpdate"},"template":{"spec":{"$setElementOrder/containers":[{"name":"e"},{"name":"c"}],"containers":[{"name":"c","env":[{"name":"B","value":"2"},{"$patch":"delete","name":"A"}]},{"name":"e","image":"j"}],"volumes":[{"$patch":"replace"},{"name":"w"}]}}}}}"#,
    r#"{"doc":{"spec":{"template":{"spec":{"containers":[{"name":"c"}],"nodeSelector":{"a":"b"}}}}},"patch":{"spec":{"template":{"spec":{"nodeSelector":{"$patch":"replace","x":"y"},"containers":[{"name":"c","image":"k","command":["a"]}],"hostAliases":[{"ip":"192.0.2.1","hostnames":["h"]}]}}}}}"#,
];

/// What copies may add to a document.
const COPIED: usize = 3 << 20;
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

struct Input {
    doc: Json,
    patch: Json,
    other: Json,
}

fn read(payload: &[u8]) -> Option<Input> {
    let (mut whole, _) = holdfast_schema::parse_json(payload).ok()?;
    let mut take = |part: &str| whole.get_mut(part).map(Json::take).unwrap_or_default();
    let (doc, patch, other) = (take("doc"), take("patch"), take("other"));
    Some(Input { doc, patch, other })
}

/// The patched document; `None` when the patch is refused, and then nothing has changed.
fn patched(doc: &Json, patch: impl FnOnce(&mut Json) -> Result<(), Status>) -> Result<Option<Json>> {
    let mut current = doc.clone();
    if let Err(status) = patch(&mut current) {
        ensure!(current == *doc, "a refused patch changed {doc} to {current}");
        ensure!((400..500).contains(&status.code()), "it is the client's fault: {status}");
        return Ok(None);
    }
    Ok(Some(current))
}

fn bounded(result: &Json, input: &Input, more: usize) -> Result<()> {
    let (size, most) = (result.to_string().len(), input.doc.to_string().len() + input.patch.to_string().len() + more);
    ensure!(size <= most, "{size} bytes came of {most}");
    Ok(())
}

/// RFC 6902, where that is all; what is laxer in upstream's library, and so here, its model refuses.
pub(crate) fn json(payload: &[u8]) -> Result<()> {
    let Some(input) = read(payload) else { return Ok(()) };
    let result = patched(&input.doc, |doc| json_patch(doc, &input.patch))?;
    if let Some(result) = &result {
        // Each copy may be written beside a key of the patch.
        bounded(result, &input, COPIED)?;
    }
    let deep = depth(&input.doc) + depth(&input.patch) + input.patch.to_string().matches('/').count();
    if let (Some(Some(model)), true) = (model(&input.doc, &input.patch), deep <= MAX_DEPTH) {
        ensure!(result.as_ref() == Some(&model), "{} by {} is {result:?} and not {model}", input.doc, input.patch);
    }
    ensure!(
        result.as_ref().is_none_or(|result| depth(result) <= MAX_DEPTH),
        "a patch made more than {MAX_DEPTH} levels"
    );
    if input.other.is_object() || input.other.is_array() {
        let mut steps = Vec::new();
        differences(&input.doc, &input.other, String::new(), &mut steps);
        let led = patched(&input.doc, |doc| json_patch(doc, &steps.clone().into()))?;
        ensure!(led.as_ref() == Some(&input.other), "{steps:?} leads from {} to {led:?}", input.doc);
    }
    Ok(())
}

/// RFC 7386.
pub(crate) fn merge(payload: &[u8]) -> Result<()> {
    let Some(input) = read(payload) else { return Ok(()) };
    let result = patched(&input.doc, |doc| merge_patch(doc, &input.patch))?;
    ensure!(result.is_some() == input.patch.is_object(), "{}", input.patch);
    if let Some(result) = result {
        bounded(&result, &input, 0)?;
        let model = merged(input.doc.clone(), &input.patch);
        ensure!(result == model, "{} by {} is {result} and not {model}", input.doc, input.patch);
        let again = patched(&result, |doc| merge_patch(doc, &input.patch))?;
        ensure!(again.as_ref() == Some(&result), "patched again, {result} is {again:?}");
    }
    // Only a document without nulls in its maps can be reached by a merge patch.
    if let (Json::Object(from), Json::Object(to)) = (&input.doc, &without_nulls(&input.other)) {
        let patch = Json::Object(merge_differences(from, to));
        let led = patched(&input.doc, |doc| merge_patch(doc, &patch))?;
        ensure!(led == Some(Json::Object(to.clone())), "{patch} leads from {} to {led:?}", input.doc);
    }
    Ok(())
}

/// Strategic merge patch of a Deployment.
pub(crate) fn strategic(payload: &[u8]) -> Result<()> {
    let Some(input) = read(payload) else { return Ok(()) };
    if !input.doc.is_object() {
        return Ok(());
    }
    let result = patched(&input.doc, |doc| builtin().strategic_merge(DEPLOYMENT, doc, &input.patch))?;
    let Some(result) = result else { return Ok(()) };
    bounded(&result, &input, 0)?;
    let nothing = patched(&result, |doc| builtin().strategic_merge(DEPLOYMENT, doc, &json!({})))?;
    ensure!(nothing.as_ref() == Some(&result), "a patch of nothing makes {nothing:?} of {result}");
    if !input.patch.to_string().contains('$') {
        // A list that came as a whole need not merge: its elements may lack their keys, or share them.
        let apply = |doc: &Json| patched(doc, |doc| builtin().strategic_merge(DEPLOYMENT, doc, &input.patch));
        if let Some(twice) = apply(&result)? {
            let thrice = apply(&twice)?;
            ensure!(thrice.as_ref() == Some(&twice), "patched again, {twice} is {thrice:?}");
        }
    }
    Ok(())
}

/// RFC 7386, word by word, but that upstream drops the nulls in lists, too.
fn merged(target: Json, patch: &Json) -> Json {
    let Json::Object(patch) = patch else { return without_nulls(patch) };
    let mut target = match target {
        Json::Object(target) => target,
        _ => Map::new(),
    };
    for (name, value) in patch {
        match value {
            Json::Null => {
                target.shift_remove(name);
            }
            value => {
                let old = target.get(name).cloned().unwrap_or_default();
                target.insert(name.clone(), merged(old, value));
            }
        }
    }
    Json::Object(target)
}

fn without_nulls(value: &Json) -> Json {
    match value {
        Json::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Json::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Json::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn merge_differences(from: &Map<String, Json>, to: &Map<String, Json>) -> Map<String, Json> {
    let mut patch = Map::new();
    for name in from.keys().filter(|name| !to.contains_key(*name)) {
        patch.insert(name.clone(), Json::Null);
    }
    for (name, value) in to {
        match (from.get(name), value) {
            (Some(old), value) if old == value => {}
            (Some(Json::Object(old)), Json::Object(new)) => {
                patch.insert(name.clone(), merge_differences(old, new).into());
            }
            _ => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    patch
}

/// The steps of a JSON patch from one document to another.
fn differences(from: &Json, to: &Json, path: String, steps: &mut Vec<Json>) {
    match (from, to) {
        (from, to) if from == to => {}
        (Json::Object(from), Json::Object(to)) => {
            let below = |name: &str| format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
            for name in from.keys().filter(|name| !to.contains_key(*name)) {
                steps.push(json!({"op": "remove", "path": below(name)}));
            }
            for (name, value) in to {
                match from.get(name) {
                    Some(old) => differences(old, value, below(name), steps),
                    None => steps.push(json!({"op": "add", "path": below(name), "value": value})),
                }
            }
        }
        (Json::Array(from), Json::Array(to)) => {
            for (index, (old, new)) in from.iter().zip(to).enumerate() {
                differences(old, new, format!("{path}/{index}"), steps);
            }
            for _ in to.len()..from.len() {
                steps.push(json!({"op": "remove", "path": format!("{path}/{}", to.len())}));
            }
            for value in to.iter().skip(from.len()) {
                steps.push(json!({"op": "add", "path": format!("{path}/-"), "value": value}));
            }
        }
        _ => steps.push(json!({"op": "replace", "path": path, "value": to})),
    }
}

/// RFC 6902 step by step: the document, or `None` within for a patch that does not apply. `None` for what the standard leaves
/// open or we bound: the removal of the whole document, and copies.
#[allow(clippy::option_option, reason = "whether the model speaks, and what it says")]
fn model(doc: &Json, patch: &Json) -> Option<Option<Json>> {
    let Some(operations) = patch.as_array() else { return Some(None) };
    let steps: Option<Vec<Step>> = operations.iter().map(Step::read).collect();
    let Some(steps) = steps else { return Some(None) };
    let open = |step: &Step| step.op == "copy" || step.path.is_empty() || step.from.as_ref().is_some_and(Vec::is_empty);
    if steps.iter().any(open) {
        return None;
    }
    let mut doc = doc.clone();
    for step in steps {
        if step.apply(&mut doc).is_none() {
            return Some(None);
        }
    }
    Some(Some(doc))
}

struct Step {
    op: String,
    path: Vec<String>,
    from: Option<Vec<String>>,
    value: Option<Json>,
}

impl Step {
    /// `None` for what is no operation.
    fn read(step: &Json) -> Option<Step> {
        let text = |field: &str| step.get(field).and_then(Json::as_str);
        let (op, path) = (text("op")?.to_string(), pointer(text("path")?)?);
        let value = step.as_object()?.get("value").cloned();
        let from = match op.as_str() {
            "move" | "copy" => Some(pointer(text("from")?)?),
            "remove" => None,
            "add" | "replace" | "test" if value.is_some() => None,
            _ => return None,
        };
        Some(Step { op, path, from, value })
    }

    fn apply(self, doc: &mut Json) -> Option<()> {
        let Step { op, path, from, value } = self;
        match op.as_str() {
            "test" => (*at(doc, &path)? == value?).then_some(()),
            "remove" => remove(doc, &path).map(|_| ()),
            "replace" => {
                *at(doc, &path)? = value?;
                Some(())
            }
            "add" => add(doc, &path, value?),
            _ => {
                let from = from?;
                if path.len() > from.len() && path.starts_with(&from) {
                    return None;
                }
                let moved = remove(doc, &from)?;
                add(doc, &path, moved)
            }
        }
    }
}

/// The names of a pointer (RFC 6901).
fn pointer(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let unescaped = |name: &str| {
        let wrong = name.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']));
        (!wrong).then(|| name.replace("~1", "/").replace("~0", "~"))
    };
    text.strip_prefix('/')?.split('/').map(unescaped).collect()
}

fn index(name: &str) -> Option<usize> {
    let plain = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    plain.then(|| name.parse().ok()).flatten()
}

fn at<'d>(doc: &'d mut Json, path: &[String]) -> Option<&'d mut Json> {
    path.iter().try_fold(doc, |value, name| match value {
        Json::Object(map) => map.get_mut(name),
        Json::Array(items) => items.get_mut(index(name)?),
        _ => None,
    })
}

fn remove(doc: &mut Json, path: &[String]) -> Option<Json> {
    let (last, parents) = path.split_last()?;
    match at(doc, parents)? {
        Json::Object(map) => map.shift_remove(last),
        Json::Array(items) => {
            let place = index(last).filter(|place| *place < items.len())?;
            Some(items.remove(place))
        }
        _ => None,
    }
}

fn add(doc: &mut Json, path: &[String], value: Json) -> Option<()> {
    let (last, parents) = path.split_last()?;
    match at(doc, parents)? {
        Json::Object(map) => {
            map.insert(last.clone(), value);
        }
        Json::Array(items) => {
            let place = if last == "-" { items.len() } else { index(last).filter(|place| *place <= items.len())? };
            items.insert(place, value);
        }
        _ => return None,
    }
    Some(())
}
