//! The server itself: discovery, documents, TLS, and clients that misbehave.

use crate::fake::{Hub, authority, identity};
use holdfast_core::Json;
use holdfast_server::Taker;
use holdfast_server::listen::tls;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::StartHandshake;

#[tokio::test]
async fn discovery_names_what_is_served() {
    let hub = Hub::start().await;
    assert_eq!(hub.get("/api").await.json()["versions"], json!(["v1"]));
    let groups = hub.get("/apis").await.json();
    assert_eq!(groups["groups"][0]["name"], "apiregistration.k8s.io");
    assert_eq!(groups["groups"][1]["name"], "apps");
    assert_eq!(hub.get("/apis/apps").await.json()["preferredVersion"]["groupVersion"], "apps/v1");
    let list = hub.get("/apis/apps/v1").await.json();
    let find = |name: &str| list["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).cloned().unwrap();
    assert_eq!(find("deployments")["shortNames"], json!(["deploy"]));
    assert_eq!(find("deployments/scale")["group"], "autoscaling");
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")];
    let aggregated = hub.ask_with("GET", "/apis", &accept, "").await;
    assert_eq!(
        aggregated.header("content-type"),
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    assert_eq!(aggregated.json()["items"][1]["versions"][0]["resources"][2]["resource"], "deployments");
    let etag = aggregated.header("etag").to_string();
    let again = hub.ask_with("GET", "/apis", &[accept[0], ("if-none-match", &etag)], "").await;
    assert_eq!((again.code.as_u16(), again.bytes.len()), (304, 0));
    let version = hub.get("/version").await.json();
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
    assert_eq!(hub.get("/openid/v1/jwks").await.json(), json!({"keys": []}));
    let index = hub.get("/openapi/v3").await.json();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_string();
    let document = hub.get(&url).await;
    assert!(document.json()["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"].is_object());
    assert_eq!(document.header("cache-control"), "public, immutable");
    let zipped = hub.ask_with("GET", &url, &[("accept-encoding", "gzip")], "").await;
    assert_eq!((zipped.header("content-encoding"), zipped.header("etag")), ("gzip", document.header("etag")));
    assert_eq!(hub.get("/openapi/v3/apis/none/v1").await.code, 404);
    assert_eq!(hub.ask_with("GET", "/openapi/v2", &[("accept", "text/html")], "").await.code, 406);
    assert_eq!(hub.get("/openapi/v2").await.json()["swagger"], "2.0");
    assert!(
        hub.get("/metrics")
            .await
            .text()
            .contains(r#"apiserver_request_total{code="200",component="apiserver",dry_run="",group="","#)
    );
}

/// What we say of a kind agrees with Kubernetes' own discovery.
#[tokio::test]
async fn discovery_agrees_with_upstream() {
    let Some(folder) = std::env::var_os("HOLDFAST_K8S_REFERENCE") else {
        eprintln!("skipped: HOLDFAST_K8S_REFERENCE is not set");
        return;
    };
    let text = std::fs::read(std::path::Path::new(&folder).join("discovery-aggregated-v2.json")).unwrap();
    let reference: Json = serde_json::from_slice(&text).unwrap();
    let hub = Hub::start().await;
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let ours = hub.ask_with("GET", "/apis", &accept, "").await.json();
    let find = |list: &Json, key: &[&str], name: &Json| -> Option<Json> {
        list.as_array()?.iter().find(|item| holdfast_core::json::at(item, key) == Some(name)).cloned()
    };
    let mut compared = 0;
    for group in ours["items"].as_array().unwrap() {
        if group["metadata"]["name"] == "edge.holdfast.io" || group["metadata"]["name"] == "metrics.k8s.io" {
            // Ours alone, and another server's.
            continue;
        }
        let theirs = find(&reference["items"], &["metadata", "name"], &group["metadata"]["name"]).unwrap();
        for version in group["versions"].as_array().unwrap() {
            let their_version = find(&theirs["versions"], &["version"], &version["version"]).unwrap();
            for resource in version["resources"].as_array().unwrap() {
                let theirs = find(&their_version["resources"], &["resource"], &resource["resource"]).unwrap();
                for field in ["scope", "singularResource", "shortNames", "categories", "verbs"] {
                    let sorted = |value: &Json| {
                        let mut texts: Vec<String> =
                            value.as_array().into_iter().flatten().map(Json::to_string).collect();
                        texts.sort();
                        (texts, value.as_str().map(String::from))
                    };
                    assert_eq!(sorted(&resource[field]), sorted(&theirs[field]), "{} {field}", resource["resource"]);
                }
                assert_eq!(resource["responseKind"]["kind"], theirs["responseKind"]["kind"]);
                compared += 1;
            }
        }
    }
    assert!(compared > 10);
}

#[tokio::test]
async fn foreign_certificates_are_refused() {
    let hub = Hub::start().await;
    let (_, stranger) = authority();
    let forged = identity(&stranger, "admin");
    let refused = match hub.connect(Some(forged), b"http/1.1").await {
        // In TLS 1.3 the client learns of it with its first read.
        Ok(mut stream) => {
            let _ = stream.write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.is_err() || answer.is_empty()
        }
        Err(_) => true,
    };
    assert!(refused);
}

/// Answers `other/1` with the number of certificates that the client showed.
struct Other(Arc<rustls::ServerConfig>);

impl Taker for Other {
    fn speaks(&self, protocol: &[u8]) -> bool {
        protocol == b"other/1"
    }

    #[allow(clippy::disallowed_methods, reason = "the connection's task ends with the test's runtime")]
    fn take(&self, start: StartHandshake<TcpStream>, peer: SocketAddr) {
        assert!(peer.ip().is_loopback());
        let config = self.0.clone();
        tokio::spawn(async move {
            let mut stream = start.into_stream(config).await.unwrap();
            let shown = stream.get_ref().1.peer_certificates().map_or(0, |chain| chain.len());
            stream.write_all(format!("{shown} shown").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        });
    }
}

#[tokio::test]
async fn another_protocol_is_handed_over_before_the_handshake() {
    let hub = Hub::start_with(|(chain, key), ca| {
        let mut config = (*tls::server_config(chain, key, std::slice::from_ref(ca)).unwrap()).clone();
        config.alpn_protocols = vec![b"other/1".to_vec()];
        Some(Arc::new(Other(Arc::new(config))))
    })
    .await;
    let mut stream = hub.connect(Some(identity(&hub.issuer, "somebody")), b"other/1").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "1 shown");
    // HTTP is served as ever, and what nobody speaks is refused.
    assert_eq!(hub.get("/version").await.code, 200);
    let refused = hub.connect(None, b"third/1").await.unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

async fn raw(hub: &Hub, bytes: &[u8]) -> String {
    let mut stream = hub.connect(None, b"http/1.1").await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; 4096];
    let read =
        tokio::time::timeout(Duration::from_secs(20), stream.read(&mut answer)).await.expect("an answer in time");
    String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned()
}

#[tokio::test]
async fn malformed_requests_get_an_answer_and_harm_nobody() {
    let hub = Hub::start().await;
    assert!(raw(&hub, b"NONSENSE\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert!(raw(&hub, b"GET /api/v1/pods?limit=%zz&& HTTP/1.1\r\nHost: x\r\n\r\n").await.starts_with("HTTP/1.1 403"));
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let answer = raw(&hub, long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let head = format!(
        "POST /api/v1/namespaces/a/pods HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 99999999\r\n\r\n",
        crate::client::ADMIN
    );
    assert!(raw(&hub, head.as_bytes()).await.starts_with("HTTP/1.1 413"));
    // Plain HTTP on the TLS port, and one that says nothing.
    let mut plain = TcpStream::connect(hub.server.address()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let _silent = TcpStream::connect(hub.server.address()).await.unwrap();
    assert_eq!(hub.get("/readyz").await.text(), "ok");
}
