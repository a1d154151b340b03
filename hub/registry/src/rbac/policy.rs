//! All roles and bindings, indexed by subject.

use super::rules::Rule;
use holdfast_core::UserInfo;
use holdfast_server::Attributes;
use std::collections::HashMap;
use std::sync::Arc;

/// Who a binding names. Accounts are users with a long name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    User(String),
    Group(String),
}

/// Rules of a bound role.
#[derive(Clone, Debug)]
struct Grant {
    rules: Arc<Vec<Rule>>,
    /// `ClusterRoleBinding "x" of ClusterRole "y"`.
    by: Arc<str>,
    /// `Group "z"`.
    to: Arc<str>,
}

type Grants = HashMap<Subject, Vec<Grant>>;

/// What is allowed to whom.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    cluster: Grants,
    namespaced: HashMap<String, Grants>,
}

impl Policy {
    /// Adds the rules of a bound role; an empty namespace means everywhere. `by` and `to` are how binding and subject are
    /// called.
    pub(crate) fn grant(
        &mut self,
        namespace: &str,
        subject: Subject,
        rules: Arc<Vec<Rule>>,
        by: Arc<str>,
        to: Arc<str>,
    ) {
        let grants = if namespace.is_empty() {
            &mut self.cluster
        } else {
            self.namespaced.entry(namespace.to_string()).or_default()
        };
        grants.entry(subject).or_default().push(Grant { rules, by, to });
    }

    fn of<'a>(&'a self, user: &UserInfo, namespace: &str) -> impl Iterator<Item = (&'a Grant, &'a Rule)> {
        let mut subjects = vec![Subject::User(user.name.clone())];
        subjects.extend(user.groups.iter().cloned().map(Subject::Group));
        let local = if namespace.is_empty() { None } else { self.namespaced.get(namespace) };
        [Some(&self.cluster), local]
            .into_iter()
            .flatten()
            .flat_map(move |grants| subjects.clone().into_iter().filter_map(|subject| grants.get(&subject)))
            .flatten()
            .flat_map(|grant| grant.rules.iter().map(move |rule| (grant, rule)))
    }

    /// Whether any rule of the user allows the request.
    pub(crate) fn allows(&self, attributes: &Attributes<'_>) -> bool {
        self.allowing(attributes).is_some()
    }

    fn allowing(&self, attributes: &Attributes<'_>) -> Option<&Grant> {
        let namespace = attributes.target.map(|target| target.namespace()).unwrap_or_default();
        self.of(attributes.user, namespace).find(|(_, rule)| rule.allows(attributes)).map(|(grant, _)| grant)
    }

    /// By what the request is allowed, in upstream's words.
    pub(crate) fn reason(&self, attributes: &Attributes<'_>) -> Option<String> {
        let Grant { by, to, .. } = self.allowing(attributes)?;
        Some(format!("RBAC: allowed by {by} to {to}"))
    }

    /// All rules that a user has in a namespace.
    pub(crate) fn rules_of(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        self.of(user, namespace).map(|(_, rule)| rule.clone()).collect()
    }
}
