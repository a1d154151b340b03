//! Join tokens.

use crate::hub::{Hub, PROGRAM, run, text};

#[test]
fn tokens_are_made_listed_and_revoked() {
    let root = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(root.path());
    let made = hub.token(&["create", "--ttl", "1h", "--description", "for a test"]);
    let token = text(&made.stdout);
    assert!(made.status.success() && text(&made.stderr).is_empty(), "{made:?}");
    let parts: Vec<&str> = token.trim_end().splitn(3, '.').collect();
    assert_eq!((parts[0].len(), parts[1].len(), parts[2].len()), (6, 16, 7 + 64), "{token}");
    assert!(parts[2].starts_with("sha256:"));
    let list = text(&hub.token(&["list"]).stdout);
    assert!(list.contains(parts[0]) && list.contains("for a test") && !list.contains(parts[1]), "{list}");
    let revoked = hub.token(&["revoke", token.trim_end()]);
    assert!(revoked.status.success(), "{revoked:?}");
    assert!(!text(&hub.token(&["list"]).stdout).contains(parts[0]));
    let again = hub.token(&["revoke", parts[0]]);
    assert!(text(&again.stderr).contains("not found"), "{again:?}");
    assert!(text(&hub.token(&["revoke", "x"]).stderr).contains("is no token ID"));
    let shown = run(PROGRAM, &["kubeconfig", "--data-dir", hub.folder(), "--server", "https://hub.example:6443"]);
    assert!(text(&shown.stdout).contains("server: https://hub.example:6443\n"));
    hub.signal("TERM");
    hub.ended();
    let stopped = hub.token(&["create"]);
    let said = text(&stopped.stderr);
    assert!(!stopped.status.success() && said.contains("is `holdfast-hub serve` running?"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_folder_without_a_hub_is_named() {
    let root = tempfile::tempdir().unwrap();
    let said = text(&run(PROGRAM, &["token", "create", "--data-dir", root.path().to_str().unwrap()]).stderr);
    assert!(said.contains("was `holdfast-hub serve` ever started on this --data-dir?"), "{said}");
}
