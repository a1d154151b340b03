//! Who a bearer token is from: the signature, and that account and bound objects still exist.

use super::TokenClaims;
use crate::engine::Engine;
use async_trait::async_trait;
use holdfast_core::json::{items_at, str_at};
use holdfast_core::meta::TOKEN_KEY;
use holdfast_core::{Gvr, Object, Reason, Status, UserInfo};
use holdfast_server::{Authenticator, Credentials};
use std::sync::Arc;
use std::time::Duration;

/// So long after its deletion an object that waits for finalizers still vouches for its tokens: upstream's leeway of clocks.
const DELETED_LEEWAY: Duration = Duration::from_secs(60);

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

/// Answers a TokenReview: who a token is from, and for which of `audiences` it is. Whoever names no audience means this API.
/// Tokens of other sorts than ServiceAccounts' are for this API alone.
pub(crate) async fn review(
    engine: &Engine,
    token: &str,
    audiences: &[String],
) -> Result<(UserInfo, Vec<String>), Status> {
    if token.split('.').count() == 3 {
        return check(engine, token, audiences).await;
    }
    let own = engine.tokens.audience();
    if audiences.is_empty() || audiences.iter().any(|audience| audience == own) {
        let credentials = Credentials { bearer: Some(token.to_string()), ..Credentials::default() };
        for authenticator in engine.token_authenticators.get().into_iter().flatten() {
            match authenticator.authenticate(&credentials).await {
                Ok(Some(user)) => return Ok((user, vec![own.to_string()])),
                Ok(None) => {}
                Err(status) if status.is(Reason::Unauthorized) => {}
                Err(status) => return Err(status),
            }
        }
    }
    Err(Status::failure(401, Reason::Unauthorized, "invalid bearer token"))
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

/// Whose life a token depends on: resource, what upstream calls it in its texts, namespace, name and UID.
type Life<'a> = (&'static str, &'static str, &'a str, &'a (String, String));

/// The objects that a token dies with. The node of a pod that it is bound to is told and no more, as upstream has it: the pod
/// goes with its node.
fn lives(claims: &TokenClaims) -> Vec<Life<'_>> {
    let (namespace, bound) = (claims.namespace.as_str(), &claims.bound);
    let node = bound.node.as_ref().filter(|_| bound.pod.is_none());
    [
        ("secrets", "secret", namespace, bound.secret.as_ref()),
        ("pods", "pod", namespace, bound.pod.as_ref()),
        ("nodes", "node", "", node),
    ]
    .into_iter()
    .filter_map(|(resource, noun, namespace, object)| Some((resource, noun, namespace, object?)))
    .collect()
}

/// Whether an object was asked to go, longer ago than clocks may differ.
fn is_gone(engine: &Engine, object: &Object) -> bool {
    object.meta.deletion_timestamp.is_some_and(|since| since.after(DELETED_LEEWAY) < engine.now())
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
        Some(found) if is_gone(engine, &found) => {
            return refuse(format!("service account {namespace}/{account} has been deleted"));
        }
        Some(_) => {}
    }
    for (resource, noun, namespace, (name, uid)) in lives(&claims) {
        let found = engine.find(&Gvr::new("", "v1", resource), namespace, name).await?;
        let Some(found) = found else { return refuse("service account token has been invalidated".to_string()) };
        if found.meta.uid != *uid {
            let claim = format!("service account {noun} ref claim ({uid})");
            return refuse(format!("{noun} UID ({}) does not match {claim}", found.meta.uid));
        }
        if is_gone(engine, &found) {
            return refuse("service account token has been invalidated".to_string());
        }
    }
    let bound = &claims.bound;
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
