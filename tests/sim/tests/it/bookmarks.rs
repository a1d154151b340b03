//! Bookmarks of quiet watches, in the hub's own time.

use crate::stage::Stage;
use holdfast_controller::Client;
use holdfast_core::verbs::WatchEventType;
use holdfast_core::{Gvr, ListOptions, Target, Watch};
use serde_json::json;
use std::task::Poll;

/// What a watch has to tell now: `None` while it is quiet.
fn told(stage: &Stage, watch: Watch) -> (Watch, Option<(WatchEventType, u64)>) {
    stage.ask(|_| async move {
        let mut watch = watch;
        let event = std::future::poll_fn(|cx| {
            Poll::Ready(match watch.poll_next(cx) {
                Poll::Ready(event) => Some(event.expect("the watch ended").expect("the watch failed")),
                Poll::Pending => None,
            })
        })
        .await;
        (watch, event.map(|event| (event.event_type, event.object.revision.0)))
    })
}

#[test]
fn a_quiet_watch_gets_a_bookmark_each_minute() {
    let stage = Stage::open(7, 1);
    let secrets = Target::collection(Gvr::new("", "v1", "secrets"), "default");
    let options = ListOptions { allow_bookmarks: true, ..ListOptions::default() };
    let mut watch = stage.ask(|client| async move { client.watch(&secrets, &options).await }).unwrap();
    let mut last = 0;
    for minute in 1..=3 {
        // Something else is written: a bookmark tells how far this watch has seen the store.
        stage.create("configmaps", json!({"metadata": {"name": format!("m{minute}")}}));
        stage.pass(50);
        let quiet;
        (watch, quiet) = told(&stage, watch);
        assert_eq!(quiet, None, "minute {minute}");
        stage.pass(12);
        let bookmark;
        (watch, bookmark) = told(&stage, watch);
        let (event_type, revision) = bookmark.expect("no bookmark after a minute");
        assert_eq!(event_type, WatchEventType::Bookmark);
        assert!(revision > last, "the bookmark of minute {minute} is at {revision}, after {last}");
        last = revision;
    }
}
