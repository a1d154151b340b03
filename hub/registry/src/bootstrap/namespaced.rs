//! Roles of `kube-system` and `kube-public`, upstream's: what reads how the API knows its clients, what leads, and what looks
//! after bootstrap tokens.

use super::roles::{READ, account, events, meta, named, rule, user};
use holdfast_core::Json;
use holdfast_core::json::set;
use serde_json::json;

const GROUP: &str = "rbac.authorization.k8s.io";
const VERSION: &str = "rbac.authorization.k8s.io/v1";
const SYSTEM: &str = "kube-system";
const PUBLIC: &str = "kube-public";
const READER: &str = "extension-apiserver-authentication-reader";
const MANAGER: &str = "kube-controller-manager";
const SCHEDULER: &str = "kube-scheduler";

fn object(kind: &str, namespace: &str, name: &str) -> Json {
    let mut metadata = meta(name, &json!({}));
    set(&mut metadata, &["namespace"], namespace);
    json!({ "apiVersion": VERSION, "kind": kind, "metadata": metadata })
}

fn role(namespace: &str, name: &str, rules: Vec<Json>) -> Json {
    let mut role = object("Role", namespace, name);
    set(&mut role, &["rules"], rules);
    role
}

fn bind(namespace: &str, name: &str, role: &str, subjects: Vec<Json>) -> Json {
    let mut binding = object("RoleBinding", namespace, name);
    set(&mut binding, &["roleRef"], json!({ "apiGroup": GROUP, "kind": "Role", "name": role }));
    set(&mut binding, &["subjects"], subjects);
    binding
}

/// A role of an account of `kube-system`, and its binding.
fn of_controller(namespace: &str, name: &str, rules: Vec<Json>) -> [Json; 2] {
    let role_name = format!("system:controller:{name}");
    [role(namespace, &role_name, rules), bind(namespace, &role_name, &role_name, vec![account(name)])]
}

/// What a program needs to be elected.
fn leader(name: &str) -> [Json; 2] {
    const VERBS: &[&str] = &["create", "get", "list", "update", "watch"];
    let role_name = format!("system::leader-locking-{name}");
    let rules = ["leases", "leasecandidates"].map(|resource| rule(&["coordination.k8s.io"], &[resource], VERBS));
    let subjects = vec![user(&format!("system:{name}")), account(name)];
    [role(SYSTEM, &role_name, rules.to_vec()), bind(SYSTEM, &role_name, &role_name, subjects)]
}

/// All of them.
pub(super) fn all() -> Vec<Json> {
    let maps = |verbs: &[&str]| rule(&[""], &["configmaps"], verbs);
    let secrets = |verbs: &[&str]| rule(&[""], &["secrets"], verbs);
    let readers = vec![user(&format!("system:{MANAGER}")), user(&format!("system:{SCHEDULER}"))];
    let mut all = vec![
        role(SYSTEM, READER, vec![named(&[""], "configmaps", &["extension-apiserver-authentication"], READ)]),
        bind(SYSTEM, &format!("system::{READER}"), READER, readers),
    ];
    all.extend([MANAGER, SCHEDULER].into_iter().flat_map(leader));
    all.extend(of_controller(SYSTEM, "bootstrap-signer", vec![secrets(READ)]));
    all.extend(of_controller(SYSTEM, "cloud-provider", vec![maps(&["create", "get", "list", "watch"])]));
    all.extend(of_controller(SYSTEM, "token-cleaner", vec![secrets(&["delete", "get", "list", "watch"]), events()]));
    let signs = named(&[""], "configmaps", &["cluster-info"], &["update"]);
    all.extend(of_controller(PUBLIC, "bootstrap-signer", vec![maps(READ), signs, events()]));
    all
}
