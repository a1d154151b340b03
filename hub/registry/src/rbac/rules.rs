//! One rule of a role, and which rules a user has.

use super::cache::Cache;
use crate::engine::Engine;
use holdfast_core::json::items_at;
use holdfast_core::{Json, Status, UserInfo};
use holdfast_server::Attributes;
use serde_json::json;

/// `PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    paths: Vec<String>,
}

fn has(list: &[String], value: &str) -> bool {
    list.iter().any(|item| item == "*" || item == value)
}

impl Rule {
    pub(crate) fn parse(rule: &Json) -> Rule {
        let list = |field: &str| -> Vec<String> {
            items_at(rule, &[field]).iter().filter_map(Json::as_str).map(str::to_string).collect()
        };
        Rule {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            paths: list("nonResourceURLs"),
        }
    }

    /// Whether the rule allows the request.
    pub(crate) fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has(&self.verbs, attributes.verb) {
            return false;
        }
        let Some(target) = attributes.target else {
            return self.paths.iter().any(|path| match path.strip_suffix('*') {
                Some(prefix) => attributes.path.starts_with(prefix),
                None => path == attributes.path,
            });
        };
        has(&self.groups, &target.gvr.group)
            && self.resources.iter().any(|rule| covers(rule, &target.gvr.resource, target.subresource()))
            && (self.names.is_empty() || self.names.iter().any(|name| name == target.name()))
    }

    /// The rules of one verb on one thing that make up this one.
    pub(crate) fn parts(&self) -> Vec<Rule> {
        let one = |verb: &String| Rule { verbs: vec![verb.clone()], ..Rule::default() };
        let mut parts = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                for part in self.verbs.iter().map(one) {
                    let part = Rule { groups: vec![group.clone()], resources: vec![resource.clone()], ..part };
                    if self.names.is_empty() {
                        parts.push(part);
                    } else {
                        parts.extend(self.names.iter().map(|name| Rule { names: vec![name.clone()], ..part.clone() }));
                    }
                }
            }
        }
        for path in &self.paths {
            parts.extend(self.verbs.iter().map(one).map(|part| Rule { paths: vec![path.clone()], ..part }));
        }
        parts
    }

    /// Whether this rule alone allows all that one of [`Rule::parts`] does.
    pub(crate) fn covers(&self, part: &Rule) -> bool {
        let all = |mine: &[String], theirs: &[String]| theirs.iter().all(|value| has(mine, value));
        let path = |path: &String| {
            self.paths
                .iter()
                .any(|mine| mine == path || mine.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix)))
        };
        let resource = |resource: &String| {
            let part = resource.split_once('/').map(|(_, part)| format!("*/{part}"));
            has(&self.resources, resource) || part.is_some_and(|part| self.resources.contains(&part))
        };
        let names = match (self.names.is_empty(), part.names.is_empty()) {
            (true, _) => true,
            (false, true) => false,
            (false, false) => part.names.iter().all(|name| self.names.contains(name)),
        };
        all(&self.verbs, &part.verbs)
            && all(&self.groups, &part.groups)
            && part.resources.iter().all(resource)
            && part.paths.iter().all(path)
            && names
    }

    pub(crate) fn to_json(&self) -> Json {
        if self.paths.is_empty() {
            let mut rule = json!({ "verbs": self.verbs, "apiGroups": self.groups, "resources": self.resources });
            if !self.names.is_empty() {
                rule["resourceNames"] = json!(self.names);
            }
            rule
        } else {
            json!({ "verbs": self.verbs, "nonResourceURLs": self.paths })
        }
    }

    pub(crate) fn is_resource(&self) -> bool {
        self.paths.is_empty()
    }
}

/// `*` covers all, `pods` the resource itself, `pods/log` a subresource, `*/scale` that of any resource.
fn covers(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match (rule.split_once('/'), subresource) {
        (None, "") => rule == resource,
        (Some((of, sub)), asked) if !asked.is_empty() => (of == "*" || of == resource) && sub == asked,
        _ => false,
    }
}

/// The status of a SelfSubjectRulesReview.
pub(crate) async fn of_user(engine: &Engine, user: &UserInfo, namespace: &str) -> Result<Json, Status> {
    let policy = Cache::load(engine).await?.compile();
    let mut rules = policy.rules_of(user, namespace);
    if user.is_in(holdfast_core::user::MASTERS) {
        let all = |field: &str| Rule::parse(&json!({ "verbs": ["*"], field: ["*"], "apiGroups": ["*"] }));
        let mut paths = all("nonResourceURLs");
        paths.groups.clear();
        rules.extend([all("resources"), paths]);
    }
    let (resources, paths): (Vec<Rule>, Vec<Rule>) = rules.into_iter().partition(Rule::is_resource);
    let list = |rules: Vec<Rule>| rules.iter().map(Rule::to_json).collect::<Vec<_>>();
    Ok(json!({ "resourceRules": list(resources), "nonResourceRules": list(paths), "incomplete": false }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::{Gvr, Target};

    #[test]
    fn rules_cover_what_upstream_says() {
        let rule = Rule::parse(&json!({"verbs": ["get"], "apiGroups": ["", "apps"], "resources": ["pods", "*/scale"]}));
        let user = UserInfo::new("jane", &[]);
        let ask = |verb: &str, group: &str, resource: &str, sub: &str| {
            let mut target = Target::object(Gvr::new(group, "v1", resource), "ns", "x");
            if !sub.is_empty() {
                target = target.with_subresource(sub);
            }
            rule.allows(&Attributes { user: &user, verb, target: Some(&target), path: "" })
        };
        assert!(ask("get", "", "pods", "") && ask("get", "apps", "deployments", "scale"));
        assert!(!ask("get", "", "pods", "log") && !ask("list", "", "pods", "") && !ask("get", "batch", "pods", ""));
        let paths = Rule::parse(&json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}));
        let path = |path| paths.allows(&Attributes { user: &user, verb: "get", target: None, path });
        assert!(path("/healthz") && path("/api/v1") && !path("/healthz/x") && !path("/metrics"));
    }
}
