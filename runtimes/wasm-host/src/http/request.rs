//! One request: an instance from the pool, the answer, and what becomes of errors.

use super::Service;
use crate::command::trap_text;
use crate::guest;
use crate::limits::SLOT_WAIT;
use crate::modules::Linked;
use bytes::Bytes;
use holdfast_runtime::cri_log::LogStream;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

type Answer = Response<HyperOutgoingBody>;
type FromGuest = Result<Answer, ErrorCode>;

/// Ends the guest when the client goes away before it has its answer.
struct AbortGuest(Option<AbortHandle>);

impl Drop for AbortGuest {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            handle.abort();
        }
    }
}

pub(super) async fn answer(service: &Arc<Service>, guests: &Mutex<JoinSet<()>>, request: Request<Incoming>) -> Answer {
    if request.uri().authority().is_none() && !request.headers().contains_key(header::HOST) {
        return text(StatusCode::BAD_REQUEST, "missing Host header\n");
    }
    let Ok(Ok(slot)) = timeout(SLOT_WAIT, service.slots.clone().acquire_owned()).await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "all Wasm instances of this node are busy\n");
    };
    let what = format!("{} {}", request.method(), request.uri().path());
    let (sender, receiver) = oneshot::channel();
    let (failed, failure) = oneshot::channel();
    let guest = {
        let service = service.clone();
        async move {
            let guest = service.spec.meter.run(run(&service, request, sender));
            let problem = match timeout(service.request_time, guest).await {
                Ok(Ok(())) => None,
                Ok(Err(err)) => Some((StatusCode::INTERNAL_SERVER_ERROR, trap_text(&err))),
                Err(_) => Some((
                    StatusCode::GATEWAY_TIMEOUT,
                    format!("the request took longer than {} s", service.request_time.as_secs()),
                )),
            };
            drop(slot);
            if let Some((_, text)) = &problem {
                service.spec.log.say(LogStream::Stderr, &format!("holdfast: {what}: {text}"));
            }
            // Nobody listens any more when the answer has been given.
            let _ = failed.send(problem.map(|(status, _)| status));
        }
    };
    let mut abort = {
        let mut guests = guests.lock().unwrap_or_else(PoisonError::into_inner);
        while guests.try_join_next().is_some() {}
        AbortGuest(Some(guests.spawn(guest)))
    };
    let from_guest: Result<FromGuest, _> = receiver.await;
    let answer = match from_guest {
        Ok(Ok(answer)) => answer,
        Ok(Err(code)) => {
            let text_of_code = format!("holdfast: the guest answered with an error: {code}");
            service.spec.log.say(LogStream::Stderr, &text_of_code);
            text(StatusCode::INTERNAL_SERVER_ERROR, "the Wasm component failed\n")
        }
        Err(_) => match failure.await {
            Ok(Some(StatusCode::GATEWAY_TIMEOUT)) => {
                text(StatusCode::GATEWAY_TIMEOUT, "the Wasm component took too long\n")
            }
            Ok(None) => {
                service.spec.log.say(LogStream::Stderr, "holdfast: the guest ended without an answer");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the Wasm component gave no answer\n")
            }
            _ => text(StatusCode::INTERNAL_SERVER_ERROR, "the Wasm component trapped\n"),
        },
    };
    // From here on the guest may finish its body.
    abort.0 = None;
    answer
}

async fn run(
    service: &Service,
    request: Request<Incoming>,
    answer: oneshot::Sender<FromGuest>,
) -> wasmtime::Result<()> {
    let Linked::Http(pre) = &*service.linked else {
        return Err(wasmtime::Error::msg("the component does not answer HTTP"));
    };
    let _running = service.engine.running();
    let context = service.spec.context().map_err(|err| wasmtime::Error::msg(err.to_string()))?;
    let mut store = guest::store(service.engine.engine(), context, &service.spec);
    let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
    let out = store.data_mut().http().new_response_outparam(answer)?;
    let proxy = pre.instantiate_async(&mut store).await?;
    proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
}

fn text(status: StatusCode, text: &'static str) -> Answer {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
    answer
}
