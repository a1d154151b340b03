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
