//! Through a proxy, which alone knows where the names lead; and with credentials of a plugin.

use crate::access::HTPASSWD;
use crate::*;
use holdfast_pull::testing::DockerRegistry;
use holdfast_pull::{Providers, ProxySettings};
use holdfast_runtime::PullAuth;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;

/// Leads to one server whatever it is asked for, and keeps the heads of what it is asked.
struct Proxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heads, server): (Arc<Mutex<Vec<String>>>, _) = (Arc::default(), server.to_string());
        let log = heads.clone();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                }
                let text = String::from_utf8_lossy(&head).into_owned();
                log.lock().unwrap().push(text.clone());
                let mut server = TcpStream::connect(&server).unwrap();
                if text.starts_with("CONNECT ") {
                    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
                } else {
                    server.write_all(&head).unwrap();
                }
                for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Proxy { port, heads }
    }

    /// The first lines of what was asked, each once.
    fn asked(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap().clone();
        let mut lines: Vec<String> = heads.iter().filter_map(|head| head.lines().next().map(String::from)).collect();
        lines.sort();
        lines.dedup();
        lines
    }
}

fn through(port: u16) -> Machine {
    let dir = new_folder();
    let settings = RegistrySettings { hosts_dir: dir.clone() };
    let proxy = format!("http://me:word@127.0.0.1:{port}");
    let proxy =
        ProxySettings::from_env(|name| name.ends_with("_PROXY").then(|| proxy.clone()).filter(|_| name != "NO_PROXY"));
    let client = RegistryClient::new(HostEnv::new("/nonexistent"), settings).with_proxy(proxy.unwrap());
    Machine { dir, client }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_goes_through_a_proxy_as_a_tunnel() {
    let authority = Authority::new();
    let (chain, key) = authority.issue("far.test");
    let Some(registry) = DockerRegistry::start("", Some((&chain, &key))) else { return };
    registry.put_image("app", "1", &[b"layer"], &json!({}));
    let proxy = Proxy::start(&registry.address());
    let machine = through(proxy.port);
    machine.hosts("far.test", &format!("server = \"https://far.test\"\nca = \"{}\"\n", shown(&authority.ca())));
    let image = machine.find(&wanted("far.test/app:1")).await.unwrap();
    assert_eq!(read(&*image, &image.manifest().layers[0], 0).await.unwrap(), b"layer");
    assert_eq!(proxy.asked(), ["CONNECT far.test:443 HTTP/1.1"]);
    assert!(
        proxy.heads.lock().unwrap().iter().all(|head| head.contains("\r\nProxy-Authorization: Basic bWU6d29yZA==\r\n"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_is_asked_of_the_proxy() {
    let Some(registry) = DockerRegistry::start("", None) else { return };
    registry.put_image("app", "1", &[b"layer"], &json!({}));
    let proxy = Proxy::start(&registry.address());
    let machine = through(proxy.port);
    machine.hosts("far.test", "server = \"http://far.test:5000\"\n");
    let image = machine.find(&wanted("far.test/app:1")).await.unwrap();
    assert_eq!(read(&*image, &image.manifest().layers[0], 0).await.unwrap(), b"layer");
    assert!(proxy.heads.lock().unwrap()[0].starts_with("GET http://far.test:5000/v2/app/manifests/1 HTTP/1.1\r\n"));
    // What is on this machine is asked straight.
    let asked = proxy.heads.lock().unwrap().len();
    assert!(machine.find(&wanted(&format!("{}/app:1", registry.address()))).await.is_ok());
    assert_eq!(proxy.heads.lock().unwrap().len(), asked);
    // A proxy that is not there is named.
    let nowhere = through(1);
    nowhere.hosts("far.test", "server = \"https://far.test\"\n");
    let said = nowhere.find(&wanted("far.test/app:1")).await.err().unwrap().to_string();
    assert!(said.contains("dial tcp proxy 127.0.0.1:1"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_opens_a_registry_and_it_is_told_who_was_let_in() {
    let dir = new_folder();
    std::fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", shown(&dir.join("htpasswd")));
    let Some(registry) = DockerRegistry::start(&auth, None) else { return };
    registry.put_image("app", "1", &[b"layer"], &json!({}));
    let answer = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",
        "cacheKeyType": "Registry", "auth": {registry.address(): {"username": "ann", "password": "secret"}},
    });
    std::fs::write(dir.join("answer"), answer.to_string()).unwrap();
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig",
        "providers": [{
            "name": "cat", "args": [shown(&dir.join("answer"))], "matchImages": [registry.address()],
            "defaultCacheDuration": "10m", "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        }],
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let providers = Providers::read(&dir.join("config.json"), Path::new("/bin")).unwrap();
    let settings = RegistrySettings { hosts_dir: dir.join("certs.d") };
    let client = RegistryClient::new(HostEnv::new("/nonexistent"), settings).with_providers(providers);
    let name = format!("{}/app:1", registry.address());
    let answer = client.find(&wanted(&name)).await.unwrap();
    assert_eq!(answer.shown, Some(PullAuth { username: "ann".into(), password: "secret".into() }));
    let Found::Image(image) = answer.found else { panic!("it is said to be here") };
    let here = Some(image.manifest().manifest.descriptor.digest.clone());
    let again = client.find(&WantedImage { here, ..wanted(&name) }).await.unwrap();
    assert!(matches!(again.found, Found::Same) && again.shown.is_some());

    let Some(open) = DockerRegistry::start("", None) else { return };
    open.put_image("app", "1", &[b"layer"], &json!({}));
    let name = format!("{}/app:1", open.address());
    let keyring = keyring(&open.address(), "ann", "secret");
    let answer = client.find(&WantedImage { keyring, ..wanted(&name) }).await.unwrap();
    assert_eq!(answer.shown, None, "nobody asked for it");
    let _ = std::fs::remove_dir_all(dir);
}
