//! rbac.authorization.k8s.io: who may do what.

use crate::show::{AGE, NAME, age, column, name, text, wide};
use crate::{Column, Kind, Reference};
use holdfast_core::json::items_at;
use holdfast_core::{Gvr, Json, Timestamp};

const GROUP: &str = "rbac.authorization.k8s.io";

/// rbac.authorization.k8s.io/v1 Role.
pub(crate) const ROLE: Kind = Kind {
    group: GROUP,
    kind: "Role",
    plural: "roles",
    singular: "role",
    schema: "io.k8s.api.rbac.v1.Role",
    ..Kind::BASE
};

/// rbac.authorization.k8s.io/v1 ClusterRole.
pub(crate) const CLUSTER_ROLE: Kind = Kind {
    group: GROUP,
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    namespaced: false,
    schema: "io.k8s.api.rbac.v1.ClusterRole",
    ..Kind::BASE
};

/// rbac.authorization.k8s.io/v1 RoleBinding.
pub(crate) const ROLE_BINDING: Kind = Kind {
    group: GROUP,
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    schema: "io.k8s.api.rbac.v1.RoleBinding",
    columns: BINDING_COLUMNS,
    row: binding_row,
    references: role_of,
    ..Kind::BASE
};

/// rbac.authorization.k8s.io/v1 ClusterRoleBinding.
pub(crate) const CLUSTER_ROLE_BINDING: Kind = Kind {
    group: GROUP,
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    namespaced: false,
    schema: "io.k8s.api.rbac.v1.ClusterRoleBinding",
    columns: BINDING_COLUMNS,
    row: binding_row,
    references: role_of,
    ..Kind::BASE
};

const BINDING_COLUMNS: &[Column] = &[
    NAME,
    column("Role", "string", "What is granted."),
    AGE,
    wide("Users", "string", "Users that it is granted to."),
    wide("Groups", "string", "Groups that it is granted to."),
    wide("ServiceAccounts", "string", "Service accounts that it is granted to."),
];

fn binding_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let subjects = |kind: &str| -> String {
        items_at(doc, &["subjects"])
            .iter()
            .filter(|subject| text(subject, &["kind"]) == kind)
            .map(|subject| match (kind, text(subject, &["namespace"])) {
                ("ServiceAccount", namespace) if !namespace.is_empty() => {
                    format!("{namespace}/{}", text(subject, &["name"]))
                }
                _ => text(subject, &["name"]).to_string(),
            })
            .collect::<Vec<_>>()
            .join(", ")
    };
    vec![
        name(doc),
        format!("{}/{}", text(doc, &["roleRef", "kind"]), text(doc, &["roleRef", "name"])).into(),
        age(doc, now),
        subjects("User").into(),
        subjects("Group").into(),
        subjects("ServiceAccount").into(),
    ]
}

fn role_of(doc: &Json) -> Vec<Reference> {
    let (resource, namespace) = match text(doc, &["roleRef", "kind"]) {
        "Role" => ("roles", text(doc, &["metadata", "namespace"])),
        "ClusterRole" => ("clusterroles", ""),
        _ => return Vec::new(),
    };
    let name = text(doc, &["roleRef", "name"]);
    if name.is_empty() {
        return Vec::new();
    }
    vec![Reference { gvr: Gvr::new(GROUP, "v1", resource), namespace: namespace.into(), name: name.into() }]
}
