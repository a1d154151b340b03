//! Who a bearer token is from: the signature, and that account and bound objects still exist.

use super::TokenClaims;
use crate::engine::Engine;
use async_trait::async_trait;
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

/// The user behind a token, and the audiences that it shares with `audiences`.
pub(crate) async fn check(
    engine: &Engine,
    token: &str,
    audiences: &[String],
) -> Result<(UserInfo, Vec<String>), Status> {
    let claims = engine.tokens.verify(token, audiences, engine.now())?;
    let TokenClaims { namespace, account, .. } = &claims;
    let refuse = |why: String| Err(Status::failure(401, Reason::Unauthorized, format!("invalid bearer token: {why}")));
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
