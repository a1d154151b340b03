//! Priority and fairness as kubectl's user sees it, and the flag that turns it off.

use crate::hub::Hub;
use crate::kubectl::Kubectl;
use std::time::{Duration, Instant};

/// Asks until the answer has these words.
fn until(kubectl: &Kubectl<'_>, arguments: &str, words: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let said = kubectl.ok(arguments, "");
        if said.contains(words) {
            return said;
        }
        assert!(Instant::now() < deadline, "kubectl {arguments} never says {words:?}:\n{said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn levels_have_their_seats_and_schemas_their_levels() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    let seats = "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"workload-low\"} 245\n";
    until(&kubectl, "get --raw /metrics", seats);
    // Name, level, precedence, distinguisher, age, whether the level is missing.
    let row = until(&kubectl, "get flowschemas system-nodes --no-headers", "False");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((&cells[..4], cells[5]), (&["system-nodes", "system", "500", "ByUser"][..], "False"));
    let page = kubectl.ok("get --raw /debug/api_priority_and_fairness/dump_priority_levels", "");
    assert!(page.starts_with("PriorityLevelName,") && page.contains("\nworkload-high,"), "{page}");
    assert_eq!(kubectl.ok("get --raw /readyz", ""), "ok");
}

#[test]
fn it_can_be_turned_off() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start_with(root.path(), &["--enable-priority-and-fairness=false"]);
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    assert!(!kubectl.ok("get --raw /metrics", "").contains("apiserver_flowcontrol_"));
    kubectl.fails("get --raw /debug/api_priority_and_fairness/dump_priority_levels", "");
    assert!(kubectl.ok("get flowschemas", "").contains("catch-all"));
}
