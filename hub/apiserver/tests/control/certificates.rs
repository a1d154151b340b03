//! Certificates of nodes at the API: good for as long as their Node.

use holdfast_apiserver::Pki;
use holdfast_apiserver::auth::Certificates;
use holdfast_core::meta::REVOKED;
use holdfast_core::{DeleteOptions, Lineage, Patch, PatchType, Target, Timestamp, UserInfo, WriteOptions};
use holdfast_env::World;
use holdfast_env::host::HostEnv;
use holdfast_registry::{HubRegistry, HubRegistryConfig, JwtIssuer};
use holdfast_server::{Authenticator, Credentials, Registry, RequestContext};
use holdfast_store::memory::CachedStore;
use holdfast_store::testing::MemoryLog;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_nodes_certificate_is_worth_nothing_without_its_node() {
    let dir = tempfile::tempdir().unwrap();
    let world: World = HostEnv::new("/nonexistent");
    let now = Timestamp::from_wall(world.wall().0);
    let pki = Pki::open(dir.path(), now, Duration::ZERO).unwrap();
    let issuer = JwtIssuer::from_pem(pki.service_account_key_pem.as_bytes(), "https://hub", "https://hub").unwrap();
    let registry: Arc<dyn Registry> = Arc::new(HubRegistry::new(HubRegistryConfig {
        store: CachedStore::open(MemoryLog::new()).unwrap(),
        env: world,
        service_cidr: "10.96.0.0/24".parse().unwrap(),
        token_issuer: Arc::new(issuer),
        lineage: Lineage(1),
        eviction_after: holdfast_registry::EVICTION_AFTER,
    }));
    let certificates = Certificates::new(registry.clone());
    let admin = RequestContext::new(UserInfo::new("admin", &["system:masters"]), "test");
    let nodes = Target::collection(super::gvr("nodes"), "");
    let node = Target::object(super::gvr("nodes"), "", "edge-1");
    let document = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "edge-1"}});
    let made = registry.create(&admin, &nodes, document.clone(), &WriteOptions::default()).await.unwrap();

    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let hour = Duration::from_secs(3600);
    let signed = pki.ca.sign_node_certificate(csr.der(), "edge-1", &made.meta.uid, now, hour).unwrap();
    let shown = Credentials { bearer: None, client_certificates: vec![signed.chain[0].to_vec()] };
    let code = async || certificates.authenticate(&shown).await.map_err(|status| status.code());
    assert_eq!(code().await.unwrap().unwrap().name, "system:node:edge-1");

    let annotate = async |value| {
        let body = json!({"metadata": {"annotations": {REVOKED: value}}});
        let patch = Patch { patch_type: PatchType::Merge, body };
        registry.patch(&admin, &node, patch, &WriteOptions::default()).await.unwrap();
    };
    annotate(json!("true")).await;
    assert_eq!(code().await.unwrap_err(), 401);
    annotate(json!("false")).await;
    assert!(code().await.unwrap().is_some());

    registry.delete(&admin, &node, &DeleteOptions::default()).await.unwrap();
    assert_eq!(code().await.unwrap_err(), 401);
    registry.create(&admin, &nodes, document, &WriteOptions::default()).await.unwrap();
    assert_eq!(code().await.unwrap_err(), 401, "of the same name, but another one");
    // Whoever is no node is not looked up.
    let user = pki.ca.issue_client(&key, "jane", &["dev"], now, hour).unwrap();
    let shown = Credentials { bearer: None, client_certificates: vec![user.chain[0].to_vec()] };
    assert_eq!(certificates.authenticate(&shown).await.unwrap().unwrap().name, "jane");
}
