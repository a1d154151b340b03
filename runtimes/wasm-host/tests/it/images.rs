use holdfast_wasm_host::images::ImageStore;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What `docker save` writes of a `FROM scratch` image.
fn docker_archive(dir: &Path, os: &str, config: serde_json::Value, layers: &[Vec<u8>]) -> PathBuf {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = serde_json::json!({ "architecture": architecture, "os": os, "config": config }).to_string();
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let manifest = serde_json::json!([{ "Config": "c.json", "RepoTags": ["scratch:1"], "Layers": names }]).to_string();
    let mut files = vec![("manifest.json", manifest.as_bytes()), ("c.json", config.as_bytes())];
    files.extend(names.iter().map(String::as_str).zip(layers.iter().map(Vec::as_slice)));
    let path = dir.join("image.tar");
    fs::write(&path, tar_of(&files)).unwrap();
    path
}

#[test]
fn scratch_images_bring_the_file_of_their_entrypoint() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let config = serde_json::json!({
        "Entrypoint": ["/app/main.wasm"], "Cmd": ["serve"], "Env": ["A=b=c"], "WorkingDir": "/app",
    });
    let lower = tar_of(&[("app/main.wasm", b"old"), ("other.wasm", b"other")]);
    let upper = gzip(&tar_of(&[("./app/main.wasm", b"new")]));
    let archive = docker_archive(dir.path(), "linux", config, &[lower, upper]);
    let name = "docker.io/library/scratch:1";
    assert_eq!(store.import(&archive).unwrap(), [name]);
    let image = store.find("scratch:1").unwrap().unwrap();
    assert_eq!(fs::read(store.module_path(&image.module)).unwrap(), b"new");
    assert_eq!((&image.entrypoint[..], &image.cmd[..]), (&["/app/main.wasm".into()][..], &["serve".into()][..]));
    assert_eq!(image.env, [("A".to_string(), "b=c".to_string())]);
    assert_eq!(image.working_dir, "/app");
    // Another process finds the same.
    let again = ImageStore::open(&dir.path().join("images")).unwrap();
    assert_eq!(again.find(name).unwrap(), Some(image));
}

#[test]
fn a_wasm_image_needs_no_entrypoint() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let layers = [tar_of(&[("readme", b"x"), ("hello.wasm", b"module")])];
    store.import(&docker_archive(dir.path(), "wasip2", serde_json::json!({}), &layers)).unwrap();
    let image = store.find("scratch:1").unwrap().unwrap();
    assert_eq!(fs::read(store.module_path(&image.module)).unwrap(), b"module");
}

#[test]
fn an_image_for_linux_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let config = serde_json::json!({ "Entrypoint": ["/bin/sh"] });
    let archive = docker_archive(dir.path(), "linux", config, &[tar_of(&[("bin/sh", b"elf")])]);
    let err = store.import(&archive).unwrap_err();
    assert!(err.to_string().ends_with("it holds no WebAssembly image"), "{err}");
    let empty = docker_archive(dir.path(), "wasip2", serde_json::json!({}), &[tar_of(&[("readme", b"x")])]);
    let err = store.import(&empty).unwrap_err();
    assert!(err.to_string().ends_with("a Wasm image without a .wasm file in its layers"), "{err}");
    assert!(store.list().is_empty());
}

#[test]
fn what_was_pulled_may_be_removed_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("images")).unwrap();
    let layers = [tar_of(&[("hello.wasm", b"module")])];
    let archive = docker_archive(dir.path(), "wasip2", serde_json::json!({}), &layers);
    store.take(&archive).unwrap();
    let image = store.find("scratch:1").unwrap().unwrap();
    assert!(image.pulled);
    // The same from a file: no registry may have it any more.
    store.import(&archive).unwrap();
    assert!(!store.find("scratch:1").unwrap().unwrap().pulled);
    store.take(&archive).unwrap();
    assert!(store.find("scratch:1").unwrap().unwrap().pulled);
    let other = docker_archive(dir.path(), "wasip2", serde_json::json!({"Cmd": ["x"]}), &layers);
    store.import(&other).unwrap();
    let second = store.find("scratch:1").unwrap().unwrap();
    assert_eq!(store.remove(&image.id).unwrap(), None, "another image has the module");
    assert!(store.find(&image.id).unwrap().is_none() && store.module_path(&image.module).exists());
    assert_eq!(store.remove(&second.id).unwrap(), Some(image.module.clone()));
    assert!(store.list().is_empty() && !store.module_path(&image.module).exists());
    assert_eq!(store.remove(&second.id).unwrap(), None, "fine when it is gone");
    assert!(ImageStore::open(&dir.path().join("images")).unwrap().list().is_empty());
    let usage = store.file_system().unwrap();
    assert!(usage.capacity_bytes >= usage.used_bytes && usage.used_bytes > 0, "{usage:?}");
}
