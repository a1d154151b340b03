//! Certificate requests over the real registry, with the cluster's own keys: what is asked for, approved and signed is what the API
//! believes afterwards (<https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>).

use super::{Hub, gvr, hub};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_apiserver::auth::Certificates;
use holdfast_apiserver::pki::client_identity;
use holdfast_core::{Json, Target, Timestamp, UserInfo};
use holdfast_server::{Authenticator, Credentials};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde_json::json;
use std::sync::Arc;

const USERS: &str = "kubernetes.io/kube-apiserver-client";
const NODES: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";

/// An RSA key's request: CN=jane, O=dev, O=ops, and the names jane.example.com and 10.0.0.7.
const JANE: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIICsTCCAZkCAQAwKzENMAsGA1UEAwwEamFuZTEMMAoGA1UECgwDZGV2MQwwCgYD
VQQKDANvcHMwggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAwggEKAoIBAQCMBnbvu6x7
UB4WzUpgvQ3HOyekux1ZTWt4WW0oZiWIy99J/sphVY2rvJ/aurvb74vLzI/K71Yh
Tmzx91+Cd3a0dkNjUd22YKygFVP7NJuYSV32IPKgsxn/i7wWblA5MTY1qAZcXn9s
CQ1GA1d3hj3FHymPqf0433taN67nBG6MOvL4YpZ97n1u9BmW/W8aEsSC8eqUQhvw
nfbKsrZcuOoxsJ/HYRfXnYPOclJfTC3dux1oeTJXoZ8FjgyiEgpw2yYsWHHFHTvG
3is6+nRO+VFiS1H7GZeDVNy1WTTG5uujPHy2SW8DoGSDhl6jJHhYv/68AMx1yfyH
NgREYBsh/WsbAgMBAAGgQTA/BgkqhkiG9w0BCQ4xMjAwMCEGA1UdEQQaMBiCEGph
bmUuZXhhbXBsZS5jb22HBAoAAAcwCwYDVR0PBAQDAgeAMA0GCSqGSIb3DQEBCwUA
A4IBAQBKPEElW9jCQOTsqs2XtgEz+IDWJ/0qBfnZAOR2D5CuC5TD+NdivGdZIfl3
lYZtYf/e1VFoaCRTGhPel3W1l5G2yKV7miTQyylGd8nXqYt9kHJ9totyF/KnemA6
c5hmACBjjXfKu2yYgdgCN+iY2TLpQsj3K3U+pZlveZftFAkq06qAJolPZ/+XJmrP
lU3t1bQAh8gN/2LsmX8PbdC3/FwLadvuTgEgeqQItdpmLf7iUNRXLmjY0zs3PqB/
IJamix13P6Ut/0maM6/sQZn1pDY/I7tPfqhd1R1B+zaBMSE8tmyFjZ7JwHiMqJp8
ic6lyAEOrJlsATG58vhg7lZfy0AQ
-----END CERTIFICATE REQUEST-----
";

/// A request of a fresh key.
fn pem(name: &str, organization: &str, uris: &[&str], dns: &[&str]) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
    let uris = uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap()));
    let dns = dns.iter().map(|name| rcgen::SanType::DnsName((*name).try_into().unwrap()));
    params.subject_alt_names = uris.chain(dns).collect();
    params.serialize_request(&key).unwrap().pem().unwrap()
}

fn csrs() -> holdfast_core::Gvr {
    gvr("certificates.k8s.io/certificatesigningrequests")
}

impl Hub {
    async fn ask(&self, user: UserInfo, name: &str, signer: &str, usages: &[&str], request: &str) {
        let doc = json!({"metadata": {"name": name}, "spec": {"signerName": signer, "usages": usages,
            "request": STANDARD.encode(request), "expirationSeconds": 3600}});
        self.client(user).create(&Target::collection(csrs(), ""), doc).await.unwrap();
    }

    async fn approve(&self, name: &str) {
        let at = Target::object(csrs(), "", name);
        let mut doc = self.admin.get(&at).await.unwrap().to_json();
        doc["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "Test"}]);
        self.admin.update(&at.with_subresource("approval"), doc).await.unwrap();
    }

    /// The status of a request once it was signed or failed.
    async fn settled(&self, name: &str) -> Json {
        let done = |doc: &Json| {
            let failed =
                doc["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|one| one["type"] == "Failed"));
            doc["metadata"]["name"] == name && (failed || doc["status"]["certificate"].is_string())
        };
        let all =
            self.wait(name, "certificates.k8s.io/certificatesigningrequests", "", |all| all.iter().any(done)).await;
        all.into_iter().find(done).unwrap()["status"].clone()
    }

    async fn certificate(&self, name: &str) -> CertificateDer<'static> {
        let status = self.settled(name).await;
        let pem = STANDARD.decode(status["certificate"].as_str().unwrap_or_else(|| panic!("{status}"))).unwrap();
        CertificateDer::from_pem_slice(&pem).unwrap()
    }

    /// The user that the API takes the holder of a certificate for, after TLS has judged it.
    async fn user(&self, certificate: &CertificateDer<'static>) -> Result<UserInfo, u16> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.pki.roots());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let now = UnixTime::since_unix_epoch(self.world.wall().0);
        verifier.verify_client_cert(certificate, &[], now).unwrap();
        let shown = Credentials { bearer: None, client_certificates: vec![certificate.to_vec()] };
        let certificates = Certificates::new(self.registry.clone());
        certificates.authenticate(&shown).await.map(Option::unwrap).map_err(|status| status.code())
    }
}

fn admin() -> UserInfo {
    UserInfo::new("admin", &["system:masters"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_request_becomes_a_certificate_that_the_api_takes() {
    let hub = hub().await;
    hub.ask(admin(), "jane", USERS, &["digital signature", "key encipherment", "client auth"], JANE).await;
    hub.approve("jane").await;
    let certificate = hub.certificate("jane").await;
    let user = hub.user(&certificate).await.unwrap();
    assert_eq!((user.name.as_str(), &user.groups[..2]), ("jane", &["dev".to_string(), "ops".to_string()][..]));
    let left = client_identity(&certificate).unwrap().not_after.since(Timestamp::from_wall(hub.world.wall().0));
    assert!((3500..=3600).contains(&left.as_secs()), "{left:?}");
    let (_, read) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    let names = format!("{:?}", read.subject_alternative_name().unwrap().unwrap().value);
    assert!(names.contains("jane.example.com"), "{names}");
    assert!(!read.is_ca());
    let usage = read.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    let purpose = read.extended_key_usage().unwrap().unwrap().value;
    assert!(purpose.client_auth && !purpose.server_auth);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_may_are_approved_and_what_no_signer_takes_fails() {
    let hub = hub().await;
    let rbac = |kind: &str, name: &str, rest: Json| {
        let mut doc = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}});
        doc.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        doc
    };
    let role = json!({"rules": [{"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"],
        "verbs": ["create"]}]});
    hub.create("rbac.authorization.k8s.io/clusterroles", "", rbac("ClusterRole", "askers", role)).await;
    for role in ["askers", "system:certificates.k8s.io:certificatesigningrequests:nodeclient"] {
        let binding = json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers"}]});
        let doc = rbac("ClusterRoleBinding", role, binding);
        hub.create("rbac.authorization.k8s.io/clusterrolebindings", "", doc).await;
    }
    let bootstrap = UserInfo::new("system:bootstrap:abcdef", &["system:bootstrappers"]);
    let usages = ["digital signature", "client auth"];
    // The authorizer hears of roles a moment later, and tells nobody when.
    let may = async |verb: &str, sub: Option<&str>| {
        let mut at = Target::collection(csrs(), "");
        at.subresource = sub.map(str::to_string);
        let attributes = holdfast_server::Attributes { user: &bootstrap, verb, target: Some(&at), path: "" };
        matches!(hub.authorizer.authorize(&attributes).await, holdfast_server::Decision::Allow)
    };
    let begun = hub.world.monotonic();
    while !(may("create", None).await && may("create", Some("nodeclient")).await) {
        assert!(hub.world.monotonic().since(begun) < super::PATIENCE, "the roles are not heard of");
        hub.world.sleep(std::time::Duration::from_millis(10)).await;
    }
    let node = pem("system:node:n7", "system:nodes", &[], &[]);
    hub.ask(bootstrap.clone(), "node", NODES, &usages, &node).await;
    let certificate = hub.certificate("node").await;
    let user = hub.user(&certificate).await.unwrap();
    assert_eq!((user.name.as_str(), user.node_name()), ("system:node:n7", Some("n7")));
    // It names no Node by UID, so a Node of its name can only revoke it.
    let mut revoked = super::node("n7");
    revoked["metadata"]["annotations"] = json!({"edge.holdfast.io/revoked": "true"});
    hub.create("nodes", "", revoked).await;
    assert_eq!(hub.user(&certificate).await.unwrap_err(), 401);

    let link = pem("system:node:n7", "system:nodes", &["holdfast://node/1234"], &[]);
    let hubs = pem("someone", "anyone", &["HOLDFAST://hub/one"], &[]);
    let named = pem("system:node:n7", "system:nodes", &[], &["n7"]);
    let serving = ["digital signature", "server auth"];
    for (name, signer, usages, request, expected) in [
        ("link", USERS, &usages[..], &link, Some("a node's identity is certified by its link alone")),
        ("hub", USERS, &usages[..], &hubs, Some("a hub's identity is certified by the hub alone")),
        ("nameless", SERVING, &serving[..], &node, Some("DNS or IP subjectAltName is required")),
        ("named", SERVING, &serving[..], &named, None),
        ("server", USERS, &serving[..], &node, Some("invalid usage for client certificate: server auth")),
    ] {
        hub.ask(admin(), name, signer, usages, request).await;
        hub.approve(name).await;
        let status = hub.settled(name).await;
        let failed = status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Failed").cloned();
        let told = failed.map(|one| (one["reason"].clone(), one["message"].clone()));
        assert_eq!(told, expected.map(|why| (json!("SignerValidationFailure"), json!(why))), "{name}");
    }
}
