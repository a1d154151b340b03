//! Server-side apply: what clients may send as a configuration and as `managedFields`. What is taken is consistent with
//! itself, and what is not is refused in words.

use crate::mutate::{Rng, mutate};
use anyhow::{Context, Result, ensure};
use holdfast_core::{Json, Timestamp};
use holdfast_schema::apply::{self, FieldSet, Managers, Place, Versions, Write};

/// Sets of fields, managers, and configurations.
pub(crate) const FIELDS: &[&str] = &[
    r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{}}}}}}}"#,
    r#"{"f:finalizers":{"v:\"a\"":{},"v:1":{},"v:true":{}},"i:3":{},"x:new":{"f:a":{}}}"#,
];
pub(crate) const MANAGERS: &[&str] = &[
    r#"[{"manager":"a","operation":"Apply","apiVersion":"apps/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{}}}},{"manager":"b","operation":"Update","apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":{"f:status":{"f:replicas":{}}},"subresource":"status"}]"#,
];
pub(crate) const CONFIGURATIONS: &[&str] = &[
    r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"a":"b"},"finalizers":["x.io/y"]},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"strategy":{"type":"Recreate"},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"i:1","env":[{"name":"A","value":"1"}],"ports":[{"containerPort":80},{"containerPort":80,"protocol":"UDP"}],"resources":{"limits":{"cpu":"1"}}}],"volumes":[{"name":"v","emptyDir":{}}]}}}}"#,
    r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","annotations":null},"spec":{"paused":true,"template":{"spec":{"containers":[{"name":"d","image":"j"},{"name":"c","command":["x"]}],"nodeSelector":{"k":"v"}}}}}"#,
];

const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const VERSION: &str = "apps/v1";

struct Deployments;

impl Versions for Deployments {
    type Place<'s> = Place<'static>;

    fn place(&self, api_version: &str) -> Option<Place<'static>> {
        if api_version == VERSION { holdfast_schema::builtin().place(DEPLOYMENT) } else { None }
    }

    fn convert(&self, _doc: &Json, _api_version: &str) -> Option<Json> {
        None
    }
}

/// A text of the corpus with its bytes mutated, or its values.
pub(crate) fn input(rng: &mut Rng, corpus: &[&str]) -> Vec<u8> {
    let seed = corpus[rng.below(corpus.len())];
    let other = corpus[rng.below(corpus.len())];
    let (Ok(mut doc), Ok(other_doc), true) =
        (serde_json::from_str::<Json>(seed), serde_json::from_str::<Json>(other), rng.below(3) > 0)
    else {
        return mutate(rng, seed.as_bytes(), other.as_bytes());
    };
    for _ in 0..=rng.below(5) {
        let piece = pick(rng, &mut other_doc.clone()).clone();
        let target = pick(rng, &mut doc);
        match (rng.below(8), target) {
            (0, Json::Object(map)) => {
                let key = map.keys().nth(rng.below(map.len())).cloned().unwrap_or_default();
                map.shift_remove(&key);
            }
            (1, Json::Object(map)) => {
                map.insert("a".into(), piece);
            }
            (2, Json::Array(items)) if !items.is_empty() => {
                let item = items[rng.below(items.len())].clone();
                items.push(item);
            }
            (3, Json::Array(items)) => items.reverse(),
            (4, target) => *target = piece,
            (5, target) => *target = Json::Null,
            (6, target) => *target = Json::Array(Vec::new()),
            (_, target) => *target = Json::Object(serde_json::Map::new()),
        }
    }
    doc.to_string().into_bytes()
}

/// A random value of a document.
fn pick<'d>(rng: &mut Rng, doc: &'d mut Json) -> &'d mut Json {
    let below = match doc {
        Json::Object(map) => map.len(),
        Json::Array(items) => items.len(),
        _ => 0,
    };
    if below == 0 || rng.below(5) == 0 {
        return doc;
    }
    let at = rng.below(below);
    match doc {
        Json::Object(map) => match map.values_mut().nth(at) {
            Some(value) => pick(rng, value),
            None => unreachable!("it has more values than that"),
        },
        Json::Array(items) => pick(rng, &mut items[at]),
        _ => unreachable!("only maps and lists have values"),
    }
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> Result<String> {
    let mut out = Vec::new();
    write(&mut out);
    Ok(String::from_utf8(out)?)
}

/// `fieldsV1`.
pub(crate) fn fields(payload: &[u8]) -> Result<()> {
    let Ok(sent) = std::str::from_utf8(payload) else { return Ok(()) };
    let Ok(set) = FieldSet::parse(sent) else { return Ok(()) };
    let written = text(|out| set.write(out))?;
    let again = FieldSet::parse(&written).map_err(anyhow::Error::msg).context(written.clone())?;
    ensure!(again == set, "read {set:?}, wrote it, and read {again:?}");
    ensure!(set.paths().len() == set.len() && set.paths().iter().all(|path| set.contains(path)), "{set:?}");
    let (one, other) = (set.clone(), set.clone());
    ensure!(one.union(other) == set && set.intersection(&set) == set, "{set:?}");
    ensure!(set.clone().difference(&set).is_empty() && set.clone().without(&set).is_empty(), "{set:?}");
    Ok(())
}

/// `managedFields`.
pub(crate) fn managers(payload: &[u8]) -> Result<()> {
    let Ok(sent) = std::str::from_utf8(payload) else { return Ok(()) };
    let Ok(managers) = Managers::parse(sent) else { return Ok(()) };
    let written = text(|out| managers.write(out))?;
    let again = Managers::parse(&written).map_err(anyhow::Error::msg).context(written.clone())?;
    ensure!(again.same_but_for_times(&managers), "read {managers:?}, wrote them, and read {again:?}");
    ensure!(text(|out| again.write(out))? == written, "{written} is written otherwise the next time");
    Ok(())
}

/// A configuration, applied to an object that somebody else made.
pub(crate) fn configuration(payload: &[u8]) -> Result<()> {
    let schema = holdfast_schema::builtin();
    let (Ok((mut config, _)), Some(place)) = (holdfast_schema::parse_json(payload), Deployments.place(VERSION)) else {
        return Ok(());
    };
    if !schema.check(DEPLOYMENT, &mut config).is_ok_and(|unknown| unknown.is_empty())
        || apply::check(&place, &config, false).is_err()
    {
        return Ok(());
    }
    let live: Json = serde_json::from_str(CONFIGURATIONS[0])?;
    let reset = FieldSet::default();
    let write = |manager: &'static str, seconds| Write {
        versions: &Deployments,
        api_version: VERSION,
        manager,
        subresource: "",
        reset: &reset,
        now: Timestamp::from_secs(seconds),
    };
    let managers = apply::update(&write("maker", 1), None, &live, Managers::default()).map_err(anyhow::Error::msg)?;
    let failed = |err| anyhow::anyhow!("a forced apply failed: {err:?}");
    let once = apply::apply(&write("me", 2), Some(&live), &config, managers, true).map_err(failed)?;
    let mut object = once.object;
    let unknown = schema.check(DEPLOYMENT, &mut object).map_err(|status| anyhow::anyhow!("{status}"))?;
    ensure!(unknown.is_empty(), "the merged object has unknown fields {unknown:?}");
    apply::check(&place, &object, true).map_err(anyhow::Error::msg)?;
    let twice = apply::apply(&write("me", 3), Some(&object), &config, once.managers.clone(), false).map_err(failed)?;
    ensure!(twice.managers.same_but_for_times(&once.managers), "applied again, others own it: {twice:?}");
    Ok(())
}
