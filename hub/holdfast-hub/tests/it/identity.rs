//! The commands about nodes' identities and the CA.

use crate::hub::{Hub, PROGRAM, run, text};

/// Runs a command on the hub's folder: whether it worked, and what it printed on stdout and stderr.
fn ask(hub: &Hub, arguments: &[&str]) -> (bool, String, String) {
    let mut all = arguments.to_vec();
    all.extend(["--data-dir", hub.folder()]);
    let done = run(PROGRAM, &all);
    (done.status.success(), text(&done.stdout), text(&done.stderr))
}

/// The CA that a new token pins.
fn pinned(hub: &Hub) -> String {
    let token = text(&hub.token(&["create"]).stdout);
    token.trim_end().splitn(3, '.').nth(2).unwrap().to_string()
}

#[test]
fn revoking_and_resetting_say_what_they_did() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let (done, _, said) = ask(&hub, &["node", "revoke", "edge-1"]);
    assert!(!done && said.contains("nodes \"edge-1\" not found"), "{said}");
    let (done, _, said) = ask(&hub, &["node", "revoke", "No_Name"]);
    assert!(!done && said.contains("is no node name"), "{said}");
    for _ in 0..2 {
        let (done, _, said) = ask(&hub, &["time-reset", "--for", "5m"]);
        assert!(done && said.contains("may take their time floor down until "), "{said}");
    }
}

#[test]
fn a_rotated_ca_is_used_beside_the_old_one() {
    let root = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(root.path());
    let old = pinned(&hub);
    let (done, _, said) = ask(&hub, &["ca", "rotate"]);
    assert!(!done && said.contains("another hub is running"), "{said}");
    hub.signal("TERM");
    hub.ended();
    let (done, new, said) = ask(&hub, &["ca", "rotate"]);
    assert!(done && new.starts_with("sha256:") && new.trim_end() != old, "{new} {said}");
    let (done, _, said) = ask(&hub, &["ca", "rotate"]);
    assert!(!done && said.contains("rotated not long ago"), "{said}");
    drop(hub);
    // The hub still proves the CA that everybody knows, and its clients learn both.
    let hub = Hub::start(root.path());
    assert_eq!(pinned(&hub), old);
    let kubeconfig = std::fs::read_to_string(hub.kubeconfig()).unwrap();
    let data = kubeconfig.split("certificate-authority-data: ").nth(1).unwrap().lines().next().unwrap();
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).unwrap();
    assert_eq!(text(&decoded).matches("BEGIN CERTIFICATE").count(), 2);
}

#[test]
fn a_folder_without_a_hub_gets_no_ca() {
    let root = tempfile::tempdir().unwrap();
    let said = text(&run(PROGRAM, &["ca", "rotate", "--data-dir", root.path().to_str().unwrap()]).stderr);
    assert!(said.contains("there is no hub in --data-dir"), "{said}");
}
