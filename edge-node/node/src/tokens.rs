//! ServiceAccount tokens of pods: the hub's while they are fresh, the node's own while the link is cut.
//!
//! A token of the node says what the hub's last one for the same pod, account and audience said, with new times and
//! a life of an hour at most, signed by a key of the node alone (ES256, `kid` is the node's UID). The key is not among
//! the cluster's published ones: only the hub believes such a token, and only for pods of this node (DESIGN: "signed
//! by the node's delegated key"). Back on the link, the hub's tokens take their place again.

use crate::link::LinkState;
use crate::objects::{Objects, token_key};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdfast_core::{Json, Timestamp, json};
use holdfast_env::World;
use holdfast_volumes::VolumeObjects;
use holdfast_volumes::fields::Allocatable;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::json as document;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The longest life of a token of the node's own; the hub believes no longer one.
pub const DELEGATED_LIFE: Duration = Duration::from_secs(3600);

/// The node's key for tokens.
pub trait TokenKey: Send + Sync + 'static {
    /// The public key as a JWK (RFC 7517), for the hub.
    fn public(&self) -> String;
    /// An ES256 signature (RFC 7518 §3.4: r and s, 32 bytes each).
    ///
    /// # Errors
    /// Why it cannot sign.
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, String>;
}

struct Minted {
    token: String,
    from: Timestamp,
    renew_at: Timestamp,
}

/// Gives pods their tokens.
pub(crate) struct NodeTokens {
    env: World,
    node_uid: String,
    key: Option<Arc<dyn TokenKey>>,
    link: OnceLock<watch::Receiver<LinkState>>,
    minted: Mutex<BTreeMap<String, Minted>>,
}

impl NodeTokens {
    /// Without a key, the hub's tokens are all there is.
    pub(crate) fn new(env: World, node_uid: &str, key: Option<Arc<dyn TokenKey>>) -> Arc<NodeTokens> {
        let (node_uid, minted) = (node_uid.to_string(), Mutex::default());
        Arc::new(NodeTokens { env, node_uid, key, link: OnceLock::new(), minted })
    }

    /// Tells how the link is found out; before, it counts as down.
    pub(crate) fn follow(&self, link: watch::Receiver<LinkState>) {
        let _ = self.link.set(link);
    }

    fn connected(&self) -> bool {
        self.link.get().is_some_and(|link| link.borrow().connected)
    }

    /// The token to show to a pod now: `item` is the hub's last one, under `key`.
    fn choose(&self, key: &str, item: &Json, seconds: i64) -> Option<String> {
        let hubs = json::str_at(item, &["token"])?.to_string();
        let Some(signer) = &self.key else { return Some(hubs) };
        let Some(ends) = json::str_at(item, &["expirationTimestamp"]).and_then(Timestamp::parse) else {
            return Some(hubs);
        };
        let life = Duration::from_secs(u64::try_from(seconds).unwrap_or(3600));
        let renew_at = Timestamp::from_wall(ends.since_epoch().saturating_sub(life / 5));
        let now = Timestamp::from_wall(self.env.wall().0);
        let connected = self.connected();
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        if now < renew_at || (connected && now < ends) {
            minted.remove(key);
            return Some(hubs);
        }
        if let Some(own) = minted.get(key).filter(|own| own.from <= now && now < own.renew_at) {
            return Some(own.token.clone());
        }
        if connected {
            // The hub's next one is on its way.
            return Some(hubs);
        }
        let life = life.min(DELEGATED_LIFE);
        match mint(&hubs, &self.node_uid, &**signer, now, life, &self.env.random_uuid()) {
            Ok(token) => {
                let own = Minted { token: token.clone(), from: now, renew_at: now.after(life * 4 / 5) };
                minted.insert(key.to_string(), own);
                Some(token)
            }
            Err(why) => {
                tracing::warn!(key, why, "A token could not be signed by the node");
                Some(hubs)
            }
        }
    }

    /// Forgets the tokens of a pod that is gone.
    pub(crate) fn forget(&self, pod_uid: &str) {
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        minted.retain(|key, _| !key.contains(pod_uid));
    }
}

/// The claims of `hubs` with new times and name, signed by the node.
fn mint(
    hubs: &str,
    node_uid: &str,
    key: &dyn TokenKey,
    now: Timestamp,
    life: Duration,
    id: &str,
) -> Result<String, String> {
    let payload = hubs.split('.').nth(1).ok_or("the hub's token is no JWT")?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|err| format!("the hub's token does not decode: {err}"))?;
    let mut claims: Json =
        serde_json::from_slice(&payload).map_err(|err| format!("the hub's token does not decode: {err}"))?;
    for (claim, at) in [("iat", now), ("nbf", now), ("exp", now.after(life))] {
        claims[claim] = at.secs().into();
    }
    claims["jti"] = id.into();
    let header = document!({"alg": "ES256", "kid": node_uid});
    let part = |part: &Json| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// What volumes and environments are made from, with tokens as they are good now.
#[derive(Clone)]
pub(crate) struct PodObjects {
    pub(crate) objects: Objects,
    pub(crate) tokens: Arc<NodeTokens>,
    /// What of the node pods may have.
    pub(crate) allocatable: Allocatable,
}

impl VolumeObjects for PodObjects {
    fn allocatable(&self) -> Allocatable {
        self.allocatable.clone()
    }

    fn config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap> {
        self.objects.config_map(namespace, name)
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        self.objects.secret(namespace, name)
    }

    fn token(&self, namespace: &str, pod_uid: &str, audience: &str, seconds: i64) -> Option<String> {
        let key = token_key(namespace, pod_uid, audience, seconds);
        let item = self.objects.token_item(&key)?;
        self.tokens.choose(&key, &item, seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_env::host::HostEnv;

    /// Signs with the length of what it signs.
    struct Fake;

    impl TokenKey for Fake {
        fn public(&self) -> String {
            "{}".into()
        }
        fn sign(&self, data: &[u8]) -> Result<Vec<u8>, String> {
            Ok(data.len().to_string().into_bytes())
        }
    }

    fn claims(token: &str) -> Json {
        let part = |at: usize| URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap();
        let mut both: Json = serde_json::from_slice(&part(1)).unwrap();
        both["header"] = serde_json::from_slice(&part(0)).unwrap();
        both
    }

    fn hubs_token(aud: &str) -> String {
        let claims = document!({"aud": [aud], "sub": "system:serviceaccount:demo:web", "exp": 1, "jti": "hub"});
        format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn the_node_signs_only_while_cut_and_only_what_the_hub_had_signed() {
        let env = HostEnv::new("/nonexistent");
        let world: World = env.clone();
        let now = || Timestamp::from_wall(world.wall().0);
        let (state, link) = watch::channel(LinkState { connected: true, ..LinkState::default() });
        let tokens = NodeTokens::new(world.clone(), "node-uid", Some(Arc::new(Fake)));
        tokens.follow(link);
        // A day of life, two hours of it left at the start.
        let day = 24 * 3600;
        let ends = now().after(Duration::from_secs(2 * 3600));
        let hubs = hubs_token("api");
        let item = document!({"token": hubs, "expirationTimestamp": ends});
        let choose = || tokens.choose("k", &item, day).unwrap();
        assert_eq!(choose(), hubs, "linked: the hub signs");
        state.send_modify(|state| state.connected = false);
        let own = choose();
        let said = claims(&own);
        assert_eq!(said["header"], document!({"alg": "ES256", "kid": "node-uid"}));
        assert_eq!((&said["aud"], &said["sub"]), (&document!(["api"]), &document!("system:serviceaccount:demo:web")));
        assert_ne!(said["jti"], "hub");
        let life = said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap();
        assert_eq!(life, 3600, "an hour at most");
        assert_eq!(choose(), own, "good for four fifths of its life");
        state.send_modify(|state| state.connected = true);
        assert_eq!(choose(), hubs, "linked, and the hub's has not ended");
        state.send_modify(|state| state.connected = false);
        let own = choose();
        env.set_wall_offset(3000);
        let next = choose();
        assert_ne!(next, own);
        env.set_wall_offset(-100_000);
        assert_eq!(choose(), hubs, "by this clock the hub's token is fresh");
        env.set_wall_offset(3 * 3600);
        state.send_modify(|state| state.connected = true);
        assert_eq!(choose(), hubs, "linked again: the hub's next one is on its way");
        let fresh = document!({"token": hubs_token("new"), "expirationTimestamp": now().after(Duration::from_secs(day.unsigned_abs()))});
        assert_eq!(tokens.choose("k", &fresh, day).unwrap(), hubs_token("new"));
        assert!(tokens.minted.lock().unwrap().is_empty());
    }

    #[test]
    fn without_a_key_or_for_a_short_token_nothing_is_made_up() {
        let world: World = HostEnv::new("/nonexistent");
        let ended = Timestamp::from_wall(world.wall().0.saturating_sub(Duration::from_secs(10)));
        let item = document!({"token": hubs_token("api"), "expirationTimestamp": ended});
        let keyless = NodeTokens::new(world.clone(), "n", None);
        assert_eq!(keyless.choose("k", &item, 600).unwrap(), hubs_token("api"));
        let tokens = NodeTokens::new(world, "n", Some(Arc::new(Fake)));
        let said = claims(&tokens.choose("k", &item, 600).unwrap());
        assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 600);
        tokens.forget("k");
        let broken = document!({"token": "no jwt", "expirationTimestamp": ended});
        assert_eq!(tokens.choose("k", &broken, 600).unwrap(), "no jwt");
    }
}
