use crate::*;
use holdfast_pull::testing::{CONFIG, DOCKER_MANIFEST, DockerRegistry, Gate, INDEX, LAYER, MANIFEST};
use holdfast_runtime::digest::sha256;
use holdfast_runtime::platform::host_architecture;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_found_and_read_plain() {
    let Some(registry) = DockerRegistry::start("", None) else { return };
    let (low, high) = (noise(3_000_000, 1), noise(10, 2));
    let manifest = registry.put_image("team/app", "1", &[&low, &high], &json!({"config": {"Cmd": ["/x"]}}));
    let name = format!("{}/team/app:1", registry.address());
    let machine = Machine::new();
    let image = machine.find(&wanted(&name)).await.unwrap();
    let found = image.manifest();
    assert_eq!(found.manifest.descriptor.digest, manifest["digest"]);
    assert_eq!((found.target == found.manifest, found.is_wasm, found.layers.len()), (true, false, 2));
    assert_eq!(image.progress().read(), (0, 3_000_010));
    assert!(read(&*image, &found.layers[0], 0).await.unwrap() == low);
    assert!(read(&*image, &found.layers[0], 2_999_990).await.unwrap() == low[2_999_990..]);
    assert!(read(&*image, &found.layers[1], 10).await.unwrap().is_empty(), "nothing is left to ask for");
    assert_eq!(image.progress().read().0, 3_000_010);

    // What is here is asked for by HEAD alone.
    let here = WantedImage { here: Some(found.target.descriptor.digest.clone()), ..wanted(&name) };
    let before = registry.settled_log();
    assert!(matches!(machine.client.find(&here).await.unwrap().found, Found::Same));
    let asked = registry.settled_log().split_off(before.len());
    assert!(asked.contains("HEAD /v2/team/app/manifests/1") && !asked.contains("GET /v2/team/app"), "{asked}");
    registry.put_image("team/app", "1", &[&high], &json!({}));
    assert!(matches!(machine.client.find(&here).await.unwrap().found, Found::Image(_)), "the tag has moved");

    let by_digest = format!("{}/team/app@{}", registry.address(), manifest["digest"].as_str().unwrap());
    assert_eq!(machine.find(&wanted(&by_digest)).await.unwrap().manifest().layers, found.layers);
    for absent in ["team/app:2", "team/other:1"] {
        let name = format!("{}/{absent}", registry.address());
        let said = machine.find(&wanted(&name)).await.err().unwrap();
        assert!(matches!(said, RuntimeError::ImagePull { .. }), "{said:?}");
        assert!(said.to_string().ends_with(&format!("{name}: not found")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_platforms_this_machines_comes() {
    let Some(registry) = DockerRegistry::start("", None) else { return };
    let mut entries = Vec::new();
    for (os, architecture, layer) in
        [("linux", "s390x", "other"), ("linux", host_architecture(), "ours"), ("wasip2", "wasm", "wasm")]
    {
        let config =
            registry.put_blob("a", CONFIG, json!({"os": os, "architecture": architecture}).to_string().as_bytes());
        let layer = registry.put_blob("a", LAYER, layer.as_bytes());
        let manifest = json!({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer]});
        let mut entry = registry.put_manifest("a", &manifest);
        entry["platform"] = json!({"os": os, "architecture": architecture});
        entries.push(entry);
    }
    let index = registry.put_manifest("a", &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}));
    registry.tag("a", "many", &index);
    let machine = Machine::new();
    let name = format!("{}/a:many", registry.address());
    for (wasm_first, expected) in [(false, "ours"), (true, "wasm")] {
        let image = machine.find(&WantedImage { wasm_first, ..wanted(&name) }).await.unwrap();
        let found = image.manifest();
        assert_eq!(found.layers[0].digest, sha256(expected.as_bytes()));
        assert_eq!(found.target.descriptor.digest, index["digest"]);
        assert_eq!((found.manifest.descriptor.media_type.as_str(), found.is_wasm), (DOCKER_MANIFEST, wasm_first));
    }
    let other = registry.put_manifest("a", &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entries[0]]}));
    registry.tag("a", "other", &other);
    let said = machine.find(&wanted(&format!("{}/a:other", registry.address()))).await.err().unwrap();
    assert!(said.to_string().contains("no match for platform in manifest"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_cut_goes_on_where_it_stopped() {
    let Some(registry) = DockerRegistry::start("", None) else { return };
    let layer = noise(5_000_000, 3);
    registry.put_image("a", "1", &[&layer], &json!({}));
    let gate = Gate::new(registry.address().parse().unwrap());
    let machine = Machine::new();
    gate.allow(u64::MAX / 2);
    let image = machine.find(&wanted(&format!("{}/a:1", gate.address()))).await.unwrap();
    gate.cut_after(2_000_000);
    let before = gate.passed();
    let open = async { read(&*image, &image.manifest().layers[0], 0).await };
    let opened = async {
        // The first connection is cut; then the way is free.
        while gate.passed() < before + 2_000_000 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        gate.allow(u64::MAX / 2);
    };
    let (read, ()) = tokio::join!(open, opened);
    assert!(read.unwrap() == layer);
    let passed = gate.passed() - before;
    assert!(passed < 5_300_000, "{passed} bytes for {}: it began again from the start", layer.len());
    assert!(registry.asked(&[" 206 "]) >= 1, "{}", registry.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_is_spoilt_is_told() {
    let Some(registry) = DockerRegistry::start("", None) else { return };
    let layer = noise(300_000, 4);
    registry.put_image("a", "1", &[&layer], &json!({}));
    let machine = Machine::new();
    let name = format!("{}/a:1", registry.address());
    let image = machine.find(&wanted(&name)).await.unwrap();
    let blob = &image.manifest().layers[0];
    registry.spoil(&blob.digest);
    let said = read(&*image, blob, 0).await.unwrap_err();
    assert!(matches!(&said, RuntimeError::BadImage { reason, .. } if reason.contains("has the digest")), "{said:?}");
    // The configuration is read with the manifest.
    registry.spoil(&image.manifest().config.descriptor.digest);
    let said = machine.find(&wanted(&name)).await.err().unwrap();
    assert!(matches!(said, RuntimeError::ImagePull { .. }), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_lies_is_left_for_the_registry() {
    let (Some(mirror), Some(registry)) = (DockerRegistry::start("", None), DockerRegistry::start("", None)) else {
        return;
    };
    let layer = noise(300_000, 5);
    for one in [&mirror, &registry] {
        one.put_image("library/app", "1", &[&layer], &json!({}));
    }
    let machine = Machine::new();
    machine.hosts("r.example", &format!("server = \"{}\"\n[host.\"{}\"]\n", registry.url(), mirror.url()));
    let image = machine.find(&wanted("r.example/library/app:1")).await.unwrap();
    let blob = image.manifest().layers[0].clone();
    assert!(mirror.asked(&["/v2/library/app/manifests/1?ns=r.example"]) > 0, "{}", mirror.log());
    mirror.spoil(&blob.digest);
    assert!(matches!(read(&*image, &blob, 0).await, Err(RuntimeError::BadImage { .. })));
    assert!(read(&*image, &blob, 0).await.unwrap() == layer, "the registry has the right one");
    assert!(registry.asked(&["/v2/library/app/blobs/", &blob.digest]) > 0, "{}", registry.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_is_gone_is_got_over() {
    let (Some(mut mirror), Some(registry)) = (DockerRegistry::start("", None), DockerRegistry::start("", None)) else {
        return;
    };
    registry.put_image("app", "1", &[b"x"], &json!({}));
    mirror.put_image("app", "2", &[b"y"], &json!({}));
    let machine = Machine::new();
    machine.hosts("_default", &format!("[host.\"{}\"]\n", mirror.url()));
    machine.hosts("r.example", &format!("server = \"{}\"\n[host.\"{}\"]\n", registry.url(), mirror.url()));
    assert!(machine.find(&wanted("r.example/app:1")).await.is_ok(), "the mirror does not have it");
    assert!(machine.find(&wanted("other.example/app:2")).await.is_ok(), "the default for all registries");
    mirror.kill();
    assert!(machine.find(&wanted("r.example/app:1")).await.is_ok(), "the mirror is down");
    drop(registry);
    let said = machine.find(&wanted("r.example/app:1")).await.err().unwrap();
    assert!(matches!(said, RuntimeError::RegistryUnreachable { .. }), "{said:?}");
    machine.hosts("r.example", "server = 7\n");
    let said = machine.find(&wanted("r.example/app:1")).await.err().unwrap().to_string();
    assert!(said.contains("r.example/hosts.toml: line 1: "), "{said}");
}

#[test]
fn the_media_types_of_tests_are_those_of_the_specification() {
    assert_eq!(MANIFEST, holdfast_runtime::archive::OCI_MANIFEST);
}
