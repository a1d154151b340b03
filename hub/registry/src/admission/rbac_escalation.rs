//! Nobody grants what he may not do: writes of roles and bindings are held against the writer's own rights.
//! (Upstream does this in the storage of the rbac group; the verbs `escalate` and `bind` lift it.)

use super::Admission;
use holdfast_core::json::{items_at, str_at};
use holdfast_core::user::MASTERS;
use holdfast_core::{Gvr, Json, LabelSelector, Status, Target};
use holdfast_server::{Attributes, Authorizer, Decision};
use std::sync::Arc;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) async fn validate(cx: &Admission<'_>, doc: &Json, old: Option<&Json>) -> Result<(), Status> {
    if cx.kind.group != GROUP || cx.cx.user.is_in(MASTERS) {
        return Ok(());
    }
    let Some(authorizer) = cx.engine.authorizer.get() else {
        return Err(Status::unavailable("the authorizer is not up yet", 1));
    };
    let judge = Judge { cx, authorizer };
    let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
    match cx.kind.kind {
        "Role" | "ClusterRole" => {
            if old.is_some_and(|old| old.get("rules") == doc.get("rules")) {
                return Ok(());
            }
            if judge.may("escalate", cx.gvr, cx.namespace, "", name).await {
                return Ok(());
            }
            if !items_at(doc, &["aggregationRule", "clusterRoleSelectors"]).is_empty() {
                return Err(
                    cx.forbidden(doc, judge.text("must have cluster-admin privileges to use an aggregationRule", ""))
                );
            }
            judge.holds(doc, items_at(doc, &["rules"])).await
        }
        _ => {
            let unchanged = |field: &str| old.is_some_and(|old| old.get(field) == doc.get(field));
            if unchanged("subjects") && unchanged("roleRef") {
                return Ok(());
            }
            let cluster = str_at(doc, &["roleRef", "kind"]) == Some("ClusterRole");
            let role = str_at(doc, &["roleRef", "name"]).unwrap_or_default();
            let gvr = Gvr::new(GROUP, "v1", if cluster { "clusterroles" } else { "roles" });
            let namespace = if cluster { "" } else { cx.namespace };
            if judge.may("bind", &gvr, cx.namespace, "", role).await {
                return Ok(());
            }
            let found = cx.engine.find(&gvr, namespace, role).await?.ok_or_else(|| Status::not_found(&gvr, role))?;
            let rules = rules_of(cx, &found.to_json()).await?;
            judge.holds(doc, &rules).await
        }
    }
}

/// The rules of a role; those of an aggregating one are the joined roles'.
async fn rules_of(cx: &Admission<'_>, role: &Json) -> Result<Vec<Json>, Status> {
    let selectors: Vec<LabelSelector> = items_at(role, &["aggregationRule", "clusterRoleSelectors"])
        .iter()
        .filter_map(|selector| LabelSelector::from_spec(selector).ok())
        .collect();
    if selectors.is_empty() {
        return Ok(items_at(role, &["rules"]).to_vec());
    }
    let mut rules = Vec::new();
    for other in cx.engine.find_all(&Gvr::new(GROUP, "v1", "clusterroles"), "").await? {
        if selectors.iter().any(|selector| selector.matches(&other.meta.labels)) {
            rules.extend_from_slice(items_at(&other.to_json(), &["rules"]));
        }
    }
    Ok(rules)
}

struct Judge<'a> {
    cx: &'a Admission<'a>,
    authorizer: &'a Arc<dyn Authorizer>,
}

impl Judge<'_> {
    fn text(&self, what: &str, rules: &str) -> String {
        let user = &self.cx.cx.user;
        format!("user {:?} (groups={:?}) {what}{rules}", user.name, user.groups)
    }

    async fn may(&self, verb: &str, gvr: &Gvr, namespace: &str, subresource: &str, name: &str) -> bool {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_string());
        let target =
            Target { gvr: gvr.clone(), namespace: some(namespace), name: some(name), subresource: some(subresource) };
        let attributes = Attributes { user: &self.cx.cx.user, verb, target: Some(&target), path: "" };
        self.authorizer.authorize(&attributes).await == Decision::Allow
    }

    /// Whether the user may all that the rules allow. A star is held only by who has a star.
    async fn holds(&self, doc: &Json, rules: &[Json]) -> Result<(), Status> {
        let mut missing = Vec::new();
        for rule in rules {
            if !self.holds_rule(rule).await {
                missing.push(shown(rule));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let what = "is attempting to grant RBAC permissions not currently held:\n";
        Err(self.cx.forbidden(doc, self.text(what, &missing.join("\n"))))
    }

    async fn holds_rule(&self, rule: &Json) -> bool {
        let list = |field: &str| -> Vec<&str> { items_at(rule, &[field]).iter().filter_map(Json::as_str).collect() };
        let names = match list("resourceNames") {
            names if names.is_empty() => vec![""],
            names => names,
        };
        for verb in list("verbs") {
            for path in list("nonResourceURLs") {
                let attributes = Attributes { user: &self.cx.cx.user, verb, target: None, path };
                if self.authorizer.authorize(&attributes).await != Decision::Allow {
                    return false;
                }
            }
            for group in list("apiGroups") {
                for resource in list("resources") {
                    let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
                    for name in &names {
                        let gvr = Gvr::new(group, "v1", resource);
                        if !self.may(verb, &gvr, self.cx.namespace, sub, name).await {
                            return false;
                        }
                    }
                }
            }
        }
        true
    }
}

/// A rule as Go prints it.
fn shown(rule: &Json) -> String {
    let parts: Vec<String> = [
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("ResourceNames", "resourceNames"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("Verbs", "verbs"),
    ]
    .into_iter()
    .filter_map(|(title, field)| {
        let values: Vec<String> =
            items_at(rule, &[field]).iter().filter_map(Json::as_str).map(|value| format!("{value:?}")).collect();
        (!values.is_empty()).then(|| format!("{title}:[{}]", values.join(" ")))
    })
    .collect();
    format!("{{{}}}", parts.join(", "))
}
