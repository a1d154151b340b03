//! The baseline: containerd by its own `ctr`, and the same CNI plugin called by hand; nobody watches, restarts or probes.

use super::output;
use crate::services;
use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const IMAGE: &str = "registry.local/agnhost:1";
const NAMESPACE: &str = "bench";

pub(super) struct Containerd {
    plugin: PathBuf,
    cgroup: String,
    conf: String,
}

fn ctr(args: &[&str]) -> Result<String> {
    output(Command::new("ctr").args(["-n", NAMESPACE]).args(args))
}

impl Containerd {
    pub(super) fn prepare(bin_dir: &Path, dir: &Path, image: &Path) -> Result<Containerd> {
        ctr(&["images", "import", &image.display().to_string()])?;
        let state = dir.join("bench-cni");
        let conf = format!(
            r#"{{"cniVersion":"1.1.0","name":"bench","type":"holdfast-cni","bridge":"bench0","dataDir":{state:?},"ranges":[{{"subnet":"10.99.0.0/24"}}]}}"#
        );
        Ok(Containerd { plugin: bin_dir.join("holdfast-edge"), cgroup: services::cgroup(dir), conf })
    }

    /// Milliseconds of each start, from the first command to the first answer.
    pub(super) fn start(&self, count: usize) -> Result<Vec<f64>> {
        let mut times = Vec::new();
        for number in 0..count {
            let (name, began) = (format!("alone-{number}"), Instant::now());
            let namespace = format!("/run/netns/{name}");
            output(Command::new("ip").args(["netns", "add", &name]))?;
            let address = self.plug("ADD", &name, &namespace)?;
            let network = format!("network:{namespace}");
            let cgroup = format!("{}/{name}", self.cgroup);
            ctr(&["run", "-d", "--with-ns", &network, "--cgroup", &cgroup, IMAGE, &name, "/agnhost", "netexec"])?;
            super::pods::answers(&address)?;
            times.push(began.elapsed().as_secs_f64() * 1000.0);
            ctr(&["task", "kill", "--signal", "KILL", &name])?;
            // A task that has not yet been seen to end is not deleted.
            ctr(&["task", "delete", "--force", &name]).or_else(|_| ctr(&["task", "delete", "--force", &name]))?;
            ctr(&["container", "delete", &name])?;
            self.plug("DEL", &name, &namespace)?;
            output(Command::new("ip").args(["netns", "delete", &name]))?;
        }
        Ok(times)
    }

    /// Calls the plugin; the address that it gave.
    fn plug(&self, verb: &str, id: &str, namespace: &str) -> Result<String> {
        let mut plugin = Command::new(&self.plugin);
        plugin.arg0("holdfast-cni").env("CNI_COMMAND", verb).env("CNI_CONTAINERID", id).env("CNI_NETNS", namespace);
        plugin.env("CNI_IFNAME", "eth0").env("CNI_PATH", "/nowhere");
        let mut child = plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the plugin")?;
        child.stdin.take().context("no stdin")?.write_all(self.conf.as_bytes())?;
        let out = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        ensure!(out.status.success(), "the plugin's {verb}: {text}");
        let result: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let address = result["ips"][0]["address"].as_str().unwrap_or_default();
        Ok(address.split('/').next().unwrap_or_default().to_owned())
    }
}
