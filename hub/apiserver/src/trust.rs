//! How the API knows its clients, told to servers beside it: the ConfigMap `kube-system/extension-apiserver-authentication`,
//! which upstream's API server keeps (<https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/>).
//!
//! Every hub adds the CAs that it believes and takes away those that are past their time; another's stay, as hubs of one store may
//! have different ones while a CA is being exchanged. There are no keys about a front proxy, as this API is none.
//! Task: one, owned by the caller of [`keep`].

use crate::pki::{Pki, pem};
use holdfast_controller::Client;
use holdfast_core::json::{set, str_at};
use holdfast_core::{Gvr, Reason, Status, Target, Timestamp};
use holdfast_env::World;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
const KEY: &str = "client-ca-file";
/// Between two looks at it, upstream's.
const AGAIN: Duration = Duration::from_secs(60);

/// Keeps the ConfigMap until dropped.
pub async fn keep(world: World, client: Arc<dyn Client>, pki: Arc<Pki>) {
    loop {
        match publish(&*client, &pki, Timestamp::from_wall(world.wall().0)).await {
            Ok(()) => {}
            // Another was faster; what it wrote is looked at next time.
            Err(status) if status.is(Reason::Conflict) || status.is(Reason::AlreadyExists) => {}
            Err(err) => tracing::warn!(%err, "Could not publish by which CAs the API knows its clients"),
        }
        world.sleep(AGAIN).await;
    }
}

/// Writes the ConfigMap once, where it is not as it should be.
///
/// # Errors
/// 409 when another wrote at the same time; whatever else the API answers.
pub async fn publish(client: &dyn Client, pki: &Pki, now: Timestamp) -> Result<(), Status> {
    let maps = Gvr::new("", "v1", "configmaps");
    let at = Target::object(maps.clone(), NAMESPACE, NAME);
    let found = match client.get(&at).await {
        Ok(found) => found.to_json(),
        Err(status) if status.is(Reason::NotFound) => {
            let doc = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": NAME, "namespace": NAMESPACE },
                "data": { KEY: bundle("", pki, now) },
            });
            return client.create(&Target::collection(maps, NAMESPACE), doc).await.map(|_| ());
        }
        Err(status) => return Err(status),
    };
    let stands = str_at(&found, &["data", KEY]).unwrap_or_default();
    let wanted = bundle(stands, pki, now);
    if wanted == stands {
        return Ok(());
    }
    let mut doc = found.clone();
    set(&mut doc, &["data", KEY], wanted);
    client.update(&at, doc).await.map(|_| ())
}

/// The certificates of `stands` that are good, and the hub's own.
fn bundle(stands: &str, pki: &Pki, now: Timestamp) -> String {
    let mut all: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(stands.as_bytes())
        .map_while(Result::ok)
        .filter(|certificate| !is_over(certificate, now))
        .collect();
    for own in pki.roots() {
        if !all.contains(&own) {
            all.push(own);
        }
    }
    all.iter().map(|certificate| pem(certificate)).collect()
}

/// Whether a certificate is past its time, or none at all.
fn is_over(certificate: &CertificateDer<'_>, now: Timestamp) -> bool {
    X509Certificate::from_der(certificate).map_or(true, |(_, read)| read.validity().not_after.timestamp() < now.secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_certificates_stay_until_they_are_over() {
        let now = Timestamp::from_secs(1_800_000_000);
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [own, other] = [0, 1].map(|at| Pki::open(folders[at].path(), now, Duration::ZERO).unwrap());
        let alone = bundle("", &own, now);
        assert_eq!(alone.matches("BEGIN CERTIFICATE").count(), 1);
        assert_eq!(bundle(&alone, &own, now), alone);
        let both = bundle(&bundle("", &other, now), &own, now);
        assert!(both.contains(alone.trim_end()) && both.matches("BEGIN CERTIFICATE").count() == 2);
        assert_eq!(bundle("no PEM", &own, now), alone);
        // CAs live for ten years.
        let later = now.after(Duration::from_secs(11 * 365 * 24 * 3600));
        assert_eq!(bundle(&both, &own, later), alone);
    }
}
