use super::*;
use crate::platform::host_architecture;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::Write;

struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Tar {
        Tar(tar::Builder::new(Vec::new()))
    }

    fn file(&mut self, path: &str, bytes: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        self.0.append_data(&mut header, path, bytes).unwrap();
    }

    fn blob(&mut self, bytes: &[u8]) -> Descriptor {
        let hex = format!("{:x}", Sha256::digest(bytes));
        self.file(&format!("blobs/sha256/{hex}"), bytes);
        Descriptor { media_type: String::new(), digest: format!("sha256:{hex}"), size: bytes.len() as u64 }
    }

    fn json(&mut self, media_type: &str, value: &serde_json::Value) -> Descriptor {
        Descriptor { media_type: media_type.into(), ..self.blob(value.to_string().as_bytes()) }
    }

    /// An image of one layer; `arch` and the layer's media type as given.
    fn image(&mut self, os: &str, arch: &str, layer_type: &str) -> Descriptor {
        let layer = Descriptor { media_type: layer_type.into(), ..self.blob(format!("layer {arch}").as_bytes()) };
        let config = self.json(OCI_CONFIG, &json!({"os": os, "architecture": arch, "config": {"Cmd": ["/x"]}}));
        self.json(OCI_MANIFEST, &json!({"schemaVersion": 2, "config": config, "layers": [layer]}))
    }

    fn write(self, gzip: bool) -> tempfile::NamedTempFile {
        let bytes = self.0.into_inner().unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        if gzip {
            let mut encoder = flate2::write::GzEncoder::new(&mut file, flate2::Compression::fast());
            encoder.write_all(&bytes).unwrap();
            encoder.finish().unwrap();
        } else {
            file.write_all(&bytes).unwrap();
        }
        file
    }
}

fn entry(descriptor: &Descriptor, annotation: &str, name: &str) -> serde_json::Value {
    let mut value = serde_json::to_value(descriptor).unwrap();
    value["annotations"] = json!({ annotation: name });
    value
}

#[test]
fn an_oci_layout_is_read_plain_and_gzip() {
    for gzip in [false, true] {
        let mut tar = Tar::new();
        let manifest = tar.image("linux", host_architecture(), OCI_LAYER);
        let wasm = tar.image("wasip2", "wasm", "application/wasm");
        let index = json!({"schemaVersion": 2, "manifests": [
            entry(&manifest, "io.containerd.image.name", "agnhost:1"),
            entry(&manifest, "org.opencontainers.image.ref.name", "registry.local/agnhost:2"),
            entry(&wasm, "org.opencontainers.image.ref.name", "latest"),
        ]});
        tar.file("./index.json", index.to_string().as_bytes());
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        let file = tar.write(gzip);
        let archive = Archive::open(file.path()).unwrap();
        let [linux, wasm] = archive.images() else { panic!("{:?}", archive.images()) };
        assert_eq!(linux.names, ["docker.io/library/agnhost:1", "registry.local/agnhost:2"]);
        assert!(!linux.is_wasm && wasm.is_wasm && wasm.names.is_empty());
        assert_eq!(linux.config_json["config"]["Cmd"][0], "/x");
        assert_eq!(archive.read_blob(&wasm.layers[0].digest).unwrap(), b"layer wasm");
    }
}

#[test]
fn this_machines_platform_is_chosen_from_an_index_of_many() {
    let mut tar = Tar::new();
    let mut inner = Vec::new();
    for arch in ["s390x", host_architecture()] {
        let mut value = serde_json::to_value(tar.image("linux", arch, OCI_LAYER)).unwrap();
        value["platform"] = json!({"os": "linux", "architecture": arch});
        inner.push(value);
    }
    let nested = tar.json("application/vnd.oci.image.index.v1+json", &json!({"manifests": inner}));
    let top = json!({"manifests": [entry(&nested, "io.containerd.image.name", "a.b/c:1")]});
    tar.file("index.json", top.to_string().as_bytes());
    let file = tar.write(false);
    let archive = Archive::open(file.path()).unwrap();
    assert_eq!(archive.images().len(), 1);
    assert_eq!(archive.images()[0].config_json["architecture"], host_architecture());
}

#[test]
fn a_docker_archive_gets_a_manifest() {
    let mut tar = Tar::new();
    tar.file("abc.json", br#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]}}"#);
    tar.file("l1/layer.tar", b"layer bytes");
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.0.append_link(&mut header, "l2/layer.tar", "../l1/layer.tar").unwrap();
    let list = json!([{"Config": "abc.json", "RepoTags": ["web:1"], "Layers": ["l1/layer.tar", "l2/layer.tar"]}]);
    tar.file("manifest.json", list.to_string().as_bytes());
    let file = tar.write(false);
    let archive = Archive::open(file.path()).unwrap();
    let image = &archive.images()[0];
    assert_eq!(image.names, ["docker.io/library/web:1"]);
    assert_eq!(image.layers.len(), 2);
    assert_eq!(archive.read_blob(&image.layers[1].digest).unwrap(), b"layer bytes");
    let manifest: serde_json::Value =
        serde_json::from_slice(&archive.read_blob(&image.manifest.digest).unwrap()).unwrap();
    assert_eq!(manifest["config"]["digest"], image.config.digest);
}

#[test]
fn broken_archives_are_refused_with_the_reason() {
    let refuse = |file: tempfile::NamedTempFile, text: &str| {
        let err = Archive::open(file.path()).unwrap_err().to_string();
        assert!(err.contains(text), "{err:?} does not say {text:?}");
    };
    let mut noise = tempfile::NamedTempFile::new().unwrap();
    noise.write_all(&[7; 2000]).unwrap();
    refuse(noise, "not a tar file");

    let mut tar = Tar::new();
    tar.file("hello", b"x");
    refuse(tar.write(false), "neither index.json");

    let mut tar = Tar::new();
    let config = tar.json(OCI_CONFIG, &json!({}));
    let gone = Descriptor { media_type: OCI_LAYER.into(), digest: format!("sha256:{}", "0".repeat(64)), size: 3 };
    let manifest = tar.json(OCI_MANIFEST, &json!({"config": config, "layers": [gone]}));
    tar.file("index.json", json!({"manifests": [manifest]}).to_string().as_bytes());
    refuse(tar.write(false), "is missing");

    let mut tar = Tar::new();
    let manifest = tar.image("linux", "s390x", OCI_LAYER);
    let mut value = serde_json::to_value(&manifest).unwrap();
    value["platform"] = json!({"os": "linux", "architecture": "s390x"});
    tar.file("index.json", json!({"manifests": [value]}).to_string().as_bytes());
    refuse(tar.write(false), "no image for this machine");
    assert!(matches!(Archive::open(Path::new("/no/such")), Err(ArchiveError::Read { .. })));
}

#[test]
fn damaged_blobs_are_found_when_read() {
    let mut tar = Tar::new();
    let config = tar.json(OCI_CONFIG, &json!({}));
    let hex = "1".repeat(64);
    tar.file(&format!("blobs/sha256/{hex}"), b"other");
    let layer = Descriptor { media_type: OCI_LAYER.into(), digest: format!("sha256:{hex}"), size: 5 };
    let manifest = tar.json(OCI_MANIFEST, &json!({"config": config, "layers": [layer]}));
    tar.file("index.json", json!({"manifests": [manifest]}).to_string().as_bytes());
    let file = tar.write(false);
    let archive = Archive::open(file.path()).unwrap();
    let err = archive.read_blob(&layer.digest).unwrap_err().to_string();
    assert!(err.contains("does not match its digest"), "{err}");
    assert!(archive.read_blob("sha256:12").is_err());
}
