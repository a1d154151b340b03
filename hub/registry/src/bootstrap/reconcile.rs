//! What a default role or binding that is there lacks, by upstream's rules: labels, annotations, rules, selectors of other
//! roles and subjects are added, nothing is taken away, and who said `autoupdate: "false"` is left alone.

use crate::rbac::rules::Rule;
use holdfast_core::json::{items_at, set, str_at};
use holdfast_core::{Json, Object};

const GROUP: &str = "rbac.authorization.k8s.io";
/// While it is `false` the server leaves a default role or binding as the operator made it.
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What is to be done with an object that every cluster has.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    /// It is written like this.
    Update(Json),
    /// It leads to another role, which cannot be changed: it is deleted and made anew.
    Recreate,
}

/// How `found` becomes what it is wanted to be; other kinds than those of RBAC stay as they are.
pub(super) fn step(found: &Object, wanted: &Json) -> Step {
    if found.gvk.group != GROUP {
        return Step::Nothing;
    }
    let before = found.to_json();
    if wanted.get("roleRef").is_none() {
        return guarded(found, role(&before, wanted), &before);
    }
    let named = |doc: &Json, field: &str| str_at(doc, &["roleRef", field]).unwrap_or_default().to_string();
    if ["apiGroup", "kind", "name"].iter().any(|field| named(&before, field) != named(wanted, field)) {
        return if is_guarded(found) { skip(found) } else { Step::Recreate };
    }
    guarded(found, binding(&before, wanted), &before)
}

fn is_guarded(found: &Object) -> bool {
    found.meta.annotations.get(AUTO_UPDATE).is_some_and(|value| value == "false")
}

fn skip(found: &Object) -> Step {
    tracing::warn!(kind = %found.gvk.kind, name = %found.meta.name, "Left a default role as its operator keeps it");
    Step::Nothing
}

fn guarded(found: &Object, after: Json, before: &Json) -> Step {
    if after == *before {
        return Step::Nothing;
    }
    if is_guarded(found) { skip(found) } else { Step::Update(after) }
}

/// With the labels and annotations that are wanted; values that stand stay.
fn with_metadata(before: &Json, wanted: &Json) -> Json {
    let mut after = before.clone();
    for field in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
            if before["metadata"][field].get(key).is_none() {
                set(&mut after, &["metadata", field, key.as_str()], value.clone());
            }
        }
    }
    after
}

fn role(before: &Json, wanted: &Json) -> Json {
    let mut after = with_metadata(before, wanted);
    let held: Vec<Rule> = items_at(before, &["rules"]).iter().map(Rule::parse).collect();
    let parts = items_at(wanted, &["rules"]).iter().flat_map(|rule| Rule::parse(rule).parts());
    let missing: Vec<Json> =
        parts.filter(|part| !held.iter().any(|rule| rule.covers(part))).map(|r| r.to_json()).collect();
    append(&mut after, &["rules"], missing);
    let selectors = ["aggregationRule", "clusterRoleSelectors"];
    let stand = items_at(before, &selectors);
    let missing = items_at(wanted, &selectors).iter().filter(|one| !stand.contains(one)).cloned().collect();
    append(&mut after, &selectors, missing);
    after
}

fn binding(before: &Json, wanted: &Json) -> Json {
    let mut after = with_metadata(before, wanted);
    let identity = |subject: &Json| {
        ["kind", "apiGroup", "namespace", "name"].map(|field| str_at(subject, &[field]).unwrap_or_default().to_string())
    };
    let stand: Vec<[String; 4]> = items_at(before, &["subjects"]).iter().map(identity).collect();
    let subjects = items_at(wanted, &["subjects"]).iter();
    let missing = subjects.filter(|subject| !stand.contains(&identity(subject))).cloned().collect();
    append(&mut after, &["subjects"], missing);
    after
}

fn append(doc: &mut Json, path: &[&str], more: Vec<Json>) {
    if !more.is_empty() {
        let mut all = items_at(doc, path).to_vec();
        all.extend(more);
        set(doc, path, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stored(mut doc: Json) -> Object {
        set(&mut doc, &["apiVersion"], "rbac.authorization.k8s.io/v1");
        Object::from_json(doc).unwrap()
    }

    fn cluster_role(rules: Json, annotation: Option<&str>) -> Json {
        let mut doc = json!({ "kind": "ClusterRole", "metadata": { "name": "r" }, "rules": rules });
        if let Some(value) = annotation {
            doc["metadata"]["annotations"] = json!({ AUTO_UPDATE: value });
        }
        doc
    }

    fn rule(verbs: &[&str], resources: &[&str]) -> Json {
        json!({ "verbs": verbs, "apiGroups": [""], "resources": resources })
    }

    fn rules_after(held: Json, wanted: Json) -> Option<Json> {
        match step(&stored(cluster_role(held, None)), &cluster_role(wanted, None)) {
            Step::Nothing => None,
            Step::Update(doc) => Some(doc["rules"].clone()),
            Step::Recreate => panic!("a role is never made anew"),
        }
    }

    #[test]
    fn missing_rules_are_added_part_by_part_and_more_may_stand() {
        let reads = rule(&["get", "list"], &["pods", "services"]);
        assert_eq!(rules_after(json!([reads]), json!([reads])), None);
        assert_eq!(rules_after(json!([rule(&["*"], &["*"])]), json!([reads])), None);
        // Two rules may hold together what one wants, and what is not wanted stays.
        let apart = json!([rule(&["get"], &["pods", "services"]), rule(&["list", "delete"], &["services"])]);
        let mut after = apart.as_array().unwrap().clone();
        after.push(json!({ "verbs": ["list"], "apiGroups": [""], "resources": ["pods"] }));
        assert_eq!(rules_after(apart, json!([reads])), Some(json!(after)));
        // A rule about some names does not hold for all.
        let named = json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"] });
        let all = rule(&["get"], &["pods"]);
        assert_eq!(rules_after(json!([named]), json!([all])), Some(json!([named, all])));
        assert_eq!(rules_after(json!([all]), json!([named])), None);
        let paths = |paths: &[&str]| json!([{ "verbs": ["get"], "nonResourceURLs": paths }]);
        assert_eq!(rules_after(paths(&["/api/*"]), paths(&["/api/v1"])), None);
        let after = json!([{ "verbs": ["get"], "nonResourceURLs": ["/api/*"] }, { "verbs": ["get"], "nonResourceURLs": ["/api"] }]);
        assert_eq!(rules_after(paths(&["/api/*"]), paths(&["/api"])), Some(after));
    }

    #[test]
    fn who_keeps_his_role_keeps_it() {
        let reads = json!([rule(&["get"], &["pods"])]);
        let kept = stored(cluster_role(json!([]), Some("false")));
        assert_eq!(step(&kept, &cluster_role(reads.clone(), Some("true"))), Step::Nothing);
        // A missing label, annotation or selector is a reason to write; one that says something else is not.
        let mut wanted = cluster_role(reads.clone(), Some("true"));
        wanted["metadata"]["labels"] = json!({ "a": "b" });
        wanted["aggregationRule"] = json!({ "clusterRoleSelectors": [{ "matchLabels": { "x": "true" } }] });
        let mut found = cluster_role(reads.clone(), Some("maybe"));
        found["metadata"]["labels"] = json!({ "mine": "1" });
        let Step::Update(after) = step(&stored(found), &wanted) else { panic!("nothing is written") };
        assert_eq!(after["metadata"]["labels"], json!({ "mine": "1", "a": "b" }));
        assert_eq!(after["metadata"]["annotations"][AUTO_UPDATE], "maybe");
        assert_eq!((&after["rules"], &after["aggregationRule"]), (&reads, &wanted["aggregationRule"]));
    }

    #[test]
    fn bindings_get_their_subjects_and_their_role_back() {
        let group = |name: &str| json!({ "kind": "Group", "apiGroup": GROUP, "name": name });
        let account = json!({ "kind": "ServiceAccount", "namespace": "kube-system", "name": "a" });
        let bound = |role: &str, subjects: Json| {
            let role = json!({ "apiGroup": GROUP, "kind": "ClusterRole", "name": role });
            json!({ "kind": "ClusterRoleBinding", "metadata": { "name": "b" }, "roleRef": role, "subjects": subjects })
        };
        let wanted = bound("r", json!([group("x"), account]));
        let Step::Update(after) = step(&stored(bound("r", json!([group("y"), group("x")]))), &wanted) else {
            panic!("nothing is written")
        };
        assert_eq!(after["subjects"], json!([group("y"), group("x"), account]));
        assert_eq!(step(&stored(after), &wanted), Step::Nothing);
        let mut other = bound("other", json!([group("x")]));
        assert_eq!(step(&stored(other.clone()), &wanted), Step::Recreate);
        other["metadata"]["annotations"] = json!({ AUTO_UPDATE: "false" });
        assert_eq!(step(&stored(other), &wanted), Step::Nothing);
        assert_eq!(step(&stored(bound("r", json!([]))), &bound("r", json!([]))), Step::Nothing);
    }
}
