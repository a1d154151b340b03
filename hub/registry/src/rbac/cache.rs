//! The RBAC objects of the store, and following them.

use super::SharedPolicy;
use super::policy::{Policy, Subject};
use super::rules::Rule;
use crate::engine::{Engine, decode, known, store_error};
use crate::keys;
use crate::limits::CACHE_RETRY;
use holdfast_core::json::{at, items_at, str_at};
use holdfast_core::{Gvr, Json, LabelSelector, Revision, Status};
use holdfast_store::{RangeRequest, Record, StoreError};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError};

const GROUP: &str = "rbac.authorization.k8s.io";

/// What a role or binding says.
enum Entry {
    Role {
        namespace: String,
        name: String,
        labels: BTreeMap<String, String>,
        rules: Arc<Vec<Rule>>,
        joins: Vec<LabelSelector>,
    },
    Binding {
        namespace: String,
        name: String,
        cluster_role: bool,
        role: String,
        /// With how each is called.
        subjects: Vec<(Subject, Arc<str>)>,
    },
}

/// The objects, by key.
pub(crate) struct Cache {
    prefix: String,
    revision: Revision,
    entries: BTreeMap<String, Entry>,
}

impl Cache {
    /// Reads all objects.
    pub(crate) async fn load(engine: &Engine) -> Result<Cache, Status> {
        // All four kinds lie next to each other.
        let roles = keys::prefix(known(&Gvr::new(GROUP, "v1", "roles"))?);
        let prefix = roles.strip_suffix("roles/").unwrap_or(&roles).to_string();
        let request = RangeRequest { prefix: prefix.clone(), ..Default::default() };
        let range = engine.store.range(request).await.map_err(store_error)?;
        let mut cache = Cache { prefix, revision: range.revision, entries: BTreeMap::new() };
        for record in &range.records {
            cache.put(record);
        }
        Ok(cache)
    }

    fn put(&mut self, record: &Record) {
        match decode(record).map(|object| parse(&object.to_json())) {
            Ok(Some(entry)) => {
                self.entries.insert(record.key.to_string(), entry);
            }
            Ok(None) => {}
            Err(err) => tracing::error!(key = %record.key, %err, "Skipped an RBAC object that does not decode"),
        }
    }

    /// The policy of these objects. Roles that aggregate others are joined here.
    pub(crate) fn compile(&self) -> Policy {
        let mut roles: HashMap<(&str, &str), Arc<Vec<Rule>>> = HashMap::new();
        for entry in self.entries.values() {
            let Entry::Role { namespace, name, rules, joins, .. } = entry else { continue };
            let rules = if joins.is_empty() { rules.clone() } else { Arc::new(self.joined(name, joins)) };
            roles.insert((namespace, name), rules);
        }
        let mut policy = Policy::default();
        for entry in self.entries.values() {
            let Entry::Binding { namespace, name, cluster_role, role, subjects } = entry else { continue };
            let of = if *cluster_role { "" } else { namespace.as_str() };
            let Some(rules) = roles.get(&(of, role.as_str())) else { continue };
            let binding = match namespace.as_str() {
                "" => format!("ClusterRoleBinding {name:?}"),
                namespace => format!("RoleBinding \"{name}/{namespace}\""),
            };
            let by: Arc<str> =
                format!("{binding} of {} {role:?}", if *cluster_role { "ClusterRole" } else { "Role" }).into();
            for (subject, to) in subjects {
                policy.grant(namespace, subject.clone(), rules.clone(), by.clone(), to.clone());
            }
        }
        policy
    }

    /// The rules of all roles that a role joins, through others that do the same: what is written in those is a copy that
    /// the controller may not have made yet.
    fn joined<'a>(&'a self, name: &'a str, selectors: &'a [LabelSelector]) -> Vec<Rule> {
        let mut seen = HashSet::from([name]);
        let (mut pending, mut joined) = (vec![selectors], Vec::new());
        while let Some(selectors) = pending.pop() {
            for entry in self.entries.values() {
                let Entry::Role { namespace, name, labels, rules, joins } = entry else { continue };
                let selected = namespace.is_empty() && selectors.iter().any(|selector| selector.matches(labels));
                if !selected || !seen.insert(name) {
                    continue;
                }
                if joins.is_empty() {
                    joined.extend(rules.iter().cloned());
                } else {
                    pending.push(joins);
                }
            }
        }
        joined
    }

    /// Follows changes for ever. A lost watch is begun anew from the state.
    pub(crate) async fn follow(&mut self, engine: &Engine, shared: &SharedPolicy) {
        loop {
            if let Err(err) = self.follow_watch(engine, shared).await {
                if err == StoreError::Closed {
                    return;
                }
                tracing::warn!(%err, "Lost the watch on RBAC objects; reading them again");
            }
            loop {
                engine.env.sleep(CACHE_RETRY).await;
                match Cache::load(engine).await {
                    Ok(cache) => {
                        *self = cache;
                        self.publish(shared);
                        break;
                    }
                    Err(err) => tracing::warn!(%err, "Could not read RBAC objects"),
                }
            }
        }
    }

    async fn follow_watch(&mut self, engine: &Engine, shared: &SharedPolicy) -> Result<(), StoreError> {
        let mut watcher = engine.store.watch(&self.prefix, self.revision)?;
        loop {
            for event in watcher.next().await? {
                self.revision = event.revision;
                match &event.record {
                    Some(record) => self.put(record),
                    None => {
                        self.entries.remove(&*event.key);
                    }
                }
            }
            self.publish(shared);
        }
    }

    fn publish(&self, shared: &SharedPolicy) {
        *shared.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(self.compile());
    }
}

fn parse(doc: &Json) -> Option<Entry> {
    let text = |path: &[&str]| str_at(doc, path).unwrap_or_default().to_string();
    let namespace = text(&["metadata", "namespace"]);
    match str_at(doc, &["kind"])? {
        "Role" | "ClusterRole" => Some(Entry::Role {
            namespace,
            name: text(&["metadata", "name"]),
            labels: at(doc, &["metadata", "labels"])
                .and_then(Json::as_object)
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_string()))
                .collect(),
            rules: Arc::new(items_at(doc, &["rules"]).iter().map(Rule::parse).collect()),
            joins: items_at(doc, &["aggregationRule", "clusterRoleSelectors"])
                .iter()
                .filter_map(|selector| LabelSelector::from_spec(selector).ok())
                .collect(),
        }),
        "RoleBinding" | "ClusterRoleBinding" => Some(Entry::Binding {
            name: text(&["metadata", "name"]),
            cluster_role: str_at(doc, &["roleRef", "kind"]) == Some("ClusterRole"),
            role: text(&["roleRef", "name"]),
            subjects: items_at(doc, &["subjects"]).iter().filter_map(|item| subject(item, &namespace)).collect(),
            namespace,
        }),
        _ => None,
    }
}

/// A subject, and how it is called.
fn subject(doc: &Json, binding_namespace: &str) -> Option<(Subject, Arc<str>)> {
    let name = str_at(doc, &["name"])?;
    match str_at(doc, &["kind"])? {
        "User" => Some((Subject::User(name.to_string()), format!("User {name:?}").into())),
        "Group" => Some((Subject::Group(name.to_string()), format!("Group {name:?}").into())),
        "ServiceAccount" => {
            let namespace = str_at(doc, &["namespace"]).filter(|text| !text.is_empty()).unwrap_or(binding_namespace);
            let called = format!("ServiceAccount \"{name}/{namespace}\"").into();
            Some((Subject::User(format!("system:serviceaccount:{namespace}:{name}")), called))
        }
        _ => None,
    }
}
