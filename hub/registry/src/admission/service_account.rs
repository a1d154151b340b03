//! ServiceAccount: a pod runs as an account that exists, and finds its credentials mounted.

use super::Admission;
use crate::limits::{SERVICE_ACCOUNT_PAUSE, SERVICE_ACCOUNT_TRIES};
use holdfast_core::json::{at, bool_at, items_at, items_at_mut, set, str_at};
use holdfast_core::{Gvr, Json, Object, Status};
use serde_json::json;
use std::sync::Arc;

const DEFAULT: &str = "default";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour, and a little so that a token is not renewed by every client at the full hour.
const TOKEN_SECONDS: i64 = 3607;

/// The annotation of a pod that a node made by itself.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

pub(crate) async fn mutate(cx: &Admission<'_>, doc: &mut Json) -> Result<(), Status> {
    if at(doc, &["metadata", "annotations", MIRROR]).is_some() {
        return mirror_pod(cx, doc);
    }
    if str_at(doc, &["spec", "serviceAccountName"]).is_none_or(str::is_empty) {
        set(doc, &["spec", "serviceAccountName"], DEFAULT);
        set(doc, &["spec", "serviceAccount"], DEFAULT);
    }
    let name = str_at(doc, &["spec", "serviceAccountName"]).unwrap_or(DEFAULT).to_string();
    let account = find(cx, &name).await?.ok_or_else(|| {
        cx.forbidden(
            doc,
            format!("error looking up service account {}/{name}: serviceaccount {name:?} not found", cx.namespace),
        )
    })?;
    let account = account.to_json();
    let wanted = bool_at(doc, &["spec", "automountServiceAccountToken"])
        .or_else(|| bool_at(&account, &["automountServiceAccountToken"]))
        .unwrap_or(true);
    if wanted {
        mount_token(cx, doc);
    }
    if items_at(doc, &["spec", "imagePullSecrets"]).is_empty() {
        let secrets = items_at(&account, &["imagePullSecrets"]);
        if !secrets.is_empty() {
            set(doc, &["spec", "imagePullSecrets"], secrets.to_vec());
        }
    }
    Ok(())
}

/// The account; the default one of a fresh namespace is waited for a moment, since a controller makes it.
async fn find(cx: &Admission<'_>, name: &str) -> Result<Option<Arc<Object>>, Status> {
    let accounts = Gvr::new("", "v1", "serviceaccounts");
    let tries = if name == DEFAULT { SERVICE_ACCOUNT_TRIES } else { 1 };
    for attempt in 1..=tries {
        let found = cx.engine.find(&accounts, cx.namespace, name).await?;
        if found.is_some() || attempt == tries {
            return Ok(found);
        }
        cx.engine.env.sleep(SERVICE_ACCOUNT_PAUSE).await;
    }
    Ok(None)
}

fn mirror_pod(cx: &Admission<'_>, doc: &Json) -> Result<(), Status> {
    if str_at(doc, &["spec", "serviceAccountName"]).is_some_and(|name| !name.is_empty()) {
        return Err(cx.forbidden(doc, "a mirror pod may not reference service accounts"));
    }
    if (cx.kind.references)(doc).iter().any(|named| named.gvr.group.is_empty() && named.gvr.resource == "secrets") {
        return Err(cx.forbidden(doc, "a mirror pod may not reference secrets"));
    }
    let sources =
        items_at(doc, &["spec", "volumes"]).iter().flat_map(|volume| items_at(volume, &["projected", "sources"]));
    if sources.into_iter().any(|source| at(source, &["serviceAccountToken"]).is_some()) {
        return Err(cx.forbidden(doc, "a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

fn mount_token(cx: &Admission<'_>, doc: &mut Json) {
    // A volume of an earlier pass is used again.
    let existing = items_at(doc, &["spec", "volumes"])
        .iter()
        .filter_map(|volume| str_at(volume, &["name"]))
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_string);
    let name = existing.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", cx.engine.random_suffix(5)));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in items_at_mut(doc, &["spec", list]) {
            let mut mounts = items_at(container, &["volumeMounts"]).to_vec();
            if mounts.iter().any(|mount| str_at(mount, &["mountPath"]) == Some(MOUNT_PATH)) {
                continue;
            }
            mounts.push(json!({ "name": name, "readOnly": true, "mountPath": MOUNT_PATH }));
            set(container, &["volumeMounts"], mounts);
            needed = true;
        }
    }
    if !needed || existing.is_some() {
        return;
    }
    let mut volumes = items_at(doc, &["spec", "volumes"]).to_vec();
    volumes.push(json!({
        "name": name,
        "projected": { "sources": [
            { "serviceAccountToken": { "expirationSeconds": TOKEN_SECONDS, "path": "token" } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [{
                "path": "namespace",
                "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" },
            }] } },
        ] },
    }));
    set(doc, &["spec", "volumes"], volumes);
}
