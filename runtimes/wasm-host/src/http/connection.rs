//! One connection to a pod: HTTP/1.1, closed when idle for too long.

use super::{Service, request};
use crate::limits::REQUEST_BUFFER;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(super) async fn serve(service: Arc<Service>, stream: TcpStream, soft: CancellationToken) {
    // Small answers go at once; a socket that refuses the option still works.
    let _ = stream.set_nodelay(true);
    // Guests that write on after their answer's head belong to the connection that reads it.
    let guests = Arc::new(std::sync::Mutex::new(JoinSet::new()));
    let idle = service.idle;
    let answer = {
        let guests = guests.clone();
        hyper::service::service_fn(move |request| {
            let (service, guests) = (service.clone(), guests.clone());
            async move { Ok::<_, Infallible>(request::answer(&service, &guests, request).await) }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(REQUEST_BUFFER)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        () = soft.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(err) = outcome {
        tracing::debug!(%err, "A connection to a pod broke");
    }
    // What a guest does after its answer is sent may go on until its time is up.
    let mut rest = std::mem::take(&mut *guests.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    while rest.join_next().await.is_some() {}
}
