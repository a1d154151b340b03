use crate::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_pull::testing::DockerRegistry;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// `ann` with the password `secret`.
pub(crate) const HTPASSWD: &str = "ann:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_opens_a_registry() {
    let dir = new_folder();
    std::fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", shown(&dir.join("htpasswd")));
    let Some(registry) = DockerRegistry::start(&auth, None) else { return };
    registry.put_image("app", "1", &[b"layer"], &json!({}));
    let machine = Machine::new();
    let name = format!("{}/app:1", registry.address());
    let with = |keyring| WantedImage { keyring, ..wanted(&name) };

    let said = machine.find(&wanted(&name)).await.err().unwrap();
    assert!(matches!(said, RuntimeError::ImagePull { .. }) && said.to_string().contains("there are none"), "{said:?}");
    let wrong = machine.find(&with(keyring(&registry.address(), "ann", "wrong"))).await.err().unwrap();
    assert!(wrong.to_string().contains("are refused"), "{wrong}");
    let elsewhere = machine.find(&with(keyring("other.example", "ann", "secret"))).await.err().unwrap();
    assert!(elsewhere.to_string().contains("there are none"), "{elsewhere}");

    let image = machine.find(&with(keyring(&registry.address(), "ann", "secret"))).await.unwrap();
    assert_eq!(read(&*image, &image.manifest().layers[0], 0).await.unwrap(), b"layer");
    // Of two secrets for one registry the second may be the right one.
    let mut two = keyring(&registry.address(), "ann", "wrong");
    let auths = json!({"auths": {registry.address(): {"username": "ann", "password": "secret"}}});
    two.add_config_json(auths.to_string().as_bytes()).unwrap();
    assert!(machine.find(&with(two)).await.is_ok());
    let _ = std::fs::remove_dir_all(dir);
}

/// A token server: who may have what is decided by the user's name.
struct TokenServer {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TokenServer {
    fn start(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> TokenServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        let chain = STANDARD.encode(certificate.der());
        let signing = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = Vec::new();
                let mut buffer = [0; 1024];
                while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                        _ => break,
                    }
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let line = text.lines().next().unwrap_or_default().to_string();
                let user = text.lines().find_map(|line| {
                    line.to_lowercase().starts_with("authorization: basic ").then(|| line[21..].to_string())
                });
                let ann = user.as_deref() == Some(&STANDARD.encode("ann:secret"));
                log.lock().unwrap().push(format!("{line} {}", if ann { "ann" } else { "nobody" }));
                let (status, body) = if user.is_some() && !ann {
                    ("401 Unauthorized", String::new())
                } else {
                    // Nobody in particular gets a token that opens nothing.
                    let actions: &[&str] = if ann { &["pull"] } else { &[] };
                    ("200 OK", json!({"token": token(&chain, &signing, actions), "expires_in": 300}).to_string())
                };
                let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        TokenServer { port, asked }
    }
}

fn token(chain: &str, key: &EncodingKey, actions: &[&str]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut header = Header::new(Algorithm::ES256);
    header.x5c = Some(vec![chain.to_string()]);
    let claims = json!({
        "iss": "issuer", "sub": "ann", "aud": "the registry", "jti": "1",
        "iat": now - 10, "nbf": now - 10, "exp": now + 300,
        "access": [{"type": "repository", "name": "app", "actions": actions}],
    });
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_server_opens_a_registry() {
    let dir = new_folder();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["issuer".to_string()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(dir.join("bundle.pem"), certificate.pem()).unwrap();
    let tokens = TokenServer::start(&certificate, &key);
    let auth = format!(
        "auth:\n  token:\n    realm: http://127.0.0.1:{}/token\n    service: the registry\n    issuer: issuer\n    rootcertbundle: {}\n",
        tokens.port,
        shown(&dir.join("bundle.pem"))
    );
    let Some(registry) = DockerRegistry::start(&auth, None) else { return };
    registry.put_image("app", "1", &[b"layer", b"other"], &json!({}));
    let machine = Machine::new();
    let name = format!("{}/app:1", registry.address());
    let with = |keyring| WantedImage { keyring, ..wanted(&name) };
    let image = machine.find(&with(keyring(&registry.address(), "ann", "secret"))).await.unwrap();
    for (layer, content) in image.manifest().layers.iter().zip([&b"layer"[..], b"other"]) {
        assert_eq!(read(&*image, layer, 0).await.unwrap(), content);
    }
    let asked = tokens.asked.lock().unwrap().clone();
    let line = "GET /token?service=the%20registry&scope=repository%3Aapp%3Apull HTTP/1.1 ann";
    assert_eq!(asked, [line], "one token does for the whole image");

    let refused = machine.find(&wanted(&name)).await.err().unwrap();
    assert!(matches!(refused, RuntimeError::ImagePull { .. }), "{refused:?}");
    let wrong = machine.find(&with(keyring(&registry.address(), "bob", "x"))).await.err().unwrap();
    assert!(wrong.to_string().contains("the token server answered 401 for \"bob\""), "{wrong}");
    let _ = std::fs::remove_dir_all(dir);
}
