//! Two hubs on one real etcd, as kubectl sees them.

use crate::hub::{Hub, PROGRAM, run, text};
use crate::kubectl::{Kubectl, NAMESPACE};
use holdfast_store_etcd::testing::EtcdServer;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(120);
const CONFIG_MAPS: &str = "/api/v1/namespaces/demo/configmaps";

pub(crate) struct Pair {
    server: EtcdServer,
    pub(crate) one: Hub,
    pub(crate) two: Hub,
    folders: [TempDir; 2],
}

impl Pair {
    /// Starts the first hub again, which has ended, over the same etcd.
    pub(crate) fn restart_one(&mut self) {
        let store = format!("etcd={}", self.server.endpoint());
        self.one = Hub::start_with(self.folders[0].path(), &["--store", &store]);
    }
}

pub(crate) fn start(history: &str) -> Option<Pair> {
    let server = EtcdServer::start()?;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let store = format!("etcd={}", server.endpoint());
    let flags = ["--store", &store, "--history", history];
    let one = Hub::start_with(folders[0].path(), &flags);
    // A further hub of the cluster has its keys.
    let pki = folders[1].path().join("hub/pki");
    std::fs::create_dir_all(&pki).unwrap();
    for file in std::fs::read_dir(one.data_dir.join("pki")).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), pki.join(file.file_name())).unwrap();
    }
    let two = Hub::start_with(folders[1].path(), &flags);
    Some(Pair { server, one, two, folders })
}

/// `kubectl get --watch` in the background; what it prints.
struct Watch {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Watch {
    fn start(kubectl: &Kubectl<'_>) -> Watch {
        let arguments = ["-n", "demo", "get", "configmaps", "--watch", "-o", "name"];
        let mut child = kubectl.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let (told, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Watch { child, lines, seen: Vec::new() }
    }

    fn until(&mut self, name: &str) {
        let wanted = format!("configmap/{name}");
        while self.seen.last() != Some(&wanted) {
            let line = self.lines.recv_timeout(SOON);
            self.seen.push(line.unwrap_or_else(|err| panic!("no {wanted}: {err}, saw {:?}", self.seen)));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn revision(kubectl: &Kubectl<'_>) -> String {
    let list = kubectl.ok(&format!("get --raw {CONFIG_MAPS}?limit=1"), "");
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    list["metadata"]["resourceVersion"].as_str().unwrap().to_string()
}

#[test]
fn two_hubs_on_one_etcd_are_one_cluster() {
    let Some(mut pair) = start("5m") else { return };
    let (Some(one), Some(two)) = (Kubectl::find(&pair.one), Kubectl::find(&pair.two)) else { return };
    one.ok("apply -f -", NAMESPACE);
    let mut watches = [Watch::start(&one), Watch::start(&two)];
    for n in 0..6 {
        let (writer, reader) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        writer.ok(&format!("-n demo create configmap c{n} --from-literal=count={n}"), "");
        // At once, at the other hub: read, and replaced by what was read there.
        let read = reader.ok(&format!("-n demo get configmap c{n} -o yaml"), "");
        reader.ok("replace -f -", &read.replace(&format!("count: \"{n}\""), "count: changed"));
        assert_eq!(writer.ok(&format!("-n demo get configmap c{n} -o jsonpath={{.data.count}}"), ""), "changed");
        watches.iter_mut().for_each(|watch| watch.until(&format!("c{n}")));
    }
    // What one hub told is understood by the other: a revision, and the next page of a list.
    let told = revision(&one);
    let newer = two.ok(&format!("get --raw {CONFIG_MAPS}?resourceVersion={told}&resourceVersionMatch=Exact"), "");
    assert!(newer.contains("\"c5\""), "{newer}");
    let page: serde_json::Value =
        serde_json::from_str(&one.ok(&format!("get --raw {CONFIG_MAPS}?limit=2"), "")).unwrap();
    let token = page["metadata"]["continue"].as_str().unwrap();
    let next = two.ok(&format!("get --raw {CONFIG_MAPS}?limit=9&continue={token}"), "");
    assert_eq!(next.matches("\"count\":\"changed\"").count(), 4, "c2 to c5: {next}");
    one.ok("-n demo delete configmap c0", "");
    assert!(two.fails("-n demo get configmap c0", "").contains("NotFound"));

    // Without etcd: what is at hand is shown, nothing is written, watches stay.
    pair.server.kill();
    let shown = two.ok(&format!("get --raw {CONFIG_MAPS}?resourceVersion=0"), "");
    assert!(shown.contains("\"c5\""), "{shown}");
    let refused = pair.one.token(&["create"]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("the store cannot be reached: etcd: "), "{said}");
    pair.server.restart();
    until("writes are taken again", || pair.one.token(&["create"]).status.success());
    two.ok("-n demo create configmap last --from-literal=n=1", "");
    watches.iter_mut().for_each(|watch| watch.until("last"));
    let made: Vec<_> = watches[0].seen.iter().filter(|line| line.ends_with("/last")).collect();
    assert_eq!(made.len(), 1, "the watch began anew");
}

#[test]
fn history_ends_for_both_hubs_with_410() {
    let Some(pair) = start("1s") else { return };
    let (Some(one), Some(two)) = (Kubectl::find(&pair.one), Kubectl::find(&pair.two)) else { return };
    one.ok("apply -f -", NAMESPACE);
    let old = revision(&one);
    one.ok("-n demo create configmap later --from-literal=n=1", "");
    for kubectl in [&one, &two] {
        let exact = format!("get --raw {CONFIG_MAPS}?resourceVersion={old}&resourceVersionMatch=Exact");
        until("the old state is gone", || {
            let output = kubectl.command(&exact.split(' ').collect::<Vec<_>>()).output().unwrap();
            let said = text(&output.stderr);
            assert!(
                output.status.success() || said.contains("The resourceVersion for the provided list is too old"),
                "{said}"
            );
            !output.status.success()
        });
        let stream = kubectl.ok(&format!("get --raw {CONFIG_MAPS}?watch=1&resourceVersion={old}&timeoutSeconds=5"), "");
        assert!(stream.contains("\"ERROR\"") && stream.contains("\"code\":410"), "{stream}");
        let list = kubectl.ok("-n demo get configmaps -o name", "");
        assert!(list.contains("configmap/later"), "{list}");
    }
}

#[test]
fn a_folder_belongs_to_one_store_and_a_running_hub_is_backed_up() {
    let Some(server) = EtcdServer::start() else { return };
    let store = format!("etcd={}", server.endpoint());
    let root = tempfile::tempdir().unwrap();
    let mut hub = Hub::start_with(root.path(), &["--store", &store]);
    let token = text(&hub.token(&["create"]).stdout);
    let file = root.path().join("hub.backup");
    let made = run(PROGRAM, &["backup", "--data-dir", hub.folder(), file.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    hub.signal("TERM");
    assert_eq!(hub.ended(), Some(0), "{}", hub.log());
    let refused = |arguments: &[&str], words: &str| {
        let output = run(PROGRAM, arguments);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(words), "{arguments:?}: {said}");
    };
    let listen = ["--listen", "127.0.0.1:0", "--link-listen", "127.0.0.1:0"];
    let serve = |folder: &Path, more: &[&str], words: &str| {
        refused(&[&["serve", "--data-dir", folder.to_str().unwrap()], &listen[..], more].concat(), words);
    };
    serve(&hub.data_dir, &[], "keeps its objects in etcd");
    refused(&["backup", "--data-dir", hub.folder(), file.to_str().unwrap()], "keeps its objects in etcd");
    refused(&["restore", "--data-dir", hub.folder(), "--force", file.to_str().unwrap()], "keeps its objects in etcd");

    // What was in etcd goes on without it, in another folder.
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = elsewhere.path().join("hub");
    let restored = run(PROGRAM, &["restore", "--data-dir", folder.to_str().unwrap(), file.to_str().unwrap()]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    let other = Hub::start(elsewhere.path());
    assert!(text(&other.token(&["list"]).stdout).contains(&token[..6]));
    drop(other);
    serve(&folder, &["--store", &store], "has an embedded store");

    // The same hub again, over the same etcd.
    let hub = Hub::start_with(root.path(), &["--store", &store]);
    assert!(text(&hub.token(&["list"]).stdout).contains(&token[..6]));
}

#[test]
fn a_hub_that_waits_for_etcd_says_so_and_can_be_stopped() {
    let Some(mut server) = EtcdServer::start() else { return };
    server.kill();
    let root = tempfile::tempdir().unwrap();
    let store = format!("etcd={}", server.endpoint());
    let mut hub = Hub::spawn(root.path(), &["--store", &store]);
    hub.wait_for("Waiting for etcd");
    hub.signal("TERM");
    assert_eq!(hub.ended(), Some(0), "{}", hub.log());
    let mut hub = Hub::spawn(root.path(), &["--store", &store]);
    hub.wait_for("Waiting for etcd");
    server.restart();
    hub.wait_for("Hub is ready");
    assert!(hub.token(&["create"]).status.success());
}
