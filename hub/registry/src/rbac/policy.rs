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

type Grants = HashMap<Subject, Vec<Arc<Vec<Rule>>>>;

/// What is allowed to whom.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    cluster: Grants,
    namespaced: HashMap<String, Grants>,
}

impl Policy {
    /// Adds the rules of a bound role; an empty namespace means everywhere.
    pub(crate) fn grant(&mut self, namespace: &str, subject: Subject, rules: Arc<Vec<Rule>>) {
        let grants = if namespace.is_empty() {
            &mut self.cluster
        } else {
            self.namespaced.entry(namespace.to_string()).or_default()
        };
        grants.entry(subject).or_default().push(rules);
    }

    fn of<'a>(&'a self, user: &UserInfo, namespace: &str) -> impl Iterator<Item = &'a Rule> {
        let mut subjects = vec![Subject::User(user.name.clone())];
        subjects.extend(user.groups.iter().cloned().map(Subject::Group));
        let local = if namespace.is_empty() { None } else { self.namespaced.get(namespace) };
        [Some(&self.cluster), local]
            .into_iter()
            .flatten()
            .flat_map(move |grants| subjects.clone().into_iter().filter_map(|subject| grants.get(&subject)))
            .flatten()
            .flat_map(|rules| rules.iter())
    }

    /// Whether any rule of the user allows the request.
    pub(crate) fn allows(&self, attributes: &Attributes<'_>) -> bool {
        let namespace = attributes.target.map(|target| target.namespace()).unwrap_or_default();
        self.of(attributes.user, namespace).any(|rule| rule.allows(attributes))
    }

    /// All rules that a user has in a namespace.
    pub(crate) fn rules_of(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        self.of(user, namespace).cloned().collect()
    }
}
