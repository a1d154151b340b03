//! Taking nodes' time floors down: only while an administrator allows it.
//!
//! The permission is the ConfigMap `holdfast-time-reset` in `kube-system`, whose `until` (RFC 3339) says for how
//! long: a hub must not undo its nodes' time by itself only because its own clock is behind after a start.

use crate::hub_links::Shared;
use holdfast_core::{Gvr, ListOptions, Reason, Target, Timestamp, json};
use holdfast_link::Refusal;
use holdfast_link::time_reset::answer;
use holdfast_link_engine::wire::{TimeResetReply, TimeResetRequest};
use holdfast_server::{Operation, Reply};

/// Name of the ConfigMap.
pub const CONFIG_MAP: &str = "holdfast-time-reset";
/// Its namespace.
pub const NAMESPACE: &str = "kube-system";

/// Decides about a node's request.
pub(crate) async fn decide(shared: &Shared, request: TimeResetRequest) -> TimeResetReply {
    let decided = async {
        allowed(shared).await?;
        let name = node(shared, &request.node_uid).await?;
        let now = i64::try_from(shared.env.wall().0.as_micros()).unwrap_or(i64::MAX);
        let unavailable = |reason| Refusal { code: "Unavailable".into(), reason };
        let reply = answer(&request, now, |message| shared.issuer.sign_time(message)).map_err(unavailable)?;
        let message = "The node's time floor was ahead of the hub's clock; it was reset as an administrator allowed";
        shared.warn_of(&name, "TimeFloorReset", message).await;
        Ok(reply)
    };
    decided.await.unwrap_or_else(|Refusal { code, reason }| TimeResetReply::Refused { code, reason })
}

async fn allowed(shared: &Shared) -> Result<(), Refusal> {
    let refuse = |code: &str, reason: &str| Refusal { code: code.into(), reason: reason.into() };
    let at = Target::object(Gvr::new("", "v1", "configmaps"), NAMESPACE, CONFIG_MAP);
    let document = match shared.get(at).await {
        Ok(object) => object.to_json(),
        Err(status) if status.is(Reason::NotFound) => {
            return Err(refuse("NotAllowed", "allow it with `holdfast-hub time-reset`"));
        }
        Err(status) => return Err(refuse("Unavailable", status.message())),
    };
    let until = json::str_at(&document, &["data", "until"]).and_then(Timestamp::parse);
    let now = Timestamp::from_wall(shared.env.wall().0);
    match until {
        Some(until) if until > now => Ok(()),
        _ => Err(refuse("NotAllowed", "the permission has ended; renew it with `holdfast-hub time-reset`")),
    }
}

/// The name of the live node with this identity.
async fn node(shared: &Shared, uid: &str) -> Result<String, Refusal> {
    let list = Operation::List(ListOptions::default());
    match shared.call(Target::collection(Gvr::new("", "v1", "nodes"), ""), list).await {
        Ok(Reply::List(list)) => {
            let found = list.items.iter().find(|node| node.meta.uid == uid && !node.meta.is_revoked());
            found
                .map(|node| node.meta.name.clone())
                .ok_or_else(|| Refusal { code: "UnknownNode".into(), reason: "no live node has this identity".into() })
        }
        Ok(_) => Err(Refusal { code: "Unavailable".into(), reason: "list gave no list".into() }),
        Err(status) => Err(Refusal { code: "Unavailable".into(), reason: status.message().into() }),
    }
}
