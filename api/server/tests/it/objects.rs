//! Objects over HTTP: verbs, shapes, encodings, watches.

use crate::client::{Answer, request};
use crate::fake::{Hub, identity, reason};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use holdfast_core::{Json, Reason, Status};
use holdfast_server::InFlight;
use http_body_util::BodyExt;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const PODS: &str = "/api/v1/namespaces/a/pods";

fn pod(name: &str) -> Json {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "a", "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn verbs_answer_with_upstreams_codes() {
    let hub = Hub::start().await;
    let created = hub.ask("POST", PODS, Some(pod("x"))).await;
    assert_eq!(created.code, 201, "{created:?}");
    assert_eq!(created.json()["metadata"]["resourceVersion"], "1");
    assert_eq!(created.header("content-length"), created.bytes.len().to_string());
    assert!(!created.header("audit-id").is_empty());
    assert_eq!(hub.get(&format!("{PODS}/x")).await.json()["kind"], "Pod");
    assert_eq!(hub.ask("PUT", &format!("{PODS}/x"), Some(pod("x"))).await.code, 200);
    let patched = hub.ask("PATCH", &format!("{PODS}/x"), Some(json!({}))).await;
    assert_eq!(patched.json()["patched"], "Merge");
    let list = hub.get("/api/v1/pods?labelSelector=app%3Dx").await.json();
    assert_eq!(
        (&list["kind"], &list["apiVersion"], &list["metadata"]["resourceVersion"]),
        (&json!("PodList"), &json!("v1"), &json!("3"))
    );
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    // Upstream answers with the object for some kinds, with a Status for others.
    assert_eq!(hub.ask("DELETE", &format!("{PODS}/x"), None).await.json()["kind"], "Pod");
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "y"}});
    assert_eq!(hub.ask("POST", maps, Some(map)).await.code, 201);
    let deleted = hub.ask("DELETE", &format!("{maps}/y"), None).await.json();
    assert_eq!(
        (&deleted["kind"], &deleted["status"], &deleted["details"]["kind"]),
        (&json!("Status"), &json!("Success"), &json!("configmaps"))
    );
    let missing = hub.get(&format!("{PODS}/x")).await;
    assert_eq!((missing.code.as_u16(), missing.json()["message"].as_str().unwrap()), (404, "pods \"x\" not found"));
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let hub = Hub::start().await;
    for (method, path, code) in [
        ("GET", "/api/v1/nothings", 404),
        ("GET", "/api/v1/pods/x", 404),
        ("GET", "/api/v1/namespaces/a/nodes/x", 404),
        ("GET", "/api/v1/namespaces/a/pods/x/nothing", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/apis/none.example/v1", 404),
        ("POST", "/api/v1/pods", 405),
        ("POST", "/api/v1/namespaces/a/pods/x", 405),
        ("PUT", PODS, 405),
        ("OPTIONS", PODS, 405),
        ("POST", "/version", 405),
        ("GET", "/api/v1/pods?limit=x", 400),
        ("GET", "/api/v1/pods?continue=old", 410),
        ("GET", "/api/v1/pods?watch=1&sendInitialEvents=true", 422),
        ("GET", "/api/v1/pods?includeObject=x", 400),
        ("GET", "/api/v1/namespaces/a/pods/x/portforward", 400),
    ] {
        let answer = hub.ask(method, path, Some(pod("x"))).await;
        assert_eq!(answer.code.as_u16(), code, "{method} {path}: {}", answer.text());
        let status = answer.json();
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)), "{method} {path}");
    }
    assert_eq!(hub.ask_with("POST", PODS, &[("content-type", "application/cbor")], "x").await.code, 415);
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    assert_eq!(hub.ask_with("POST", PODS, &protobuf, "x").await.code, 400);
    assert_eq!(
        hub.ask_with("PATCH", &format!("{PODS}/x"), &[("content-type", "application/json")], "{}").await.code,
        415
    );
    let answer = hub.ask_with("GET", PODS, &[("accept", "application/cbor")], "").await;
    assert_eq!((answer.code.as_u16(), reason(&answer.json())), (406, Reason::NotAcceptable));
    let long = hub.ask_with("POST", PODS, &[("content-type", "application/json")], vec![b' '; (3 << 20) + 1]).await;
    assert_eq!((long.code.as_u16(), reason(&long.json())), (413, Reason::RequestEntityTooLarge));
}

#[tokio::test]
async fn nobody_learns_what_they_may_not_see() {
    let hub = Hub::start().await;
    let ask = async |token: &str, path: &str| {
        let headers = if token.is_empty() { vec![("authorization", "")] } else { vec![("authorization", token)] };
        hub.ask_with("GET", path, &headers, "").await
    };
    let anonymous = ask("", PODS).await;
    let text = "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\"";
    assert_eq!((anonymous.code.as_u16(), anonymous.json()["message"].as_str().unwrap()), (403, text));
    assert_eq!(ask("Bearer nonsense", PODS).await.code, 401);
    assert_eq!(ask("Bearer bob:dev", "/api/v1/nothings").await.code, 403);
    assert_eq!(ask("Bearer bob:dev", "/version").await.code, 403);
    assert_eq!(ask("", "/readyz").await.text(), "ok");
    assert_eq!(ask("", "/readyz/ping").await.code, 403);
    let denied =
        hub.ask_with("GET", PODS, &[("authorization", "Bearer bob:dev"), ("impersonate-user", "admin")], "").await;
    let said = denied.json()["message"].as_str().unwrap().to_string();
    assert!(said.contains("User \"bob\" cannot impersonate-on:user-info:list resource \"pods\""), "{said}");
    let acting = hub.ask_with("GET", PODS, &[("impersonate-user", "eve")], "").await;
    assert!(acting.json()["message"].as_str().unwrap().contains("User \"eve\" cannot list"));
    let group = [("impersonate-user", "eve"), ("impersonate-group", "system:masters")];
    assert_eq!(hub.ask_with("GET", PODS, &group, "").await.code, 200);
}

/// Whoever floods the server is told to come again; others, and the administrator, are not.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the request's task ends with the test's runtime")]
async fn so_many_requests_are_answered_at_once() {
    let hub = Arc::new(Hub::start_bounded(InFlight { reads: 1, writes: 1 }).await);
    let slow = {
        let (hub, mut body) = (hub.clone(), pod("slow"));
        body["waitMillis"] = json!(600_000);
        tokio::spawn(async move { hub.ask("POST", PODS, Some(body)).await })
    };
    let bob = [("authorization", "Bearer bob:dev"), ("content-type", "application/json")];
    let refused = loop {
        assert!(!slow.is_finished());
        let answer = hub.ask_with("POST", PODS, &bob, pod("y").to_string()).await;
        if answer.code == 429 {
            break answer;
        }
        assert_eq!(answer.code, 403);
    };
    assert_eq!((refused.header("retry-after"), reason(&refused.json())), ("1", Reason::TooManyRequests));
    assert_eq!(refused.json()["details"]["retryAfterSeconds"], 1);
    assert_eq!(hub.ask_with("GET", PODS, &bob, "").await.code, 403);
    assert_eq!(hub.ask_with("POST", "/livez", &bob, "").await.code, 405);
    assert_eq!(hub.ask("POST", PODS, Some(pod("z"))).await.code, 201);
}

#[tokio::test]
async fn a_request_may_bound_its_own_time() {
    let hub = Hub::start().await;
    let bad = hub.get(&format!("{PODS}?timeout=5")).await;
    let text = "invalid timeout specified in the request URL - time: missing unit in duration \"5\"";
    assert_eq!((bad.code.as_u16(), bad.json()["message"].as_str().unwrap()), (400, text));
    assert_eq!(hub.get(&format!("{PODS}?timeout=0s")).await.code, 200);
    let mut slow = pod("slow");
    slow["waitMillis"] = json!(600_000);
    let late = hub.ask("POST", &format!("{PODS}?timeout=50ms"), Some(slow)).await;
    assert_eq!((late.code.as_u16(), reason(&late.json())), (504, Reason::Timeout));
}

/// The old form of a path is a watch of one object too.
#[tokio::test]
async fn one_object_is_watched_by_the_old_path() {
    let hub = Hub::start().await;
    hub.ask("POST", PODS, Some(pod("x"))).await;
    let mut response = hub.send(request("GET", "/api/v1/watch/namespaces/a/pods/x", &[], "")).await;
    assert_eq!(response.status(), 200);
    let event = line(response.body_mut(), &mut Vec::new()).await.unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("x")));
    let eve = [("authorization", "Bearer eve:nobody")];
    let refused = hub.ask_with("GET", "/api/v1/watch/namespaces/a/pods/x", &eve, "").await;
    assert!(refused.text().contains("cannot watch resource"), "{}", refused.text());
}

/// A page in a browser has no other way to say who it is.
#[tokio::test]
async fn a_token_may_come_as_a_subprotocol() {
    let hub = Hub::start().await;
    let ask = async |protocols: &str| {
        let headers = [
            ("authorization", ""),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", protocols),
        ];
        hub.send(request("GET", "/api/v1/namespaces/a/pods/x/exec?command=cat&stdin=1", &headers, "")).await
    };
    let token = |text: &str| format!("base64url.bearer.authorization.k8s.io.{}", URL_SAFE_NO_PAD.encode(text));
    let accepted = ask(&format!("{}, v5.channel.k8s.io", token("admin:system:masters"))).await;
    assert_eq!(accepted.status(), 101);
    assert_eq!(accepted.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    assert_eq!(ask(&format!("{}, v5.channel.k8s.io", token("nonsense"))).await.status(), 401);
    assert_eq!(ask("v5.channel.k8s.io").await.status(), 403);
}

#[tokio::test]
async fn documents_have_their_own_type_and_may_be_kept() {
    let hub = Hub::start().await;
    let keys = hub.get("/openid/v1/jwks").await;
    let headers = (keys.header("content-type"), keys.header("cache-control"));
    assert_eq!(headers, ("application/jwk-set+json", "public, max-age=3600"));
    assert_eq!(keys.json(), json!({"keys": []}));
    let eve = [("authorization", "Bearer eve:nobody")];
    assert_eq!(hub.ask_with("GET", "/openid/v1/jwks", &eve, "").await.code, 403);
}

#[tokio::test]
async fn objects_are_shown_in_the_shape_that_was_asked_for() {
    let hub = Hub::start().await;
    for name in ["x", "y"] {
        hub.ask("POST", PODS, Some(pod(name))).await;
    }
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let list = hub.ask_with("GET", PODS, &table, "").await.json();
    assert_eq!((&list["kind"], &list["columnDefinitions"][0]["name"]), (&json!("Table"), &json!("Name")));
    assert_eq!(list["rows"][1]["cells"][0], "y");
    assert_eq!(list["rows"][1]["object"]["kind"], "PartialObjectMetadata");
    let whole = hub.ask_with("GET", &format!("{PODS}/x?includeObject=Object"), &table, "").await.json();
    assert_eq!(whole["rows"][0]["object"]["spec"]["containers"][0]["name"], "c");
    let metadata = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let list = hub.ask_with("GET", PODS, &metadata, "").await.json();
    assert_eq!((&list["kind"], &list["items"][0]["spec"]), (&json!("PartialObjectMetadataList"), &Json::Null));
    let yaml = hub.ask_with("GET", &format!("{PODS}/x"), &[("accept", "application/yaml")], "").await;
    assert!(yaml.text().starts_with("apiVersion: v1\n"), "{}", yaml.text());
    let sent = hub.ask_with("POST", PODS, &[("content-type", "application/yaml")], yaml.bytes.clone()).await;
    assert_eq!(sent.code, 201, "{}", sent.text());
    let pretty = hub.get(&format!("{PODS}/x?pretty=true")).await;
    assert!(pretty.text().contains("\n  \"kind\""), "{}", pretty.text());
}

#[tokio::test]
async fn long_lists_are_compressed_and_exact() {
    let hub = Hub::start().await;
    let mut long = pod("x");
    long["pad"] = "p".repeat(20_000).into();
    for i in 0..20 {
        long["metadata"]["name"] = format!("p{i}").into();
        hub.ask("POST", PODS, Some(long.clone())).await;
    }
    let plain = hub.get(PODS).await;
    assert_eq!(plain.header("content-length"), plain.bytes.len().to_string());
    let zipped = hub.ask_with("GET", PODS, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&zipped.bytes[..]), &mut text).unwrap();
    assert_eq!(text, plain.text());
}

#[tokio::test]
async fn warnings_travel_as_headers() {
    let hub = Hub::start().await;
    let mut noisy = pod("x");
    noisy["metadata"]["annotations"] = json!({"warn": "say \"why\"\n"});
    let answer = hub.ask("POST", PODS, Some(noisy)).await;
    assert_eq!(answer.header("warning"), "299 - \"say \\\"why\\\"\"");
    let twice = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"t"},"spec":{"a":1,"a":2}}"#;
    let sent = hub.ask_with("POST", PODS, &[("content-type", "application/json")], twice).await;
    assert_eq!((sent.code.as_u16(), sent.header("warning")), (201, "299 - \"duplicate field \\\"spec.a\\\"\""));
    let strict = format!("{PODS}?fieldValidation=Strict");
    let refused = hub.ask_with("POST", &strict, &[("content-type", "application/json")], twice).await;
    assert_eq!(refused.code, 400);
    let words = "strict decoding error: unknown field \"spec.a\", duplicate field \"spec.a\"";
    assert!(refused.json()["message"].as_str().unwrap().ends_with(words), "{}", refused.text());
}

/// As upstream: what stands twice is refused, warned of or passed over, and then the last one counts.
#[tokio::test]
async fn doubled_keys_of_yaml_are_judged_as_those_of_json() {
    let hub = Hub::start().await;
    let text = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  a: 1\n  b:\n    c: 1\n    c: 2\n  a: 3\n"
        )
    };
    let lines = ["line 9: key \"c\" already set in map", "line 10: key \"a\" already set in map"];
    let post = async |name: &str, query: &str| {
        hub.ask_with("POST", &format!("{PODS}{query}"), &[("content-type", "application/yaml")], text(name)).await
    };
    for (name, query) in [("warned", ""), ("warned-too", "?fieldValidation=Warn")] {
        let made = post(name, query).await;
        assert_eq!(made.code, 201);
        assert_eq!(made.json()["spec"], json!({"a": 3, "b": {"c": 2}}));
        let warnings: Vec<String> = lines.iter().map(|line| format!("299 - {line:?}")).collect();
        assert_eq!(made.headers("warning"), warnings);
    }
    let made = post("passed-over", "?fieldValidation=Ignore").await;
    assert_eq!((made.code.as_u16(), made.header("warning"), &made.json()["spec"]["a"]), (201, "", &json!(3)));
    let refused = post("refused", "?fieldValidation=Strict").await;
    let words = format!(
        "strict decoding error: yaml: unmarshal errors:\n  {}\n  {}, unknown field \"spec.a\", unknown field \"spec.b\"",
        lines[0], lines[1]
    );
    assert_eq!(refused.code, 400);
    assert!(refused.json()["message"].as_str().unwrap().ends_with(&words), "{}", refused.text());
}

/// The body of an apply is YAML, also where it is written as JSON.
#[tokio::test]
async fn doubled_keys_of_an_apply_are_judged() {
    let hub = Hub::start().await;
    hub.ask("POST", PODS, Some(pod("x"))).await;
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\",\n\"metadata\": {\"name\": \"x\"},\n\"spec\": {\"a\": 1,\n\"a\": 2}}";
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {a: 1, a: 2}\n";
    let line = "line 4: key \"a\" already set in map";
    for body in [json, yaml] {
        let apply = async |validation: &str| {
            let path = format!("{PODS}/x?fieldManager=me&fieldValidation={validation}");
            hub.ask_with("PATCH", &path, &[("content-type", "application/apply-patch+yaml")], body).await
        };
        let refused = apply("Strict").await;
        let message =
            format!("error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  {line}");
        assert_eq!((refused.code.as_u16(), &refused.json()["message"]), (400, &json!(message)));
        let warned = apply("Warn").await;
        assert_eq!((warned.code.as_u16(), warned.headers("warning")), (200, vec![format!("299 - {line:?}")]));
        let passed = apply("Ignore").await;
        assert_eq!((passed.code.as_u16(), passed.header("warning")), (200, ""));
    }
}

async fn line(body: &mut hyper::body::Incoming, rest: &mut Vec<u8>) -> Option<Json> {
    loop {
        if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            return Some(serde_json::from_slice(&line).unwrap());
        }
        let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.expect("an event in time")?;
        rest.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
    }
}

#[tokio::test]
async fn watches_send_events_as_they_happen_and_end_with_the_error() {
    let hub = Hub::start().await;
    hub.ask("POST", PODS, Some(pod("x"))).await;
    let certified = identity(&hub.issuer, "admin");
    let asked = request("GET", "https://localhost/api/v1/pods?watch=true", &[], Bytes::new());
    let response = hub.send_h2(Some(certified), asked).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let (mut body, mut rest) = (response.into_body(), Vec::new());
    let event = line(&mut body, &mut rest).await.unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("x")));
    hub.ask("PUT", &format!("{PODS}/x"), Some(pod("x"))).await;
    let event = line(&mut body, &mut rest).await.unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["resourceVersion"]), (&json!("MODIFIED"), &json!("2")));
    hub.registry.break_watches(&Status::expired("too old resource version"));
    let event = line(&mut body, &mut rest).await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert!(line(&mut body, &mut rest).await.is_none());
}

#[tokio::test]
async fn watches_show_tables_and_end_in_time() {
    let hub = Hub::start().await;
    hub.ask("POST", PODS, Some(pod("x"))).await;
    hub.ask("POST", PODS, Some(pod("y"))).await;
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let answer = hub.ask_with("GET", "/api/v1/pods?watch=1&timeoutSeconds=1", &table, "").await;
    let events: Vec<Json> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(events[1]["object"]["columnDefinitions"], json!([]));
    assert_eq!(events[1]["object"]["rows"][0]["cells"][0], "y");
}

#[tokio::test]
async fn a_write_outlives_its_client_and_shutdown_waits_for_it() {
    let hub = Hub::start().await;
    let mut slow = pod("slow");
    slow["waitMillis"] = 300.into();
    let body = slow.to_string();
    let sending = hub.send(request("POST", PODS, &[("content-type", "application/json")], body));
    let gave_up = tokio::time::timeout(Duration::from_millis(100), sending).await;
    assert!(gave_up.is_err());
    let Hub { server, registry, .. } = hub;
    assert!(server.shutdown(Duration::from_secs(10)).await);
    let context = holdfast_server::RequestContext::default();
    let at = holdfast_core::Target::object(holdfast_core::Gvr::new("", "v1", "pods"), "a", "slow");
    holdfast_server::Registry::get(&*registry, &context, &at).await.unwrap();
}

#[tokio::test]
async fn logs_are_text() {
    let hub = Hub::start().await;
    let answer = hub.get(&format!("{PODS}/x/log?container=c")).await;
    assert_eq!((answer.text().as_str(), answer.header("content-type")), ("one\ntwo\n", "text/plain"));
    let away: Answer = hub.get(&format!("{PODS}/away/log")).await;
    assert_eq!((away.code.as_u16(), away.header("retry-after")), (503, "5"));
}
