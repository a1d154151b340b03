//! What the view of Events promises: order, bounds, and that no state of its folder harms the agent.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use holdfast_core::Seq;
use holdfast_edge_views::{EventViews, limits};
use holdfast_env::Mono;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn event(namespace: &str, pod: &str, reason: &str) -> Vec<u8> {
    let event = json!({
        "kind": "Event", "metadata": {"namespace": namespace, "name": format!("{pod}.{reason}")},
        "involvedObject": {"kind": "Pod", "namespace": namespace, "name": pod}, "reason": reason,
    });
    serde_json::to_vec(&event).unwrap()
}

fn reasons(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["reason"].as_str().unwrap()).collect()
}

/// A folder with two Events, closed.
fn filled(dir: &Path) {
    let mut views = EventViews::new(dir.to_path_buf());
    views.record(Seq(1), &event("a", "web", "Pulled"));
    views.record(Seq(2), &event("a", "web", "Started"));
}

#[test]
fn events_come_in_the_order_of_their_numbers_and_outlive_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let mut views = EventViews::new(dir.path().join("views"));
    views.record(Seq(300), &event("a", "web", "Third"));
    views.record(Seq(2), &event("a", "web", "First"));
    views.record(Seq(255), &event("a", "web", "Second"));
    drop(views);
    let mut views = EventViews::new(dir.path().join("views"));
    assert_eq!(reasons(&views.events(None, None)), ["First", "Second", "Third"]);
}

#[test]
fn events_are_found_by_namespace_and_pod() {
    let dir = tempfile::tempdir().unwrap();
    let mut views = EventViews::new(dir.path().to_path_buf());
    views.record(Seq(1), &event("a", "web", "One"));
    views.record(Seq(2), &event("b", "web", "Two"));
    views.record(Seq(3), &event("a", "db", "Three"));
    let node =
        json!({"metadata": {"namespace": "a"}, "involvedObject": {"kind": "Node", "name": "web"}, "reason": "N"});
    views.record(Seq(4), &serde_json::to_vec(&node).unwrap());
    assert_eq!(reasons(&views.events(None, Some("web"))), ["One", "Two"]);
    assert_eq!(reasons(&views.events(Some("a"), None)), ["One", "Three", "N"]);
    assert_eq!(reasons(&views.events(Some("a"), Some("db"))), ["Three"]);
    assert!(views.events(Some("a"), Some("none")).is_empty());
}

#[test]
fn the_same_event_again_is_one_and_another_under_its_number_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut views = EventViews::new(dir.path().to_path_buf());
    for _ in 0..2 {
        views.record(Seq(7), &event("a", "web", "Pulled"));
        views.record(Seq(9), &event("a", "web", "Started"));
    }
    assert_eq!(reasons(&views.events(None, None)), ["Pulled", "Started"]);
    views.record(Seq(7), &event("a", "web", "Other"));
    assert_eq!(reasons(&views.events(None, None)), ["Other"]);
}

#[test]
fn the_oldest_go_when_the_bound_is_reached_also_over_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("views");
    let more = limits::MAX_EVENTS as u64 + 10;
    let mut views = EventViews::new(dir.clone());
    for seq in 1..=more {
        views.record(Seq(seq), &event("a", "web", &seq.to_string()));
    }
    views.close();
    views.record(Seq(more + 1), &event("a", "web", "last"));
    let events = views.events(None, None);
    let reasons = reasons(&events);
    assert_eq!(reasons.len(), limits::MAX_EVENTS);
    assert_eq!((reasons[0], reasons[reasons.len() - 1]), ("12", "last"));
    views.record(Seq(more + 2), &vec![b' '; limits::MAX_EVENT_BYTES + 1]);
    assert_eq!(views.events(None, None).len(), limits::MAX_EVENTS, "one that is too large is left out");
}

#[test]
fn a_folder_that_is_deleted_foreign_or_damaged_is_made_anew() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 8] = [
        ("deleted", |dir| fs::remove_dir_all(dir).unwrap()),
        ("a file", |dir| {
            fs::remove_dir_all(dir).unwrap();
            fs::write(dir, "not a folder").unwrap();
        }),
        ("a broken link", |dir| {
            fs::remove_dir_all(dir).unwrap();
            std::os::unix::fs::symlink(dir.join("nowhere"), dir).unwrap();
        }),
        ("foreign", |dir| fs::remove_file(dir.join("FORMAT")).unwrap()),
        ("of another version", |dir| fs::write(dir.join("FORMAT"), "holdfast-edge-views 9\n").unwrap()),
        ("overwritten", |dir| {
            let db = dir.join("sled/db");
            let length = fs::metadata(&db).unwrap().len() as usize;
            fs::write(db, vec![0xa5; length]).unwrap();
        }),
        ("cut short", |dir| fs::write(dir.join("sled/db"), [1, 2, 3]).unwrap()),
        ("with a garbled configuration", |dir| fs::write(dir.join("sled/conf"), [0xff; 40]).unwrap()),
    ];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("views");
        filled(&dir);
        harm(&dir);
        let mut views = EventViews::new(dir.clone());
        assert_eq!(reasons(&views.events(None, None)), [""; 0], "{name}");
        views.record(Seq(3), &event("a", "web", "After"));
        drop(views);
        assert_eq!(reasons(&EventViews::new(dir).events(None, None)), ["After"], "{name}");
    }
}

#[test]
fn a_view_that_somebody_else_has_open_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("views");
    let mut first = EventViews::new(dir.clone());
    first.record(Seq(1), &event("a", "web", "Mine"));
    let mut second = EventViews::new(dir.clone());
    assert!(second.events(None, None).is_empty());
    drop(second);
    assert_eq!(reasons(&first.events(None, None)), ["Mine"]);
    drop(first);
    assert_eq!(reasons(&EventViews::new(dir).events(None, None)), ["Mine"]);
}

#[test]
fn a_record_that_does_not_decode_costs_the_view_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut views = EventViews::new(dir.path().join("views"));
    views.record(Seq(1), b"{\"half\":");
    assert!(views.events(None, None).is_empty());
    views.record(Seq(2), &event("a", "web", "After"));
    assert_eq!(reasons(&views.events(None, None)), ["After"]);
}

#[test]
fn a_place_that_cannot_be_written_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let mut views = EventViews::new(dir.path().join("file/views"));
    views.record(Seq(1), &event("a", "web", "Pulled"));
    assert!(views.events(None, None).is_empty());
}

#[test]
fn sled_is_closed_after_the_quiet_and_opened_again_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let mut views = EventViews::new(dir.path().join("views"));
    let at = |secs| Mono::default().after(Duration::from_secs(secs));
    assert!(!views.close_idle(at(1)), "nothing was opened yet");
    views.record(Seq(1), &event("a", "web", "Pulled"));
    assert!(views.close_idle(at(100)));
    assert!(views.close_idle(at(159)));
    views.record(Seq(2), &event("a", "web", "Started"));
    assert!(views.close_idle(at(161)), "it was just used");
    assert!(!views.close_idle(at(221)));
    assert_eq!(reasons(&views.events(None, None)), ["Pulled", "Started"]);
    assert!(views.close_idle(at(300)));
}
