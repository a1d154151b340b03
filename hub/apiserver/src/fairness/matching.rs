//! Which requests a flow schema is about.

use super::config::{Distinguisher, PathRule, ResourceRule, Rule, Schema, Subject};
use holdfast_core::UserInfo;
use std::borrow::Cow;

/// A request, as schemas see it.
pub(super) struct Asked<'a> {
    /// Who asks.
    pub(super) user: &'a UserInfo,
    /// For what.
    pub(super) verb: &'a str,
    /// About what.
    pub(super) what: What<'a>,
}

/// What a request is about.
pub(super) enum What<'a> {
    /// A resource, with its subresource as `pods/log`; without a namespace for one of the whole cluster.
    Resource { group: &'a str, resource: Cow<'a, str>, namespace: &'a str },
    /// A path.
    Path(&'a str),
}

impl Schema {
    /// Whether it is about this request.
    pub(super) fn matches(&self, asked: &Asked<'_>) -> bool {
        self.rules.iter().any(|rule| rule.matches(asked))
    }

    /// What tells this request's flow from others of the schema.
    pub(super) fn flow<'a>(&self, asked: &'a Asked<'_>) -> &'a str {
        match (self.distinguisher, &asked.what) {
            (Some(Distinguisher::User), _) => &asked.user.name,
            (Some(Distinguisher::Namespace), What::Resource { namespace, .. }) => namespace,
            _ => "",
        }
    }
}

impl Rule {
    fn matches(&self, asked: &Asked<'_>) -> bool {
        self.subjects.iter().any(|subject| subject.is(asked.user))
            && match &asked.what {
                What::Resource { group, resource, namespace } => {
                    self.resources.iter().any(|rule| rule.matches(asked.verb, group, resource, namespace))
                }
                What::Path(path) => self.paths.iter().any(|rule| rule.matches(asked.verb, path)),
            }
    }
}

impl Subject {
    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Subject::User(name) => name == "*" || *name == user.name,
            Subject::Group(name) => name == "*" || user.is_in(name),
            Subject::ServiceAccount(namespace, name) => {
                let account = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                account.is_some_and(|account| account.0 == namespace && (name == "*" || account.1 == name))
            }
        }
    }
}

impl ResourceRule {
    fn matches(&self, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
        self.verbs.has(verb)
            && self.resources.has(resource)
            && self.groups.has(group)
            && if namespace.is_empty() { self.cluster_scope } else { self.namespaces.has(namespace) }
    }
}

impl PathRule {
    fn matches(&self, verb: &str, path: &str) -> bool {
        // As upstream: what a rule names without an asterisk stands for what is below it, too.
        let below = |url: &String| {
            let stem = url.strip_suffix('*').unwrap_or(url);
            let stem = stem.strip_suffix('/').unwrap_or(stem);
            path.strip_prefix(stem).is_some_and(|rest| rest.starts_with('/'))
        };
        self.verbs.has(verb) && (self.urls.has(path) || self.urls.words.iter().any(below))
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::schema;
    use super::*;
    use holdfast_core::Json;
    use holdfast_core::user::NODES;
    use serde_json::json;

    fn resource<'a>(
        user: &'a UserInfo,
        verb: &'a str,
        group: &'a str,
        resource: &'a str,
        namespace: &'a str,
    ) -> Asked<'a> {
        Asked { user, verb, what: What::Resource { group, resource: resource.into(), namespace } }
    }

    fn path<'a>(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Asked<'a> {
        Asked { user, verb, what: What::Path(path) }
    }

    fn matches(subjects: Json, resources: Json, paths: Json, asked: &Asked<'_>) -> bool {
        let rules = json!([{ "subjects": subjects, "resourceRules": resources, "nonResourceRules": paths }]);
        schema("s", "l", 100, "ByUser", rules).matches(asked)
    }

    fn all() -> Json {
        json!([{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true }])
    }

    #[test]
    fn subjects_are_users_groups_and_accounts() {
        let is = |subject: Json, user: &UserInfo| {
            matches(json!([subject]), all(), json!([]), &resource(user, "get", "", "pods", "a"))
        };
        let (bob, node) = (UserInfo::new("bob", &["dev"]), UserInfo::node("n"));
        let account = UserInfo::service_account("kube-system", "x");
        let user = |name: &str| json!({ "kind": "User", "user": { "name": name } });
        let group = |name: &str| json!({ "kind": "Group", "group": { "name": name } });
        let of = |namespace: &str, name: &str| json!({ "kind": "ServiceAccount", "serviceAccount": { "namespace": namespace, "name": name } });
        assert!(is(user("bob"), &bob) && is(user("*"), &node) && !is(user("eve"), &bob));
        assert!(is(group("dev"), &bob) && is(group(NODES), &node) && is(group("*"), &bob) && !is(group("dev"), &node));
        assert!(is(of("kube-system", "*"), &account) && is(of("kube-system", "x"), &account));
        assert!(
            !is(of("kube", "*"), &account)
                && !is(of("kube-system", "y"), &account)
                && !is(of("kube-system", "*"), &bob)
        );
        assert!(!matches(json!([]), all(), json!([]), &resource(&bob, "get", "", "pods", "a")));
    }

    #[test]
    fn resources_are_verbs_groups_names_and_namespaces() {
        let bob = UserInfo::new("bob", &[]);
        let everybody = || json!([{ "kind": "Group", "group": { "name": "*" } }]);
        let rule = json!([{
            "verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["pods", "pods/log"], "namespaces": ["a", "b"],
        }]);
        let is = |verb: &str, group: &str, name: &str, namespace: &str| {
            matches(everybody(), rule.clone(), json!([]), &resource(&bob, verb, group, name, namespace))
        };
        assert!(is("get", "", "pods", "a") && is("list", "apps", "pods/log", "b"));
        assert!(
            !is("create", "", "pods", "a") && !is("get", "batch", "pods", "a") && !is("get", "", "pods/status", "a")
        );
        assert!(!is("get", "", "pods", "c"));
        assert!(!is("list", "", "pods", ""), "all namespaces are the cluster's");
        let cluster = json!([{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true }]);
        assert!(matches(everybody(), cluster.clone(), json!([]), &resource(&bob, "list", "", "nodes", "")));
        assert!(!matches(everybody(), cluster, json!([]), &resource(&bob, "list", "", "pods", "a")));
        assert!(!matches(everybody(), all(), json!([]), &path(&bob, "get", "/version")));
    }

    #[test]
    fn paths_stand_for_what_is_below_them() {
        let bob = UserInfo::new("bob", &[]);
        let is = |url: &str, asked: &str| {
            let rule = json!([{ "verbs": ["get"], "nonResourceURLs": [url] }]);
            matches(json!([{ "kind": "User", "user": { "name": "*" } }]), json!([]), rule, &path(&bob, "get", asked))
        };
        assert!(
            is("*", "/x") && is("/healthz", "/healthz") && is("/healthz", "/healthz/ping") && is("/apis/*", "/apis/x")
        );
        assert!(!is("/healthz", "/healthzz") && !is("/apis/*", "/apis") && !is("/healthz", "/livez"));
        let post = json!([{ "verbs": ["get"], "nonResourceURLs": ["*"] }]);
        let everybody = json!([{ "kind": "User", "user": { "name": "*" } }]);
        assert!(!matches(everybody, json!([]), post, &path(&bob, "post", "/version")));
    }

    #[test]
    fn flows_are_users_or_namespaces() {
        let bob = UserInfo::new("bob", &[]);
        let asked = resource(&bob, "get", "", "pods", "a");
        let flow = |method: &str| schema("s", "l", 100, method, json!([])).flow(&asked).to_string();
        assert_eq!(["ByUser", "ByNamespace", ""].map(flow), ["bob", "a", ""]);
        assert_eq!(schema("s", "l", 100, "ByNamespace", json!([])).flow(&path(&bob, "get", "/")), "");
    }
}
