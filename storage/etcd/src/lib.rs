//! The hub's store on etcd, which several hubs may share.
//!
//! **Writes** are etcd's: a transaction is one `Txn` with compares on `mod_revision`, and revisions are etcd's own, so they
//! count the writes of all hubs (and of whoever else uses that etcd). What is acknowledged is on the disks of a quorum.
//!
//! **Reads** come from the same cache in memory as over the embedded log ([`holdfast_store::WatchCache`]): the state, a
//! ring of events and all watchers, filled by one watch of etcd (task `etcd-follow`, see `follow`). A read from etcd itself
//! would cost a round trip and a decoding each, a watch in etcd for every client would cost it more than the hub, and the
//! objects decoded once a version, pages at older revisions and the coalesced wake-ups of the embedded store would have to
//! be built again. The price is that a cache may lag. So:
//!
//! - a transaction is answered once this hub's cache shows it, or shows what kept it from being done;
//! - [`Store::sync`](holdfast_store::Store::sync) asks etcd where it is (one small read that its members agree on, shared by
//!   all who ask at once) and waits until the cache is there. The registry calls it before whatever Kubernetes defines as
//!   "most recent", and before a write looks at what it changes. Two hubs are then as consistent as one.
//!
//! **Values** are compressed as in the embedded store: etcd holds 2 GiB unless told otherwise and takes 1.5 MiB a request,
//! and JSON shrinks to a fifth. `etcdctl` shows keys, not objects.
//!
//! **Errors** keep apart what was not written (etcd out of reach, or its refusal) and what may have been
//! ([`StoreError::Unknown`](holdfast_store::StoreError::Unknown)): see `client`. Reads that need not be the most recent and
//! watches go on while etcd is lost. An etcd that was set back or replaced under a running hub stops the store.
//!
//! What is deliberately absent: leases, hub-to-hub calls, the cluster's keys (they stay in each hub's data folder), and
//! reads of history that this hub has not followed itself.

mod client;
mod connect;
mod follow;
mod keys;
pub mod limits;
mod load;
mod store;
pub mod testing;
mod txn;
mod wire;

pub use connect::EtcdTls;
pub use keys::DEFAULT_PREFIX;
pub use store::{EtcdConfig, EtcdStore};
