//! The subscription to containerd's events: exits become [`RuntimeEvent::Exited`], a new connection a resync.

use crate::client::{QUICK, call};
use crate::labels;
use crate::runtime::Inner;
use containerd_client::events::TaskExit;
use containerd_client::services::v1 as api;
use containerd_client::tonic::{Status, Streaming};
use containerd_client::types::Envelope;
use holdfast_core::Backoff;
use holdfast_runtime::RuntimeEvent;
use std::sync::Arc;
use std::time::Duration;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Runs for as long as the runtime lives.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    loop {
        let connected = subscribe(&inner).await;
        if connected {
            backoff.reset();
            tracing::warn!("Lost the connection to containerd");
        }
        tokio::time::sleep(backoff.fail()).await;
    }
}

/// One connection from begin to end; false when there was none.
async fn subscribe(inner: &Arc<Inner>) -> bool {
    let namespace = inner.client.namespace();
    let filters = vec![format!("namespace==\"{namespace}\",topic==\"/tasks/exit\"")];
    let mut client = inner.client.events();
    // The answer begins with the first event: until then the call is pending, yet subscribed.
    let pending = client.subscribe(inner.client.request(api::SubscribeRequest { filters }));
    tokio::pin!(pending);
    let ready = async {
        call("version", QUICK, inner.client.version().version(inner.client.request(()))).await?;
        if let Err(err) = inner.adopt_all().await {
            tracing::warn!(%err, "Cannot take running containers over yet");
        }
        inner.publish(RuntimeEvent::Resync);
        Ok::<(), crate::client::CallError>(())
    };
    tokio::pin!(ready);
    let mut connected = false;
    let mut stream: Streaming<Envelope> = loop {
        tokio::select! {
            biased;
            answer = &mut pending => match answer {
                Ok(response) => break response.into_inner(),
                Err(status) => {
                    quiet(&status);
                    return connected;
                }
            },
            result = &mut ready, if !connected => match result {
                Ok(()) => connected = true,
                Err(_) => return false,
            },
        }
    };
    if !connected && ready.await.is_err() {
        return false;
    }
    loop {
        match stream.message().await {
            Ok(Some(envelope)) => handle(inner, envelope).await,
            Ok(None) => return true,
            Err(status) => {
                quiet(&status);
                return true;
            }
        }
    }
}

fn quiet(status: &Status) {
    tracing::debug!(code = ?status.code(), err = status.message(), "The subscription to containerd ended");
}

async fn handle(inner: &Arc<Inner>, envelope: Envelope) {
    let Some(mut any) = envelope.event else { return };
    // Go writes the bare name, the decoder wants a URL.
    if !any.type_url.contains('/') {
        any.type_url.insert(0, '/');
    }
    let Ok(exit) = any.to_msg::<TaskExit>() else { return };
    // Another process than the first: an exec.
    if exit.id != exit.container_id {
        return;
    }
    if let Err(err) = inner.note_exit(&exit.container_id).await {
        tracing::debug!(container = exit.container_id, %err, "Cannot keep an exit yet");
    }
    if let Ok(Some(record)) = inner.record(&exit.container_id).await
        && let Some(id) = record.labels.get(labels::ID)
    {
        inner.publish(RuntimeEvent::Exited { container_id: id.clone() });
    }
}
