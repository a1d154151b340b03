//! rbac.authorization.k8s.io/v1: roles and bindings.

use super::rules::text;
use crate::strategy::Strategy;
use holdfast_core::json::{at, default, items_at, items_at_mut, set};
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// Role and ClusterRole.
pub(crate) struct Role;

/// RoleBinding and ClusterRoleBinding.
pub(crate) struct Binding;

const GROUP: &str = "rbac.authorization.k8s.io";

impl Strategy for Role {
    fn name_problems(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn default(&self, doc: &mut Json) {
        if doc.get("rules").is_none() {
            set(doc, &["rules"], Json::Array(Vec::new()));
        }
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let cluster = text(doc, "kind") == "ClusterRole";
        for (index, rule) in items_at(doc, &["rules"]).iter().enumerate() {
            let path = FieldPath::new("rules").index(index);
            let list = |field: &str| items_at(rule, &[field]);
            if list("verbs").is_empty() {
                errors.required(&path.child("verbs"), "verbs must contain at least one value");
            }
            if !list("nonResourceURLs").is_empty() {
                if !cluster {
                    errors.invalid(
                        &path.child("nonResourceURLs"),
                        list("nonResourceURLs").to_vec(),
                        "namespaced rules cannot apply to non-resource URLs",
                    );
                }
                if !list("apiGroups").is_empty() || !list("resources").is_empty() || !list("resourceNames").is_empty() {
                    errors.invalid(
                        &path.child("nonResourceURLs"),
                        list("nonResourceURLs").to_vec(),
                        "rules cannot apply to both regular resources and non-resource URLs",
                    );
                }
                continue;
            }
            if list("apiGroups").is_empty() {
                errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
            }
            if list("resources").is_empty() {
                errors.required(&path.child("resources"), "resource rules must supply at least one resource");
            }
        }
        if let Some(aggregation) = at(doc, &["aggregationRule"]).filter(|_| cluster) {
            let path = FieldPath::new("aggregationRule.clusterRoleSelectors");
            let selectors = items_at(aggregation, &["clusterRoleSelectors"]);
            if selectors.is_empty() {
                errors.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
            }
            for (index, selector) in selectors.iter().enumerate() {
                super::selectors::validate(selector, &path.index(index), errors);
            }
        }
    }
}

impl Strategy for Binding {
    fn name_problems(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn default(&self, doc: &mut Json) {
        default(doc, &["roleRef", "apiGroup"], GROUP);
        for subject in items_at_mut(doc, &["subjects"]) {
            if matches!(text(subject, "kind"), "User" | "Group") {
                default(subject, &["apiGroup"], GROUP);
            }
        }
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let cluster = text(doc, "kind") == "ClusterRoleBinding";
        let path = FieldPath::new("roleRef");
        let role = doc.get("roleRef").unwrap_or(&Json::Null);
        if text(role, "apiGroup") != GROUP {
            errors.not_supported(&path.child("apiGroup"), text(role, "apiGroup"), &[GROUP]);
        }
        let kinds: &[&str] = if cluster { &["ClusterRole"] } else { &["ClusterRole", "Role"] };
        if !kinds.contains(&text(role, "kind")) {
            errors.not_supported(&path.child("kind"), text(role, "kind"), kinds);
        }
        if text(role, "name").is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.all_invalid(&path.child("name"), text(role, "name"), names::path_segment(text(role, "name")));
        }
        for (index, subject) in items_at(doc, &["subjects"]).iter().enumerate() {
            let path = FieldPath::new("subjects").index(index);
            let (name, group) = (text(subject, "name"), text(subject, "apiGroup"));
            if name.is_empty() {
                errors.required(&path.child("name"), "");
            }
            match text(subject, "kind") {
                "ServiceAccount" => {
                    if !name.is_empty() {
                        errors.all_invalid(&path.child("name"), name, names::dns_subdomain(name));
                    }
                    if !group.is_empty() {
                        errors.not_supported(&path.child("apiGroup"), group, &[""]);
                    }
                    if text(subject, "namespace").is_empty() {
                        errors.required(&path.child("namespace"), "");
                    }
                }
                "User" | "Group" => {
                    if group != GROUP {
                        errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
                    }
                }
                other => errors.not_supported(&path.child("kind"), other, &["Group", "ServiceAccount", "User"]),
            }
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        if doc.get("roleRef") != old.get("roleRef") {
            let shown = doc.get("roleRef").cloned().unwrap_or_default();
            errors.invalid(&FieldPath::new("roleRef"), shown, "cannot change roleRef");
        }
    }
}
