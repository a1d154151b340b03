//! ServiceAccount tokens of a node's pods, signed by the hub and sent as items of the view.
//!
//! A pod's token is part of its closure: a pod starts only when it is there. It is asked for through the API
//! as the node, so that the same rules apply as for a kubelet, and is renewed at 80 % of its life
//! (the Kubernetes documentation of bound ServiceAccount tokens), which is longer than an hour where nobody chose that.

use holdfast_core::{Gvr, Json, Object, Status, Target, Timestamp, UserInfo, WriteOptions, json};
use holdfast_env::World;
use holdfast_server::{Api, Operation, Reply, Request, RequestContext};
use serde_json::json as document;
use std::collections::BTreeMap;
use std::time::Duration;

/// The seconds that the admission of pods asks for, which nobody has chosen. Upstream lets such a token be good for a year
/// (`--service-account-extend-token-expiration`).
const UNCHOSEN_SECONDS: i64 = 3607;
/// The seconds that it is good for here: an hour's tokens of ten idle pods would be a third of all that their node sends
/// and receives in a day. It ends with its pod anyway.
const EXTENDED_SECONDS: i64 = 24 * 3600;

/// Which token: namespace, pod name, pod UID, audience, seconds of life.
pub type TokenKey = (String, String, String, String, i64);

/// A token that a pod needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedToken {
    /// The ServiceAccount.
    pub service_account: String,
}

/// Where a pod's token stands among the node's items; `audience` is empty for the API server's.
pub fn token_item_key(namespace: &str, pod_uid: &str, audience: &str, seconds: i64) -> String {
    format!("edge.holdfast.io/v1/tokens/{namespace}/{pod_uid}.{seconds}.{audience}")
}

/// The tokens that the projected volumes of a pod need.
pub(crate) fn wanted_tokens(pod: &Object, doc: &Json) -> BTreeMap<TokenKey, WantedToken> {
    let service_account = json::str_at(doc, &["spec", "serviceAccountName"]).unwrap_or("default");
    let mut wanted = BTreeMap::new();
    if pod.meta.is_deleting() || matches!(json::str_at(doc, &["status", "phase"]), Some("Succeeded" | "Failed")) {
        return wanted;
    }
    for volume in json::items_at(doc, &["spec", "volumes"]) {
        for source in json::items_at(volume, &["projected", "sources"]) {
            let Some(token) = source.get("serviceAccountToken") else { continue };
            let audience = json::str_at(token, &["audience"]).unwrap_or_default();
            let seconds = json::i64_at(token, &["expirationSeconds"]).unwrap_or(3600);
            let key = (
                pod.meta.namespace.clone(),
                pod.meta.name.clone(),
                pod.meta.uid.clone(),
                audience.to_string(),
                seconds,
            );
            wanted.insert(key, WantedToken { service_account: service_account.to_string() });
        }
    }
    wanted
}

/// A minted token.
#[derive(Clone, Debug)]
struct Minted {
    body: bytes::Bytes,
    renew_at: Timestamp,
}

/// The tokens of one node.
#[derive(Debug, Default)]
pub(crate) struct NodeTokens {
    minted: BTreeMap<TokenKey, Minted>,
}

impl NodeTokens {
    /// Mints what is wanted and missing or due, forgets what is no longer wanted, and returns the items.
    /// A token that cannot be had is left out: the pod waits, and the next round tries again.
    pub(crate) async fn items(
        &mut self,
        api: &Api,
        env: &World,
        node: &str,
        wanted: &BTreeMap<TokenKey, WantedToken>,
    ) -> Vec<(String, bytes::Bytes)> {
        let now = Timestamp::from_wall(env.wall().0);
        self.minted.retain(|key, _| wanted.contains_key(key));
        for (key, want) in wanted {
            if self.minted.get(key).is_some_and(|minted| now < minted.renew_at) {
                continue;
            }
            match mint(api, node, key, want).await {
                Ok(minted) => {
                    self.minted.insert(key.clone(), minted);
                }
                Err(err) => {
                    tracing::warn!(pod = format!("{}/{}", key.0, key.1), %err, "Could not sign a pod's token");
                }
            }
        }
        let item =
            |(key, minted): (&TokenKey, &Minted)| (token_item_key(&key.0, &key.2, &key.3, key.4), minted.body.clone());
        self.minted.iter().map(item).collect()
    }

    /// When the next token is due for renewal.
    pub(crate) fn next_renewal(&self) -> Option<Timestamp> {
        self.minted.values().map(|minted| minted.renew_at).min()
    }
}

/// How long a token is good for of which so many seconds were asked.
fn life(asked: i64) -> i64 {
    if asked == UNCHOSEN_SECONDS { EXTENDED_SECONDS } else { asked }
}

async fn mint(api: &Api, node: &str, key: &TokenKey, want: &WantedToken) -> Result<Minted, Status> {
    let (namespace, pod, uid, audience, asked) = key;
    let seconds = life(*asked);
    let gvr = Gvr::new("", "v1", "serviceaccounts");
    let target = Target::object(gvr, namespace, &want.service_account).with_subresource("token");
    let audiences: Vec<&str> = if audience.is_empty() { Vec::new() } else { vec![audience] };
    let body = document!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": audiences,
            "expirationSeconds": seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid},
        },
    });
    let cx = RequestContext::new(UserInfo::node(node), format!("token-{uid}"));
    let operation = Operation::Create { body, options: WriteOptions::default() };
    let Reply::Object { object, .. } = api.call(Request { cx, target, operation }).await? else {
        return Err(Status::internal("TokenRequest gave no object"));
    };
    let doc = object.to_json();
    let (Some(token), Some(expires)) = (
        json::str_at(&doc, &["status", "token"]),
        json::str_at(&doc, &["status", "expirationTimestamp"]).and_then(Timestamp::parse),
    ) else {
        return Err(Status::internal("TokenRequest gave no token"));
    };
    let life = Duration::from_secs(u64::try_from(seconds).unwrap_or(3600));
    let issued = Timestamp::from_wall(expires.since_epoch().saturating_sub(life));
    let body = document!({"token": token, "expirationTimestamp": expires, "podUid": uid});
    let body = serde_json::to_vec(&body).map_err(Status::internal)?;
    Ok(Minted { body: body.into(), renew_at: issued.after(life * 4 / 5) })
}
