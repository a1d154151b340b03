//! Containers that get other resources while they run: told by the pod's status, done in the cgroups, and nothing is restarted.

use anyhow::{Context, Result, ensure};
use holdfast_e2e::world::{World, items, text};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;

use super::Batch;

/// CPU request and limit in thousandths, memory request and limit in MiB; `None` for what is not said.
type Size = [Option<u32>; 4];

/// A guaranteed container.
const fn just(cpu: u32, memory: u32) -> Size {
    [Some(cpu), Some(cpu), Some(memory), Some(memory)]
}

fn resources(size: Size) -> Value {
    let [cpu, cpu_limit, memory, memory_limit] = size;
    let list = |cpu: Option<u32>, memory: Option<u32>| {
        let mut list = serde_json::Map::new();
        list.extend(cpu.map(|cpu| ("cpu".to_owned(), json!(format!("{cpu}m")))));
        list.extend(memory.map(|memory| ("memory".to_owned(), json!(format!("{memory}Mi")))));
        Value::Object(list)
    };
    let mut all = serde_json::Map::new();
    for (kind, list) in [("requests", list(cpu, memory)), ("limits", list(cpu_limit, memory_limit))] {
        if list != json!({}) {
            all.insert(kind.to_owned(), list);
        }
    }
    Value::Object(all)
}

fn containers(sizes: &[Size]) -> Value {
    let one = |(number, size): (usize, &Size)| {
        let name = if number == 0 { "c".to_owned() } else { format!("c{number}") };
        json!({"name": name, "args": ["pause"], "resources": resources(*size)})
    };
    sizes.iter().enumerate().map(one).collect()
}

/// Name, sizes before and after: those of Kubernetes' conformance tests, by what they do.
fn cases() -> Vec<(&'static str, Vec<Size>, Vec<Size>)> {
    let small = [Some(10), None, Some(16), None];
    vec![
        ("net-more", vec![just(20, 20); 3], vec![just(30, 30), just(25, 25), just(15, 18)]),
        ("net-less", vec![just(30, 30); 3], vec![just(35, 35), just(20, 20), just(22, 24)]),
        ("crosswise", vec![just(20, 20); 3], vec![just(30, 20), just(15, 30), just(30, 30)]),
        (
            "six",
            vec![
                [Some(10), Some(20), Some(16), Some(32)],
                [Some(10), None, Some(16), None],
                [None, None, None, None],
                [Some(20), Some(40), None, None],
                [None, None, Some(16), Some(32)],
                small,
            ],
            vec![
                [Some(15), Some(30), Some(20), Some(40)],
                [Some(10), Some(20), Some(16), Some(32)],
                [Some(10), Some(20), Some(16), Some(32)],
                [Some(10), Some(20), None, None],
                [Some(10), None, Some(20), Some(40)],
                [Some(20), None, Some(24), None],
            ],
        ),
        // Fewer than two shares are two, and a quota below a millisecond is one: the cgroups stay as they are.
        ("equivalents", vec![[Some(2), Some(10), None, None]], vec![[Some(1), Some(5), None, None]]),
    ]
}

/// What a container's own cgroup says: CPU shares or weight, quota in microseconds (-1: none), bytes of memory (-1: no limit).
fn cgroup(world: &World, pod: &str, container: &str) -> Result<[i64; 3]> {
    let version_2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let files = if version_2 {
        ["cpu.weight", "cpu.max", "memory.max"]
    } else {
        ["cpu/cpu.shares", "cpu/cpu.cfs_quota_us", "memory/memory.limit_in_bytes"]
    };
    let mut said = [0; 3];
    for (said, file) in said.iter_mut().zip(files) {
        let path = format!("/sys/fs/cgroup/{file}");
        let shown = world.kubectl(&["-n", "node", "exec", pod, "-c", container, "--", "/agnhost", "cat", &path])?;
        let first = shown.split_whitespace().next().context("an empty file")?;
        let number = if first == "max" { -1 } else { first.parse().with_context(|| format!("{path}: {shown}"))? };
        *said = if number > 1 << 61 { -1 } else { number };
    }
    Ok(said)
}

/// The same as this size asks for it. Requests are shares, or weights of them.
fn wanted(size: Size) -> [i64; 3] {
    let [cpu, cpu_limit, _, memory_limit] = size;
    let shares = i64::from(cpu.or(cpu_limit).unwrap_or(0)) * 1024 / 1000;
    let shares = shares.max(2);
    let weight = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        1 + (shares - 2) * 9999 / 262_142
    } else {
        shares
    };
    let quota = cpu_limit.map_or(-1, |cpu| (i64::from(cpu) * 100).max(1000));
    [weight, quota, memory_limit.map_or(-1, |memory| i64::from(memory) << 20)]
}

/// What stands in a status is what was asked for.
fn is_told(pod: &Value, sizes: &[Size]) -> bool {
    let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    statuses.len() == sizes.len()
        && pod["status"]["observedGeneration"] == pod["metadata"]["generation"]
        && conditions.iter().all(|condition| !text(&condition["type"]).starts_with("PodResize"))
        && statuses.iter().all(|status| {
            let name = text(&status["name"]);
            let number = name.strip_prefix('c').and_then(|number| number.parse().ok()).unwrap_or(0);
            let expected = resources(sizes[number]);
            let requests = expected.get("requests").cloned().unwrap_or_default();
            // A container that asks for nothing has nothing told.
            let told = if status["resources"].is_null() { json!({}) } else { status["resources"].clone() };
            status["restartCount"] == 0 && told == expected && status["allocatedResources"] == requests
        })
}

pub(crate) fn containers_take_other_sizes(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("resize");
    for (name, before, _) in cases() {
        batch.pod(name, json!({"restartPolicy": "Always", "containers": containers(&before)}));
    }
    let [one, other] = [[just(20, 20)], [just(25, 24)]];
    batch.pod("replaced", json!({"restartPolicy": "Always", "containers": containers(&one)}));
    batch.start(world)?;
    world.kubectl(&["-n", "node", "wait", "--for=condition=Ready", "pods", "-l", "case=resize", "--timeout=120s"])?;
    let settled = |name: &str, sizes: &[Size], what: &str| {
        let told = world.wait(&format!("{name} {what}"), 60, || Ok(is_told(&batch.pods(world)?[name], sizes)));
        told.with_context(|| format!("{}", batch.pods(world).map(|pods| pods[name].clone()).unwrap_or_default()))?;
        for (number, size) in sizes.iter().enumerate() {
            let container = if number == 0 { "c".to_owned() } else { format!("c{number}") };
            let said = cgroup(world, name, &container)?;
            ensure!(said == wanted(*size), "{container} of {name} {what}: {said:?}, not {:?}", wanted(*size));
        }
        anyhow::Ok(())
    };
    for (name, before, after) in cases() {
        settled(name, &before, "as it began")?;
        let patch = json!({"spec": {"containers": containers(&after)}}).to_string();
        world.kubectl(&["-n", "node", "patch", "pod", name, "--subresource=resize", "-p", &patch])?;
        settled(name, &after, "resized")?;
        // And back, where nothing was added that a resize may not take away.
        if after.iter().zip(&before).all(|(after, before)| after.map(|x| x.is_some()) == before.map(|x| x.is_some())) {
            let patch = json!({"spec": {"containers": containers(&before)}}).to_string();
            world.kubectl(&["-n", "node", "patch", "pod", name, "--subresource=resize", "-p", &patch])?;
            settled(name, &before, "as it was")?;
        }
    }
    settled("replaced", &one, "as it began")?;
    let mut pod = world.get(&["-n", "node", "pod", "replaced"])?;
    pod["spec"]["containers"][0]["resources"] = resources(other[0]);
    world.kubectl_with(&["-n", "node", "replace", "--subresource=resize", "-f", "-"], &pod.to_string())?;
    settled("replaced", &other, "replaced")?;
    ensure!(
        items(&world.get(&["-n", "node", "events"])?).iter().any(|event| event["reason"] == "ResizeCompleted"),
        "no event"
    );
    batch.end(world)
}

/// As Kubernetes' "issue 500 podspec updates": each is a generation, and the node has seen the last one.
pub(crate) fn hundreds_of_changes_are_seen_to_the_last(world: &mut World) -> Result<()> {
    const CHANGES: u64 = 500;
    let mut batch = Batch::new("generations");
    // A deadline may only come nearer.
    batch
        .pod("changing", json!({"activeDeadlineSeconds": 100_000, "containers": [{"args": ["pause"]}]}))
        .start(world)?;
    world.kubectl(&["-n", "node", "wait", "--for=condition=Ready", "pod/changing", "--timeout=90s"])?;
    let generation = |pod: &Value| pod["metadata"]["generation"].as_u64().context("no generation");
    let before = generation(&world.get(&["-n", "node", "pod", "changing"])?)?;
    let proxy = Proxy::start(world)?;
    for number in 1..=CHANGES {
        proxy.patch(
            "/api/v1/namespaces/node/pods/changing",
            &json!({"spec": {"activeDeadlineSeconds": 100_000 - number}}),
        )?;
    }
    drop(proxy);
    world.wait("the node has seen the last of them", 60, || {
        let pod = &batch.pods(world)?["changing"];
        Ok(generation(pod)? == before + CHANGES && pod["status"]["observedGeneration"] == pod["metadata"]["generation"])
    })?;
    batch.end(world)
}

/// A running `kubectl proxy`, for more requests than one would start a kubectl for; ended when dropped.
struct Proxy {
    child: Child,
    address: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    fn start(world: &World) -> Result<Proxy> {
        let mut child = world.kubectl_started(&["proxy", "--port=0"], &[])?;
        let mut line = String::new();
        // It says no more than this.
        BufReader::new(child.stdout.take().context("kubectl has no stdout")?).read_line(&mut line)?;
        let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(Proxy { child, address })
    }

    /// A JSON merge patch.
    fn patch(&self, path: &str, patch: &Value) -> Result<()> {
        let body = patch.to_string();
        let mut stream =
            TcpStream::connect(&self.address).with_context(|| format!("kubectl proxy at {}", self.address))?;
        write!(
            stream,
            "PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/merge-patch+json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{body}: {answer}");
        Ok(())
    }
}
