//! Images from a real registry on loopback: plain, over TLS, with a password, with tokens, through mirrors, interrupted.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test; clippy knows only `#[test]` functions as such")]

mod access;
mod content;
mod proxy;
mod tls;

use bytes::BytesMut;
use holdfast_env::host::HostEnv;
use holdfast_pull::testing::new_folder;
use holdfast_pull::{RegistryClient, RegistrySettings};
use holdfast_runtime::{Descriptor, Found, Keyring, Registries, RemoteImage, RuntimeError, WantedImage};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A client with a folder for `hosts.toml` of its own.
struct Machine {
    dir: PathBuf,
    client: RegistryClient,
}

impl Machine {
    fn new() -> Machine {
        let dir = new_folder();
        let settings = RegistrySettings { hosts_dir: dir.clone() };
        Machine { client: RegistryClient::new(HostEnv::new("/nonexistent"), settings), dir }
    }

    /// Writes the file of a registry.
    fn hosts(&self, registry: &str, text: &str) {
        let dir = self.dir.join(registry);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("hosts.toml"), text).unwrap();
    }

    async fn find(&self, wanted: &WantedImage) -> Result<Arc<dyn RemoteImage>, RuntimeError> {
        match self.client.find(wanted).await?.found {
            Found::Image(image) => Ok(image),
            Found::Same => panic!("it is said to be here"),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn wanted(name: &str) -> WantedImage {
    WantedImage { name: name.into(), ..WantedImage::default() }
}

fn keyring(registry: &str, username: &str, password: &str) -> Keyring {
    let mut ring = Keyring::default();
    let auths = json!({"auths": {registry: {"username": username, "password": password}}});
    ring.add_config_json(auths.to_string().as_bytes()).unwrap();
    ring
}

async fn read(image: &dyn RemoteImage, layer: &Descriptor, offset: u64) -> Result<Vec<u8>, RuntimeError> {
    let mut stream = image.open(layer, offset).await?;
    let mut all = BytesMut::new();
    while let Some(bytes) = stream.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all.to_vec())
}

/// Bytes that look like nothing.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// A certificate authority, and a server certificate of it for this machine, as files.
struct Authority {
    dir: PathBuf,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let dir = new_folder();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.join("ca.pem"), certificate.pem()).unwrap();
        Authority { dir, issuer: rcgen::Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Certificate and key for a name.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_string()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (chain_path, key_path) = (self.dir.join(format!("{name}.crt")), self.dir.join(format!("{name}.key")));
        std::fs::write(&chain_path, certificate.pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        (chain_path, key_path)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
