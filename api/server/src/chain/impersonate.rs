//! Acting as someone else (`kubectl --as`): allowed to whoever may `impersonate` each part of it.

use crate::{Attributes, Authorizer, Decision};
use holdfast_core::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};
use holdfast_core::{Gvr, Status, Target, UserInfo};
use http::HeaderMap;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The user that the request acts as; `user` itself when it asks for nothing else.
///
/// # Errors
/// 403 when `user` may not, 400 for headers that make no sense.
pub async fn impersonate(authorizer: &dyn Authorizer, user: UserInfo, headers: &HeaderMap) -> Result<UserInfo, Status> {
    let values = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(String::from).collect()
    };
    let asks = headers.keys().any(|name| name.as_str().starts_with("impersonate-"));
    if !asks {
        return Ok(user);
    }
    let name = values(USER).into_iter().next().filter(|name| !name.is_empty()).ok_or_else(|| {
        Status::bad_request("requested impersonation of groups, a uid or extras without impersonating a user")
    })?;
    let service_account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let target = match service_account {
        Some((namespace, account)) => Target::object(Gvr::new("", "v1", "serviceaccounts"), namespace, account),
        None => Target::object(Gvr::new("", "v1", "users"), "", &name),
    };
    allowed(authorizer, &user, &target).await?;
    let mut acting = match service_account {
        Some((namespace, account)) => UserInfo::service_account(namespace, account),
        None => UserInfo { name: name.clone(), ..UserInfo::default() },
    };
    let groups = values(GROUP);
    if !groups.is_empty() {
        acting.groups.clear();
    }
    for group in groups {
        allowed(authorizer, &user, &Target::object(Gvr::new("", "v1", "groups"), "", &group)).await?;
        acting.groups.push(group);
    }
    for uid in values(UID) {
        let target = Target::object(Gvr::new("authentication.k8s.io", "v1", "uids"), "", &uid);
        allowed(authorizer, &user, &target).await?;
        acting.uid = uid;
    }
    for (key, value) in headers {
        let Some(extra) = key.as_str().strip_prefix(EXTRA) else { continue };
        let value = value.to_str().unwrap_or_default();
        let target = Target::object(Gvr::new("authentication.k8s.io", "v1", "userextras"), "", value);
        allowed(authorizer, &user, &target.with_subresource(extra)).await?;
        acting.extra.entry(extra.to_string()).or_default().push(value.to_string());
    }
    let implied = if acting.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !acting.is_in(implied) {
        acting.groups.push(implied.to_string());
    }
    Ok(acting)
}

async fn allowed(authorizer: &dyn Authorizer, user: &UserInfo, target: &Target) -> Result<(), Status> {
    let attributes = Attributes { user, verb: "impersonate", target: Some(target), path: "" };
    match authorizer.authorize(&attributes).await {
        Decision::Allow => Ok(()),
        Decision::Deny(why) | Decision::NoOpinion(why) => Err(crate::api::denied(user, target, "impersonate", &why)),
    }
}
