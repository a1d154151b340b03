//! The store's contract on a real etcd, two hubs on one, etcd lost, killed, set back, and its limits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test; clippy knows only `#[test]` functions as such")]

mod crash;
mod limits;
mod lost;
mod shared;
mod tls;

use holdfast_env::World;
use holdfast_env::host::HostEnv;
use holdfast_store::Store;
use holdfast_store_etcd::testing::EtcdServer;
use holdfast_store_etcd::{EtcdConfig, EtcdStore};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long anything may take that is on its way.
const SOON: Duration = Duration::from_secs(30);

fn world() -> World {
    HostEnv::new("/nonexistent")
}

fn config(server: &EtcdServer) -> EtcdConfig {
    EtcdConfig::new(vec![server.endpoint()])
}

/// One that waits for answers as long as anything may take here.
async fn open(server: &EtcdServer) -> Arc<EtcdStore> {
    let config = EtcdConfig { deadline: SOON, ..config(server) };
    EtcdStore::open(&config, &world()).await.unwrap()
}

/// One that gives etcd up soon: on a busy machine also one that only takes its time.
async fn open_impatient(server: &EtcdServer) -> Arc<EtcdStore> {
    let config = EtcdConfig { deadline: Duration::from_secs(1), ..config(server) };
    EtcdStore::open(&config, &world()).await.unwrap()
}

async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(begun.elapsed() < SOON, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn fresh() -> Option<(Arc<dyn Store>, EtcdServer)> {
    let server = EtcdServer::start_quick()?;
    let store = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(open(&server)));
    Some((store, server))
}

mod contract {
    holdfast_store::store_suite!(super::fresh);
}
