//! A CustomResourceDefinition, read; and whether its names are free.

use super::conversion::Conversion;
use super::{Catalogue, CustomKind, ScalePaths};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::json::{at, bool_at, items_at, set, str_at};
use holdfast_core::{Json, Timestamp};
use holdfast_kinds::custom::{CustomColumn, CustomDefinition, intern, version_rank};
use holdfast_kinds::jsonpath::JsonPath;
use holdfast_schema::structural::Structural;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Group, version and kind of definitions.
pub(crate) const CRD_KIND: (&str, &str, &str) = ("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
/// Holds a definition until its objects are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What the machinery needs of a definition.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) names: Names,
    pub(crate) established: bool,
    pub(crate) deleting: bool,
    pub(crate) held: bool,
    /// All versions that have a schema.
    pub(crate) versions: Vec<Arc<CustomKind>>,
    /// The conditions of its status.
    pub(crate) conditions: Vec<Json>,
}

/// What must be free in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) short_names: Vec<String>,
}

impl Names {
    pub(crate) fn of(doc: &Json) -> Names {
        let text = |field: &str| str_at(doc, &["spec", "names", field]).unwrap_or_default().to_string();
        Names {
            plural: text("plural"),
            singular: text("singular"),
            kind: text("kind"),
            list_kind: text("listKind"),
            short_names: texts(at(doc, &["spec", "names", "shortNames"])),
        }
    }

    fn of_resources(&self) -> impl Iterator<Item = &str> {
        [self.plural.as_str(), &self.singular].into_iter().chain(self.short_names.iter().map(String::as_str))
    }

    fn of_kinds(&self) -> [&str; 2] {
        [&self.kind, &self.list_kind]
    }
}

fn texts(list: Option<&Json>) -> Vec<String> {
    let items = list.and_then(Json::as_array).into_iter().flatten();
    items.filter_map(Json::as_str).map(str::to_string).collect()
}

impl Definition {
    /// Reads a stored definition. `before` is what was read of it last; versions that did not change are taken over.
    pub(crate) fn read(doc: &Json, before: Option<&Definition>) -> Definition {
        let names = Names::of(doc);
        let deleting = at(doc, &["metadata", "deletionTimestamp"]).is_some();
        let group = str_at(doc, &["spec", "group"]).unwrap_or_default().to_string();
        let versions = read_versions(doc, &group, &names, deleting, before).unwrap_or_default();
        let finalizers = items_at(doc, &["metadata", "finalizers"]);
        let conditions = items_at(doc, &["status", "conditions"]).to_vec();
        Definition {
            name: str_at(doc, &["metadata", "name"]).unwrap_or_default().to_string(),
            established: condition(&conditions, "Established") == Some("True"),
            held: finalizers.iter().any(|name| name.as_str() == Some(FINALIZER)),
            conditions,
            group,
            names,
            deleting,
            versions,
        }
    }
}

/// The versions; `None` when none is the storage version.
fn read_versions(
    doc: &Json,
    group: &str,
    names: &Names,
    terminating: bool,
    before: Option<&Definition>,
) -> Option<Vec<Arc<CustomKind>>> {
    let stored = storage_version(doc)?;
    let versions = items_at(doc, &["spec", "versions"]);
    let known = |name: &str| before?.versions.iter().find(|known| known.kind.version == name);
    let mut schemas = BTreeMap::new();
    let mut read: Vec<(&Json, &str, Arc<str>)> = Vec::new();
    for version in versions {
        let Some(name) = str_at(version, &["name"]) else { continue };
        let Some(schema) = at(version, &["schema", "openAPIV3Schema"]) else { continue };
        let text = schema.to_string();
        let (text, parsed) = match known(name).filter(|known| *known.text == *text) {
            Some(known) => (known.text.clone(), known.schema.clone()),
            None => (text.into(), Arc::new(Structural::parse(schema))),
        };
        schemas.insert(name.to_string(), parsed);
        read.push((version, name, text));
    }
    let before = before.and_then(|before| before.versions.first()).map(|known| &known.conversion);
    let conversion = Conversion::read(doc, stored, schemas.clone(), before);
    let is_served = |version: &Json| bool_at(version, &["served"]) == Some(true);
    // One version stands for all where each object counts once: that in which they are stored, if it is served.
    let serves = |wanted: &str| versions.iter().any(|of| is_served(of) && str_at(of, &["name"]) == Some(wanted));
    let first = versions.iter().find(|version| is_served(version)).and_then(|version| str_at(version, &["name"]));
    let main = if serves(stored) { stored } else { first.unwrap_or(stored) };
    let kinds = read.into_iter().filter_map(|(version, name, text)| {
        let scale = at(version, &["subresources", "scale"]).and_then(read_scale);
        let definition = CustomDefinition {
            group: group.to_string(),
            version: name.to_string(),
            main: main.to_string(),
            kind: names.kind.clone(),
            list_kind: names.list_kind.clone(),
            plural: names.plural.clone(),
            singular: names.singular.clone(),
            short_names: names.short_names.clone(),
            categories: texts(at(doc, &["spec", "names", "categories"])),
            namespaced: str_at(doc, &["spec", "scope"]) == Some("Namespaced"),
            has_status: at(version, &["subresources", "status"]).is_some(),
            has_scale: scale.is_some(),
            columns: columns(version),
            selectable: items_at(version, &["selectableFields"])
                .iter()
                .filter_map(|field| str_at(field, &["jsonPath"]).map(str::to_string))
                .collect(),
        };
        let Some(kind) = intern(&definition) else {
            tracing::error!(group, kind = names.kind, "No room for another definition: restart the hub");
            return None;
        };
        let schema = schemas.get(name)?.clone();
        let (served, conversion) = (is_served(version), conversion.clone());
        let deprecation = deprecation(version, versions, group, &names.kind).map(Arc::from);
        Some(Arc::new(CustomKind { kind, schema, text, served, terminating, deprecation, scale, conversion }))
    });
    Some(kinds.collect())
}

/// What users of a version are told when it is deprecated: its own words, or which version to use instead.
fn deprecation(version: &Json, all: &[Json], group: &str, kind: &str) -> Option<String> {
    let is = |version: &Json, field: &str| bool_at(version, &[field]) == Some(true);
    if !is(version, "deprecated") {
        return None;
    }
    if let Some(own) = str_at(version, &["deprecationWarning"]) {
        return Some(own.to_string());
    }
    let name = str_at(version, &["name"]).unwrap_or_default();
    let better = all
        .iter()
        .filter(|other| is(other, "served") && !is(other, "deprecated"))
        .filter_map(|other| str_at(other, &["name"]))
        .filter(|other| version_rank(other) < version_rank(name))
        .min_by_key(|other| version_rank(other));
    let told = format!("{group}/{name} {kind} is deprecated");
    Some(match better {
        Some(better) => format!("{told}; use {group}/{better} {kind}"),
        None => told,
    })
}

/// What is wrong with the authorities of a conversion's webhook, as Go tells it; none are no problem.
pub(crate) fn bundle_problem(doc: &Json) -> Option<String> {
    let encoded = str_at(doc, &["spec", "conversion", "webhook", "clientConfig", "caBundle"]).unwrap_or_default();
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    if bytes.is_empty() {
        return None;
    }
    let mut problem = "no valid certificate authority data seen".to_string();
    let mut blocks = 0;
    for pem in Pem::iter_from_buffer(&bytes).map_while(Result::ok).filter(|pem| pem.label == "CERTIFICATE") {
        blocks += 1;
        match X509Certificate::from_der(&pem.contents) {
            Ok(_) => return None,
            Err(err) => problem = format!("failed to parse certificate: x509: {err}"),
        }
    }
    if blocks == 0 && !bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        problem = "unable to parse bytes as PEM block".to_string();
    }
    Some(format!("unable to load root certificates: {problem}"))
}

/// The name of the version in which objects are stored.
pub(crate) fn storage_version(doc: &Json) -> Option<&str> {
    let versions = items_at(doc, &["spec", "versions"]);
    str_at(versions.iter().find(|version| bool_at(version, &["storage"]) == Some(true))?, &["name"])
}

fn read_scale(scale: &Json) -> Option<ScalePaths> {
    let path = |field: &str| -> Option<Vec<String>> {
        let path = JsonPath::parse(str_at(scale, &[field])?).ok()?;
        path.is_simple().then(|| path.fields().map(str::to_string).collect())
    };
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath")?,
        status_replicas: path("statusReplicasPath")?,
        selector: path("labelSelectorPath"),
    })
}

fn columns(version: &Json) -> Vec<CustomColumn> {
    let listed = items_at(version, &["additionalPrinterColumns"]);
    if listed.is_empty() {
        return vec![CustomColumn {
            name: "Age".into(),
            column_type: "date".into(),
            description: "Time since the object was created.".into(),
            path: ".metadata.creationTimestamp".into(),
            ..CustomColumn::default()
        }];
    }
    let read = |column: &Json| {
        let text = |field: &str| str_at(column, &[field]).unwrap_or_default().to_string();
        CustomColumn {
            name: text("name"),
            column_type: text("type"),
            format: text("format"),
            description: text("description"),
            priority: u8::from(at(column, &["priority"]).and_then(Json::as_i64).unwrap_or(0) > 0),
            path: text("jsonPath"),
        }
    };
    listed.iter().map(read).collect()
}

/// The status of a condition.
pub(crate) fn condition<'c>(conditions: &'c [Json], wanted: &str) -> Option<&'c str> {
    let found = conditions.iter().find(|condition| str_at(condition, &["type"]) == Some(wanted))?;
    str_at(found, &["status"])
}

/// Writes into a definition's status whether its names are free, and with that whether it is served. Returns whether anything
/// changed. A definition that is served keeps being served.
pub(crate) fn judge(doc: &mut Json, catalogue: &Catalogue, now: Timestamp) -> bool {
    let before = doc.get("status").cloned();
    let name = str_at(doc, &["metadata", "name"]).unwrap_or_default().to_string();
    let group = str_at(doc, &["spec", "group"]).unwrap_or_default().to_string();
    let names = Names::of(doc);
    let conflict = conflict(&name, &group, &names, catalogue);
    let mut conditions = items_at(doc, &["status", "conditions"]).to_vec();
    let established = condition(&conditions, "Established") == Some("True");
    let accepted = match &conflict {
        None => ("True", "NoConflicts", "no conflicts found".to_string()),
        Some((reason, message)) => ("False", *reason, message.clone()),
    };
    put(&mut conditions, "NamesAccepted", accepted, now);
    let serving = match (established, &conflict) {
        // What is served stays so: its authorities were judged when they were written.
        (false, None) if bundle_problem(doc).is_some() => {
            ("False", "InvalidCABundle", "The conversion webhook CABundle is invalid".to_string())
        }
        (true, _) | (false, None) => {
            ("True", "InitialNamesAccepted", "the initial names have been accepted".to_string())
        }
        (false, Some(_)) => ("False", "NotAccepted", "not all names are accepted".to_string()),
    };
    put(&mut conditions, "Established", serving, now);
    if at(doc, &["metadata", "deletionTimestamp"]).is_some() {
        let text = "CustomResource deletion is in progress".to_string();
        put(&mut conditions, "Terminating", ("True", "InstanceDeletionInProgress", text), now);
    }
    set(doc, &["status", "conditions"], conditions);
    if conflict.is_none() {
        let names = at(doc, &["spec", "names"]).cloned().unwrap_or_default();
        set(doc, &["status", "acceptedNames"], names);
    } else if at(doc, &["status", "acceptedNames"]).is_none() {
        set(doc, &["status", "acceptedNames"], json!({"plural": "", "kind": ""}));
    }
    if let Some(stored) = storage_version(doc).map(Json::from) {
        let mut versions = items_at(doc, &["status", "storedVersions"]).to_vec();
        if !versions.contains(&stored) {
            versions.push(stored);
            set(doc, &["status", "storedVersions"], versions);
        }
    }
    before.as_ref() != doc.get("status")
}

fn put(conditions: &mut Vec<Json>, name: &str, (status, reason, message): (&str, &str, String), now: Timestamp) {
    let found = conditions.iter().position(|condition| str_at(condition, &["type"]) == Some(name));
    let same = found.map(|at| &conditions[at]).filter(|known| str_at(known, &["status"]) == Some(status));
    let since =
        same.and_then(|known| known.get("lastTransitionTime").cloned()).unwrap_or_else(|| now.to_string().into());
    let condition =
        json!({"lastTransitionTime": since, "message": message, "reason": reason, "status": status, "type": name});
    match found {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

/// The first name that another kind of the group has.
fn conflict(name: &str, group: &str, names: &Names, catalogue: &Catalogue) -> Option<(&'static str, String)> {
    let others: Vec<&Names> = catalogue
        .definitions
        .values()
        .filter(|other| other.established && other.group == group && other.name != name)
        .map(|other| &other.names)
        .collect();
    let built_in: Vec<_> = holdfast_kinds::all().iter().filter(|kind| kind.group == group).collect();
    let resource_taken = |wanted: &str| {
        others.iter().any(|other| other.of_resources().any(|taken| taken == wanted))
            || built_in
                .iter()
                .any(|kind| kind.plural == wanted || kind.singular == wanted || kind.short_names.contains(&wanted))
    };
    let kind_taken = |wanted: &str| {
        others.iter().any(|other| other.of_kinds().contains(&wanted)) || built_in.iter().any(|kind| kind.kind == wanted)
    };
    let in_use = |name: &str| format!("{name:?} is already in use");
    if resource_taken(&names.plural) {
        return Some(("PluralConflict", in_use(&names.plural)));
    }
    if resource_taken(&names.singular) {
        return Some(("SingularConflict", in_use(&names.singular)));
    }
    if let Some(short) = names.short_names.iter().find(|short| resource_taken(short)) {
        return Some(("ShortNamesConflict", in_use(short)));
    }
    if kind_taken(&names.kind) {
        return Some(("KindConflict", in_use(&names.kind)));
    }
    if kind_taken(&names.list_kind) {
        return Some(("ListKindConflict", in_use(&names.list_kind)));
    }
    None
}
