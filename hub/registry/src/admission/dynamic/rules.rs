//! Which requests a webhook or a policy is about.
//! (`k8s.io/apiserver/pkg/admission/plugin/webhook/predicates` is the reference.)

use super::Asked;
use holdfast_core::json::{at, items_at, str_at};
use holdfast_core::{Json, LabelSelector, Status};
use holdfast_kinds::{Kind, storage_version};
use std::collections::BTreeMap;

const ANY: &str = "*";

/// A rule: operations on resources.
#[derive(Debug)]
struct Rule {
    operations: Vec<Box<str>>,
    groups: Vec<Box<str>>,
    versions: Vec<Box<str>>,
    /// Resource and subresource; that is empty for the objects themselves.
    resources: Vec<(Box<str>, Box<str>)>,
    scope: Box<str>,
    /// Empty for all.
    names: Vec<Box<str>>,
}

fn texts(of: &Json, field: &str) -> Vec<Box<str>> {
    items_at(of, &[field]).iter().filter_map(Json::as_str).map(Into::into).collect()
}

fn fits(list: &[Box<str>], wanted: &str) -> bool {
    list.iter().any(|item| **item == *ANY || **item == *wanted)
}

impl Rule {
    fn read(rule: &Json) -> Rule {
        let split = |resource: Box<str>| -> (Box<str>, Box<str>) {
            let (name, part) = resource.split_once('/').unwrap_or((&resource, ""));
            (name.into(), part.into())
        };
        Rule {
            operations: texts(rule, "operations"),
            groups: texts(rule, "apiGroups"),
            versions: texts(rule, "apiVersions"),
            resources: texts(rule, "resources").into_iter().map(split).collect(),
            scope: str_at(rule, &["scope"]).unwrap_or(ANY).into(),
            names: texts(rule, "resourceNames"),
        }
    }

    /// Whether it is about a request, if that were for this version of its kind.
    fn matches(&self, asked: &Asked<'_>, kind: &Kind) -> bool {
        let clustered = asked.is_namespace() || asked.namespace.is_empty();
        let in_scope = match &*self.scope {
            "Namespaced" => !clustered,
            "Cluster" => clustered,
            _ => true,
        };
        let part = |(name, part): &(Box<str>, Box<str>)| {
            (**name == *ANY || **name == *kind.plural) && (**part == *ANY || **part == *asked.subresource)
        };
        in_scope
            && fits(&self.operations, asked.operation.as_str())
            && fits(&self.groups, kind.group)
            && fits(&self.versions, kind.version)
            && self.resources.iter().any(part)
            && (self.names.is_empty() || self.names.iter().any(|name| **name == *asked.name))
    }
}

/// All that is said of requests, without expressions.
#[derive(Debug)]
pub(crate) struct Criteria {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    equivalent: bool,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

impl Criteria {
    /// Of a webhook, `rules`, or of a policy, `resourceRules`.
    pub(crate) fn read(of: &Json, rules: &str) -> Criteria {
        let list = |field: &str| items_at(of, &[field]).iter().map(Rule::read).collect();
        // What is stored was judged: a selector that does not read is none, and selects all.
        let selector =
            |field: &str| of.get(field).and_then(|spec| LabelSelector::from_spec(spec).ok()).unwrap_or_default();
        Criteria {
            rules: list(rules),
            excluded: list("excludeResourceRules"),
            equivalent: str_at(of, &["matchPolicy"]) != Some("Exact"),
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The version of the kind in which a request is meant, if it is.
    ///
    /// # Errors
    /// 404 when the namespace whose labels decide does not exist; the store's errors.
    pub(crate) async fn matches(
        &self,
        asked: &Asked<'_>,
        object: Option<&Json>,
        old: Option<&Json>,
    ) -> Result<Option<&'static Kind>, Status> {
        if self.any(&self.excluded, asked).is_some() {
            return Ok(None);
        }
        let Some(kind) = self.any(&self.rules, asked) else { return Ok(None) };
        self.selected(asked, object, old).await.map(|selected| selected.then_some(kind))
    }

    /// As [`Criteria::matches`], of a binding: without rules it is about all that its policy is about.
    pub(crate) async fn narrows(
        &self,
        asked: &Asked<'_>,
        object: Option<&Json>,
        old: Option<&Json>,
    ) -> Result<bool, Status> {
        if self.any(&self.excluded, asked).is_some()
            || (!self.rules.is_empty() && self.any(&self.rules, asked).is_none())
        {
            return Ok(false);
        }
        self.selected(asked, object, old).await
    }

    /// The version in which one of the rules matches: the one that was asked for, else, where versions are
    /// equivalent, another.
    fn any(&self, rules: &[Rule], asked: &Asked<'_>) -> Option<&'static Kind> {
        if rules.iter().any(|rule| rule.matches(asked, asked.kind)) {
            return Some(asked.kind);
        }
        if !self.equivalent || rules.is_empty() {
            return None;
        }
        let others = asked.other_versions();
        rules.iter().find_map(|rule| others.iter().copied().find(|kind| rule.matches(asked, kind)))
    }

    async fn selected(&self, asked: &Asked<'_>, object: Option<&Json>, old: Option<&Json>) -> Result<bool, Status> {
        if !self.objects.is_empty() {
            let selects = |doc: &Json| labels(doc).is_some_and(|labels| self.objects.matches(&labels));
            if !object.is_some_and(selects) && !old.is_some_and(selects) {
                return Ok(false);
            }
        }
        if self.namespaces.is_empty() || (asked.namespace.is_empty() && !asked.is_namespace()) {
            return Ok(true);
        }
        // A namespace that is written is judged by what it will be.
        if let Some(doc) = object.filter(|_| asked.is_namespace() && asked.subresource.is_empty()) {
            return Ok(self.namespaces.matches(&labels(doc).unwrap_or_default()));
        }
        match asked.namespace_object().await? {
            Some(namespace) => Ok(self.namespaces.matches(&namespace.meta.labels)),
            None => Err(Status::not_found(&super::namespaces(), &asked.namespace)),
        }
    }
}

/// The labels of what has metadata.
fn labels(doc: &Json) -> Option<BTreeMap<String, String>> {
    let metadata = doc.get("metadata")?;
    let labels = at(metadata, &["labels"]).and_then(Json::as_object).into_iter().flatten();
    Some(labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_string())).collect())
}

/// The other versions of a built-in kind that are views of the same objects.
pub(super) fn built_in_versions(kind: &'static Kind) -> Vec<&'static Kind> {
    let stored = |kind: &Kind| storage_version(kind).gvk();
    let same =
        |other: &&'static Kind| other.kind == kind.kind && !std::ptr::eq(*other, kind) && stored(other) == stored(kind);
    holdfast_kinds::all().iter().filter(same).collect()
}
