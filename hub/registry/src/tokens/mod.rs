//! ServiceAccount tokens: what they say, who signs them, and who believes them.

pub mod auth;
mod jwt;

pub use auth::ServiceAccountAuthenticator;
pub use jwt::JwtIssuer;

use holdfast_core::{Json, Status, Timestamp};

/// Objects that a token dies with, each as name and UID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// The pod that uses the token.
    pub pod: Option<(String, String)>,
    /// The node that the pod runs on, or that the token is bound to.
    pub node: Option<(String, String)>,
    /// A Secret that the token is bound to.
    pub secret: Option<(String, String)>,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    /// Namespace of the account.
    pub namespace: String,
    /// Name of the account.
    pub account: String,
    /// UID of the account.
    pub account_uid: String,
    /// What the token dies with.
    pub bound: Bound,
    /// For whom it is.
    pub audiences: Vec<String>,
    /// How long it is good, in seconds.
    pub seconds: u64,
    /// Names this token (`jti`).
    pub id: String,
}

/// Signs and verifies tokens. The wall clock is an argument.
pub trait TokenIssuer: Send + Sync + 'static {
    /// The `iss` of its tokens.
    fn issuer(&self) -> &str;

    /// The audience of the API server itself.
    fn audience(&self) -> &str;

    /// A signed token (JWS compact form, RFC 7515).
    ///
    /// # Errors
    /// 500 when the key does not sign.
    fn issue(&self, claims: &TokenClaims, now: Timestamp) -> Result<String, Status>;

    /// What a token says, when it is ours, good now, and for one of `audiences` (the API server's own when
    /// empty). Whether account and pod still exist is asked by [`ServiceAccountAuthenticator`].
    ///
    /// # Errors
    /// 401 with the reason.
    fn verify(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<TokenClaims, Status>;

    /// The node that says of itself to have signed a token, as name and UID; nothing of it is proven. `None` for
    /// a token of our own key, and for one that no node can have signed.
    fn delegate(&self, token: &str) -> Option<(String, String)>;

    /// As [`TokenIssuer::verify`], of a token signed by a node whose public key (a JWK) is `public_key`. Whether
    /// the node may speak for its pod and account is asked by [`ServiceAccountAuthenticator`].
    ///
    /// # Errors
    /// 401 with the reason, also when the token lives longer than a node may grant.
    fn verify_delegated(
        &self,
        token: &str,
        public_key: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<TokenClaims, Status>;

    /// The public keys (RFC 7517), as `/openid/v1/jwks` serves them.
    fn jwks(&self) -> Json;
}

/// The signing key of tests.
#[cfg(test)]
pub(crate) fn tests_key() -> &'static str {
    jwt::tests::KEY
}
