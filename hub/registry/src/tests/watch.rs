//! Watches: where they begin, what they show, how they end.

use super::*;
use holdfast_core::verbs::{INITIAL_EVENTS_END, VersionMatch};
use holdfast_core::{LabelSelector, Revision};

fn from(revision: u64) -> ListOptions {
    ListOptions { resource_version: Some(Revision(revision)), ..ListOptions::default() }
}

#[tokio::test]
async fn a_selector_turns_changes_into_arrivals_and_departures() {
    let cluster = cluster().await;
    let labels = LabelSelector::parse("app=web").unwrap();
    let mut watch = cluster.watch("configmaps", ListOptions { labels, ..from(cluster.store.revision().0) }).await;
    cluster.create("configmaps", "default", config_map("other", json!({}))).await.unwrap();
    cluster.create("configmaps", "default", config_map("a", json!({}))).await.unwrap();
    let label = |value: Json| json!({ "metadata": { "labels": { "app": value } } });
    let added = cluster.merge("configmaps", "a", label(json!("web"))).await.unwrap();
    assert_eq!(cluster.next(&mut watch).await, ("ADDED a".into(), added.revision.0));
    cluster.merge("configmaps", "a", json!({ "data": { "x": "y" } })).await.unwrap();
    assert_eq!(cluster.next(&mut watch).await.0, "MODIFIED a");
    let left = cluster.merge("configmaps", "a", label(json!(null))).await.unwrap();
    assert_eq!(cluster.next(&mut watch).await, ("DELETED a".into(), left.revision.0));
    cluster.merge("configmaps", "a", label(json!("web"))).await.unwrap();
    assert_eq!(cluster.next(&mut watch).await.0, "ADDED a");
    cluster.delete("configmaps", "default", "a").await.unwrap();
    // The deletion's own revision, so that a client does not go back.
    assert_eq!(cluster.next(&mut watch).await, ("DELETED a".into(), cluster.store.revision().0));
}

#[tokio::test]
async fn a_streaming_list_ends_with_its_bookmark() {
    let cluster = cluster().await;
    for name in ["a", "b"] {
        cluster.create("configmaps", "default", config_map(name, json!({}))).await.unwrap();
    }
    let options = ListOptions {
        send_initial_events: Some(true),
        version_match: Some(VersionMatch::NotOlderThan),
        allow_bookmarks: true,
        ..ListOptions::default()
    };
    let mut watch = cluster.watch("configmaps", options.clone()).await;
    assert_eq!(cluster.next(&mut watch).await.0, "ADDED a");
    assert_eq!(cluster.next(&mut watch).await.0, "ADDED b");
    let bookmark = cluster.next(&mut watch).await;
    assert_eq!(bookmark, (format!("BOOKMARK {INITIAL_EVENTS_END}"), cluster.store.revision().0));
    cluster.create("configmaps", "default", config_map("c", json!({}))).await.unwrap();
    assert_eq!(cluster.next(&mut watch).await.0, "ADDED c");

    let wrong = ListOptions { version_match: None, ..options };
    let Err(status) = cluster.registry.watch(&cluster.cx, &target("configmaps", "default", ""), &wrong).await else {
        panic!("accepted");
    };
    assert!(status.code() == 422 && status.message().contains("requires setting resourceVersionMatch"), "{status}");
}

#[tokio::test]
async fn a_watch_ends_in_time_with_a_bookmark() {
    let cluster = cluster().await;
    let options = ListOptions { timeout_seconds: Some(0), allow_bookmarks: true, ..from(cluster.store.revision().0) };
    let mut watch = cluster.watch("configmaps", options).await;
    assert_eq!(cluster.next(&mut watch).await, ("BOOKMARK ".into(), cluster.store.revision().0));
    assert!(cluster.env.timeout(Duration::from_secs(5), watch.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn unset_and_zero_begin_with_what_is_there() {
    let cluster = cluster().await;
    cluster.create("configmaps", "default", config_map("a", json!({}))).await.unwrap();
    for options in [ListOptions::default(), from(0)] {
        let mut watch = cluster.watch("configmaps", options).await;
        assert_eq!(cluster.next(&mut watch).await.0, "ADDED a");
    }
    let one = target("configmaps", "default", "b");
    let mut watch = cluster.registry.watch(&cluster.cx, &one, &ListOptions::default()).await.unwrap();
    cluster.create("configmaps", "default", config_map("bb", json!({}))).await.unwrap();
    cluster.create("configmaps", "default", config_map("b", json!({}))).await.unwrap();
    assert_eq!(cluster.next(&mut watch).await.0, "ADDED b");
}

#[tokio::test]
async fn what_is_compacted_has_expired() {
    let cluster = cluster().await;
    let old = cluster.store.revision();
    for name in ["a", "b"] {
        cluster.create("configmaps", "default", config_map(name, json!({}))).await.unwrap();
    }
    cluster.store.compact(cluster.store.revision()).await.unwrap();
    let mut watch = cluster.watch("configmaps", from(old.0)).await;
    let status = watch.next().await.unwrap().unwrap_err();
    assert!(status.code() == 410 && status.message().starts_with("too old resource version: "), "{status}");
    assert!(watch.next().await.is_none());
}
