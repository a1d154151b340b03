//! etcd's own limits, as whoever meets them reads of them.

use crate::{config, open, world};
use bytes::Bytes;
use holdfast_core::Revision;
use holdfast_store::suite::{put, write};
use holdfast_store::{Op, Store, StoreError, Txn};
use holdfast_store_etcd::testing::EtcdServer;
use holdfast_store_etcd::{EtcdConfig, EtcdStore};

/// Does not compress.
fn noise(bytes: usize) -> Bytes {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect::<Vec<u8>>().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_for_etcd_is_told_and_not_written() {
    let Some(server) = EtcdServer::start() else { return };
    let store = open(&server).await;
    let start = store.revision();
    for (what, ops, words) in [
        ("a value", vec![Op::Put { key: "k".into(), value: noise(1_700_000) }], "takes 1.5 MiB in one request"),
        // Beyond what etcd's gRPC takes as a message at all.
        ("a huge value", vec![Op::Put { key: "k".into(), value: noise(9 << 20) }], "takes 1.5 MiB in one request"),
        ("many writes", (0..129).map(|n| put(&format!("k{n}"), "v")).collect(), "takes 128 operations"),
    ] {
        match store.txn(Txn { checks: vec![], ops }).await {
            Err(StoreError::TooLarge(text)) => assert!(text.contains(words), "{what}: {text}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(store.sync().await.unwrap(), start, "something was written");
    // Below the limits, and what compresses may be larger than them.
    write(&*store, (0..128).map(|n| put(&format!("k{n}"), "v"))).await;
    write(&*store, [put("long", &"abc".repeat(1 << 20)), Op::Put { key: "dense".into(), value: noise(1_400_000) }])
        .await;
    let again = open(&server).await;
    assert_eq!(again.get("long").await.unwrap().unwrap().value.len(), 3 << 20);
    assert_eq!(again.get("dense").await.unwrap().unwrap().value, noise(1_400_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_refuses_writes_and_goes_on_reading() {
    let Some(server) = EtcdServer::start_with(&["--quota-backend-bytes=8000000", "--unsafe-no-fsync"]) else { return };
    let store = open(&server).await;
    let mut written = Revision(0);
    let text = loop {
        let op = Op::Put { key: format!("k{written}"), value: noise(1_000_000) };
        match store.txn(Txn { checks: vec![], ops: vec![op] }).await {
            Ok(_) => written = store.revision(),
            Err(StoreError::Unavailable(text)) => break text,
            Err(other) => panic!("{other:?}"),
        }
        assert!(written < Revision(100), "it never fills");
    };
    assert!(text.contains("has reached its quota") && text.contains("--quota-backend-bytes"), "{text}");
    assert_eq!(store.sync().await.unwrap(), written);
    assert!(store.watch("", written).is_ok());
}

#[tokio::test]
async fn a_configuration_without_sense_is_refused_at_once() {
    let refused = async |config: EtcdConfig| match EtcdStore::open(&config, &world()).await.map(|_| ()) {
        Err(StoreError::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    let at = |urls: &[&str]| EtcdConfig::new(urls.iter().map(ToString::to_string).collect());
    assert!(refused(at(&[])).await.contains("no endpoint"), "nothing to ask");
    assert!(refused(at(&["127.0.0.1:2379"])).await.contains("is no endpoint of etcd"));
    assert!(refused(at(&["http://a:1", "https://b:1"])).await.contains("all http or all https"));
    assert!(refused(at(&["https://b:1"])).await.contains("needs the CA"));
    assert!(refused(EtcdConfig { prefix: "/".into(), ..at(&["http://a:1"]) }).await.contains("is no folder"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_prefix_is_another_store() {
    let Some(server) = EtcdServer::start_quick() else { return };
    let store = open(&server).await;
    let other = EtcdConfig { prefix: "/holdfast2".to_owned(), ..config(&server) };
    let other = EtcdStore::open(&other, &world()).await.unwrap();
    write(&*store, [put("a", "1")]).await;
    write(&*other, [put("b", "1")]).await;
    store.sync().await.unwrap();
    other.sync().await.unwrap();
    assert!(store.get("b").await.unwrap().is_none() && other.get("a").await.unwrap().is_none());
}
