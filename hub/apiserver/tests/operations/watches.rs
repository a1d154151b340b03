//! Watches of ConfigMaps: whom they tell what, from where, and in which order.

use crate::hub::{Hub, version};
use holdfast_core::Json;
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/one/configmaps";

async fn make(hub: &Hub, name: &str, label: &str) -> Json {
    hub.create(MAPS, json!({"metadata": {"name": name, "labels": {"watched": label}}})).await
}

async fn mutate(hub: &Hub, name: &str, value: &str) -> Json {
    hub.patch(&format!("{MAPS}/{name}"), "merge-patch", &json!({"data": {"mutation": value}})).await.ok()
}

async fn label(hub: &Hub, name: &str, value: &str) {
    let patch = json!({"metadata": {"labels": {"watched": value}}});
    hub.patch(&format!("{MAPS}/{name}"), "merge-patch", &patch).await.ok();
}

async fn remove(hub: &Hub, name: &str) {
    hub.delete(&format!("{MAPS}/{name}")).await.ok();
}

fn watched(selector: &str, from: &str) -> String {
    format!("{MAPS}?watch=true&resourceVersion={from}&labelSelector=watched%20in%20({selector})")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_watch_is_told_of_what_it_selects() {
    let hub = Hub::start().await;
    let mut of_a = hub.watch(&watched("a", "")).await;
    let mut of_b = hub.watch(&watched("b", "")).await;
    let mut of_both = hub.watch(&watched("a,b", "")).await;
    let made = make(&hub, "map-a", "a").await;
    let first = mutate(&hub, "map-a", "1").await;
    let second = mutate(&hub, "map-a", "2").await;
    remove(&hub, "map-a").await;
    make(&hub, "map-b", "b").await;
    remove(&hub, "map-b").await;
    for watch in [&mut of_a, &mut of_both] {
        for (sort, expected) in [("ADDED", &made), ("MODIFIED", &first), ("MODIFIED", &second)] {
            assert_eq!(watch.next().await, (sort.to_string(), expected.clone()));
        }
        assert_eq!(watch.told().await, "DELETED map-a");
    }
    // The first thing that the watch of `b` hears is of `map-b`, and the next that of both.
    for watch in [&mut of_b, &mut of_both] {
        assert_eq!(watch.told().await, "ADDED map-b");
        assert_eq!(watch.told().await, "DELETED map-b");
    }
    // Nothing of `b` reached the watch of `a`: what it hears next is what happens now.
    make(&hub, "map-c", "a").await;
    assert_eq!(of_a.told().await, "ADDED map-c");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_begins_where_it_is_told_to() {
    let hub = Hub::start().await;
    make(&hub, "map", "a").await;
    let first = mutate(&hub, "map", "1").await;
    let second = mutate(&hub, "map", "2").await;
    remove(&hub, "map").await;
    let mut watch = hub.watch(&watched("a", &version(&first).to_string())).await;
    assert_eq!(watch.next().await, ("MODIFIED".into(), second));
    assert_eq!(watch.told().await, "DELETED map");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_ended_is_taken_up_where_it_was() {
    let hub = Hub::start().await;
    let mut broken = hub.watch(&watched("a", "")).await;
    make(&hub, "map", "a").await;
    mutate(&hub, "map", "1").await;
    assert_eq!(broken.told().await, "ADDED map");
    let (sort, last) = broken.next().await;
    assert_eq!(sort, "MODIFIED");
    drop(broken);
    let second = mutate(&hub, "map", "2").await;
    let mut resumed = hub.watch(&watched("a", &version(&last).to_string())).await;
    remove(&hub, "map").await;
    assert_eq!(resumed.next().await, ("MODIFIED".into(), second));
    assert_eq!(resumed.told().await, "DELETED map");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_a_selector_is_a_deletion_to_its_watch() {
    let hub = Hub::start().await;
    let mut watch = hub.watch(&watched("a", "")).await;
    let made = make(&hub, "map", "a").await;
    let first = mutate(&hub, "map", "1").await;
    label(&hub, "map", "wrong").await;
    assert_eq!(watch.next().await, ("ADDED".into(), made));
    assert_eq!(watch.next().await, ("MODIFIED".into(), first));
    assert_eq!(watch.told().await, "DELETED map");
    mutate(&hub, "map", "2").await;
    label(&hub, "map", "a").await;
    let third = mutate(&hub, "map", "3").await;
    remove(&hub, "map").await;
    // The change in between was not told.
    let (sort, back) = watch.next().await;
    assert_eq!((sort.as_str(), &back["data"]["mutation"]), ("ADDED", &json!("2")));
    assert_eq!(watch.next().await, ("MODIFIED".into(), third));
    assert_eq!(watch.told().await, "DELETED map");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_from_different_moments_hear_the_same_order() {
    const WRITES: usize = 60;
    const WATCHES: usize = 20;
    let hub = Hub::start().await;
    let from = hub.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_string();
    let writes = async {
        for number in 0..WRITES {
            let name = format!("map-{}", number % 7);
            match number / 7 % 3 {
                0 => drop(make(&hub, &name, "a").await),
                1 => drop(mutate(&hub, &name, &number.to_string()).await),
                _ => remove(&hub, &name).await,
            }
        }
    };
    let reads = async {
        let path = |from: &str| format!("{MAPS}?watch=true&resourceVersion={from}");
        let mut watches = vec![hub.watch(&path(&from)).await];
        for _ in 0..WATCHES {
            let mut seen = Vec::new();
            for watch in &mut watches {
                let (sort, object) = watch.next().await;
                seen.push((sort, version(&object)));
            }
            assert!(seen.iter().all(|event| *event == seen[0]), "{seen:?}");
            // The next one begins where all the others stand.
            watches.push(hub.watch(&path(&seen[0].1.to_string())).await);
        }
    };
    tokio::join!(writes, reads);
}
