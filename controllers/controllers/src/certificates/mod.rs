//! CertificateSigningRequests: nodes' own are approved, approved ones signed, old ones removed
//! (<https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>, upstream's
//! `pkg/controller/certificates`).
//!
//! The cluster's key is behind [`CertificateAuthority`], and so is all that reads X.509: nothing here sees either.

mod approve;
mod clean;
mod rules;
mod sign;

use crate::ControllersConfig;
use crate::shared::{start_after, synced};
use holdfast_controller::{Client, Informer, WorkQueue, run_controller};
use holdfast_core::{Gvr, Json, Object, Timestamp, json as path};
use holdfast_env::{Task, World};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

pub use rules::{KUBELET_CLIENT, KUBELET_SERVING, USER_CLIENT};

/// What a request asks to be certified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The subject's common name; empty when there is none.
    pub common_name: String,
    /// The subject's organizations.
    pub organizations: Vec<String>,
    /// Alternative names: DNS.
    pub dns_names: Vec<String>,
    /// Alternative names: addresses.
    pub addresses: Vec<String>,
    /// Alternative names: e-mail.
    pub emails: Vec<String>,
    /// Alternative names: URIs.
    pub uris: Vec<String>,
}

/// Who has the cluster's key. Requests and certificates are as the API has them: base64 of PEM.
pub trait CertificateAuthority: Debug + Send + Sync + 'static {
    /// Reads a request.
    ///
    /// # Errors
    /// Why it can never be certified.
    fn read(&self, request: &str) -> Result<CertificateRequest, String>;

    /// Certifies a request for these usages (`KeyUsage` of the API), from `now` for `ttl`.
    ///
    /// # Errors
    /// Why that failed; another try may help.
    fn sign(&self, request: &str, usages: &[String], now: Timestamp, ttl: Duration) -> Result<String, String>;

    /// When a certificate ends; `None` when it cannot be read.
    fn ends(&self, certificate: &str) -> Option<Timestamp>;
}

const NAME: &str = "certificate-controller";

fn gvr() -> Gvr {
    Gvr::new("certificates.k8s.io", "v1", "certificatesigningrequests")
}

/// Starts all three. Without an authority there is nothing for them to do.
pub(crate) fn start(world: &World, clients: &dyn Fn(&str) -> Arc<dyn Client>, config: &ControllersConfig) -> Vec<Task> {
    let Some(authority) = config.authority.clone() else { return Vec::new() };
    let client = clients(NAME);
    let requests: Informer<Arc<Object>> = Informer::new(world, client.clone(), gvr());
    let cache = requests.cache().clone();
    let (approving, signing, cleaning) =
        (WorkQueue::new(world.clone()), WorkQueue::new(world.clone()), WorkQueue::new(world.clone()));
    requests.enqueue_self(&approving);
    requests.enqueue_self(&signing);
    cleaning.add(());
    let approver = approve::Approver { client: client.clone(), requests: cache.clone(), authority: authority.clone() };
    let signer = sign::Signer {
        world: world.clone(),
        client: client.clone(),
        requests: cache.clone(),
        authority: authority.clone(),
    };
    let cleaner = clean::Cleaner { world: world.clone(), client, requests: cache, authority };
    let env = world.clone();
    let approve = start_after(world, "csrapproving", vec![synced(&requests)], move || {
        run_controller(&env, "csrapproving", Arc::new(approver), approving, 1)
    });
    let env = world.clone();
    let sign = start_after(world, "csrsigning", vec![synced(&requests)], move || {
        run_controller(&env, "csrsigning", Arc::new(signer), signing, 1)
    });
    let env = world.clone();
    let clean = start_after(world, "csrcleaner", vec![synced(&requests)], move || {
        run_controller(&env, "csrcleaner", Arc::new(cleaner), cleaning, 1)
    });
    vec![requests.start(), approve, sign, clean]
}

fn certificate(doc: &Json) -> &str {
    path::str_at(doc, &["status", "certificate"]).unwrap_or_default()
}

fn conditions<'d>(doc: &'d Json, kind: &str) -> impl Iterator<Item = &'d Json> {
    let all = path::items_at(doc, &["status", "conditions"]).iter();
    all.filter(move |condition| path::str_at(condition, &["type"]) == Some(kind))
}

fn has(doc: &Json, kind: &str) -> bool {
    conditions(doc, kind).next().is_some()
}

fn text<'d>(doc: &'d Json, field: &str) -> &'d str {
    path::str_at(doc, &["spec", field]).unwrap_or_default()
}

fn usages(doc: &Json) -> Vec<String> {
    path::items_at(doc, &["spec", "usages"]).iter().filter_map(Json::as_str).map(str::to_string).collect()
}

/// Adds a condition that holds.
fn add_condition(doc: &mut Json, kind: &str, reason: &str, message: &str) {
    let mut all = path::items_at(doc, &["status", "conditions"]).to_vec();
    all.push(serde_json::json!({"type": kind, "status": "True", "reason": reason, "message": message}));
    path::set(doc, &["status", "conditions"], all);
}
