//! Who asks.

use std::collections::BTreeMap;

/// An authenticated user (`authentication.k8s.io/v1 UserInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// Name, for example `system:node:edge-1`.
    pub name: String,
    /// UID, where the authenticator knows one (the UID of a ServiceAccount, a node's identity).
    pub uid: String,
    /// Groups; `system:authenticated` included.
    pub groups: Vec<String>,
    /// Further facts of the authenticator.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The group of every authenticated user.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of requests without credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user of requests without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of nodes.
pub const NODES: &str = "system:nodes";

impl UserInfo {
    /// A user in `groups` and `system:authenticated`.
    pub fn new(name: &str, groups: &[&str]) -> UserInfo {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_string()).collect();
        groups.push(AUTHENTICATED.to_string());
        UserInfo { name: name.to_string(), groups, ..UserInfo::default() }
    }

    /// A request without credentials.
    pub fn anonymous() -> UserInfo {
        UserInfo { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..UserInfo::default() }
    }

    /// The node `node`.
    pub fn node(node: &str) -> UserInfo {
        UserInfo::new(&format!("system:node:{node}"), &[NODES])
    }

    /// A ServiceAccount.
    pub fn service_account(namespace: &str, name: &str) -> UserInfo {
        let namespace_group = format!("system:serviceaccounts:{namespace}");
        UserInfo::new(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &namespace_group],
        )
    }

    /// Whether the user is in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|member| member == group)
    }

    /// The node that this user is, if it is one.
    pub fn node_name(&self) -> Option<&str> {
        if self.is_in(NODES) { self.name.strip_prefix("system:node:") } else { None }
    }
}
