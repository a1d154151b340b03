//! Certificate requests (<https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>), with an authority
//! whose requests are the names that they ask for.

use crate::cluster::{Cluster, condition};
use holdfast_controllers::{CertificateAuthority, CertificateRequest};
use holdfast_core::{Json, Timestamp};
use holdfast_env::Env;
use serde_json::json;
use std::time::Duration;

const NODES: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const USERS: &str = "kubernetes.io/kube-apiserver-client";

/// A request is `<common name>/<organization>`; a certificate says for how long it is good.
#[derive(Debug)]
pub(crate) struct Authority;

impl CertificateAuthority for Authority {
    fn read(&self, request: &str) -> Result<CertificateRequest, String> {
        let (name, organization) = request.split_once('/').ok_or("the request is malformed")?;
        Ok(CertificateRequest {
            common_name: name.into(),
            organizations: vec![organization.into()],
            ..CertificateRequest::default()
        })
    }

    fn sign(&self, request: &str, usages: &[String], now: Timestamp, ttl: Duration) -> Result<String, String> {
        Ok(format!("{request} for {} until {}", usages.join("+"), now.after(ttl)))
    }

    fn ends(&self, certificate: &str) -> Option<Timestamp> {
        Timestamp::parse(certificate.rsplit(' ').next()?)
    }
}

fn request(name: &str, signer: &str, user: &str, asked: &str) -> Json {
    json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"signerName": signer, "username": user, "request": asked,
            "usages": ["digital signature", "client auth"]}})
}

fn find(cluster: &Cluster, name: &str) -> Option<Json> {
    cluster.api.find("certificatesigningrequests", "", name)
}

fn approve(cluster: &Cluster, name: &str, kind: &str) {
    let now = Timestamp::from_wall(cluster.world.wall().0);
    cluster.api.edit("certificatesigningrequests", "", name, |doc| {
        doc["status"]["conditions"] = json!([{"type": kind, "status": "True", "lastUpdateTime": now}]);
    });
    cluster.settle();
}

#[test]
fn what_a_node_may_have_is_approved_and_signed() {
    let cluster = Cluster::new();
    let node = "system:node:n1";
    cluster.api.grant(node, "selfnodeclient");
    cluster.api.grant("system:bootstrap:a", "nodeclient");
    for (name, user, asked) in [
        ("own", node, "system:node:n1/system:nodes"),
        ("others", node, "system:node:n2/system:nodes"),
        ("first", "system:bootstrap:a", "system:node:n3/system:nodes"),
        ("wrong", "system:bootstrap:a", "jane/system:nodes"),
    ] {
        cluster.api.seed(request(name, NODES, user, asked));
    }
    cluster.settle();
    let approved = |name: &str| condition(&find(&cluster, name).unwrap(), "Approved");
    let yes = ("True".to_string(), "AutoApproved".to_string());
    assert_eq!((approved("own"), approved("first")), (yes.clone(), yes.clone()));
    let no = (String::new(), String::new());
    assert_eq!((approved("others"), approved("wrong")), (no.clone(), no));
    let signed = find(&cluster, "own").unwrap()["status"]["certificate"].as_str().unwrap().to_string();
    assert!(
        signed.starts_with("system:node:n1/system:nodes for digital signature+client auth until 2027-01-0"),
        "{signed}"
    );
    // The right may come later.
    cluster.api.grant(node, "nodeclient");
    cluster.pass(2000);
    assert_eq!(approved("others"), yes);
}

#[test]
fn only_what_was_approved_is_signed_and_what_does_not_fit_fails() {
    let cluster = Cluster::new();
    cluster.api.seed(request("jane", USERS, "jane", "jane/dev"));
    let mut serving = request("serving", USERS, "jane", "jane/dev");
    serving["spec"]["usages"] = json!(["server auth"]);
    cluster.api.seed(serving);
    cluster.api.seed(request("odd", USERS, "jane", "nonsense"));
    cluster.api.seed(request("own", "example.com/own", "jane", "nonsense"));
    cluster.settle();
    let status = |name: &str| find(&cluster, name).unwrap()["status"].clone();
    assert_eq!(status("jane"), json!(null), "nobody approves for users");
    for name in ["jane", "serving", "odd", "own"] {
        approve(&cluster, name, "Approved");
    }
    assert!(status("jane")["certificate"].as_str().unwrap().starts_with("jane/dev for"));
    let failed = |name: &str| {
        let doc = find(&cluster, name).unwrap();
        let failed =
            doc["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Failed").cloned();
        failed.map(|one| format!("{}: {}", one["reason"].as_str().unwrap(), one["message"].as_str().unwrap()))
    };
    let why = "SignerValidationFailure: invalid usage for client certificate: server auth";
    assert_eq!(failed("serving").as_deref(), Some(why));
    assert_eq!(failed("odd").as_deref(), Some("SignerValidationFailure: the request is malformed"));
    assert_eq!((failed("own"), status("own")["certificate"].clone()), (None, json!(null)), "another signer's");
}

#[test]
fn old_requests_go() {
    let cluster = Cluster::new();
    for name in ["pending", "denied", "issued", "unsigned"] {
        cluster.api.seed(request(name, "example.com/own", "jane", "jane/dev"));
    }
    approve(&cluster, "denied", "Denied");
    approve(&cluster, "unsigned", "Approved");
    approve(&cluster, "issued", "Approved");
    cluster.api.edit("certificatesigningrequests", "", "issued", |doc| {
        doc["status"]["certificate"] = json!("until 2036-01-01T00:00:00Z");
    });
    cluster.settle();
    let left = || -> Vec<String> {
        let all = cluster.api.all("certificatesigningrequests").into_iter();
        all.map(|doc| doc["metadata"]["name"].as_str().unwrap().to_string()).collect()
    };
    cluster.pass(3500);
    assert_eq!(left().len(), 4);
    cluster.pass(2 * 3600);
    assert_eq!(left(), ["pending", "unsigned"]);
    cluster.pass(23 * 3600);
    assert_eq!(left(), [""; 0]);
}
