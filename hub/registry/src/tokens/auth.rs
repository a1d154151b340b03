//! Who a bearer token is from: the signature, and that account and bound objects still exist.

use super::TokenClaims;
use crate::engine::Engine;
use async_trait::async_trait;
use holdfast_core::json::{items_at, str_at};
use holdfast_core::meta::TOKEN_KEY;
use holdfast_core::{Gvr, Reason, Status, UserInfo};
use holdfast_server::{Authenticator, Credentials};
use std::sync::Arc;

/// Authenticates ServiceAccount tokens.
pub struct ServiceAccountAuthenticator {
    engine: Arc<Engine>,
}

impl ServiceAccountAuthenticator {
    pub(crate) fn new(engine: Arc<Engine>) -> ServiceAccountAuthenticator {
        ServiceAccountAuthenticator { engine }
    }
}

#[async_trait]
impl Authenticator for ServiceAccountAuthenticator {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, Status> {
        let Some(token) = &credentials.bearer else { return Ok(None) };
        // A token that is no JWT is not ours to judge.
        if token.split('.').count() != 3 {
            return Ok(None);
        }
        match check(&self.engine, token, &[]).await {
            Ok((user, _)) => Ok(Some(user)),
            Err(status) if status.is(Reason::Unauthorized) => {
                tracing::debug!(why = %status, "Refused a ServiceAccount token");
                Err(Status::unauthorized())
            }
            Err(status) => Err(status),
        }
    }
}

fn refused(why: impl std::fmt::Display) -> Status {
    Status::failure(401, Reason::Unauthorized, format!("invalid bearer token: {why}"))
}

/// What a token says that a node has signed while its link was cut: believed for a pod that is bound to that node
/// under that UID, for the pod's own account, and for audiences that the pod's volumes ask for.
async fn delegated(
    engine: &Engine,
    token: &str,
    node: &str,
    node_uid: &str,
    audiences: &[String],
) -> Result<TokenClaims, Status> {
    let found = engine.find(&Gvr::new("", "v1", "nodes"), "", node).await?;
    let found = found.filter(|found| found.meta.uid == node_uid).ok_or_else(|| refused("no node has this key"))?;
    let public_key = found.meta.annotations.get(TOKEN_KEY).ok_or_else(|| refused("no node has this key"))?;
    let claims = engine.tokens.verify_delegated(token, public_key, audiences, engine.now())?;
    let not_its = || refused(format!("node {node:?} does not speak for this pod"));
    let (pod, pod_uid) = claims.bound.pod.as_ref().ok_or_else(not_its)?;
    let pod = engine.find(&Gvr::new("", "v1", "pods"), &claims.namespace, pod).await?;
    let pod = pod.filter(|pod| pod.meta.uid == *pod_uid).ok_or_else(not_its)?.to_json();
    if str_at(&pod, &["spec", "nodeName"]) != Some(node)
        || str_at(&pod, &["spec", "serviceAccountName"]) != Some(claims.account.as_str())
    {
        return Err(not_its());
    }
    let sources =
        items_at(&pod, &["spec", "volumes"]).iter().flat_map(|volume| items_at(volume, &["projected", "sources"]));
    let asked: Vec<&str> = sources
        .filter_map(|source| source.get("serviceAccountToken"))
        .map(|token| str_at(token, &["audience"]).filter(|audience| !audience.is_empty()))
        .map(|audience| audience.unwrap_or_else(|| engine.tokens.audience()))
        .collect();
    match claims.audiences.iter().find(|audience| !asked.contains(&audience.as_str())) {
        Some(audience) => Err(refused(format!("the pod asks for no token for {audience:?}"))),
        None => Ok(claims),
    }
}

/// The user behind a token, and the audiences that it shares with `audiences`.
pub(crate) async fn check(
    engine: &Engine,
    token: &str,
    audiences: &[String],
) -> Result<(UserInfo, Vec<String>), Status> {
    let claims = match engine.tokens.delegate(token) {
        None => engine.tokens.verify(token, audiences, engine.now())?,
        Some((name, uid)) => delegated(engine, token, &name, &uid, audiences).await?,
    };
    let TokenClaims { namespace, account, .. } = &claims;
    let refuse = |why: String| Err(refused(why));
    let found = engine.find(&Gvr::new("", "v1", "serviceaccounts"), namespace, account).await?;
    match found {
        None => return refuse(format!("serviceaccounts {account:?} not found")),
        Some(found) if found.meta.uid != claims.account_uid => {
            return refuse(format!(
                "service account UID ({}) does not match claim ({})",
                found.meta.uid, claims.account_uid
            ));
        }
        Some(_) => {}
    }
    let bound = &claims.bound;
    for (resource, namespace, object) in
        [("pods", namespace.as_str(), &bound.pod), ("secrets", namespace.as_str(), &bound.secret)]
    {
        let Some((name, uid)) = object else { continue };
        let found = engine.find(&Gvr::new("", "v1", resource), namespace, name).await?;
        if found.is_none_or(|found| found.meta.uid != *uid) {
            return refuse("service account token has been invalidated".to_string());
        }
    }
    let mut user = UserInfo::service_account(namespace, account);
    user.uid = claims.account_uid.clone();
    let mut extra = |name: &str, value: String| {
        user.extra.insert(format!("authentication.kubernetes.io/{name}"), vec![value]);
    };
    extra("credential-id", format!("JTI={}", claims.id));
    for (kind, object) in [("pod", &bound.pod), ("node", &bound.node)] {
        if let Some((name, uid)) = object {
            extra(&format!("{kind}-name"), name.clone());
            extra(&format!("{kind}-uid"), uid.clone());
        }
    }
    Ok((user, claims.audiences))
}
