//! Starting, stopping, being killed, being started wrongly.

use crate::hub::{Hub, PROGRAM, run, text};
use std::os::unix::fs::PermissionsExt;

#[test]
fn sigterm_ends_it_well_and_a_second_hub_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(root.path());
    let mode = std::fs::metadata(hub.kubeconfig()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let listen = ["--listen", "127.0.0.1:0", "--link-listen", "127.0.0.1:0"];
    let second = run(PROGRAM, &[&["serve", "--data-dir", hub.folder()], &listen[..]].concat());
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(said.contains("another hub is running on") && said.lines().count() == 1, "{said}");
    hub.signal("TERM");
    assert_eq!(hub.ended(), Some(0), "{}", hub.log());
    assert!(hub.log().contains("Stopped"), "{}", hub.log());
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(root.path());
    let token = text(&hub.token(&["create"]).stdout);
    hub.signal("KILL");
    assert_eq!(hub.ended(), None);
    let hub = Hub::start(root.path());
    let list = text(&hub.token(&["list"]).stdout);
    assert!(list.contains(&token[..6]), "{list}");
}

#[test]
fn wrong_settings_are_told_before_anything_is_made() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("hub");
    let data_dir = folder.to_str().unwrap();
    let config = root.path().join("hub.toml");
    std::fs::write(&config, "heartbeat = \"10s\"\nhartbeat = \"10s\"\n").unwrap();
    let base = ["serve", "--data-dir", data_dir, "--listen", "127.0.0.1:0", "--link-listen", "127.0.0.1:0"];
    for (more, words) in [
        (["--config", config.to_str().unwrap()], "hub.toml:2: unknown field `hartbeat`"),
        (["--cluster-cidr", "10.43.0.0/16"], "overlap"),
        (["--node-monitor-grace", "5s"], "must be longer than --heartbeat"),
        (["--store", "etcd=127.0.0.1:2379"], "is no endpoint of etcd"),
    ] {
        let output = run(PROGRAM, &[&base[..], &more[..]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{more:?}: {said}");
        assert!(!folder.exists(), "{more:?}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(PROGRAM, &["serve", "--data-dir", data_dir, "--listen", &address, "--link-listen", "127.0.0.1:0"]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(&format!("listen on --listen {address}")), "{said}");
    assert_eq!(run(PROGRAM, &["serve", "--nonsense"]).status.code(), Some(2));
}
