//! What answers a simulated hub's webhooks: it allows everything, as slowly as a scenario wants, or is not there.

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_env::World;
use holdfast_server::{CallFailure, WebhookCalls, WebhookTarget};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How a webhook is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It answers at once.
    #[default]
    Quick,
    /// It takes so long.
    Slow(Duration),
    /// Nobody listens.
    Gone,
}

/// All webhooks of a cluster. It outlives the hub's process.
#[derive(Clone, Default)]
pub struct SimWebhooks(Arc<Mutex<Manner>>);

impl SimWebhooks {
    /// How they are from now on.
    pub fn set(&self, manner: Manner) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// What the process in `env` asks.
    pub fn calls(&self, env: World) -> Arc<dyn WebhookCalls> {
        Arc::new(Calls { env, webhooks: self.clone() })
    }
}

struct Calls {
    env: World,
    webhooks: SimWebhooks,
}

#[async_trait]
impl WebhookCalls for Calls {
    async fn post(&self, _to: &WebhookTarget, body: Bytes, _within: Duration) -> Result<Bytes, CallFailure> {
        let manner = *self.webhooks.0.lock().unwrap_or_else(PoisonError::into_inner);
        match manner {
            Manner::Quick => {}
            Manner::Slow(takes) => self.env.sleep(takes).await,
            Manner::Gone => return Err(CallFailure::Transport("dial tcp: connection refused".into())),
        }
        let review: Value = serde_json::from_slice(&body).map_err(|err| CallFailure::Transport(err.to_string()))?;
        let response = json!({"uid": review["request"]["uid"], "allowed": true});
        let answer = json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response});
        Ok(answer.to_string().into())
    }
}
