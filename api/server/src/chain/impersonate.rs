//! Acting as someone else (`kubectl --as`).
//!
//! First, as Kubernetes has it since 1.36, by rights that are for certain users and certain requests: the verb
//! `impersonate:<mode>` on whom one acts as, and `impersonate-on:<mode>:<verb>` on what is asked for. Then by the right to
//! `impersonate` each part of a user, whatever is asked for.
//! (<https://kep.k8s.io/5284>, <https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/>)

use super::request_info::percent_decode;
use crate::{Attributes, Authorizer, Decision};
use holdfast_core::user::{ANONYMOUS, AUTHENTICATED, MASTERS, NODES, UNAUTHENTICATED};
use holdfast_core::{Gvr, Status, Target, UserInfo, names};
use http::HeaderMap;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_OF_TOKEN: &str = "authentication.kubernetes.io/node-name";
/// From so many on, the right to all groups, or all extras, is asked for first.
const MANY: usize = 4;

/// Whom a request acts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acting {
    /// The user.
    pub user: UserInfo,
    /// The verb by which that is allowed, where it is one for certain users alone; for the audit log.
    pub constraint: Option<&'static str>,
}

/// The user that the request acts as; `None` when it asks for no other. `asked` is the request, as of its real user.
///
/// # Errors
/// 403 when that may not, 400 for headers that make no sense.
pub async fn impersonate(
    authorizer: &dyn Authorizer,
    asked: &Attributes<'_>,
    headers: &HeaderMap,
) -> Result<Option<Acting>, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(None) };
    let mut refused = None;
    for mode in MODES {
        if !mode.fits(&wanted, asked.user) {
            continue;
        }
        let asker = Asker { authorizer, asked, mode };
        match asker.check(&wanted).await {
            Ok(user) => return Ok(Some(Acting { user, constraint: mode.constraint() })),
            Err(status) => refused = refused.or(Some(status)),
        }
    }
    Err(refused.unwrap_or_else(|| Status::internal("there is no way to act as that user")))
}

/// What the headers say; `None` when they say nothing.
fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let values = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(String::from).collect()
    };
    let first = |name: &str| values(name).into_iter().next().unwrap_or_default();
    let mut wanted = UserInfo { name: first(USER), uid: first(UID), groups: values(GROUP), ..UserInfo::default() };
    for (key, value) in headers {
        let Some(extra) = key.as_str().strip_prefix(EXTRA) else { continue };
        let value = value.to_str().unwrap_or_default();
        wanted.extra.entry(percent_decode(extra)).or_default().push(value.to_string());
    }
    let partly = !(wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty());
    match (wanted.name.is_empty(), partly) {
        (false, _) => Ok(Some(wanted)),
        (true, false) => Ok(None),
        (true, true) => Err(Status::bad_request(format!(
            "requested uid {:?}, groups {:?}, extra {:?} without impersonating a user name",
            wanted.uid, wanted.groups, wanted.extra
        ))),
    }
}

/// A way to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A ServiceAccount acts as the node that its pod runs on.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// Users that are neither.
    UserInfo,
    /// As ever: any user, for whatever request.
    Unbound,
}

/// In upstream's order.
const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Unbound];

impl Mode {
    /// Its name in `impersonate-on:<mode>:<verb>`.
    fn name(self) -> &'static str {
        self.verb().split_once(':').map_or("", |(_, name)| name)
    }

    /// The verb on whom one acts as.
    fn verb(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "impersonate:associated-node",
            Mode::ArbitraryNode => "impersonate:arbitrary-node",
            Mode::ServiceAccount => "impersonate:serviceaccount",
            Mode::UserInfo => "impersonate:user-info",
            Mode::Unbound => "impersonate",
        }
    }

    fn constraint(self) -> Option<&'static str> {
        (self != Mode::Unbound).then(|| self.verb())
    }

    /// Whether it is about such users. Of a node or an account nothing but the name can be chosen.
    fn fits(self, wanted: &UserInfo, requestor: &UserInfo) -> bool {
        let by_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let (node, account) = (node_of(&wanted.name), account_of(&wanted.name));
        match self {
            Mode::AssociatedNode => {
                let own = match requestor.extra.get(NODE_OF_TOKEN).map(Vec::as_slice) {
                    Some([own]) => Some(own.as_str()),
                    _ => None,
                };
                by_name && account_of(&requestor.name).is_some() && node.is_some() && node == own
            }
            Mode::ArbitraryNode => by_name && node.is_some(),
            Mode::ServiceAccount => by_name && account.is_some(),
            Mode::UserInfo => node.is_none() && account.is_none(),
            Mode::Unbound => true,
        }
    }
}

fn node_of(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|name| names::dns_subdomain(name).is_empty())
}

/// Namespace and name of an account.
fn account_of(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let fits = names::dns_label(namespace).is_empty() && names::dns_subdomain(name).is_empty();
    fits.then_some((namespace, name))
}

/// Asks for the rights of one way.
struct Asker<'a> {
    authorizer: &'a dyn Authorizer,
    asked: &'a Attributes<'a>,
    mode: Mode,
}

impl Asker<'_> {
    /// The user, if the requestor may act as it.
    async fn check(&self, wanted: &UserInfo) -> Result<UserInfo, Status> {
        let bound = self.mode != Mode::Unbound;
        if bound {
            let verb = format!("impersonate-on:{}:{}", self.mode.name(), self.asked.verb);
            self.allowed(&Attributes { verb: &verb, ..self.asked.clone() }).await?;
        }
        let mut acting = wanted.clone();
        let mut whom = self.part("users", &wanted.name);
        if bound && let Some(node) = node_of(&wanted.name) {
            // Which node it is was judged by the token.
            whom = self.part("nodes", if self.mode == Mode::AssociatedNode { "*" } else { node });
            acting.groups = vec![NODES.to_string()];
        }
        if let Some((namespace, name)) = account_of(&wanted.name) {
            whom = Target { namespace: Some(namespace.to_string()), ..self.part("serviceaccounts", name) };
            if wanted.groups.is_empty() {
                let mut groups = UserInfo::service_account(namespace, name).groups;
                groups.retain(|group| group != AUTHENTICATED);
                acting.groups = groups;
            }
        }
        self.may(&whom).await?;
        if !wanted.uid.is_empty() {
            self.may(&Target::object(Gvr::new(AUTHENTICATION, "v1", "uids"), "", &wanted.uid)).await?;
        }
        self.groups(&wanted.groups, bound).await?;
        self.extras(wanted, bound).await?;
        let implied = if acting.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !acting.is_in(implied) && !acting.is_in(UNAUTHENTICATED) {
            acting.groups.push(implied.to_string());
        }
        Ok(acting)
    }

    async fn groups(&self, groups: &[String], bound: bool) -> Result<(), Status> {
        if bound {
            if groups.iter().any(String::is_empty) {
                return Err(
                    self.refused(&self.part("groups", ""), "impersonating the empty string group is not allowed")
                );
            }
            if groups.iter().any(|group| group == MASTERS) {
                let why = "impersonating the system:masters group is not allowed";
                return Err(self.refused(&self.part("groups", MASTERS), why));
            }
            if groups.len() >= MANY && self.may(&self.part("groups", "*")).await.is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            self.may(&self.part("groups", group)).await?;
        }
        Ok(())
    }

    async fn extras(&self, wanted: &UserInfo, bound: bool) -> Result<(), Status> {
        let extra = |key: &str, value: &str| {
            Target::object(Gvr::new(AUTHENTICATION, "v1", "userextras"), "", value).with_subresource(key)
        };
        if bound {
            if let Some(why) = wanted.extra.iter().find_map(|(key, values)| bad_extra(key, values)) {
                let target = Target::object(Gvr::new(AUTHENTICATION, "v1", "userextras"), "", "");
                return Err(self.refused(&target, &why));
            }
            let many = wanted.extra.values().map(Vec::len).sum::<usize>() >= MANY;
            if many && self.may(&extra("*", "*")).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in &wanted.extra {
            for value in values {
                self.may(&extra(key, value)).await?;
            }
        }
        Ok(())
    }

    /// A user, a group or a node: in the group of authentication, but for the oldest right.
    fn part(&self, resource: &str, name: &str) -> Target {
        let group = if self.mode == Mode::Unbound { "" } else { AUTHENTICATION };
        Target::object(Gvr::new(group, "v1", resource), "", name)
    }

    async fn may(&self, target: &Target) -> Result<(), Status> {
        self.allowed(&Attributes { user: self.asked.user, verb: self.mode.verb(), target: Some(target), path: "" })
            .await
    }

    async fn allowed(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.authorizer.authorize(attributes).await {
            Decision::Allow => Ok(()),
            Decision::Deny(why) | Decision::NoOpinion(why) => Err(crate::api::refusal(attributes, &why)),
        }
    }

    fn refused(&self, target: &Target, why: &str) -> Status {
        crate::api::denied(self.asked.user, target, self.mode.verb(), why)
    }
}

/// What is wrong with an extra, where nobody did without the rule before.
fn bad_extra(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".into());
    }
    let (domain, path) = key.split_once('/').unwrap_or((key, ""));
    if path.is_empty() || !names::dns_subdomain(domain).is_empty() {
        return Some(format!(
            "impersonating an invalid key in extra is not allowed: {key:?} must be a domain-prefixed path (such as \
             \"acme.io/foo\")"
        ));
    }
    if key.chars().any(char::is_uppercase) {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
    }
    let empty = values.iter().any(String::is_empty);
    empty.then(|| "impersonating the empty string value in extra is not allowed".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use http::{HeaderName, HeaderValue};
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    /// Allows what it is told to, as `verb group/resource[/subresource] [namespace/]name`, and notes what it is asked.
    struct Rights(BTreeSet<&'static str>, Mutex<Vec<String>>);

    #[async_trait]
    impl Authorizer for Rights {
        async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
            let text = match attributes.target {
                Some(target) => {
                    let part = target.subresource.as_ref().map(|part| format!("/{part}")).unwrap_or_default();
                    let scope = target.namespace.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
                    let Gvr { group, resource, .. } = &target.gvr;
                    format!("{} {group}/{resource}{part} {scope}{}", attributes.verb, target.name())
                }
                None => format!("{} {}", attributes.verb, attributes.path),
            };
            let allowed = self.0.contains(text.as_str());
            self.1.lock().unwrap().push(text);
            if allowed { Decision::Allow } else { Decision::NoOpinion(String::new()) }
        }
    }

    async fn act(rights: &[&'static str], user: &UserInfo, headers: &[(&str, &str)]) -> Result<Acting, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let rights = Rights(rights.iter().copied().collect(), Mutex::default());
        let target = Target::collection(Gvr::new("", "v1", "pods"), "a");
        let asked = Attributes { user, verb: "list", target: Some(&target), path: "" };
        match impersonate(&rights, &asked, &map).await {
            Ok(acting) => Ok(acting.unwrap()),
            Err(status) => Err(format!("{} {}", status.code(), status.message())),
        }
    }

    fn bob() -> UserInfo {
        UserInfo::new("bob", &[])
    }

    #[tokio::test]
    async fn the_old_right_is_asked_for_each_part() {
        let headers = [
            ("impersonate-user", "eve"),
            ("impersonate-group", "dev"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-acme.io%2Fscope", "view"),
        ];
        let rights = [
            "impersonate /users eve",
            "impersonate /groups dev",
            "impersonate authentication.k8s.io/uids 7",
            "impersonate authentication.k8s.io/userextras/acme.io/scope view",
        ];
        let acting = act(&rights, &bob(), &headers).await.unwrap();
        assert_eq!(acting.constraint, None);
        assert_eq!((acting.user.name.as_str(), acting.user.uid.as_str()), ("eve", "7"));
        assert_eq!(acting.user.groups, ["dev", "system:authenticated"]);
        assert_eq!(acting.user.extra["acme.io/scope"], ["view"]);
        for missing in 0..rights.len() {
            let some: Vec<_> =
                rights.iter().copied().enumerate().filter(|(at, _)| *at != missing).map(|(_, r)| r).collect();
            let refused = act(&some, &bob(), &headers).await.unwrap_err();
            // Upstream tells what the first way lacked.
            let text = "403 pods is forbidden: User \"bob\" cannot impersonate-on:user-info:list resource \"pods\" in API \
                        group \"\" in the namespace \"a\"";
            assert_eq!(refused, text);
        }
    }

    #[tokio::test]
    async fn rights_may_be_bound_to_what_is_asked_for() {
        let on = "impersonate-on:user-info:list /pods a/";
        let whom = "impersonate:user-info authentication.k8s.io/users eve";
        let acting = act(&[on, whom], &bob(), &[("impersonate-user", "eve")]).await.unwrap();
        assert_eq!(acting.constraint, Some("impersonate:user-info"));
        for one in [on, whom] {
            assert!(act(&[one], &bob(), &[("impersonate-user", "eve")]).await.is_err(), "{one}");
        }
        let masters = [("impersonate-user", "eve"), ("impersonate-group", "system:masters")];
        let all = [on, whom, "impersonate:user-info authentication.k8s.io/groups system:masters"];
        let refused = act(&all, &bob(), &masters).await.unwrap_err();
        assert!(refused.ends_with("impersonating the system:masters group is not allowed"), "{refused}");
        let extra = [("impersonate-user", "eve"), ("impersonate-extra-scope", "x")];
        let refused = act(&[on, whom], &bob(), &extra).await.unwrap_err();
        assert!(refused.contains("impersonating an invalid key in extra is not allowed"), "{refused}");
    }

    #[tokio::test]
    async fn an_account_acts_as_its_own_node() {
        let rights = [
            "impersonate-on:associated-node:list /pods a/",
            "impersonate:associated-node authentication.k8s.io/nodes *",
        ];
        let mut account = UserInfo::service_account("kube-system", "agent");
        account.extra.insert(NODE_OF_TOKEN.into(), vec!["edge-1".into()]);
        let acting = act(&rights, &account, &[("impersonate-user", "system:node:edge-1")]).await.unwrap();
        assert_eq!(acting.user.groups, ["system:nodes", "system:authenticated"]);
        assert_eq!(acting.user.name, "system:node:edge-1");
        for (user, node) in [(&account, "system:node:edge-2"), (&bob(), "system:node:edge-1")] {
            assert!(act(&rights, user, &[("impersonate-user", node)]).await.is_err(), "{} as {node}", user.name);
        }
    }

    #[tokio::test]
    async fn accounts_have_their_groups_and_nobody_has_none() {
        let rights = [
            "impersonate-on:serviceaccount:list /pods a/",
            "impersonate:serviceaccount authentication.k8s.io/serviceaccounts one/web",
            "impersonate /users system:anonymous",
        ];
        let acting = act(&rights, &bob(), &[("impersonate-user", "system:serviceaccount:one:web")]).await.unwrap();
        let groups = ["system:serviceaccounts", "system:serviceaccounts:one", "system:authenticated"];
        assert_eq!(
            (acting.user.groups, acting.constraint),
            (groups.map(String::from).to_vec(), Some("impersonate:serviceaccount"))
        );
        let acting = act(&rights, &bob(), &[("impersonate-user", "system:anonymous")]).await.unwrap();
        assert_eq!(acting.user.groups, ["system:unauthenticated"]);
        let refused = act(&rights, &bob(), &[("impersonate-group", "dev")]).await.unwrap_err();
        assert!(refused.starts_with("400 ") && refused.contains("without impersonating a user name"), "{refused}");
    }
}
