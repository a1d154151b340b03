//! `backup`, `restore` and `check` of real hubs.

use crate::hub::{Hub, PROGRAM, run, text};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn ends(code: i32, arguments: &[&str]) -> (String, String) {
    let output = run(PROGRAM, arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
    (out, err)
}

/// The CA that clients of a hub trust.
fn ca(hub: &Hub) -> String {
    let text = std::fs::read_to_string(hub.kubeconfig()).unwrap();
    text.lines().find(|line| line.contains("certificate-authority-data")).unwrap().to_string()
}

fn token(hub: &Hub) -> String {
    text(&hub.token(&["create"]).stdout)[..6].to_string()
}

fn tokens(hub: &Hub) -> String {
    text(&hub.token(&["list"]).stdout)
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_running_hub_is_backed_up_and_goes_on_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(root.path());
    let first = token(&hub);
    let file = root.path().join("hub.backup");
    let file = shown(&file);
    let folder = hub.folder().to_string();
    let (made, _) = ends(0, &["backup", "--data-dir", &folder, file]);
    assert!(made.contains("revision") && made.contains("records"), "{made}");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let second = token(&hub);
    let (checked, _) = ends(0, &["check", file]);
    assert!(
        checked.contains(" namespaces\n") && checked.contains(" clusterroles.rbac.authorization.k8s.io\n"),
        "{checked}"
    );
    let (_, refused) = ends(1, &["restore", "--data-dir", &folder, file, "--force"]);
    assert!(refused.contains("another hub is running on"), "{refused}");
    let (_, refused) = ends(1, &["check", "--data-dir", &folder]);
    assert!(refused.contains("another hub is running on"), "{refused}");

    // On a new machine: the same cluster to everybody who knew it, without what came later.
    let elsewhere = tempfile::tempdir().unwrap();
    let new = elsewhere.path().join("hub");
    ends(0, &["restore", "--data-dir", shown(&new), file]);
    let other = Hub::start(elsewhere.path());
    assert_eq!(ca(&other), ca(&hub));
    let listed = tokens(&other);
    assert!(listed.contains(&first) && !listed.contains(&second), "{listed}");

    // In place.
    hub.signal("TERM");
    assert_eq!(hub.ended(), Some(0), "{}", hub.log());
    ends(0, &["check", "--data-dir", &folder]);
    let (_, refused) = ends(1, &["restore", "--data-dir", &folder, file]);
    assert!(refused.contains("--force") && refused.lines().count() == 1, "{refused}");
    let (done, hint) = ends(0, &["restore", "--data-dir", &folder, "--force", file]);
    assert!(done.contains("lineage") && hint.contains("replaced-"), "{done}{hint}");
    let hub = Hub::start(root.path());
    let listed = tokens(&hub);
    assert!(listed.contains(&first) && !listed.contains(&second), "{listed}");
}

#[test]
fn what_is_damaged_or_missing_is_told_in_one_line() {
    let root = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(root.path());
    let folder = hub.folder().to_string();
    hub.signal("KILL");
    hub.ended();
    let file = root.path().join("f");
    ends(0, &["backup", "--data-dir", &folder, shown(&file)]);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    for arguments in [
        &["check", shown(&file)][..],
        &["restore", "--data-dir", &folder, "--force", shown(&file)],
        &["restore", "--data-dir", shown(&root.path().join("new")), shown(&file)],
        &["check", "--data-dir", shown(&root.path().join("new"))],
        &["backup", "--data-dir", shown(&root.path().join("new")), shown(&file)],
        &["backup", "--data-dir", &folder, shown(root.path())],
    ] {
        let (_, said) = ends(1, arguments);
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    }
    assert!(!root.path().join("new").exists());
    Hub::start(root.path());
}
