//! The crate kube: `tests/fixtures/clients/kube` says what it does.

use super::program;
use crate::hub::{Hub, text};
use std::process::Command;

#[test]
fn kube_does_all_that_its_program_asks() {
    let Some(program) = program("KUBE_CLIENT") else { return };
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let output = Command::new(program).arg(hub.kubeconfig()).output().unwrap();
    let (said, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}\n{err}\n{}", hub.log());
    assert!(said.trim_end().ends_with("all steps done"), "{said}");
}
