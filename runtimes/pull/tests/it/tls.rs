use crate::*;
use holdfast_pull::testing::DockerRegistry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_of_our_own_is_trusted_by_file_alone() {
    let authority = Authority::new();
    let (chain, key) = authority.issue("127.0.0.1");
    let Some(registry) = DockerRegistry::start("", Some((&chain, &key))) else { return };
    registry.put_image("app", "1", &[b"layer"], &json!({}));
    let machine = Machine::new();
    let name = "r.example/app:1";
    machine.hosts("r.example", &format!("server = \"{}\"\n", registry.url()));
    let said = machine.find(&wanted(name)).await.err().unwrap();
    assert!(matches!(said, RuntimeError::RegistryUnreachable { .. }), "{said:?}");
    assert!(said.to_string().contains("UnknownIssuer"), "{said}");

    // A file beside hosts.toml.
    std::fs::copy(authority.ca(), machine.dir.join("r.example/ca.pem")).unwrap();
    machine.hosts("r.example", &format!("server = \"{}\"\nca = \"ca.pem\"\n", registry.url()));
    let image = machine.find(&wanted(name)).await.unwrap();
    assert_eq!(read(&*image, &image.manifest().layers[0], 0).await.unwrap(), b"layer");

    machine.hosts("r.example", &format!("[host.\"{}\"]\nskip_verify = true\n", registry.url()));
    assert!(machine.find(&wanted(name)).await.is_ok());
    machine.hosts("r.example", &format!("server = \"{}\"\nca = \"none.pem\"\n", registry.url()));
    let said = machine.find(&wanted(name)).await.err().unwrap().to_string();
    assert!(said.contains("none.pem"), "{said}");

    // Another name than the certificate's.
    let other = registry.url().replace("127.0.0.1", "localhost");
    machine.hosts("r.example", &format!("server = \"{other}\"\nca = \"{}\"\n", shown(&authority.ca())));
    let said = machine.find(&wanted(name)).await.err().unwrap().to_string();
    assert!(said.contains("not valid for name") || said.contains("NotValidForName"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_may_want_a_certificate() {
    let authority = Authority::new();
    let (chain, key) = authority.issue("127.0.0.1");
    let (own_chain, own_key) = authority.issue("node");
    let clients = format!("    clientcas:\n      - {}\n", shown(&authority.ca()));
    let Some(registry) = DockerRegistry::start(&clients, Some((&chain, &key))) else { return };
    registry.put_image("app", "1", &[b"layer"], &json!({}));
    let machine = Machine::new();
    let server = format!("server = \"{}\"\nca = \"{}\"\n", registry.url(), shown(&authority.ca()));
    machine.hosts("r.example", &server);
    assert!(machine.find(&wanted("r.example/app:1")).await.is_err());
    machine.hosts("r.example", &format!("{server}client = [[\"{}\", \"{}\"]]\n", shown(&own_chain), shown(&own_key)));
    assert!(machine.find(&wanted("r.example/app:1")).await.is_ok());
}
