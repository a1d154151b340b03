//! Bootstrap tokens: `<id>.<secret>`, kept as Secrets `bootstrap-token-<id>` in `kube-system`
//! (the Kubernetes documentation of bootstrap tokens). Nodes join with them.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::{Gvr, Json, Reason, Status, Target, Timestamp, UserInfo, json};
use holdfast_env::World;
use holdfast_server::{Authenticator, Credentials, Registry, RequestContext};
use std::sync::Arc;

/// The type of their Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of their users; a token's `auth-extra-groups` come on top.
const GROUP: &str = "system:bootstrappers";

/// Checks bootstrap tokens.
pub struct BootstrapTokens {
    registry: Arc<dyn Registry>,
    world: World,
}

impl BootstrapTokens {
    /// Over the Secrets of `registry`, by the clock of `world`.
    pub fn new(registry: Arc<dyn Registry>, world: World) -> BootstrapTokens {
        BootstrapTokens { registry, world }
    }

    /// The user of a token that may authenticate.
    ///
    /// # Errors
    /// Why the token is refused, in one sentence that does not tell a wrong id from a wrong secret.
    pub async fn validate(&self, id: &str, secret: &str) -> Result<UserInfo, String> {
        const UNKNOWN: &str = "the token is unknown; make one with `holdfast-hub token create`";
        if !is_word(id, 6) || !is_word(secret, 16) {
            return Err(UNKNOWN.into());
        }
        let at = Target::object(Gvr::new("", "v1", "secrets"), "kube-system", &format!("bootstrap-token-{id}"));
        let cx = RequestContext::new(UserInfo::new("system:bootstrap-signer", &[]), "bootstrap-token");
        let document = match self.registry.get(&cx, &at).await {
            Ok(object) if !object.meta.is_deleting() => object.to_json(),
            Ok(_) => return Err(UNKNOWN.into()),
            Err(status) if status.is(Reason::NotFound) => return Err(UNKNOWN.into()),
            Err(status) => return Err(status.message().to_string()),
        };
        let known = json::str_at(&document, &["type"]) == Some(SECRET_TYPE)
            && field(&document, "token-id").as_deref() == Some(id)
            && field(&document, "token-secret").is_some_and(|kept| same(&kept, secret));
        if !known {
            return Err(UNKNOWN.into());
        }
        if let Some(expiration) = field(&document, "expiration").filter(|text| !text.is_empty()) {
            let now = Timestamp::from_wall(self.world.wall().0);
            if Timestamp::parse(&expiration).is_none_or(|end| end <= now) {
                return Err(format!(
                    "the token expired at {expiration}; make a new one with `holdfast-hub token create`"
                ));
            }
        }
        if field(&document, "usage-bootstrap-authentication").as_deref() != Some("true") {
            return Err("the token may not be used to authenticate".into());
        }
        let extra = field(&document, "auth-extra-groups").unwrap_or_default();
        let prefix = format!("{GROUP}:");
        let mut groups = vec![GROUP];
        groups.extend(extra.split(',').map(str::trim).filter(|group| group.starts_with(&prefix)));
        Ok(UserInfo::new(&format!("system:bootstrap:{id}"), &groups))
    }
}

#[async_trait]
impl Authenticator for BootstrapTokens {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, Status> {
        let token = credentials.bearer.as_deref().and_then(|token| token.split_once('.'));
        let Some((id, secret)) = token.filter(|(id, secret)| is_word(id, 6) && is_word(secret, 16)) else {
            return Ok(None);
        };
        self.validate(id, secret).await.map(Some).map_err(|_| Status::unauthorized())
    }
}

fn is_word(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn field(document: &Json, key: &str) -> Option<String> {
    let bytes = STANDARD.decode(json::str_at(document, &["data", key])?).ok()?;
    String::from_utf8(bytes).ok()
}

/// Compares without telling by time where the difference lies.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
