//! A hub process of a test.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast-hub");
const READY: Duration = Duration::from_secs(120);

pub(crate) struct Hub {
    child: Child,
    pub(crate) data_dir: PathBuf,
    log: PathBuf,
}

/// Runs a command to its end.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap_or_else(|err| panic!("{program}: {err}"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Hub {
    /// Starts a hub in `root` and waits until it is ready.
    pub(crate) fn start(root: &Path) -> Hub {
        Hub::start_with(root, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(root: &Path, flags: &[&str]) -> Hub {
        let mut hub = Hub::spawn(root, flags);
        hub.wait_for("Hub is ready");
        hub
    }

    /// The same, and does not wait.
    pub(crate) fn spawn(root: &Path, flags: &[&str]) -> Hub {
        let data_dir = root.join("hub");
        let log = root.join("hub.log");
        let out = std::fs::File::create(&log).unwrap();
        let child = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--link-listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data_dir)
            .args(flags)
            .stderr(out)
            .spawn()
            .unwrap();
        Hub { child, data_dir, log }
    }

    /// Waits until its log has some words.
    pub(crate) fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + READY;
        while !self.log().contains(words) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "no {words:?} ({ended:?}):\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self) -> String {
        let mut log = String::new();
        std::fs::File::open(&self.log).unwrap().read_to_string(&mut log).unwrap();
        log
    }

    /// A field of the line that says that the hub is ready.
    pub(crate) fn told(&self, field: &str) -> String {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("Hub is ready")).unwrap();
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(&format!("{field}=")));
        value.unwrap_or_else(|| panic!("no {field}: {line}")).to_string()
    }

    pub(crate) fn folder(&self) -> &str {
        self.data_dir.to_str().unwrap()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("admin.kubeconfig")
    }

    /// `holdfast-hub token …` on this hub's folder.
    pub(crate) fn token(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["token", arguments[0], "--data-dir", self.folder()];
        all.extend(&arguments[1..]);
        run(PROGRAM, &all)
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(run("kill", &[&format!("-{signal}"), &self.child.id().to_string()]).status.success());
    }

    /// Waits for the end; the exit code, `None` for a signal.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + READY;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the hub does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
