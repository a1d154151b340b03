//! Priority and fairness over real HTTPS: one user floods, others are served.
//!
//! A create whose body does not come is as slow as a request can be: it holds its seat until its client goes.

use crate::hub::{Answer, Hub};
use holdfast_core::Json;
use holdfast_server::InFlight;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
const MAPS: &str = "/api/v1/namespaces/one/configmaps";
const SCHEMA_UID: &str = "x-kubernetes-pf-flowschema-uid";
const LEVEL_UID: &str = "x-kubernetes-pf-prioritylevel-uid";
const DEADLINE: Duration = Duration::from_secs(30);

/// Asks until an answer holds.
async fn until<T>(what: &str, ask: impl AsyncFn() -> T, holds: impl Fn(&T) -> bool) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if holds(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

async fn hub(seats: usize) -> Hub {
    let hub = Hub::start_with(InFlight { reads: seats / 2, writes: seats - seats / 2 }, true).await;
    let rights = "/apis/rbac.authorization.k8s.io/v1/namespaces/one";
    let role = json!({"metadata": {"name": "maps"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    hub.create(&format!("{rights}/roles"), role).await;
    let user = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    let binding = json!({"metadata": {"name": "maps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maps"},
        "subjects": [user("bob"), user("eve")]});
    hub.create(&format!("{rights}/rolebindings"), binding).await;
    // The rights are there a moment later, and so is the configuration.
    for user in ["bob", "eve"] {
        until("rights", async || get(&hub, user, MAPS).await, |answer| answer.code == 200).await;
    }
    until("levels", async || uids(&hub, "eve").await, |uids| !uids.0.is_empty()).await;
    hub
}

async fn get(hub: &Hub, user: &str, path: &str) -> Answer {
    hub.send("GET", path, &[("impersonate-user", user)], "").await
}

async fn create(hub: &Hub, user: &str, name: &str) -> Answer {
    let headers = [("impersonate-user", user), ("content-type", "application/json")];
    hub.send("POST", MAPS, &headers, json!({"metadata": {"name": name}}).to_string()).await
}

fn header(answer: &Answer, name: &str) -> String {
    answer.headers.get(name).map(|value| value.to_str().unwrap().to_string()).unwrap_or_default()
}

/// Of which schema and level a user's requests are.
async fn uids(hub: &Hub, user: &str) -> (String, String) {
    let answer = get(hub, user, MAPS).await;
    (header(&answer, SCHEMA_UID), header(&answer, LEVEL_UID))
}

async fn uid(hub: &Hub, collection: &str, name: &str) -> String {
    hub.get(&format!("{collection}/{name}")).await.ok()["metadata"]["uid"].as_str().unwrap().to_string()
}

fn schema(name: &str, level: &str, user: &str) -> Json {
    json!({"metadata": {"name": name}, "spec": {
        "matchingPrecedence": 500, "priorityLevelConfiguration": {"name": level},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": user}}], "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}})
}

fn level(name: &str, queue_length: u32) -> Json {
    json!({"metadata": {"name": name}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 30, "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Queue", "queuing": {"queues": 2, "handSize": 1, "queueLengthLimit": queue_length}}}}})
}

/// A create whose body does not come.
async fn hold(hub: &Hub, user: &str) -> TlsStream<TcpStream> {
    let mut stream = hub.dial().await;
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: localhost\r\nimpersonate-user: {user}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// The head of an answer, in small letters.
async fn head(stream: &mut TlsStream<TcpStream>) -> String {
    let mut text = Vec::new();
    while !text.windows(4).any(|part| part == b"\r\n\r\n") {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap_or(0);
        if read == 0 {
            break;
        }
        text.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&text).to_lowercase()
}

async fn metric(hub: &Hub, series: &str) -> u64 {
    let text = hub.get("/metrics").await.body.as_str().unwrap().to_string();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_user_leaves_others_alone() {
    let hub = hub(16).await;
    hub.create(LEVELS, level("bobs", 2)).await;
    hub.create(SCHEMAS, schema("bobs", "bobs", "bob")).await;
    let expected = (uid(&hub, SCHEMAS, "bobs").await, uid(&hub, LEVELS, "bobs").await);
    until("the schema is in force", async || uids(&hub, "bob").await, |uids| *uids == expected).await;

    // More than there are seats and places in his queue.
    let mut flood = JoinSet::new();
    for _ in 0..24 {
        let mut stream = hold(&hub, "bob").await;
        flood.spawn(async move { head(&mut stream).await });
    }
    let refused = tokio::time::timeout(DEADLINE, flood.join_next()).await.unwrap().unwrap().unwrap();
    assert!(refused.starts_with("http/1.1 429 ") && refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(refused.contains(&format!("{SCHEMA_UID}: {}", expected.0)), "{refused}");
    assert!(refused.contains(&format!("{LEVEL_UID}: {}", expected.1)), "{refused}");
    let flows = "{priority_level=\"bobs\",flow_schema=\"bobs\"}";
    let inqueue = format!("apiserver_flowcontrol_current_inqueue_requests{flows}");
    until("two wait", async || metric(&hub, &inqueue).await, |waiting| *waiting == 2).await;
    let said = until("he is refused", async || get(&hub, "bob", MAPS).await, |answer| answer.code == 429).await;
    assert_eq!((said.body["reason"].as_str(), header(&said, "retry-after")), (Some("TooManyRequests"), "1".into()));
    assert_eq!(said.body["message"], "Too many requests, please try again later.");

    let full = "{priority_level=\"bobs\",flow_schema=\"bobs\",reason=\"queue-full\"}";
    assert!(metric(&hub, &format!("apiserver_flowcontrol_rejected_requests_total{full}")).await >= 2);
    let seats = metric(&hub, "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"bobs\"}").await;
    assert_eq!(seats, 2, "30 of 275 shares of 16 seats");
    assert_eq!(metric(&hub, &format!("apiserver_flowcontrol_current_executing_requests{flows}")).await, seats);
    let page = hub.get("/debug/api_priority_and_fairness/dump_priority_levels").await.body;
    let line = page.as_str().unwrap().lines().find(|line| line.starts_with("bobs,")).unwrap().to_string();
    let cells: Vec<&str> = line.split(',').map(str::trim).take(6).collect();
    assert_eq!(cells, ["bobs", "1", "false", "false", "2", "2"]);
    for index in 0..20 {
        assert_eq!(create(&hub, "eve", &format!("eve-{index}")).await.code, 201);
        assert_eq!(get(&hub, "eve", MAPS).await.code, 200);
    }
    let probe = hub.send("GET", "/readyz", &[("impersonate-user", "bob")], "").await;
    assert_eq!(probe.code, 200);
    assert_eq!(header(&probe, SCHEMA_UID), uid(&hub, SCHEMAS, "probes").await);
    assert_eq!(header(&probe, LEVEL_UID), uid(&hub, LEVELS, "exempt").await);
    let admin = hub.get(MAPS).await;
    assert_eq!(header(&admin, SCHEMA_UID), uid(&hub, SCHEMAS, "exempt").await);

    let others = "{priority_level=\"global-default\",flow_schema=\"global-default\"}";
    assert!(metric(&hub, &format!("apiserver_flowcontrol_dispatched_requests_total{others}")).await >= 40);
    get(&hub, "eve", "/debug/api_priority_and_fairness/dump_requests").await.refused(403);

    // Who goes gives back what he held.
    drop(flood);
    let executing = format!("apiserver_flowcontrol_current_executing_requests{flows}");
    until("all are gone", async || metric(&hub, &executing).await, |served| *served == 0).await;
    assert_eq!(metric(&hub, &inqueue).await, 0);
    assert_eq!(get(&hub, "bob", MAPS).await.code, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_too_long_is_refused() {
    let hub = hub(16).await;
    hub.create(LEVELS, level("bobs", 10)).await;
    hub.create(SCHEMAS, schema("bobs", "bobs", "bob")).await;
    let level = uid(&hub, LEVELS, "bobs").await;
    until("the schema is in force", async || uids(&hub, "bob").await.1, |uid| *uid == level).await;
    let held = [hold(&hub, "bob").await, hold(&hub, "bob").await];
    let executing = "apiserver_flowcontrol_current_executing_requests{priority_level=\"bobs\",flow_schema=\"bobs\"}";
    until("both are served", async || metric(&hub, executing).await, |served| *served == 2).await;
    let answer = get(&hub, "bob", &format!("{MAPS}?timeout=200ms")).await;
    assert_eq!((answer.code, header(&answer, "retry-after")), (429, "1".into()));
    let late = "{priority_level=\"bobs\",flow_schema=\"bobs\",reason=\"time-out\"}";
    assert_eq!(metric(&hub, &format!("apiserver_flowcontrol_rejected_requests_total{late}")).await, 1);
    // A watch needs a seat to begin.
    let watch = format!("{MAPS}?watch=true&timeoutSeconds=1&timeout=200ms");
    assert_eq!(get(&hub, "bob", &watch).await.code, 429);
    // One that waits is let in as soon as a seat is free.
    let inqueue = "apiserver_flowcontrol_current_inqueue_requests{priority_level=\"bobs\",flow_schema=\"bobs\"}";
    let mut asking = hub.dial().await;
    let text = format!("GET {MAPS} HTTP/1.1\r\nhost: localhost\r\nimpersonate-user: bob\r\n\r\n");
    asking.write_all(text.as_bytes()).await.unwrap();
    until("it waits", async || metric(&hub, inqueue).await, |waiting| *waiting == 1).await;
    drop(held);
    assert!(head(&mut asking).await.starts_with("http/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_schema_is_in_force_without_a_restart() {
    let hub = hub(600).await;
    let before = uids(&hub, "bob").await;
    assert_eq!(before.0, uid(&hub, SCHEMAS, "global-default").await);
    hub.create(SCHEMAS, schema("bobs", "workload-high", "bob")).await;
    let high = uid(&hub, LEVELS, "workload-high").await;
    until("it is in force", async || uids(&hub, "bob").await.1, |uid| *uid == high).await;
    assert_eq!(uids(&hub, "eve").await, before);
    let other = json!({"spec": {"rules": schema("", "", "eve")["spec"]["rules"]}});
    hub.patch(&format!("{SCHEMAS}/bobs"), "merge-patch", &other).await.ok();
    until("it is changed", async || uids(&hub, "eve").await.1, |uid| *uid == high).await;
    assert_eq!(uids(&hub, "bob").await, before);
    hub.delete(&format!("{SCHEMAS}/bobs")).await.ok();
    until("it is gone", async || uids(&hub, "eve").await, |uids| *uids == before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_tell_whether_their_level_is_there() {
    let hub = hub(600).await;
    let told = async |name: &str| {
        let doc = hub.get(&format!("{SCHEMAS}/{name}")).await.ok();
        let condition = &doc["status"]["conditions"][0];
        [&condition["type"], &condition["status"], &condition["reason"]]
            .map(|text| text.as_str().unwrap_or_default().to_string())
    };
    until("found", async || told("system-nodes").await, |told| *told == ["Dangling", "False", "Found"]).await;
    hub.create(SCHEMAS, schema("lost", "nowhere", "bob")).await;
    until("not found", async || told("lost").await, |told| *told == ["Dangling", "True", "NotFound"]).await;
    assert_eq!(uids(&hub, "bob").await.0, uid(&hub, SCHEMAS, "global-default").await);
    let managers = hub.get(&format!("{SCHEMAS}/lost")).await.ok()["metadata"]["managedFields"].to_string();
    assert!(managers.contains("api-priority-and-fairness-config-consumer-v1"), "{managers}");
    hub.create(LEVELS, level("nowhere", 2)).await;
    until("found", async || told("lost").await, |told| *told == ["Dangling", "False", "Found"]).await;
    hub.delete(&format!("{LEVELS}/nowhere")).await.ok();
    until("lost", async || told("lost").await, |told| *told == ["Dangling", "True", "NotFound"]).await;

    let mut bad = schema("bad", "workload-low", "bob");
    bad["spec"]["matchingPrecedence"] = json!(20_000);
    bad["spec"]["rules"][0]["resourceRules"][0]["verbs"] = json!(["fetch"]);
    let refused = hub.post(SCHEMAS, &bad).await;
    assert_eq!(refused.code, 422);
    let fields: Vec<&str> = refused.body["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| cause["field"].as_str().unwrap())
        .collect();
    assert!(fields.contains(&"spec.matchingPrecedence"), "{fields:?}");
    assert!(fields.contains(&"spec.rules[0].resourceRules[0].verbs"), "{fields:?}");
}
