//! `audit.k8s.io/v1 Policy`: which requests are noted, and how much of them
//! (<https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>).

use holdfast_core::{FieldErrors, FieldPath, Json, Target, UserInfo};
use serde::Deserialize;
use std::collections::BTreeSet;

/// How much of a request is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[allow(missing_docs, reason = "the words are upstream's")]
pub enum Level {
    #[default]
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

/// When in the life of a request something is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[allow(missing_docs, reason = "the words are upstream's")]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

/// Rules in order: the first that matches counts; without one nothing is noted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    /// Allowed, and without a meaning here.
    #[serde(default, rename = "metadata")]
    _metadata: Json,
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: BTreeSet<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    paths: Vec<String>,
    #[serde(default)]
    omit_stages: BTreeSet<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What the policy says of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) level: Level,
    pub(super) omit_stages: BTreeSet<Stage>,
    pub(super) omit_managed_fields: bool,
}

impl Policy {
    /// Reads a policy from YAML or JSON.
    ///
    /// # Errors
    /// What is wrong with it, with the path of the field.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let policy: Policy = serde_saphyr::from_str(text).map_err(|err| err.to_string())?;
        let mut errors = FieldErrors::new();
        if policy.api_version != "audit.k8s.io/v1" {
            errors.not_supported(&FieldPath::new("apiVersion"), policy.api_version.clone(), &["audit.k8s.io/v1"]);
        }
        if policy.kind != "Policy" {
            errors.not_supported(&FieldPath::new("kind"), policy.kind.clone(), &["Policy"]);
        }
        for (at, rule) in policy.rules.iter().enumerate() {
            rule.validate(&FieldPath::new("rules").index(at), &mut errors);
        }
        if errors.is_empty() {
            return Ok(policy);
        }
        Err(errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }

    /// What it says of a request: `target` for one about a resource, else `path`.
    pub(super) fn applied(&self, user: &UserInfo, verb: &str, target: Option<&Target>, path: &str) -> Applied {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(user, verb, target, path)) else {
            return Applied::default();
        };
        Applied {
            level: rule.level,
            omit_stages: self.omit_stages.union(&rule.omit_stages).copied().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn validate(&self, at: &FieldPath, errors: &mut FieldErrors) {
        let paths = at.child("nonResourceURLs");
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if of_resources && !self.paths.is_empty() {
            errors.invalid(
                &paths,
                self.paths.clone(),
                "rules cannot apply to both regular resources and non-resource URLs",
            );
        }
        for (number, path) in self.paths.iter().enumerate().filter(|(_, path)| *path != "*") {
            let at = paths.index(number);
            if !path.starts_with('/') {
                errors.invalid(&at, path.clone(), "non-resource URL rules must begin with a '/' character");
            }
            if path.trim_end_matches('*').contains('*') || path.ends_with("**") {
                errors.invalid(
                    &at,
                    path.clone(),
                    "non-resource URL wildcards '*' must be the final character of the rule",
                );
            }
        }
        for (number, resources) in self.resources.iter().enumerate() {
            if !resources.resource_names.is_empty() && resources.resources.is_empty() {
                let at = at.child("resources").index(number).child("resourceNames");
                let text = "using resourceNames requires at least one resource";
                errors.invalid(&at, resources.resource_names.clone(), text);
            }
        }
    }

    fn matches(&self, user: &UserInfo, verb: &str, target: Option<&Target>, path: &str) -> bool {
        let names = |list: &[String], name: &str| list.is_empty() || list.iter().any(|known| known == name);
        let groups = &self.user_groups;
        if !names(&self.users, &user.name)
            || !names(&self.verbs, verb)
            || !(groups.is_empty() || user.groups.iter().any(|group| groups.contains(group)))
        {
            return false;
        }
        match target {
            Some(target) if !self.namespaces.is_empty() || !self.resources.is_empty() => {
                names(&self.namespaces, target.namespace())
                    && (self.resources.is_empty() || self.resources.iter().any(|resources| resources.matches(target)))
            }
            None if !self.paths.is_empty() => self.paths.iter().any(|known| match known.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => path == known,
            }),
            // It says nothing of what is asked for.
            _ => self.namespaces.is_empty() && self.resources.is_empty() && self.paths.is_empty(),
        }
    }
}

impl Resources {
    fn matches(&self, target: &Target) -> bool {
        if self.group != target.gvr.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.iter().any(|name| name == target.name()) {
            return false;
        }
        let (resource, sub) = (target.gvr.resource.as_str(), target.subresource());
        self.resources.iter().any(|known| match known.split_once('/') {
            None => known == "*" || (sub.is_empty() && known == resource),
            Some(("*", of)) => !sub.is_empty() && of == sub,
            Some((of, "*")) => of == resource,
            Some((of, named)) => of == resource && named == sub,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::Gvr;

    /// The example of <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>, in our words.
    const EXAMPLE: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: ["RequestReceived"]
rules:
  - level: RequestResponse
    resources: [{group: "", resources: ["pods"]}]
  - level: Metadata
    resources: [{group: "", resources: ["pods/log", "pods/status"]}]
  - level: None
    resources: [{group: "", resources: ["configmaps"], resourceNames: ["controller-leader"]}]
  - level: None
    users: ["system:kube-proxy"]
    verbs: ["watch"]
    resources: [{group: "", resources: ["endpoints", "services"]}]
  - level: None
    userGroups: ["system:authenticated"]
    nonResourceURLs: ["/api*", "/version"]
  - level: Request
    resources: [{group: "", resources: ["configmaps"]}]
    namespaces: ["kube-system"]
  - level: Metadata
    resources: [{group: "", resources: ["secrets", "configmaps"]}]
    omitManagedFields: true
  - level: Request
    resources: [{group: ""}, {group: "extensions"}]
  - level: Metadata
    omitStages: ["ResponseStarted"]
"#;

    #[test]
    fn the_first_rule_that_matches_counts() {
        let policy = Policy::parse(EXAMPLE).unwrap();
        let level = |user: &str, verb: &str, group: &str, resource: &str, sub: &str, namespace: &str, name: &str| {
            let target = Target::object(Gvr::new(group, "v1", resource), namespace, name);
            let target = if sub.is_empty() { target } else { target.with_subresource(sub) };
            policy.applied(&UserInfo::new(user, &[]), verb, Some(&target), "").level
        };
        assert_eq!(level("a", "create", "", "pods", "", "d", "p"), Level::RequestResponse);
        assert_eq!(level("a", "get", "", "pods", "log", "d", "p"), Level::Metadata);
        assert_eq!(level("a", "create", "", "pods", "exec", "d", "p"), Level::Request);
        assert_eq!(level("a", "get", "", "configmaps", "", "d", "controller-leader"), Level::None);
        assert_eq!(level("system:kube-proxy", "watch", "", "services", "", "", ""), Level::None);
        assert_eq!(level("a", "watch", "", "services", "", "", ""), Level::Request);
        assert_eq!(level("a", "update", "", "configmaps", "", "kube-system", "c"), Level::Request);
        assert_eq!(level("a", "update", "", "configmaps", "", "d", "c"), Level::Metadata);
        assert_eq!(level("a", "update", "apps", "deployments", "", "d", "c"), Level::Metadata);
        let path = |path: &str| policy.applied(&UserInfo::new("a", &[]), "get", None, path);
        assert_eq!(path("/api/v1").level, Level::None);
        assert_eq!(path("/metrics").level, Level::Metadata);
        assert_eq!(path("/metrics").omit_stages, [Stage::RequestReceived, Stage::ResponseStarted].into());
        assert_eq!(policy.applied(&UserInfo::anonymous(), "get", None, "/version").level, Level::Metadata);
        let secret = Target::object(Gvr::new("", "v1", "secrets"), "d", "s");
        assert!(policy.applied(&UserInfo::new("a", &[]), "get", Some(&secret), "").omit_managed_fields);
    }

    #[test]
    fn wildcards_of_resources_mean_what_upstreams_mean() {
        let resources = |known: &str| Resources {
            group: String::new(),
            resources: vec![known.to_string()],
            resource_names: Vec::new(),
        };
        let pod = Target::object(Gvr::new("", "v1", "pods"), "d", "p");
        let exec = pod.clone().with_subresource("exec");
        for (known, matches_pod, matches_exec) in [
            ("*", true, true),
            ("pods", true, false),
            ("pods/*", true, true),
            ("*/exec", false, true),
            ("*/log", false, false),
            ("pods/exec", false, true),
            ("services/*", false, false),
        ] {
            let of = |target: &Target| resources(known).matches(target);
            assert_eq!((of(&pod), of(&exec)), (matches_pod, matches_exec), "{known}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |rules: &str| Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}"));
        for (rules, says) in [
            ("[{level: Everything}]", "Everything"),
            ("[{level: Metadata, nonResourceUrls: []}]", "nonResourceUrls"),
            ("[{level: None, nonResourceURLs: [metrics]}]", "rules[0].nonResourceURLs[0]"),
            ("[{level: None, nonResourceURLs: ['/a*b']}]", "must be the final character"),
            ("[{level: None, nonResourceURLs: ['/a'], namespaces: [d]}]", "cannot apply to both"),
            ("[{level: None, resources: [{resourceNames: [d]}]}]", "rules[0].resources[0].resourceNames"),
            ("[{level: None, omitStages: [Later]}]", "Later"),
        ] {
            let err = with(rules).unwrap_err();
            assert!(err.contains(says), "{rules}: {err}");
        }
        assert!(with("[]").is_ok());
        assert!(Policy::parse("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: []").is_err());
    }
}
