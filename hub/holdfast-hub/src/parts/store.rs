//! The store: embedded, or on etcd. A data folder belongs to one of them.
//!
//! What makes the cluster itself (its lineage, the key of seals) is an object of the store, made by compare, so that hubs on
//! one etcd agree on it. The keys of the CA and of tokens are in each hub's data folder: a further hub is given a copy of the
//! first one's `pki/` before it starts.

use crate::config::StoreConfig;
use crate::data_dir::{DataFolder, ON_ETCD};
use anyhow::{Context, ensure};
use holdfast_env::World;
use holdfast_store::{CachedStore, Store};
use holdfast_store_etcd::EtcdStore;
use holdfast_store_fjall::FjallBackend;
use std::sync::Arc;

/// Opens the store; an etcd that is not there yet is waited for.
pub(crate) async fn open(config: &StoreConfig, folder: &DataFolder, world: &World) -> anyhow::Result<Arc<dyn Store>> {
    let (embedded, on_etcd) = (folder.join("store"), folder.join(ON_ETCD));
    let shown = folder.path().display();
    let Some(etcd) = config.etcd()? else {
        ensure!(
            !on_etcd.exists(),
            "the hub of --data-dir {shown} keeps its objects in etcd: give it --store etcd=… again, or another folder"
        );
        let path = embedded.display().to_string();
        let open = move || CachedStore::open(Arc::new(FjallBackend::open(&embedded)?));
        let opened = tokio::task::spawn_blocking(open).await.context("open the store")?;
        return Ok(opened.with_context(|| format!("open the store {path}"))?);
    };
    ensure!(
        !embedded.exists(),
        "--data-dir {shown} has an embedded store, whose objects are not in etcd: leave --store out, or use another folder"
    );
    let endpoints = etcd.endpoints.join(",");
    crate::data_dir::write_private(&on_etcd, format!("{endpoints}\n").as_bytes())?;
    let store = EtcdStore::open(&etcd, world).await.with_context(|| format!("open the store etcd={endpoints}"))?;
    tracing::info!(endpoints, prefix = etcd.prefix, revision = %store.revision(), "Following etcd");
    Ok(store)
}
