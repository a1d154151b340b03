//! A node whose disk is small, full, and then broken: a file system of its own for what agent and containerd keep, on which the
//! rest of the machine does not depend.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_e2e::pods::{answers, fetch};
use holdfast_e2e::world::{World, holds, items, text};
use serde_json::{Value, json};

use super::{Batch, container};

const NODE: &str = "edge-2";
/// Kept by the node: what it keeps is moved there and back.
const FOLDERS: [&str; 2] = ["data", "containerd"];
const MIB: u64 = 1 << 20;
/// What the file system has beyond what the node keeps at the beginning.
const ROOM: u64 = 400 * MIB;

fn run(command: &[&str]) -> Result<String> {
    let (program, args) = command.split_first().context("no command")?;
    let out = Command::new(program).args(args).output().with_context(|| format!("running {program}"))?;
    let said = holdfast_e2e::world::said(&out);
    ensure!(out.status.success(), "{}: {} {said}", command.join(" "), out.status);
    Ok(said)
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// A node's disk of its own.
struct SmallDisk {
    /// The node's folder, on the machine's disk.
    home: PathBuf,
    image: PathBuf,
    mounted: PathBuf,
}

impl SmallDisk {
    /// Moves what a node keeps to a new file system. The node is off.
    fn make(home: PathBuf) -> Result<Self> {
        let disk = Self { image: home.join("disk.img"), mounted: home.join("disk"), home };
        let mut size = ROOM;
        for folder in FOLDERS {
            let used = run(&["du", "-sb", path_text(&disk.home.join(folder))])?;
            size += used.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).context("du says no size")?;
        }
        run(&["truncate", "-s", &size.next_multiple_of(MIB).to_string(), path_text(&disk.image)])?;
        run(&["mkfs.ext4", "-q", "-F", "-m", "0", "-e", "remount-ro", path_text(&disk.image)])?;
        std::fs::create_dir_all(&disk.mounted).context("making the place of the disk")?;
        disk.mount()?;
        for folder in FOLDERS {
            run(&["cp", "-a", path_text(&disk.home.join(folder)), path_text(&disk.mounted)])?;
        }
        disk.bind()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<()> {
        run(&["mount", "-o", "loop", path_text(&self.image), path_text(&self.mounted)]).map(drop)
    }

    /// What the node keeps is where it was.
    fn bind(&self) -> Result<()> {
        for folder in FOLDERS {
            let (from, to) = (self.mounted.join(folder), self.home.join(folder));
            run(&["mount", "--bind", path_text(&from), path_text(&to)])?;
        }
        Ok(())
    }

    fn unbind(&self) -> Result<()> {
        FOLDERS.iter().try_for_each(|folder| run(&["umount", path_text(&self.home.join(folder))]).map(drop))
    }

    /// Takes the disk out. The node is off; the kernel may still be ending its mounts.
    fn take_out(&self, world: &World) -> Result<()> {
        self.unbind()?;
        run(&["umount", path_text(&self.mounted)])?;
        world.wait("nobody has the disk", 30, || Ok(run(&["losetup", "-j", path_text(&self.image)])?.trim().is_empty()))
    }

    /// Moves everything back to the machine's disk. The node is off.
    fn end(self, world: &World) -> Result<()> {
        self.unbind()?;
        for folder in FOLDERS {
            run(&["rm", "-rf", path_text(&self.home.join(folder))])?;
            run(&["cp", "-a", path_text(&self.mounted.join(folder)), path_text(&self.home)])?;
        }
        run(&["umount", path_text(&self.mounted)])?;
        world.wait("nobody has the disk", 30, || {
            Ok(run(&["losetup", "-j", path_text(&self.image)])?.trim().is_empty())
        })?;
        std::fs::remove_file(&self.image).context("removing the disk")
    }

    fn available(&self) -> Result<u64> {
        let free = run(&["df", "--output=avail", "-B1", path_text(&self.mounted)])?;
        free.lines().last().and_then(|n| n.trim().parse().ok()).context("df says nothing")
    }

    /// Leaves this much: a file of nobody's takes the rest.
    fn leave(&self, bytes: u64) -> Result<()> {
        let ballast = self.mounted.join("ballast");
        let size = self.available()?.saturating_sub(bytes);
        run(&["fallocate", "-l", &size.to_string(), path_text(&ballast)]).map(drop)
    }

    /// Takes what is left, to the last block.
    fn fill(&self) -> Result<()> {
        let rest = self.mounted.join("rest");
        let out = Command::new("dd").args(["if=/dev/zero", "bs=4k", &format!("of={}", rest.display())]).output()?;
        holds(&holdfast_e2e::world::said(&out), "No space left on device")
    }

    fn free(&self) -> Result<()> {
        ["ballast", "rest"]
            .iter()
            .try_for_each(|file| run(&["rm", "-f", path_text(&self.mounted.join(file))]).map(drop))
    }

    /// The file system meets an error of its own, and takes no writes from then on.
    fn break_down(&self) -> Result<()> {
        let device = run(&["findmnt", "-no", "SOURCE", path_text(&self.mounted)])?;
        let name = Path::new(device.trim()).file_name().context("the disk is no device")?;
        let trigger = Path::new("/sys/fs/ext4").join(name).join("trigger_fs_error");
        std::fs::write(&trigger, "1").with_context(|| format!("writing {}", trigger.display()))
    }
}

/// Settings of the agent from its next start on.
fn settings(home: &Path, lines: &[&str]) -> Result<()> {
    std::fs::write(home.join("agent.toml"), lines.join("\n") + "\n").context("writing the agent's settings")
}

fn pod_here(mut spec: Value) -> Value {
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": NODE});
    spec
}

fn condition(world: &World, name: &str) -> Result<Value> {
    let node = world.get(&["node", NODE])?;
    let all = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|c| c["type"] == name).with_context(|| format!("no condition {name}"))
}

fn tainted(world: &World, key: &str) -> Result<bool> {
    let node = world.get(&["node", NODE])?;
    Ok(node["spec"]["taints"].as_array().into_iter().flatten().any(|taint| taint["key"] == key))
}

/// Whether an Event about the node has this reason and text.
fn said_of_node(world: &World, reason: &str, begin: &str) -> Result<bool> {
    let selector = format!("involvedObject.kind=Node,involvedObject.name={NODE},reason={reason}");
    let events = items(&world.get(&["-n", "default", "events", "--field-selector", &selector])?);
    Ok(events.iter().any(|event| text(&event["message"]).contains(begin)))
}

/// What tells a life of a pod's container from another.
fn life(pod: &Value) -> (String, String, Value) {
    let container = container(pod);
    let id = text(&container["containerID"]).to_owned();
    (text(&pod["metadata"]["uid"]).to_owned(), id, container["restartCount"].clone())
}

fn agent(world: &World) -> Result<u64> {
    world.node(NODE)?["pids"]["agent"].as_u64().context("the agent is not running")
}

fn restart_agent(world: &World) -> Result<()> {
    let old = agent(world)?;
    run(&["kill", "-KILL", &old.to_string()])?;
    world.wait("the agent is started again", 30, || Ok(agent(world)? != old))
}

fn wait_ready(world: &World) -> Result<()> {
    world.kubectl(&["wait", "--for=condition=Ready", &format!("node/{NODE}"), "--timeout=120s"]).map(drop)
}

/// The whole way of a small disk: pressure, no space at all, an error of the file system, and its repair.
pub(crate) fn a_small_disk_fills_and_breaks(world: &mut World) -> Result<()> {
    let home = PathBuf::from(text(&world.node(NODE)?["data_dir"]));
    let home = home.parent().context("the node has no folder")?.to_owned();
    let before = std::fs::read_to_string(home.join("agent.toml")).context("reading the agent's settings")?;
    world.remember_namespaces();
    world.xtask(&["node", "kill", NODE])?;
    let disk = SmallDisk::make(home.clone())?;
    settings(
        &home,
        &[
            r#"eviction-hard = "memory.available<100Mi,nodefs.available<100Mi""#,
            r#"eviction-pressure-transition-period = "5s""#,
        ],
    )?;
    world.xtask(&["node", "start", NODE])?;
    wait_ready(world)?;
    let mut batch = Batch::new("disk");
    batch.pod(
        "quiet",
        pod_here(json!({"restartPolicy": "Always", "containers": [{"args": ["netexec", "--http-port=8080"]}]})),
    );
    let shown = batch.start(world).and_then(|()| {
        world.wait("the quiet pod runs", 90, || Ok(batch.pods(world)?["quiet"]["status"]["phase"] == "Running"))?;
        pressure(world, &disk)?;
        no_space(world, &disk, &home)?;
        broken(world, &disk, &home)
    });
    // The cases after this one have the node as it was, whatever came of this.
    world.remember_namespaces();
    let _ = world.xtask(&["node", "kill", NODE]);
    disk.free().or_else(|err| if shown.is_err() { Ok(()) } else { Err(err) })?;
    disk.end(world)?;
    std::fs::write(home.join("agent.toml"), before).context("writing the agent's settings")?;
    world.xtask(&["node", "start", NODE])?;
    wait_ready(world)?;
    shown?;
    batch.end(world)
}

/// Too little is left: the pod that has taken most has to go, no other starts, and when there is room again all is as before.
fn pressure(world: &World, disk: &SmallDisk) -> Result<()> {
    let mut batch = Batch::new("disk-greedy");
    let volumes = json!([{"name": "v", "emptyDir": {}}]);
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    let spec = json!({"volumes": volumes, "containers": [{"args": ["pause"], "volumeMounts": mounts}]});
    batch.pod("greedy", pod_here(spec)).start(world)?;
    let pods = |name: &str| world.get(&["-n", "node", "pod", name]);
    world.wait("the greedy pod runs", 90, || Ok(pods("greedy")?["status"]["phase"] == "Running"))?;
    let quiet = life(&pods("quiet")?);
    let uid = text(&pods("greedy")?["metadata"]["uid"]).to_owned();
    disk.leave(140 * MIB)?;
    let taken = disk.mounted.join("data/pods").join(&uid).join("volumes/v/taken");
    run(&["fallocate", "-l", &(110 * MIB).to_string(), path_text(&taken)])?;
    world.wait("the node says that its disk runs short", 60, || {
        let said = condition(world, "DiskPressure")?;
        Ok(said["status"] == "True"
            && said["reason"] == "KubeletHasDiskPressure"
            && said["message"] == "kubelet has disk pressure")
    })?;
    world.wait("it is tainted", 30, || tainted(world, "node.kubernetes.io/disk-pressure"))?;
    let mut late = Batch::new("disk-late");
    late.pod("late", pod_here(json!({"containers": [{"args": ["echo", "here"]}]}))).start(world)?;
    world.wait("the greedy pod has to go", 90, || Ok(pods("greedy")?["status"]["phase"] == "Failed"))?;
    let greedy = pods("greedy")?;
    let message = text(&greedy["status"]["message"]);
    ensure!(greedy["status"]["reason"] == "Evicted", "{}", greedy["status"]);
    holds(message, "The node was low on resource: ephemeral-storage. Threshold quantity: 100Mi, available: ")?;
    holds(message, "Container c was using ")?;
    holds(message, ", request is 0, has larger consumption of ephemeral-storage. ")?;
    ensure!(life(&pods("quiet")?) == quiet, "the quiet pod did not go on as it was");
    ensure!(said_of_node(world, "EvictionThresholdMet", "Attempting to reclaim ephemeral-storage")?, "no Event");
    world.kubectl(&["-n", "node", "delete", "pod", "greedy", "--timeout=60s"])?;
    disk.free()?;
    world.wait("there is no pressure any more", 60, || Ok(condition(world, "DiskPressure")?["status"] == "False"))?;
    world.wait("what had to wait has run", 90, || Ok(pods("late")?["status"]["phase"] == "Succeeded"))?;
    ensure!(life(&pods("quiet")?) == quiet, "the quiet pod did not go on as it was");
    late.end(world)
}

/// Nothing is left at all: it is said, what runs goes on, and what ended meanwhile is told in the end.
fn no_space(world: &World, disk: &SmallDisk, home: &Path) -> Result<()> {
    settings(home, &[r#"eviction-hard = "memory.available<100Mi""#])?;
    restart_agent(world)?;
    wait_ready(world)?;
    let pods = |name: &str| world.get(&["-n", "node", "pod", name]);
    let quiet = life(&pods("quiet")?);
    let mut batch = Batch::new("disk-full");
    let map = |text: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "large", "namespace": "node"}, "data": {"text": text}})
    };
    // Text that packs badly, so that it takes room on the way and in the journal.
    let large = |round: u32| {
        let mut number = u64::from(round) + 1;
        let letters = std::iter::repeat_with(|| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + u8::try_from((number >> 40) % 26).unwrap_or_default())
        });
        format!("{round} {}", letters.take(600_000).collect::<String>())
    };
    let replace = |round: u32| {
        world.kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &map(&large(round)).to_string())
    };
    replace(0)?;
    let uses = json!({
        "volumes": [{"name": "m", "configMap": {"name": "large"}}],
        "containers": [{"args": ["pause"], "volumeMounts": [{"name": "m", "mountPath": "/m"}]}],
    });
    batch.pod("reads", pod_here(uses));
    batch.pod("ends", pod_here(json!({"containers": [{"args": ["netexec", "--http-port=8080"]}]})));
    batch.start(world)?;
    world
        .wait("both pods run", 90, || Ok(batch.pods(world)?.values().all(|pod| pod["status"]["phase"] == "Running")))?;
    let ends = batch.pods(world)?["ends"].clone();
    disk.leave(MIB)?;
    disk.fill()?;
    let process = agent(world)?;
    // The journal has room of its own: it is used up first.
    let mut round = 0;
    world.wait("the node says that its disk is full", 150, || {
        round += 1;
        replace(round)?;
        said_of_node(world, "DiskTakesNoWrites", "no space left on device")
    })?;
    let status = world.on_node(NODE, &["holdfast-edge", "status"])?;
    holds(&status, "disk:         takes no writes: ")?;
    holds(&status, "no space left on device")?;
    let log = std::fs::read_to_string(home.join("agent.log")).context("reading the agent's log")?;
    holds(&log, "The node's disk takes no writes")?;
    let address = text(&ends["status"]["podIP"]).to_owned();
    // Whether it answers before it ends is its own.
    let _ = fetch(world, NODE, &format!("http://{address}:8080/exit?code=7"));
    ensure!(agent(world)? == process, "the agent ended");
    disk.free()?;
    world.wait("the node's disk takes writes", 60, || said_of_node(world, "DiskTakesWrites", "takes writes again"))?;
    world.wait(
        "the exit code is told",
        90,
        || Ok(container(&pods("ends")?)["state"]["terminated"]["exitCode"] == 7),
    )?;
    let uid = text(&pods("reads")?["metadata"]["uid"]).to_owned();
    let shown = disk.mounted.join("data/pods").join(uid).join("volumes/m/text");
    world.wait("the pod sees the last of what it mounts", 120, || {
        Ok(std::fs::read_to_string(&shown).is_ok_and(|text| text == large(round)))
    })?;
    ensure!(life(&pods("quiet")?) == quiet, "the quiet pod did not go on as it was");
    batch.end(world)?;
    world.kubectl(&["-n", "node", "delete", "configmap", "large"]).map(drop)
}

/// The file system takes no writes: condition, Event and log say so, what runs goes on, also when the agent starts again; and after
/// the repair, for which the node has to be off, all is as before.
fn broken(world: &mut World, disk: &SmallDisk, home: &Path) -> Result<()> {
    const WHY: &str = "Read-only file system";
    let before = world.get(&["-n", "node", "pod", "quiet"])?;
    let quiet = life(&before);
    let process = agent(world)?;
    disk.break_down()?;
    // What the node has to note for itself shows it.
    let mut batch = Batch::new("disk-broken");
    batch.pod("never", pod_here(json!({"containers": [{"args": ["echo", "here"]}]}))).start(world)?;
    world.wait("the node says what is wrong", 60, || {
        let said = condition(world, "Ready")?;
        let message = text(&said["message"]);
        Ok(said["status"] == "False" && message.contains("the node's disk takes no writes: ") && message.contains(WHY))
    })?;
    world.wait("an Event says it", 30, || said_of_node(world, "DiskTakesNoWrites", WHY))?;
    let status = world.on_node(NODE, &["holdfast-edge", "status"])?;
    holds(&status, "disk:         takes no writes: ")?;
    holds(&status, "link:         up")?;
    let log = || std::fs::read_to_string(home.join("agent.log")).context("reading the agent's log");
    holds(&log()?, "The node's disk takes no writes")?;
    ensure!(agent(world)? == process, "the agent ended, and cannot open its journal again");
    let runs = || answers(world, std::slice::from_ref(&before));
    runs()?;
    // An agent that starts on such a disk waits for it.
    restart_agent(world)?;
    let waiting = agent(world)?;
    world.wait("the agent waits", 30, || {
        let out = world.xtask_output(&["node", "exec", NODE, "--", "holdfast-edge", "status"], "")?;
        let said = holdfast_e2e::world::said(&out);
        Ok(said.contains("the agent waits: the node's journal cannot be opened") && said.contains(WHY))
    })?;
    holds(&log()?, "the agent waits for it, and what runs goes on")?;
    ensure!(agent(world)? == waiting, "the agent ended and was started again and again");
    runs()?;
    world.remember_namespaces();
    world.xtask(&["node", "kill", NODE])?;
    disk.take_out(world)?;
    // 1: errors were corrected.
    let check = Command::new("e2fsck").args(["-f", "-y"]).arg(&disk.image).output().context("running e2fsck")?;
    ensure!(matches!(check.status.code(), Some(0 | 1)), "{}", holdfast_e2e::world::said(&check));
    disk.mount()?;
    disk.bind()?;
    world.xtask(&["node", "start", NODE])?;
    wait_ready(world)?;
    world.wait("what ran runs again, and what came meanwhile has run", 120, || {
        let (again, never) = (world.get(&["-n", "node", "pod", "quiet"])?, world.get(&["-n", "node", "pod", "never"])?);
        let (uid, id, count) = life(&again);
        let restarted = id != quiet.1 && count.as_u64() == quiet.2.as_u64().map(|count| count + 1);
        Ok(uid == quiet.0 && restarted && container(&again)["ready"] == true && never["status"]["phase"] == "Succeeded")
    })?;
    batch.end(world)
}
