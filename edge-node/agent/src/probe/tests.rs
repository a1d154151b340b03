//! Probes against small servers of this process.

use super::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const IN_TIME: Duration = Duration::from_secs(20);

fn probe(scheme: &str, port: u16, path: &str) -> HttpProbe {
    HttpProbe {
        scheme: scheme.into(),
        host: "127.0.0.1".into(),
        port,
        path: path.into(),
        headers: vec![("X-Probe".into(), "yes".into())],
    }
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let redirect = |to: &str| Response::builder().status(302).header(header::LOCATION, to);
    let path = request.uri().path();
    let count: u32 = path.trim_start_matches("/loop").parse().unwrap_or(0);
    let builder = match path {
        "/moved" => redirect("/ok"),
        "/away" => redirect("http://elsewhere.invalid/"),
        "/gone" => Response::builder().status(503),
        _ if path.starts_with("/loop") => redirect(&format!("/loop{}", count + 1)),
        _ => Response::builder().status(200),
    };
    let told = request.headers().get("x-probe").is_some_and(|value| value == "yes");
    builder.body(Full::new(Bytes::from(format!("{path} {told}")))).unwrap()
}

/// A server, over TLS if asked; its port.
async fn serve(tasks: &mut JoinSet<()>, tls: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tls.then(|| {
        let key = rcgen::generate_simple_self_signed(["nobody".to_string()]).unwrap();
        let der = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], der)
            .unwrap();
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
    });
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: Request<Incoming>| async move { Ok::<_, Infallible>(answer(&request)) });
            let http = hyper::server::conn::http1::Builder::new();
            // A client that breaks off is no failure of the server's.
            match &acceptor {
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = http.serve_connection(TokioIo::new(stream), service).await;
                    }
                }
                None => {
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                }
            }
        }
    });
    port
}

#[tokio::test]
async fn http_probes_follow_redirects_of_the_host_alone() {
    let mut tasks = JoinSet::new();
    let port = serve(&mut tasks, false).await;
    let prober = NetProber::new().unwrap();
    let ask = async |path: &str| prober.http(probe("http", port, path), IN_TIME).await;
    assert_eq!(ask("/x").await.unwrap(), HttpAnswer { status: 200, body: "/x true".into() });
    assert_eq!(ask("/moved").await.unwrap(), HttpAnswer { status: 200, body: "/ok true".into() });
    assert_eq!(ask("/away").await.unwrap().status, 302);
    assert_eq!(ask("/gone").await.unwrap().status, 503);
    assert_eq!(ask("/loop").await.unwrap_err(), "stopped after 10 redirects");
}

#[tokio::test]
async fn https_probes_take_any_certificate() {
    let mut tasks = JoinSet::new();
    let (secure, plain) = (serve(&mut tasks, true).await, serve(&mut tasks, false).await);
    let prober = NetProber::new().unwrap();
    let found = prober.http(probe("https", secure, "/x"), IN_TIME).await;
    assert_eq!(found.unwrap(), HttpAnswer { status: 200, body: "/x true".into() });
    let wrong = prober.http(probe("https", plain, "/x"), IN_TIME).await;
    assert_eq!(wrong.unwrap_err(), "http: server gave HTTP response to HTTPS client");
}

#[tokio::test]
async fn what_does_not_answer_is_told_in_upstreams_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let prober = NetProber::new().unwrap();
    assert_eq!(prober.tcp("127.0.0.1", port, IN_TIME).await, Ok(()));
    let late = prober.http(probe("http", port, "/"), Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(late, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
    let late = prober.grpc("127.0.0.1", port, "", Duration::from_millis(20)).await.unwrap_err();
    assert!(late.starts_with("timeout: "), "{late}");
    drop(listener);
    let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(prober.tcp("127.0.0.1", port, IN_TIME).await.unwrap_err(), refused);
    assert_eq!(prober.http(probe("http", port, "/"), IN_TIME).await.unwrap_err(), refused);
    let grpc = prober.grpc("127.0.0.1", port, "", IN_TIME).await.unwrap_err();
    assert_eq!(grpc, format!("error: failed to connect service at \"127.0.0.1:{port}\": {refused}"));
}

/// A gRPC health server: `well` serves, `ill` does not, others are not known; `slow` never answers.
async fn health(tasks: &mut JoinSet<()>, implemented: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = move |request: Request<Incoming>| async move {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()[header::CONTENT_TYPE], "application/grpc");
        assert_eq!(request.headers()[header::TE], "trailers");
        assert_eq!(request.headers()[header::USER_AGENT], AGENT);
        let asked = request.into_body().collect().await.unwrap().to_bytes();
        let name = String::from_utf8_lossy(asked.get(7..).unwrap_or_default()).into_owned();
        if name == "slow" {
            std::future::pending::<()>().await;
        }
        let (status, code, message): (u8, _, _) = match name.as_str() {
            _ if !implemented => (0, "12", "unknown service grpc.health.v1.Health"),
            "" | "well" => (1, "0", ""),
            "ill" => (2, "0", ""),
            _ => (0, "5", "unknown%20service"),
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.parse().unwrap());
        trailers.insert("grpc-message", message.parse().unwrap());
        let answer = Response::builder().header(header::CONTENT_TYPE, "application/grpc");
        let data = if code == "0" { vec![0, 0, 0, 0, 2, 8, status] } else { Vec::new() };
        let frames = [Frame::data(Bytes::from(data)), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
        Ok::<_, Infallible>(answer.body(StreamBody::new(futures_util::stream::iter(frames))).unwrap())
    };
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A client that breaks off is no failure of the server's.
            let _ = http.serve_connection(TokioIo::new(stream), service_fn(service)).await;
        }
    });
    port
}

#[tokio::test]
async fn grpc_probes_ask_for_a_services_health() {
    let mut tasks = JoinSet::new();
    let (port, bare) = (health(&mut tasks, true).await, health(&mut tasks, false).await);
    let prober = NetProber::new().unwrap();
    let ask = async |service: &str| prober.grpc("127.0.0.1", port, service, IN_TIME).await;
    assert_eq!(ask("").await, Ok(()));
    assert_eq!(ask("well").await, Ok(()));
    assert_eq!(ask("ill").await.unwrap_err(), "service unhealthy (responded with \"NOT_SERVING\")");
    let unknown = "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service";
    assert_eq!(ask("what").await.unwrap_err(), unknown);
    let slow = prober.grpc("127.0.0.1", port, "slow", Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(slow, "timeout: health rpc did not complete within 1s");
    let told = prober.grpc("127.0.0.1", bare, "", IN_TIME).await.unwrap_err();
    let words = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service grpc.health.v1.Health";
    assert_eq!(told, words);
}

#[tokio::test]
async fn a_server_of_something_else_is_unhealthy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 64];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let told = NetProber::new().unwrap().grpc("127.0.0.1", port, "", IN_TIME).await.unwrap_err();
    assert!(told.starts_with("error: "), "{told}");
}
