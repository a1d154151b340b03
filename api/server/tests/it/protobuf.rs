//! Answers in protobuf: objects, lists, watches, errors, discovery, and OpenAPI documents.

use crate::client::{Answer, request};
use crate::fake::{Hub, identity};
use bytes::Bytes;
use flate2::read::GzDecoder;
use futures_util::StreamExt;
use holdfast_core::{Json, Status};
use holdfast_server::codec::protobuf::{decode, events};
use http_body_util::BodyExt;
use serde_json::json;
use std::io::Read;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

const PODS: &str = "/api/v1/namespaces/a/pods";
/// A kind of ours, of which there is no message, as of custom kinds.
const POLICIES: &str = "/apis/edge.holdfast.io/v1alpha1/namespaces/a/offlinepolicies";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const METADATA: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

fn pod(name: &str) -> Json {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "a", "labels": {"b": "1", "a": "2"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

async fn ask(hub: &Hub, path: &str, accept: &str) -> Answer {
    hub.ask_with("GET", path, &[("accept", accept)], "").await
}

fn decoded(answer: &Answer) -> Json {
    assert_eq!(answer.header("content-type"), PROTOBUF, "{answer:?}");
    decode(&answer.bytes).unwrap_or_else(|err| panic!("{err}: {answer:?}"))
}

/// The strings, bytes and messages of a message with their numbers; its other fields are passed over.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = varint(&mut bytes);
        if key & 7 == 2 {
            let (head, rest) = bytes.split_at(usize::try_from(value).unwrap());
            found.push((key >> 3, head.to_vec()));
            bytes = rest;
        }
    }
    found
}

/// A list as JSON: that of its envelope, its `resourceVersion`, and its items, which have the kind `item`.
fn list(bytes: &[u8], api_version: &str, item: &str) -> (String, String, Vec<Json>) {
    let envelope = fields(bytes.strip_prefix(b"k8s\0").unwrap());
    let kind = String::from_utf8(fields(&envelope[0].1)[1].1.clone()).unwrap();
    let body = fields(&envelope[1].1);
    let version = fields(&body[0].1).into_iter().find(|(number, _)| *number == 2).unwrap().1;
    let field = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap());
        [&out, bytes].concat()
    };
    let meta = [field(1, api_version.as_bytes()), field(2, item.as_bytes())].concat();
    let item = |message: &[u8]| decode(&[b"k8s\0".to_vec(), field(1, &meta), field(2, message)].concat()).unwrap();
    let items = body[1..].iter().map(|(number, message)| {
        assert_eq!(*number, 2);
        item(message)
    });
    (kind, String::from_utf8(version).unwrap(), items.collect())
}

#[tokio::test]
async fn objects_are_answered_as_messages() {
    let hub = Hub::start().await;
    let sent = [("content-type", "application/json"), ("accept", PROTOBUF)];
    let created = hub.ask_with("POST", PODS, &sent, pod("x").to_string()).await;
    assert_eq!(created.code, 201);
    let object = decoded(&created);
    assert_eq!((&object["kind"], &object["metadata"]["resourceVersion"]), (&json!("Pod"), &json!("1")));
    assert_eq!(object["metadata"]["labels"], json!({"a": "2", "b": "1"}));
    // What is sent as protobuf comes back as the same bytes, but for its revision.
    let path = format!("{PODS}/x");
    let typed = [("content-type", PROTOBUF), ("accept", "application/vnd.kubernetes.protobuf,application/json")];
    let updated = hub.ask_with("PUT", &path, &typed, created.bytes.clone()).await;
    assert_eq!(updated.code, 200);
    // The sixth field of the metadata, and the only one that differs.
    let at = created.bytes.windows(3).position(|window| window == [6 << 3 | 2, 1, b'1']).unwrap();
    let mut wanted = created.bytes.to_vec();
    wanted[at + 2] = b'2';
    assert_eq!(updated.bytes, wanted);
    assert_eq!(ask(&hub, &path, PROTOBUF).await.bytes, updated.bytes);
    let partial = decoded(&ask(&hub, &path, METADATA).await);
    assert_eq!((&partial["apiVersion"], &partial["kind"]), (&json!("meta.k8s.io/v1"), &json!("PartialObjectMetadata")));
    assert_eq!((&partial["metadata"]["name"], &partial["spec"]), (&json!("x"), &Json::Null));
    // Weights, and what is accepted besides.
    let json_first = "application/json;q=0.9,application/vnd.kubernetes.protobuf;q=0.1";
    assert_eq!(ask(&hub, &path, json_first).await.json()["kind"], "Pod");
    let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
    assert_eq!(ask(&hub, &path, table).await.code, 406);
    let tables = format!("{table},application/json;as=Table;g=meta.k8s.io;v=v1");
    assert_eq!(ask(&hub, &path, &tables).await.json()["kind"], "Table");
    let deleted = hub.ask_with("DELETE", &path, &[("accept", PROTOBUF)], "").await;
    assert_eq!(decoded(&deleted)["kind"], "Pod");
    let maps = "/api/v1/namespaces/a/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "y"}});
    hub.ask("POST", maps, Some(map)).await;
    let deleted = decoded(&hub.ask_with("DELETE", &format!("{maps}/y"), &[("accept", PROTOBUF)], "").await);
    assert_eq!((&deleted["kind"], &deleted["status"]), (&json!("Status"), &json!("Success")));
}

#[tokio::test]
async fn errors_are_messages_for_those_who_read_them() {
    let hub = Hub::start().await;
    for accept in [PROTOBUF, "application/vnd.kubernetes.protobuf,application/json"] {
        let missing = ask(&hub, &format!("{PODS}/none"), accept).await;
        assert_eq!(missing.code, 404);
        let status = decoded(&missing);
        assert_eq!((&status["code"], &status["reason"]), (&json!(404), &json!("NotFound")));
        assert_eq!(status["message"], "pods \"none\" not found");
        assert_eq!(status["details"], json!({"name": "none", "kind": "pods"}));
    }
    // An error has no other shape; as upstream, those who accept only such a one get JSON.
    assert_eq!(ask(&hub, &format!("{PODS}/none"), METADATA).await.json()["code"], 404);
    assert_eq!(ask(&hub, PODS, "text/html").await.json()["code"], 406);
    let nobody = [("accept", PROTOBUF), ("authorization", "")];
    assert_eq!(decoded(&hub.ask_with("GET", PODS, &nobody, "").await)["code"], 403);
}

#[tokio::test]
async fn kinds_without_a_message_are_json_or_nothing() {
    let hub = Hub::start().await;
    let policy = json!({"apiVersion": "edge.holdfast.io/v1alpha1", "kind": "OfflinePolicy", "metadata": {"name": "x"}, "spec": {}});
    assert_eq!(hub.ask("POST", POLICIES, Some(policy)).await.code, 201);
    for path in [POLICIES.to_string(), format!("{POLICIES}/x"), format!("{POLICIES}?watch=1")] {
        let refused = ask(&hub, &path, PROTOBUF).await;
        assert_eq!(refused.code, 406, "{path}");
        // The refusal itself is a Status, which is a message.
        assert_eq!(decoded(&refused)["reason"], "NotAcceptable");
    }
    let both = "application/vnd.kubernetes.protobuf,application/json";
    assert_eq!(ask(&hub, &format!("{POLICIES}/x"), both).await.json()["kind"], "OfflinePolicy");
    assert_eq!(decoded(&ask(&hub, &format!("{POLICIES}/x"), METADATA).await)["metadata"]["name"], "x");
    let answer = ask(&hub, POLICIES, METADATA).await;
    let (kind, _, items) = list(&answer.bytes, "meta.k8s.io/v1", "PartialObjectMetadata");
    assert_eq!((kind.as_str(), &items[0]["metadata"]["name"]), ("PartialObjectMetadataList", &json!("x")));
}

#[tokio::test]
async fn lists_of_any_length_are_messages() {
    let hub = Hub::start().await;
    let empty = ask(&hub, PODS, PROTOBUF).await;
    assert_eq!(list(&empty.bytes, "v1", "Pod"), ("PodList".into(), "0".into(), vec![]));
    // More than is kept while the length is found, in frames of other lengths than those of the items.
    let (count, length) = (60, 50_000);
    let mut long = pod("x");
    long["spec"]["containers"][0]["args"] = json!(["p".repeat(length)]);
    for i in 0..count {
        long["metadata"]["name"] = format!("p{i:02}").into();
        hub.ask("POST", PODS, Some(long.clone())).await;
    }
    assert!(count * length > holdfast_server::limits::LIST_KEPT);
    let plain = ask(&hub, PODS, PROTOBUF).await;
    assert_eq!(plain.header("content-length"), plain.bytes.len().to_string());
    let (kind, version, items) = list(&plain.bytes, "v1", "Pod");
    assert_eq!((kind.as_str(), version, items.len()), ("PodList", count.to_string(), count));
    for (i, item) in items.iter().enumerate() {
        assert_eq!(item["metadata"]["name"], format!("p{i:02}"));
        assert_eq!(item["spec"]["containers"][0]["args"][0].as_str().unwrap().len(), length);
    }
    let zipped = hub.ask_with("GET", PODS, &[("accept", PROTOBUF), ("accept-encoding", "gzip")], "").await;
    assert_eq!((zipped.header("content-encoding"), zipped.header("content-type")), ("gzip", PROTOBUF));
    let mut bytes = Vec::new();
    GzDecoder::new(&zipped.bytes[..]).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, plain.bytes);
    let partial = ask(&hub, PODS, METADATA).await;
    let (kind, _, items) = list(&partial.bytes, "meta.k8s.io/v1", "PartialObjectMetadata");
    assert_eq!((kind.as_str(), items.len()), ("PartialObjectMetadataList", count));
    assert_eq!(items[59]["metadata"]["resourceVersion"], "60");
}

/// Type and object of an event.
fn event(bytes: &[u8]) -> (String, Json) {
    let parts = fields(bytes);
    let object = fields(&parts[1].1)[0].1.clone();
    (String::from_utf8(parts[0].1.clone()).unwrap(), decode(&object).unwrap())
}

async fn next(body: &mut hyper::body::Incoming, rest: &mut Vec<u8>) -> Option<(String, Json)> {
    loop {
        if let Some(found) = events(rest).first().map(|event| event.to_vec()) {
            rest.drain(..found.len() + 4);
            return Some(event(&found));
        }
        let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.expect("an event in time")?;
        rest.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
    }
}

#[tokio::test]
async fn watches_send_messages_behind_their_lengths() {
    let hub = Hub::start().await;
    hub.ask("POST", PODS, Some(pod("x"))).await;
    let certified = identity(&hub.issuer, "admin");
    let accept = [("accept", "application/vnd.kubernetes.protobuf;stream=watch,application/json;stream=watch")];
    let asked = request("GET", "https://localhost/api/v1/pods?watch=true", &accept, Bytes::new());
    let response = hub.send_h2(Some(certified), asked).await;
    assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let (mut body, mut rest) = (response.into_body(), Vec::new());
    let (what, object) = next(&mut body, &mut rest).await.unwrap();
    assert_eq!((what.as_str(), &object["metadata"]["name"]), ("ADDED", &json!("x")));
    hub.ask("PUT", &format!("{PODS}/x"), Some(pod("x"))).await;
    let (what, object) = next(&mut body, &mut rest).await.unwrap();
    assert_eq!((what.as_str(), &object["metadata"]["resourceVersion"]), ("MODIFIED", &json!("2")));
    hub.registry.break_watches(&Status::expired("too old resource version"));
    let (what, status) = next(&mut body, &mut rest).await.unwrap();
    assert_eq!((what.as_str(), &status["kind"], &status["code"]), ("ERROR", &json!("Status"), &json!(410)));
    assert!(next(&mut body, &mut rest).await.is_none());
    let metadata = ask(&hub, "/api/v1/pods?watch=1&timeoutSeconds=1", METADATA).await;
    let (_, object) = event(events(&metadata.bytes)[0]);
    assert_eq!((&object["kind"], &object["spec"]), (&json!("PartialObjectMetadata"), &Json::Null));
    let yaml = ask(&hub, "/api/v1/pods?watch=1", "application/yaml").await;
    assert!(yaml.code == 406 && yaml.text().contains("application/vnd.kubernetes.protobuf;stream=watch"), "{yaml:?}");
}

#[tokio::test]
async fn watches_over_websocket_send_a_message_an_event() {
    let hub = Hub::start().await;
    hub.ask("POST", PODS, Some(pod("x"))).await;
    hub.ask("POST", PODS, Some(pod("y"))).await;
    let stream = hub.connect(None, b"http/1.1").await.unwrap();
    let asked = http::Request::builder()
        .uri("wss://localhost/api/v1/pods?watch=1&timeoutSeconds=1")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", crate::client::ADMIN))
        .header("accept", PROTOBUF)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(asked, stream).await.unwrap();
    let mut names = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(bytes) = message {
            names.push(event(&bytes).1["metadata"]["name"].as_str().unwrap().to_string());
        }
    }
    assert_eq!(names, ["x", "y"]);
}

#[tokio::test]
async fn discovery_is_answered_as_messages_too() {
    let hub = Hub::start().await;
    assert_eq!(decoded(&ask(&hub, "/api", PROTOBUF).await)["versions"], json!(["v1"]));
    let groups = decoded(&ask(&hub, "/apis", PROTOBUF).await);
    assert_eq!(groups["groups"], hub.get("/apis").await.json()["groups"]);
    let apps = decoded(&ask(&hub, "/apis/apps/v1", PROTOBUF).await);
    assert_eq!(apps["resources"], hub.get("/apis/apps/v1").await.json()["resources"]);
    let aggregated = "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let answer = ask(&hub, "/apis", aggregated).await;
    assert_eq!(answer.header("content-type"), aggregated);
    let as_json = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let (found, known) = (decode(&answer.bytes).unwrap(), ask(&hub, "/apis", as_json).await.json());
    assert_eq!(found["items"].as_array().unwrap().len(), known["items"].as_array().unwrap().len());
    assert_eq!(found["items"][1]["versions"], known["items"][1]["versions"]);
    // What is no message is JSON for everybody.
    assert_eq!(ask(&hub, "/version", PROTOBUF).await.json()["major"], "1");
    assert!(ask(&hub, "/openapi/v3", PROTOBUF).await.json()["paths"]["api/v1"].is_object());
}

#[tokio::test]
async fn openapi_documents_are_answered_as_gnostics_messages() {
    let hub = Hub::start().await;
    for (path, version) in [("/openapi/v2", "v2"), ("/openapi/v3/apis/apps/v1", "v3")] {
        let accepted = format!("application/com.github.proto-openapi.spec.{version}@v1.0+protobuf");
        let answered = format!("application/com.github.proto-openapi.spec.{version}.v1.0+protobuf");
        let known = hub.get(path).await;
        for accept in [&accepted, &answered, &format!("{accepted};q=0.8,text/html")] {
            let answer = ask(&hub, path, accept).await;
            assert_eq!((answer.code.as_u16(), answer.header("content-type")), (200, answered.as_str()));
            // The same document, which `Vary` tells caches to keep apart.
            assert_eq!(answer.header("etag"), known.header("etag"));
            assert!(answer.header("vary").contains("Accept"));
            let document = fields(&answer.bytes);
            let wanted =
                known.json()[if version == "v2" { "swagger" } else { "openapi" }].as_str().unwrap().to_string();
            assert_eq!(document[0], (1, wanted.into_bytes()));
            let at = if version == "v2" { 8 } else { 4 };
            let paths = fields(&document.iter().find(|(number, _)| *number == at).unwrap().1);
            let names: Vec<String> =
                paths.iter().map(|(_, path)| String::from_utf8(fields(path)[0].1.clone()).unwrap()).collect();
            assert_eq!(names, known.json()["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>());
        }
        let zipped = hub.ask_with("GET", path, &[("accept", &accepted), ("accept-encoding", "gzip")], "").await;
        assert_eq!(zipped.header("content-encoding"), "gzip");
    }
    let other = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
    assert_eq!(ask(&hub, "/openapi/v2", other).await.code, 406);
}
