//! What the server counts of who asks.

use crate::fake::Hub;
use serde_json::json;

#[tokio::test]
async fn who_asks_and_what_is_sent_is_counted() {
    let hub = Hub::start().await;
    let pods = "/api/v1/namespaces/a/pods";
    for name in ["x", "y"] {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
        assert_eq!(hub.ask("POST", pods, Some(pod)).await.code, 201);
    }
    assert_eq!(hub.ask_with("GET", pods, &[("authorization", "Bearer nonsense")], "").await.code, 401);
    let eve = [("authorization", "Bearer eve@example.com:nobody")];
    assert_eq!(hub.ask_with("GET", pods, &eve, "").await.code, 403);
    // The watch ends by itself, with both pods sent.
    let watched = hub.get(&format!("{pods}?watch=true&timeoutSeconds=1")).await;
    assert_eq!(watched.text().lines().count(), 2);
    let text = hub.get("/metrics").await.text();
    let value = |series: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<u64>().ok()).unwrap_or_else(|| panic!("{series}:\n{text}"))
    };
    // Two writes, a watch, this; and Eve.
    assert_eq!(value("authentication_attempts{result=\"success\"}"), 5);
    assert_eq!(value("authentication_attempts{result=\"error\"}"), 1);
    assert_eq!(value("authentication_duration_seconds_count{result=\"success\"}"), 5);
    assert_eq!(value("authenticated_user_requests{username=\"admin\"}"), 4);
    assert_eq!(value("authenticated_user_requests{username=\"email_id\"}"), 1);
    assert_eq!(value("authorization_attempts_total{result=\"allowed\"}"), 4);
    assert_eq!(value("authorization_attempts_total{result=\"no-opinion\"}"), 1);
    assert_eq!(value("apiserver_watch_events_total{group=\"\",resource=\"pods\",version=\"v1\"}"), 2);
}

/// Answers to reads by their length, compressed ones too, and who still asks for what is old.
#[tokio::test]
async fn the_sizes_of_reads_and_the_use_of_old_kinds_are_counted() {
    let hub = Hub::start().await;
    let pods = "/api/v1/namespaces/a/pods";
    for n in 0..40 {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{n}"),
            "annotations": {"text": "the same again and again ".repeat(200)}}});
        assert_eq!(hub.ask("POST", pods, Some(pod)).await.code, 201);
    }
    let one = hub.get(&format!("{pods}/p0")).await.bytes.len();
    let plain = hub.get(pods).await.bytes.len();
    let zipped = hub.ask_with("GET", pods, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    hub.get("/api/v1/namespaces/a/endpoints").await;
    let text = hub.get("/metrics").await.text();
    let of = |verb: &str, scope: &str| {
        format!(
            "component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"{scope}\",subresource=\"\",verb=\"{verb}\",\
             version=\"v1\""
        )
    };
    for line in [
        format!("apiserver_response_sizes_sum{{{}}} {one}", of("GET", "resource")),
        format!("apiserver_response_sizes_count{{{}}} 2", of("LIST", "namespace")),
        format!("apiserver_response_sizes_sum{{{}}} {}", of("LIST", "namespace"), plain + zipped.bytes.len()),
        format!("apiserver_response_sizes_bucket{{{},le=\"100000\"}} 1", of("LIST", "namespace")),
        "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",subresource=\"\",\
         version=\"v1\"} 1"
            .to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    let measured = text.lines().filter(|line| line.starts_with("apiserver_response_sizes"));
    assert!(measured.into_iter().all(|line| !line.contains("POST")), "writes are not measured");
}
