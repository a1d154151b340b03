//! Images from a real registry into a real containerd.

use crate::harness::*;
use holdfast_containerd::ContainerdRuntime;
use holdfast_env::host::HostEnv;
use holdfast_pull::testing::{DOCKER_MANIFEST, DockerRegistry, Gate, INDEX};
use holdfast_pull::{RegistryClient, RegistrySettings};
use holdfast_runtime::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn client(node: &Node) -> RegistryClient {
    let settings = RegistrySettings { hosts_dir: node.dir.path().join("certs.d") };
    RegistryClient::new(HostEnv::new("/nonexistent"), settings)
}

async fn find(node: &Node, name: &str) -> Arc<dyn RemoteImage> {
    match client(node).find(&WantedImage { name: name.into(), ..WantedImage::default() }).await.unwrap().found {
        Found::Image(image) => image,
        Found::Same => panic!("it is said to be here"),
    }
}

async fn pull(node: &Node, runtime: &ContainerdRuntime, name: &str) -> Result<ImageInfo, RuntimeError> {
    runtime.pull_image(&*find(node, name).await).await
}

/// A runtime that answers and has no image.
async fn bare(node: &Node) -> Arc<ContainerdRuntime> {
    let runtime = node.runtime();
    until("containerd answers", async || runtime.version().await.is_ok()).await;
    runtime
}

fn file(builder: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8], mode: u32) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    builder.append_data(&mut header, path, bytes).unwrap();
}

/// busybox, and what `more` adds.
fn base(more: &[(&str, &[u8])]) -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    file(&mut layer, "bin/busybox", &std::fs::read("/bin/busybox").unwrap(), 0o755);
    for applet in ["sh", "cat", "ls", "echo"] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    for (path, bytes) in more {
        file(&mut layer, path, bytes, 0o644);
    }
    layer.into_inner().unwrap()
}

fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        file(&mut layer, path, bytes, 0o644);
    }
    layer.into_inner().unwrap()
}

fn shell() -> Value {
    json!({"config": {"Entrypoint": ["/bin/sh"], "Env": ["PATH=/bin"]}})
}

/// Bytes that do not shrink.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_image_runs_with_whiteouts_and_leaves_when_told() {
    let Some(registry) = DockerRegistry::start("", None) else { return };
    let low = base(&[("data/gone", b"x"), ("data/kept", b"kept\n"), ("opaque/old", b"x")]);
    let high = layer(&[("data/.wh.gone", b""), ("opaque/.wh..wh..opq", b""), ("opaque/new", b"new\n")]);
    registry.put_image("team/app", "1", &[&low, &high, &high], &shell());
    let node = Node::start();
    let runtime = bare(&node).await;
    let name = format!("{}/team/app:1", registry.address());
    let image = find(&node, &name).await;
    let info = runtime.pull_image(&*image).await.unwrap();
    let digest = image.manifest().manifest.descriptor.digest.clone();
    assert_eq!(info.id, digest);
    let by_digest = format!("{}/team/app@{digest}", registry.address());
    assert_eq!(info.names, [name.clone(), by_digest.clone()]);
    let (here, total) = image.progress().read();
    assert!(here > 0 && here <= total, "{here} of {total}");
    assert_eq!(runtime.image(&by_digest).await.unwrap().unwrap().id, digest);
    assert_eq!(runtime.pulled_images().await.unwrap().len(), 1);
    // Again, with everything here: nothing but metadata is asked for.
    let before = registry.asked(&["/blobs/"]);
    assert_eq!(pull(&node, &runtime, &name).await.unwrap().id, digest);
    assert_eq!(registry.asked(&["/blobs/"]), before + 1, "the configuration alone");

    let sandbox = node.sandbox("pod-0");
    let container =
        ContainerSpec { image: name.clone(), ..node.container("ls /data /opaque; cat /data/kept /opaque/new") };
    node.run(&runtime, &sandbox, &container).await;
    assert_eq!(exit(&runtime, &container.id).await.0, 0, "{:?}", log(&container));
    let lines: Vec<String> = log(&container).into_iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["/data:", "kept", "/opaque:", "new", "kept", "new"]);
    assert_eq!(info_of(&runtime, &container.id).await, by_digest);
    runtime.remove_sandbox("pod-0").await.unwrap();

    let usage = runtime.image_fs().await.unwrap().unwrap();
    assert!(usage.capacity_bytes > usage.available_bytes && usage.available_bytes > 0, "{usage:?}");
    runtime.remove_image(&digest).await.unwrap();
    runtime.remove_image(&digest).await.unwrap();
    assert_eq!(runtime.list_images().await.unwrap(), []);
    // Its content went with it: it is fetched anew.
    pull(&node, &runtime, &name).await.unwrap();
    assert_eq!(registry.asked(&["/blobs/"]), before + 4, "configuration and both layers");
}

async fn info_of(runtime: &ContainerdRuntime, id: &str) -> String {
    info(runtime, id).await.image_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_is_kept_and_what_was_imported_is_not_for_removal() {
    let Some(registry) = DockerRegistry::start("", None) else { return };
    let node = Node::start();
    let runtime = node.ready().await;
    assert_eq!(runtime.pulled_images().await.unwrap(), [], "it was imported");
    let mut entry = registry.put_image("app", "plain", &[&base(&[])], &shell());
    entry["platform"] = json!({"os": "linux", "architecture": platform::host_architecture()});
    let other = json!({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": entry, "layers": []});
    let mut foreign = registry.put_manifest("app", &other);
    foreign["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [foreign, entry]});
    let index = registry.put_manifest("app", &index);
    registry.tag("app", "many", &index);
    let name = format!("{}/app:many", registry.address());
    let image = pull(&node, &runtime, &name).await.unwrap();
    assert_eq!(image.id, index["digest"], "the image is what the tag says");
    assert_eq!(runtime.pulled_images().await.unwrap(), std::slice::from_ref(&image));
    let sandbox = node.sandbox("pod-0");
    let container = ContainerSpec { image: name.clone(), ..node.container("echo up") };
    node.run(&runtime, &sandbox, &container).await;
    assert_eq!(exit(&runtime, &container.id).await.0, 0);
    assert_eq!(info_of(&runtime, &container.id).await, format!("{}/app@{}", registry.address(), image.id));
    runtime.remove_sandbox("pod-0").await.unwrap();
    // A pulled image under a name that was imported once may go; the import itself stays.
    runtime.remove_image(&image.id).await.unwrap();
    assert_eq!(runtime.list_images().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_pull_goes_on_by_range_after_a_power_cut() {
    let Some(mut registry) = DockerRegistry::start("", None) else { return };
    let big = noise(12_000_000);
    let low = base(&[("big", &big)]);
    registry.put_image("app", "1", &[&low], &shell());
    let gate = Gate::new(registry.address().parse().unwrap());
    gate.allow(u64::MAX / 2);
    let mut node = Node::start();
    let runtime = bare(&node).await;
    let name = format!("{}/app:1", gate.address());
    let image = find(&node, &name).await;
    gate.allow(8_000_000);
    let (progress, pulling) = (image.progress().clone(), runtime.clone());
    let task = tokio::task::JoinSet::from_iter([async move { pulling.pull_image(&*image).await.map(|_| ()) }]);
    until("most of the layer is here", async || progress.read().0 >= 7_500_000).await;
    // Agent, registry and the machine itself end in the middle.
    drop(task);
    registry.kill();
    drop(runtime);
    node.power_cut();
    node.start_containerd();
    registry.restart();
    gate.allow(u64::MAX / 2);
    let runtime = bare(&node).await;
    let before = gate.passed();
    pull(&node, &runtime, &name).await.unwrap();
    let passed = gate.passed() - before;
    // What containerd had received and not yet written when it was killed is lost: up to 2 MB were seen.
    assert!(passed < low.len() as u64 - 4_000_000, "{passed} of {} bytes came again", low.len());
    let sandbox = node.sandbox("pod-0");
    let container = ContainerSpec { image: name, ..node.container("ls /big") };
    node.run(&runtime, &sandbox, &container).await;
    assert_eq!(exit(&runtime, &container.id).await.0, 0);
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_spoilt_on_the_way_is_fetched_anew() {
    let Some(registry) = DockerRegistry::start("", None) else { return };
    let low = base(&[("big", &noise(3_000_000))]);
    registry.put_image("app", "1", &[&low], &shell());
    let gate = Gate::new(registry.address().parse().unwrap());
    gate.allow(u64::MAX / 2);
    let node = Node::start();
    let runtime = bare(&node).await;
    let name = format!("{}/app:1", gate.address());
    let image = find(&node, &name).await;
    gate.allow(2_000_000);
    let (progress, pulling) = (image.progress().clone(), runtime.clone());
    let task = tokio::task::JoinSet::from_iter([async move { pulling.pull_image(&*image).await.map(|_| ()) }]);
    until("a part of the layer is here", async || progress.read().0 >= 1_500_000).await;
    drop(task);
    // As a power cut may leave what was not synced.
    let mut spoilt = 0;
    until("some of it is on the disk", async || {
        let ingests = node.dir.path().join("root/io.containerd.content.v1.content/ingest");
        for entry in std::fs::read_dir(ingests).unwrap().flatten() {
            let data = entry.path().join("data");
            if let Ok(file) = std::fs::metadata(&data) {
                std::fs::write(&data, vec![0; usize::try_from(file.len()).unwrap()]).unwrap();
                spoilt = file.len();
            }
        }
        // How much of what was received had come to the file is a matter of luck.
        spoilt > 0
    })
    .await;
    gate.allow(u64::MAX / 2);
    let before = gate.passed();
    let info = pull(&node, &runtime, &name).await.unwrap();
    assert!(gate.passed() - before > low.len() as u64, "all of it came again");
    assert!(info.size_bytes >= low.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_want_the_same_layer_fetch_it_once() {
    let Some(registry) = DockerRegistry::start("", None) else { return };
    let low = base(&[("big", &noise(2_000_000))]);
    registry.put_image("one", "1", &[&low], &shell());
    registry.put_image("two", "1", &[&low, &layer(&[("more", b"x")])], &shell());
    let node = Node::start();
    let runtime = bare(&node).await;
    let (one, two) = (format!("{}/one:1", registry.address()), format!("{}/two:1", registry.address()));
    let (a, b) = tokio::join!(pull(&node, &runtime, &one), pull(&node, &runtime, &two));
    assert_ne!(a.unwrap().id, b.unwrap().id);
    let digest = digest::sha256(&low);
    assert_eq!(registry.asked(&["\"GET ", &digest]), 1, "{}", registry.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_is_not_what_it_says_is_not_taken() {
    let Some(registry) = DockerRegistry::start("", None) else { return };
    let low = base(&[]);
    registry.put_image("app", "1", &[&low], &shell());
    registry.spoil(&digest::sha256(&low));
    let node = Node::start();
    let runtime = bare(&node).await;
    let name = format!("{}/app:1", registry.address());
    let err = pull(&node, &runtime, &name).await.unwrap_err();
    assert!(matches!(&err, RuntimeError::ImagePull { reason, .. } if reason.contains("has the digest")), "{err:?}");
    assert_eq!(runtime.list_images().await.unwrap(), []);
}
