//! [`TokenIssuer`] over one ES256 key (RFC 7518).

use super::{Bound, TokenClaims, TokenIssuer};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdfast_core::{Json, Reason, Status, Timestamp};
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// Clocks of clients may differ by so much from ours.
const LEEWAY_SECONDS: i64 = 10;
/// The longest life of a token that a node signs for its pods while its link is cut.
const DELEGATED_SECONDS: i64 = 3600;

/// Signs with one P-256 key.
pub struct JwtIssuer {
    issuer: String,
    audience: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    public: Jwk,
    key_id: String,
}

#[derive(Serialize, Deserialize)]
struct Named {
    name: String,
    uid: String,
}

#[derive(Serialize, Deserialize)]
struct Kubernetes {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Named>,
    serviceaccount: Named,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
    nbf: i64,
    sub: String,
}

fn bad_key(err: impl std::fmt::Display) -> Status {
    Status::internal(format!("the ServiceAccount signing key is no P-256 key in PKCS#8: {err}"))
}

impl JwtIssuer {
    /// From a PKCS#8 PEM text.
    ///
    /// # Errors
    /// When it is no P-256 key.
    pub fn from_pem(pem: &[u8], issuer: &str, audience: &str) -> Result<JwtIssuer, Status> {
        JwtIssuer::from_key(EncodingKey::from_ec_pem(pem).map_err(bad_key)?, issuer, audience)
    }

    /// From PKCS#8 DER bytes.
    ///
    /// # Errors
    /// When it is no P-256 key.
    pub fn from_der(der: &[u8], issuer: &str, audience: &str) -> Result<JwtIssuer, Status> {
        JwtIssuer::from_key(EncodingKey::from_ec_der(der), issuer, audience)
    }

    fn from_key(signing: EncodingKey, issuer: &str, audience: &str) -> Result<JwtIssuer, Status> {
        let mut public = Jwk::from_encoding_key(&signing, Algorithm::ES256).map_err(bad_key)?;
        let verifying = DecodingKey::from_jwk(&public).map_err(bad_key)?;
        let key_id = public.thumbprint(ThumbprintHash::SHA256).map_err(bad_key)?;
        public.common.key_id = Some(key_id.clone());
        public.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        public.common.key_algorithm = Some(jsonwebtoken::jwk::KeyAlgorithm::ES256);
        let (issuer, audience) = (issuer.to_string(), audience.to_string());
        Ok(JwtIssuer { issuer, audience, signing, verifying, public, key_id })
    }
}

fn refuse(why: impl std::fmt::Display) -> Status {
    Status::failure(401, Reason::Unauthorized, format!("invalid bearer token: {why}"))
}

fn named((name, uid): (String, String)) -> Named {
    Named { name, uid }
}

fn pair(named: Named) -> (String, String) {
    (named.name, named.uid)
}

impl TokenIssuer for JwtIssuer {
    fn issuer(&self) -> &str {
        &self.issuer
    }

    fn audience(&self) -> &str {
        &self.audience
    }

    fn issue(&self, claims: &TokenClaims, now: Timestamp) -> Result<String, Status> {
        let issued = now.secs();
        let lifetime = i64::try_from(claims.seconds).unwrap_or(i64::MAX);
        let body = Claims {
            aud: claims.audiences.clone(),
            exp: issued.saturating_add(lifetime),
            iat: issued,
            iss: self.issuer.clone(),
            jti: claims.id.clone(),
            kubernetes: Kubernetes {
                namespace: claims.namespace.clone(),
                node: claims.bound.node.clone().map(named),
                pod: claims.bound.pod.clone().map(named),
                secret: claims.bound.secret.clone().map(named),
                serviceaccount: Named { name: claims.account.clone(), uid: claims.account_uid.clone() },
            },
            nbf: issued,
            sub: format!("system:serviceaccount:{}:{}", claims.namespace, claims.account),
        };
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(self.key_id.clone());
        jsonwebtoken::encode(&header, &body, &self.signing).map_err(Status::internal)
    }

    fn verify(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<TokenClaims, Status> {
        let claims = self.read(token, &self.verifying)?;
        self.judge(claims, audiences, now)
    }

    fn delegate(&self, token: &str) -> Option<(String, String)> {
        let key_id = jsonwebtoken::decode_header(token).ok()?.kid?;
        if key_id == self.key_id {
            return None;
        }
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        claims.kubernetes.node.map(pair).filter(|(_, uid)| *uid == key_id)
    }

    fn verify_delegated(
        &self,
        token: &str,
        public_key: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<TokenClaims, Status> {
        let key: Jwk = serde_json::from_str(public_key).map_err(|err| refuse(format!("the node's key: {err}")))?;
        let key = DecodingKey::from_jwk(&key).map_err(|err| refuse(format!("the node's key: {err}")))?;
        let claims = self.read(token, &key)?;
        let granted = claims.exp.saturating_sub(claims.iat);
        let left = claims.exp.saturating_sub(now.secs());
        if granted > DELEGATED_SECONDS || left > DELEGATED_SECONDS + LEEWAY_SECONDS {
            return Err(refuse("it lives longer than a node may grant"));
        }
        self.judge(claims, audiences, now)
    }

    fn jwks(&self) -> Json {
        serde_json::json!({ "keys": [self.public] })
    }
}

impl JwtIssuer {
    /// The claims of a token that `key` has signed.
    fn read(&self, token: &str, key: &DecodingKey) -> Result<Claims, Status> {
        let mut validation = Validation::new(Algorithm::ES256);
        // Times and audiences are judged below: the clock is the world's, not the machine's.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        validation.set_issuer(&[&self.issuer]);
        Ok(jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(refuse)?.claims)
    }

    /// What the claims come to: times, audiences, subject.
    fn judge(&self, claims: Claims, audiences: &[String], now: Timestamp) -> Result<TokenClaims, Status> {
        if claims.exp.saturating_add(LEEWAY_SECONDS) < now.secs() {
            return Err(refuse("service account token has expired"));
        }
        if claims.nbf.saturating_sub(LEEWAY_SECONDS) > now.secs() {
            return Err(refuse("service account token is not valid yet"));
        }
        let own = [self.audience.clone()];
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        let shared: Vec<String> = claims.aud.iter().filter(|audience| wanted.contains(audience)).cloned().collect();
        if shared.is_empty() {
            return Err(refuse(format!(
                "token audiences {:?} is invalid for the target audiences {wanted:?}",
                claims.aud
            )));
        }
        let kubernetes = claims.kubernetes;
        if claims.sub != format!("system:serviceaccount:{}:{}", kubernetes.namespace, kubernetes.serviceaccount.name) {
            return Err(refuse("the subject does not match the account"));
        }
        Ok(TokenClaims {
            namespace: kubernetes.namespace,
            account: kubernetes.serviceaccount.name,
            account_uid: kubernetes.serviceaccount.uid,
            bound: Bound {
                pod: kubernetes.pod.map(pair),
                node: kubernetes.node.map(pair),
                secret: kubernetes.secret.map(pair),
            },
            audiences: shared,
            seconds: u64::try_from(claims.exp - now.secs()).unwrap_or(0),
            id: claims.jti,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key for tests only, made with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
    pub(crate) const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJd6hTOyomjUdIyRC\nYjh/Dm8g4otgXJzqOecJ+mXE+kmhRANCAARH14mOAwTSntb5ZbbX5c4a8MzIq9+T\nCdOQAlWTE+Pf6ZefUxvrjjmOIURppA+QM4G8o7kx8hyw7R3Lt4OISE2Y\n-----END PRIVATE KEY-----";

    #[test]
    fn tokens_are_believed_only_when_they_are_ours_and_good() {
        let issuer = JwtIssuer::from_pem(KEY.as_bytes(), "https://kubernetes.default.svc", "api").unwrap();
        let claims = TokenClaims {
            namespace: "demo".into(),
            account: "web".into(),
            account_uid: "u1".into(),
            bound: Bound { pod: Some(("web-1".into(), "p1".into())), ..Bound::default() },
            audiences: vec!["api".into()],
            seconds: 600,
            id: "t1".into(),
        };
        let now = Timestamp::from_secs(1_000_000);
        let token = issuer.issue(&claims, now).unwrap();
        assert_eq!(issuer.verify(&token, &[], now).unwrap(), claims);
        let why = |result: Result<TokenClaims, Status>| result.unwrap_err().message().to_string();
        assert!(why(issuer.verify(&token, &[], Timestamp::from_secs(1_000_700))).ends_with("has expired"));
        assert!(why(issuer.verify(&token, &[], Timestamp::from_secs(900_000))).ends_with("not valid yet"));
        assert!(why(issuer.verify(&token, &["other".into()], now)).contains("is invalid for the target audiences"));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
        assert!(issuer.verify(&forged, &[], now).is_err());
        let other = JwtIssuer::from_pem(KEY.as_bytes(), "https://elsewhere", "api").unwrap();
        assert!(other.verify(&token, &[], now).is_err());
        assert!(issuer.jwks()["keys"][0]["kid"].is_string());
        assert!(JwtIssuer::from_pem(b"nonsense", "i", "a").is_err());
    }
}
