//! The gRPC health check, version 1 (`grpc.health.v1.Health/Check`): one unary call over HTTP/2 without TLS.
//!
//! Its two messages have one field each and are read and written by hand.

use super::{AGENT, authority, beside, connect};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;

/// Longest answer that is read, in bytes; a health answer has seven.
const MAX_ANSWER: usize = 4096;
/// Longest name of a service, in bytes: what the API allows by far.
const MAX_SERVICE: usize = 1 << 14;

/// Names of the status codes (google.rpc.Code), as Go prints them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const UNKNOWN: usize = 2;
const DEADLINE_EXCEEDED: usize = 4;
const UNIMPLEMENTED: usize = 12;
const INTERNAL: usize = 13;
const UNAVAILABLE: usize = 14;

/// A call that did not end with OK.
#[derive(Debug)]
struct Refusal {
    code: usize,
    message: String,
}

fn refusal(code: usize, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

/// Asks a server whether a service is healthy; upstream's words when it is not.
pub(super) async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Result<(), String> {
    let address = authority(host, port);
    let seconds = timeout.as_secs();
    let dial = async {
        let stream = connect(host, port).await?;
        let handshake = http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream));
        handshake.await.map_err(|err| err.to_string())
    };
    let begun = tokio::time::Instant::now();
    let (mut sender, connection) = match tokio::time::timeout(timeout, dial).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(err)) => return Err(format!("error: failed to connect service at {address:?}: {err}")),
        Err(_) => {
            return Err(format!(
                "timeout: failed to connect service {address:?} within {seconds}s: context deadline exceeded"
            ));
        }
    };
    let talk = async move {
        let request = request(&address, service)?;
        let answer = sender.send_request(request).await.map_err(|err| refusal(UNAVAILABLE, chain(&err)))?;
        let (head, mut body) = answer.into_parts();
        if head.status != StatusCode::OK {
            let text = format!("unexpected HTTP status code received from server: {}", head.status.as_u16());
            return Err(refusal(if head.status == StatusCode::NOT_FOUND { UNIMPLEMENTED } else { UNKNOWN }, text));
        }
        let (mut message, mut trailers) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|err| refusal(UNAVAILABLE, chain(&err)))?;
            match frame.into_data() {
                Ok(data) if message.len() + data.len() > MAX_ANSWER => {
                    return Err(refusal(INTERNAL, "the answer is too long"));
                }
                Ok(data) => message.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
            }
        }
        // An answer without a message has its status among the headers.
        outcome(trailers.as_ref().unwrap_or(&head.headers))?;
        status(&message).ok_or_else(|| refusal(INTERNAL, "the answer is no HealthCheckResponse"))
    };
    let left = timeout.saturating_sub(begun.elapsed());
    let answered = tokio::time::timeout(left, beside(connection, talk)).await;
    match answered.unwrap_or_else(|_| Err(refusal(DEADLINE_EXCEEDED, ""))) {
        Ok(1) => Ok(()),
        Ok(other) => {
            let name = match other {
                0 => "UNKNOWN".to_string(),
                2 => "NOT_SERVING".to_string(),
                3 => "SERVICE_UNKNOWN".to_string(),
                other => other.to_string(),
            };
            Err(format!("service unhealthy (responded with {name:?})"))
        }
        Err(Refusal { code: UNIMPLEMENTED, message }) => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        Err(Refusal { code: DEADLINE_EXCEEDED, .. }) => {
            Err(format!("timeout: health rpc did not complete within {seconds}s"))
        }
        Err(Refusal { code, message }) => {
            let name = CODES.get(code).map_or_else(|| format!("Code({code})"), |name| name.to_string());
            Err(format!("error: health rpc probe failed: rpc error: code = {name} desc = {message}"))
        }
    }
}

fn chain(err: &hyper::Error) -> String {
    match std::error::Error::source(err) {
        Some(cause) => cause.to_string(),
        None => err.to_string(),
    }
}

/// The call: a frame of five bytes (no compression, length) and `HealthCheckRequest{1: service}`.
fn request(address: &str, service: &str) -> Result<Request<Full<Bytes>>, Refusal> {
    if service.len() > MAX_SERVICE {
        return Err(refusal(INTERNAL, "the service's name is too long"));
    }
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(&message);
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, AGENT)
        .body(Full::new(Bytes::from(body)))
        .map_err(|err| refusal(INTERNAL, err.to_string()))
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// What the status among these headers says.
fn outcome(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").map(str::parse) {
        Some(Ok(0)) => Ok(()),
        Some(Ok(code)) => Err(refusal(code, unescaped(text("grpc-message").unwrap_or_default()))),
        _ => Err(refusal(INTERNAL, "server closed the stream without sending trailers")),
    }
}

/// A message as it was before it was made fit for a header (percent encoding).
fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                out.push(code);
                rest = &after[2..];
            }
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `HealthCheckResponse{1: status}` in its frame; an absent field is 0.
fn status(body: &[u8]) -> Option<u64> {
    let (prefix, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    if prefix[0] != 0 || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let mut rest = message;
    let mut found = 0;
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        match key & 7 {
            0 => {
                let value = take_varint(&mut rest)?;
                if key >> 3 == 1 {
                    found = value;
                }
            }
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(found)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_bounded() {
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(status(&[0, 0, 0, 0, 5, 18, 1, 7, 8, 2]), Some(2));
        for bad in
            [&[][..], &[0, 0, 0, 0, 9, 8, 1], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 1, 8], &[0, 0, 0, 0, 2, 9, 9]]
        {
            assert_eq!(status(bad), None, "{bad:?}");
        }
        assert_eq!(unescaped("a%20b%2"), "a b%2");
    }
}
