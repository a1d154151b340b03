//! GET over HTTP/1.1, plain or in TLS, with upstream's redirects: followed as long as the host stays the same, ten at most.

use super::{AGENT, authority, beside, connect};
use bytes::Bytes;
use holdfast_node::parts::{HttpAnswer, HttpProbe};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// Bytes of an answer's body that are read.
const MAX_BODY: usize = 10 << 10;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    https: bool,
    host: String,
    port: u16,
    /// Path with query.
    path: String,
}

impl Target {
    /// The place that a `Location` names, seen from here; `None` when it is no address of ours.
    fn follow(&self, location: &str) -> Option<Target> {
        let location = location.split('#').next().unwrap_or_default();
        if let Some(path) = location.strip_prefix('/').filter(|rest| !rest.starts_with('/')) {
            return Some(Target { path: format!("/{path}"), ..self.clone() });
        }
        let absolute = match location.strip_prefix("//") {
            Some(rest) => format!("{}://{rest}", if self.https { "https" } else { "http" }),
            None => location.to_string(),
        };
        if !absolute.contains("://") {
            let folder = self.path.split('?').next().unwrap_or_default();
            let folder = folder.rsplit_once('/').map_or("", |(folder, _)| folder);
            return Some(Target { path: format!("{folder}/{location}"), ..self.clone() });
        }
        let uri: Uri = absolute.parse().ok()?;
        let https = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        Some(Target {
            https,
            host: uri.host()?.trim_matches(['[', ']']).to_string(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_string(),
        })
    }
}

/// The headers of a probe: the pod's, and upstream's where it gives none. An empty `Accept` asks for none.
fn headers(asked: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut all = HeaderMap::new();
    for (name, value) in asked {
        let bad = || format!("net/http: invalid header field {name:?}");
        let name: HeaderName = name.parse().map_err(|_| bad())?;
        all.append(name, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    if !all.contains_key(USER_AGENT) {
        all.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    }
    match all.get(ACCEPT) {
        None => drop(all.insert(ACCEPT, HeaderValue::from_static("*/*"))),
        Some(accept) if accept.is_empty() => drop(all.remove(ACCEPT)),
        Some(_) => {}
    }
    all.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(all)
}

/// Asks, and follows redirects within the host.
pub(super) async fn get(tls: &Arc<rustls::ClientConfig>, probe: &HttpProbe) -> Result<HttpAnswer, String> {
    let https = match probe.scheme.as_str() {
        "http" => false,
        "https" => true,
        other => return Err(format!("unsupported protocol scheme {other:?}")),
    };
    let mut headers = headers(&probe.headers)?;
    let mut target = Target { https, host: probe.host.clone(), port: probe.port, path: probe.path.clone() };
    for _ in 0..MAX_REDIRECTS {
        let answer = once(tls, &target, &headers).await?;
        let location = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let next = match (answer.status().as_u16(), location) {
            (301 | 302 | 303 | 307 | 308, Some(location)) => target.follow(location),
            _ => None,
        };
        match next {
            Some(next) if next.host == target.host => {
                if (next.https, next.port) != (target.https, target.port) {
                    headers.remove(HOST);
                }
                target = next;
            }
            _ => {
                let body = String::from_utf8_lossy(answer.body()).into_owned();
                return Ok(HttpAnswer { status: answer.status().as_u16(), body });
            }
        }
    }
    Err(format!("stopped after {MAX_REDIRECTS} redirects"))
}

/// One request on a connection of its own.
async fn once(
    tls: &Arc<rustls::ClientConfig>,
    target: &Target,
    headers: &HeaderMap,
) -> Result<Response<Bytes>, String> {
    let path = target.path.replace(' ', "%20");
    let mut request = Request::get(path).body(Empty::<Bytes>::new()).map_err(|err| format!("parse: {err}"))?;
    *request.headers_mut() = headers.clone();
    if !headers.contains_key(HOST) {
        let host = HeaderValue::from_str(&authority(&target.host, target.port)).map_err(|err| err.to_string())?;
        request.headers_mut().insert(HOST, host);
    }
    let stream = connect(&target.host, target.port).await?;
    if !target.https {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|err| err.to_string())?;
    match TlsConnector::from(tls.clone()).connect(name, stream).await {
        Ok(stream) => exchange(stream, request).await,
        Err(err) => Err(tls_words(&err)),
    }
}

fn tls_words(err: &std::io::Error) -> String {
    match err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => "http: server gave HTTP response to HTTPS client".into(),
        _ => err.to_string(),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Bytes>, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|err| words(&err))?;
    let talk = async move {
        let (head, mut body) = sender.send_request(request).await.map_err(|err| words(&err))?.into_parts();
        let mut read = Vec::new();
        while read.len() < MAX_BODY && head.status != StatusCode::SWITCHING_PROTOCOLS {
            let Some(frame) = body.frame().await else { break };
            if let Ok(data) = frame.map_err(|err| words(&err))?.into_data() {
                let room = MAX_BODY - read.len();
                read.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        Ok::<_, String>(Response::from_parts(head, Bytes::from(read)))
    };
    beside(connection, talk).await
}

fn words(err: &hyper::Error) -> String {
    if err.is_incomplete_message() || err.is_closed() {
        return "EOF".into();
    }
    match std::error::Error::source(err) {
        Some(cause) => cause.to_string(),
        None => err.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved() {
        let at = Target { https: false, host: "10.0.0.1".into(), port: 80, path: "/a/b?c".into() };
        let to = |location: &str| {
            let next = at.follow(location)?;
            let scheme = if next.https { "https" } else { "http" };
            Some(format!("{scheme} {} {}", authority(&next.host, next.port), next.path))
        };
        assert_eq!(to("/x?y=1#z").as_deref(), Some("http 10.0.0.1:80 /x?y=1"));
        assert_eq!(to("x").as_deref(), Some("http 10.0.0.1:80 /a/x"));
        assert_eq!(to("https://10.0.0.1/").as_deref(), Some("https 10.0.0.1:443 /"));
        assert_eq!(to("http://[fd00::1]:81").as_deref(), Some("http [fd00::1]:81 /"));
        assert_eq!(to("//other/x").as_deref(), Some("http other:80 /x"));
        assert_eq!(to("ftp://10.0.0.1/"), None);
    }

    #[test]
    fn headers_are_the_pods_over_ours() {
        let with = |asked: &[(&str, &str)]| {
            let asked: Vec<_> = asked.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            headers(&asked)
        };
        let plain = with(&[]).unwrap();
        assert_eq!((plain["user-agent"].to_str().unwrap(), plain["accept"].to_str().unwrap()), (AGENT, "*/*"));
        let own = with(&[("User-Agent", "me"), ("Accept", ""), ("X", "1"), ("x", "2")]).unwrap();
        assert_eq!(own["user-agent"], "me");
        assert!(own.get("accept").is_none());
        assert_eq!(own.get_all("x").iter().count(), 2);
        assert_eq!(with(&[("a b", "")]).unwrap_err(), "net/http: invalid header field \"a b\"");
    }
}
