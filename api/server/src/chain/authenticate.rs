//! Who a request is from.

use crate::{Authenticator, Credentials};
use holdfast_core::{Status, UserInfo};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::sync::Arc;

/// What a request proves.
pub fn credentials(headers: &HeaderMap, certificates: &Arc<Vec<Vec<u8>>>) -> Credentials {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_string())
    });
    Credentials { bearer: bearer.filter(|token| !token.is_empty()), client_certificates: certificates.to_vec() }
}

/// Asks each authenticator in turn.
///
/// # Errors
/// 401 when credentials are there but nobody accepts them.
pub async fn authenticate(
    authenticators: &[Arc<dyn Authenticator>],
    credentials: &Credentials,
) -> Result<UserInfo, Status> {
    let mut refused = None;
    for authenticator in authenticators {
        match authenticator.authenticate(credentials).await {
            Ok(Some(user)) => return Ok(user),
            Ok(None) => {}
            Err(status) => refused = Some(status),
        }
    }
    if let Some(status) = refused {
        return Err(status);
    }
    if credentials.bearer.is_some() {
        return Err(Status::unauthorized());
    }
    Ok(UserInfo::anonymous())
}
