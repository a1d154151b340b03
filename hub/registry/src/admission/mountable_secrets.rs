//! ServiceAccount, its limits: a pod of an account that says so (`kubernetes.io/enforce-mountable-secrets`) uses the Secrets
//! that the account lists, and no others.

use super::Admission;
use super::service_account::MIRROR;
use crate::kinds::rules::text;
use holdfast_core::json::{at, items_at, str_at};
use holdfast_core::{Gvr, Json, Status};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
/// What Go's `ParseBool` takes for true.
const TRUE: &[&str] = &["1", "t", "T", "TRUE", "true", "True"];

/// Judges a new pod.
pub(crate) async fn validate(cx: &Admission<'_>, doc: &Json) -> Result<(), Status> {
    if at(doc, &["metadata", "annotations", MIRROR]).is_some() {
        return Ok(());
    }
    let Some(limits) = Limits::of(cx, doc).await? else { return Ok(()) };
    for volume in items_at(doc, &["spec", "volumes"]) {
        if let Some(secret) = str_at(volume, &["secret", "secretName"]) {
            limits.check(cx, doc, secret, || format!("volume with secret.secretName={secret:?}"))?;
        }
    }
    limits.containers(cx, doc, "initContainers", "init container")?;
    limits.containers(cx, doc, "containers", "container")?;
    for (index, secret) in items_at(doc, &["spec", "imagePullSecrets"]).iter().enumerate() {
        let name = text(secret, "name");
        if !limits.pull_secrets.iter().any(|listed| listed == name) {
            let account = &limits.account;
            return Err(cx.forbidden(
                doc,
                format!(
                    "imagePullSecrets[{index}].name={name:?} is not allowed because service account {account} does not \
                     reference that imagePullSecret"
                ),
            ));
        }
    }
    Ok(())
}

/// Judges ephemeral containers of a pod.
pub(crate) async fn validate_ephemeral(cx: &Admission<'_>, doc: &Json) -> Result<(), Status> {
    match Limits::of(cx, doc).await? {
        Some(limits) => limits.containers(cx, doc, "ephemeralContainers", "ephemeral container"),
        None => Ok(()),
    }
}

/// What an account lets its pods use.
struct Limits {
    account: String,
    secrets: Vec<String>,
    pull_secrets: Vec<String>,
}

impl Limits {
    /// Those of a pod's account; `None` where it sets none.
    async fn of(cx: &Admission<'_>, doc: &Json) -> Result<Option<Limits>, Status> {
        let name = str_at(doc, &["spec", "serviceAccountName"]).unwrap_or_default();
        let found = cx.engine.find(&Gvr::new("", "v1", "serviceaccounts"), cx.namespace, name).await?;
        let Some(found) = found else {
            let why =
                format!("error looking up service account {}/{name}: serviceaccount {name:?} not found", cx.namespace);
            return Err(cx.forbidden(doc, why));
        };
        if !found.meta.annotations.get(ENFORCE).is_some_and(|value| TRUE.contains(&&**value)) {
            return Ok(None);
        }
        let account = found.to_json();
        let names = |list: &str| items_at(&account, &[list]).iter().map(|one| text(one, "name").to_string()).collect();
        Ok(Some(Limits {
            account: name.to_string(),
            secrets: names("secrets"),
            pull_secrets: names("imagePullSecrets"),
        }))
    }

    fn check(&self, cx: &Admission<'_>, doc: &Json, secret: &str, user: impl FnOnce() -> String) -> Result<(), Status> {
        if self.secrets.iter().any(|listed| listed == secret) {
            return Ok(());
        }
        let why = format!(
            "{} is not allowed because service account {} does not reference that secret",
            user(),
            self.account
        );
        Err(cx.forbidden(doc, why))
    }

    /// The environments of containers.
    fn containers(&self, cx: &Admission<'_>, doc: &Json, list: &str, noun: &str) -> Result<(), Status> {
        for container in items_at(doc, &["spec", list]) {
            let name = text(container, "name");
            for variable in items_at(container, &["env"]) {
                let Some(secret) = str_at(variable, &["valueFrom", "secretKeyRef", "name"]) else { continue };
                let variable = text(variable, "name");
                self.check(cx, doc, secret, || {
                    format!("{noun} {name} with envVar {variable} referencing secret.secretName={secret:?}")
                })?;
            }
            for source in items_at(container, &["envFrom"]) {
                let Some(secret) = str_at(source, &["secretRef", "name"]) else { continue };
                self.check(cx, doc, secret, || {
                    format!("{noun} {name} with envFrom referencing secret.secretName={secret:?}")
                })?;
            }
        }
        Ok(())
    }
}
