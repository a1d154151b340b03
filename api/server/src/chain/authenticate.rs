//! Who a request is from.

use crate::auth::Anonymous;
use crate::stream::websocket::{is_websocket, offered};
use crate::{Authenticator, Credentials};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdfast_core::{Status, UserInfo};
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue};
use std::sync::Arc;

/// What stands before a token among the subprotocols of a WebSocket: a page in a browser can send it in no other way.
const IN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// What a request proves.
///
/// # Errors
/// 401 for a token among subprotocols that does not read.
pub fn credentials(headers: &mut HeaderMap, certificates: &Arc<Vec<Vec<u8>>>) -> Result<Credentials, Status> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_string())
    });
    let bearer = match bearer.filter(|token| !token.is_empty()) {
        Some(token) => Some(token),
        None => token_in_protocols(headers)?,
    };
    Ok(Credentials { bearer, client_certificates: certificates.to_vec() })
}

/// The token among the subprotocols, which nobody behind is to see.
fn token_in_protocols(headers: &mut HeaderMap) -> Result<Option<String>, Status> {
    if !is_websocket(headers) {
        return Ok(None);
    }
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        offered(headers).into_iter().partition(|name| name.starts_with(IN_PROTOCOL));
    let [token] = tokens[..] else {
        return if tokens.is_empty() { Ok(None) } else { Err(Status::unauthorized()) };
    };
    let decoded =
        URL_SAFE_NO_PAD.decode(&token[IN_PROTOCOL.len()..]).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    // A server that chose the token as its protocol would tell it to everybody.
    let decoded = decoded.filter(|token| !token.is_empty() && !others.is_empty()).ok_or_else(Status::unauthorized)?;
    let rest = HeaderValue::from_str(&others.join(",")).map_err(|_| Status::unauthorized())?;
    headers.insert(SEC_WEBSOCKET_PROTOCOL, rest);
    Ok(Some(decoded))
}

/// Asks each authenticator in turn.
///
/// # Errors
/// 401 when credentials are there but nobody accepts them, or when there are none and `path` is not for those without.
pub async fn authenticate(
    authenticators: &[Arc<dyn Authenticator>],
    credentials: &Credentials,
    anonymous: &Anonymous,
    path: &str,
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
    if credentials.bearer.is_some() || !anonymous.may_ask(path) {
        return Err(Status::unauthorized());
    }
    Ok(UserInfo::anonymous())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(protocols: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-protocol", protocols)]
        {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn bearer(headers: &mut HeaderMap) -> Result<Option<String>, u16> {
        credentials(headers, &Arc::default()).map(|found| found.bearer).map_err(|status| status.code())
    }

    #[test]
    fn a_token_may_stand_among_the_subprotocols() {
        let mut headers = handshake("base64url.bearer.authorization.k8s.io.Ym9iOmRldg, v5.channel.k8s.io");
        assert_eq!(bearer(&mut headers), Ok(Some("bob:dev".to_string())));
        assert_eq!(headers[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
        assert_eq!(bearer(&mut handshake("v5.channel.k8s.io")), Ok(None));
        let token = "base64url.bearer.authorization.k8s.io.Ym9iOmRldg";
        for refused in [token, &format!("{token}!, x"), &format!("{token}, {token}, x"), &format!("{IN_PROTOCOL}, x")] {
            assert_eq!(bearer(&mut handshake(refused)), Err(401), "{refused}");
        }
        let mut plain = HeaderMap::new();
        plain.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(&format!("{token}, x")).unwrap());
        assert_eq!(bearer(&mut plain), Ok(None));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer eve:dev"));
        assert_eq!(bearer(&mut headers), Ok(Some("eve:dev".to_string())));
    }
}
