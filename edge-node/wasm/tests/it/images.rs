//! Images, good and bad.

use crate::support::*;
use holdfast_env::host::HostEnv;
use holdfast_pull::testing::{DockerRegistry, MANIFEST};
use holdfast_pull::{RegistryClient, RegistrySettings};
use holdfast_runtime::archive::WASM_CONFIG;
use holdfast_runtime::*;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_module_loads_and_fails_at_the_pod() {
    let node = Node::start().await;
    let sandbox = host_sandbox("broken");
    node.runtime.run_sandbox(&sandbox).await.unwrap();
    let good = guest("hello-cli");
    for (name, bytes, reason) in [
        ("text", &b"hello, world"[..], "not a WebAssembly module: bad magic"),
        ("empty", b"", "not a WebAssembly module: the file is empty"),
        ("cut", &good[..good.len() / 2], "cannot compile the WebAssembly: "),
        ("nothing", b"\0asm\x01\0\0\0", "unsupported WebAssembly: the core module exports no _start function"),
    ] {
        let image = format!("registry.local/{name}:1");
        assert_eq!(node.import(&image, bytes).await.unwrap(), std::slice::from_ref(&image));
        let container = node.container(name, &image, &[]);
        match node.runtime.create_container(&sandbox, &container).await.unwrap_err() {
            RuntimeError::BadImage { image: named, reason: found } => {
                assert_eq!(named, image);
                assert!(found.starts_with(reason), "{found}");
            }
            other => panic!("{other}"),
        }
    }
    assert!(node.runtime.list_containers().await.unwrap().is_empty(), "nothing half made");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_found_by_name_and_digest() {
    let node = Node::start().await;
    let name = "registry.local/hello-cli:1";
    assert_eq!(node.runtime.image(name).await.unwrap(), None);
    node.import(name, &guest("hello-cli")).await.unwrap();
    let image = node.runtime.image(name).await.unwrap().unwrap();
    assert!(image.is_wasm);
    assert_eq!(image.names, [name.to_string(), format!("registry.local/hello-cli@{}", image.id)]);
    assert_eq!(node.runtime.image(&image.names[1]).await.unwrap().as_ref(), Some(&image));
    // The tag moves to another image.
    node.import(name, b"other bytes").await.unwrap();
    let other = node.runtime.image(name).await.unwrap().unwrap();
    assert_ne!(other.id, image.id);
    assert_eq!(node.runtime.list_images().await.unwrap().len(), 2);
    let missing = node.container("x", "registry.local/missing:1", &[]);
    node.runtime.run_sandbox(&host_sandbox("s")).await.unwrap();
    let err = node.runtime.create_container(&host_sandbox("s"), &missing).await.unwrap_err();
    assert_eq!(err, RuntimeError::NotFound("image \"registry.local/missing:1\"".into()));
    let bad = node.runtime.image("Not A Name").await.unwrap_err();
    assert!(matches!(bad, RuntimeError::InvalidImageName { .. }), "{bad}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_none_says_so() {
    let node = Node::start().await;
    let path = node.dir.path().join("x.tar");
    let missing = node.runtime.import_image(&path).await.unwrap_err().to_string();
    assert!(missing.contains("No such file"), "{missing}");
    std::fs::write(&path, "no tar").unwrap();
    let none = node.runtime.import_image(&path).await.unwrap_err();
    assert!(matches!(none, RuntimeError::BadImage { .. }), "{none}");
    assert!(node.runtime.list_images().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artefact_is_pulled_and_an_interrupted_pull_goes_on() {
    let Some(registry) = DockerRegistry::start("", None) else { return };
    let module = guest("hello-cli");
    let config = registry.put_blob("hello", WASM_CONFIG, br#"{"os": "wasip2", "architecture": "wasm"}"#);
    let layer = registry.put_blob("hello", "application/wasm", &module);
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let manifest = registry.put_manifest("hello", &manifest);
    registry.tag("hello", "1", &manifest);
    let node = Node::start().await;
    let settings = RegistrySettings { hosts_dir: node.dir.path().join("certs.d") };
    let client = RegistryClient::new(HostEnv::new("/nonexistent"), settings);
    let name = format!("{}/hello:1", registry.address());
    let wanted = WantedImage { name: name.clone(), ..WantedImage::default() };
    let Found::Image(image) = client.find(&wanted).await.unwrap().found else { panic!("it is said to be here") };
    assert!(image.manifest().is_wasm);

    // What an earlier pull left; its end was lost in a power cut.
    let spool = node.dir.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    let part = spool.join(format!("{}.layer", layer["digest"].as_str().unwrap().trim_start_matches("sha256:")));
    std::fs::write(&part, vec![0; module.len() / 2]).unwrap();
    let info = node.runtime.pull_image(&*image).await.unwrap();
    assert_eq!((info.is_wasm, info.id.as_str()), (true, manifest["digest"].as_str().unwrap()));
    assert_eq!(registry.asked(&[" 206 "]), 1, "{}", registry.log());
    assert_eq!(image.progress().read(), (module.len() as u64, module.len() as u64));
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "nothing is left behind");

    node.import("registry.local/kept:1", &guest("hello-wasm")).await.unwrap();
    let pulled = node.runtime.pulled_images().await.unwrap();
    assert_eq!(pulled, std::slice::from_ref(&info), "what was imported is not among them");
    assert!(node.runtime.image_fs().await.unwrap().unwrap().capacity_bytes > 0);

    let container = node.container("pulled", &name, &["exit=3"]);
    node.run(&host_sandbox("s"), &container).await.unwrap();
    assert_eq!(node.ended("pulled").await.0, 3);
    let here = WantedImage { here: Some(info.id.clone()), ..wanted };
    assert!(matches!(client.find(&here).await.unwrap().found, Found::Same));
    let compiled = || std::fs::read_dir(node.dir.path().join("data/compiled")).unwrap().count();
    assert_eq!(compiled(), 2, "code and its sum");
    node.runtime.remove_image(&info.id).await.unwrap();
    node.runtime.remove_image(&info.id).await.unwrap();
    assert_eq!((node.runtime.image(&name).await.unwrap(), compiled()), (None, 0));
    assert!(node.runtime.image("registry.local/kept:1").await.unwrap().is_some());
}
