//! Python's official client: `tests/fixtures/clients/client.py` says what it does.

use super::{fixture, program};
use crate::hub::{Hub, text};
use std::process::Command;

#[test]
fn pythons_client_does_all_that_its_script_asks() {
    let Some(python) = program("PYTHON") else { return };
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let script = fixture("clients/client.py");
    let output = Command::new(python).arg(script).arg(hub.kubeconfig()).output().unwrap();
    let (said, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}\n{err}\n{}", hub.log());
    assert!(said.trim_end().ends_with("all steps done"), "{said}");
}
