//! Attaches pods to the network by the configuration list of the node, whoever's plugins it names.
//!
//! Our own plugin runs in this process; others are executed. What was done for a pod is on disk, so that it
//! can be undone after a restart, with the configuration and the result of then.

mod conflist;
mod exec;

use crate::config::{Attached, NetConf};
use crate::error::PodNetworkError;
use crate::netns::NetError;
use crate::result::CniResult;
use crate::{CniError, PLUGIN_NAME, POD_INTERFACE, ipam, netns, shared};
use conflist::ConfList;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// Prefix of our namespaces' file names.
const NETNS_PREFIX: &str = "hf-";

/// Where things are, and the node's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetworkConfig {
    /// Configuration lists; when there is none but ours, ours is written here.
    pub conf_dir: PathBuf,
    /// Plugins, searched in order.
    pub plugin_dirs: Vec<PathBuf>,
    /// What was done for each pod, and the addresses. Durable.
    pub state_dir: PathBuf,
    /// Network namespaces, `/run/netns`.
    pub netns_dir: PathBuf,
    /// This node's pods; one network per address family.
    pub pod_cidrs: Vec<IpNet>,
    /// All nodes' pods: reached without masquerade.
    pub cluster_cidrs: Vec<IpNet>,
    /// The bridge.
    pub bridge: String,
    /// MTU of the pods' links; 0 for the kernel's default.
    pub mtu: u32,
}

/// A pod, as far as the network goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRef {
    /// UID.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// Where a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its network namespace.
    pub netns_path: PathBuf,
    /// Its addresses, first the primary.
    pub ips: Vec<IpAddr>,
}

/// What is on disk about a pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    pod: PodRef,
    netns_path: PathBuf,
    list: ConfList,
    /// `None`: ADD has not come to its end.
    result: Option<CniResult>,
}

/// Attaches and detaches pods.
#[derive(Debug)]
pub struct PodNetwork {
    work: Arc<Work>,
    /// One at a time: ADDs change the same bridge.
    lock: Mutex<()>,
}

#[derive(Debug)]
struct Work {
    config: PodNetworkConfig,
    list: ConfList,
    /// The shared namespace has been seen to.
    shared_made: AtomicBool,
}

impl PodNetwork {
    /// Finds the node's configuration list, or writes ours.
    ///
    /// # Errors
    /// When a folder cannot be made or a configuration list is damaged.
    pub fn new(config: PodNetworkConfig) -> Result<PodNetwork, PodNetworkError> {
        for dir in [&config.conf_dir, &config.state_dir, &config.netns_dir] {
            fs::create_dir_all(dir).map_err(PodNetworkError::io("cannot make folder", dir))?;
        }
        let list = conflist::load_or_write(&config)?;
        Ok(PodNetwork {
            work: Arc::new(Work { config, list, shared_made: AtomicBool::new(false) }),
            lock: Mutex::new(()),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Work) -> Result<T, PodNetworkError> + Send + 'static,
    ) -> Result<T, PodNetworkError> {
        let _one = self.lock.lock().await;
        let shared = self.work.clone();
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.map_err(|err| PodNetworkError::Config(format!("a network task failed: {err}")))?
    }

    /// Gives a pod a network namespace of its own and attaches it. Idempotent; after a reboot the pod gets the
    /// same addresses again.
    ///
    /// # Errors
    /// What a plugin or the kernel said; nothing stays half done.
    pub async fn attach(&self, pod: &PodRef) -> Result<Attachment, PodNetworkError> {
        let pod = pod.clone();
        self.run(move |work| work.attach(&pod)).await
    }

    /// Undoes [`PodNetwork::attach`]. Fine when nothing is left.
    ///
    /// # Errors
    /// What a plugin said; to be tried again.
    pub async fn detach(&self, pod: &PodRef) -> Result<(), PodNetworkError> {
        let uid = pod.uid.clone();
        self.run(move |work| work.detach(&uid)).await
    }

    /// Verifies a pod's attachment (CHECK).
    ///
    /// # Errors
    /// The difference.
    pub async fn check(&self, pod: &PodRef) -> Result<(), PodNetworkError> {
        let uid = pod.uid.clone();
        self.run(move |work| work.check(&uid)).await
    }

    /// Whether pods can be attached (STATUS): what the node's `Ready` condition says of the network.
    ///
    /// # Errors
    /// Why not.
    pub async fn status(&self) -> Result<(), PodNetworkError> {
        self.run(Work::status).await
    }

    /// Gives a pure Wasm pod an address in the node's shared namespace. Idempotent.
    ///
    /// # Errors
    /// What the kernel said, or that the node's configuration list is not ours.
    pub async fn attach_shared(&self, pod: &PodRef) -> Result<Attachment, PodNetworkError> {
        let uid = pod.uid.clone();
        self.run(move |work| {
            let (conf, path) = (work.own_conf()?, work.shared_path());
            let made = work.shared_made.load(Ordering::Relaxed);
            let ips = shared::attach(&conf, &path, &uid, made).map_err(|source| own_error("ADD", source))?;
            work.shared_made.store(true, Ordering::Relaxed);
            Ok(Attachment { netns_path: path, ips: ips.into_iter().map(IpAddr::V4).collect() })
        })
        .await
    }

    /// Undoes [`PodNetwork::attach_shared`]. Fine when nothing is left.
    ///
    /// # Errors
    /// What the kernel said.
    pub async fn detach_shared(&self, pod: &PodRef) -> Result<(), PodNetworkError> {
        let uid = pod.uid.clone();
        self.run(move |work| {
            let (conf, path) = (work.own_conf()?, work.shared_path());
            shared::detach(&conf, &path, &uid).map_err(|source| own_error("DEL", source))
        })
        .await
    }

    /// Connects to a TCP port of a pod that has a namespace of its own, as from within.
    ///
    /// # Errors
    /// What the kernel said.
    pub async fn connect(&self, pod: &PodRef, port: u16) -> Result<TcpStream, NetError> {
        crate::loopback::connect(&self.work.netns_path(&pod.uid), port).await
    }

    /// The tables of interfaces (`/proc/net/dev`) of those of these pods that have a namespace of their own, by UIDs. What
    /// cannot be looked at is left out.
    pub async fn interface_tables(&self, pods: Vec<PodRef>) -> BTreeMap<String, String> {
        let work = self.work.clone();
        let read = move || {
            let table = |pod: PodRef| {
                let path = work.netns_path(&pod.uid);
                let table = || std::fs::read_to_string("/proc/thread-self/net/dev").ok();
                let table = crate::netns::enter(Some(&path), table).ok()??;
                Some((pod.uid, table))
            };
            pods.into_iter().filter_map(table).collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }

    /// Takes away whatever belongs to no pod of `live`, namespaced or shared.
    ///
    /// # Errors
    /// What a plugin said first; the rest was tried all the same.
    pub async fn gc(&self, live: &[PodRef]) -> Result<(), PodNetworkError> {
        let live: Vec<String> = live.iter().map(|pod| pod.uid.clone()).collect();
        self.run(move |work| work.gc(&live)).await
    }
}

fn own_error(verb: &'static str, source: CniError) -> PodNetworkError {
    PodNetworkError::Plugin { plugin: PLUGIN_NAME.into(), verb, source }
}

impl Work {
    fn netns_path(&self, uid: &str) -> PathBuf {
        self.config.netns_dir.join(format!("{NETNS_PREFIX}{uid}"))
    }

    fn shared_path(&self) -> PathBuf {
        self.config.netns_dir.join(shared::SHARED_NAME)
    }

    fn record_path(&self, uid: &str) -> PathBuf {
        self.config.state_dir.join("pods").join(format!("{uid}.json"))
    }

    fn own_conf(&self) -> Result<NetConf, PodNetworkError> {
        let plugin = self.list.plugins.iter().find(|plugin| conflist::plugin_type(plugin) == PLUGIN_NAME);
        let plugin = plugin.ok_or_else(|| {
            PodNetworkError::Config(format!(
                "not implemented: Wasm pods in the shared namespace with a configuration list without {PLUGIN_NAME}"
            ))
        })?;
        let bytes = self.list.plugin_conf(plugin, None, None).to_string();
        NetConf::parse(bytes.as_bytes()).map_err(|err| PodNetworkError::Config(err.to_string()))
    }

    fn load(&self, uid: &str) -> Result<Option<Record>, PodNetworkError> {
        let path = self.record_path(uid);
        match fs::read(&path) {
            // A damaged record is as good as none: ADD and DEL of ours need no earlier result.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(PodNetworkError::io("cannot read", path)(err)),
        }
    }

    fn save(&self, record: &Record) -> Result<(), PodNetworkError> {
        let path = self.record_path(&record.pod.uid);
        let dir = self.config.state_dir.join("pods");
        let write = || {
            fs::create_dir_all(&dir)?;
            let bytes = serde_json::to_vec(record).map_err(std::io::Error::other)?;
            if record.list.is_ours() {
                // Our plugin needs no earlier result: a lost record costs nothing, a sync costs milliseconds.
                let temporary = dir.join(".new");
                fs::write(&temporary, &bytes)?;
                return fs::rename(&temporary, &path);
            }
            ipam::write_durably(&dir, &path, &bytes)
        };
        write().map_err(PodNetworkError::io("cannot write", path.clone()))
    }

    fn attach(&self, pod: &PodRef) -> Result<Attachment, PodNetworkError> {
        if !crate::paths::is_plain(&pod.uid) {
            return Err(PodNetworkError::Config(format!("pod UID {:?} is no file name", pod.uid)));
        }
        let netns_path = self.netns_path(&pod.uid);
        let earlier = self.load(&pod.uid)?;
        let living = netns::is_namespace(&netns_path);
        if let (true, Some(Record { result: Some(result), .. })) = (living, &earlier) {
            return Ok(attachment(netns_path, result));
        }
        // Foreign plugins take a second ADD for an error: what a reboot or a crash left is deleted first.
        // Ours must not be, or the pod would come back with another address.
        if let Some(record) = earlier.as_ref().filter(|record| !record.list.is_ours()) {
            self.del(record)?;
        }
        netns::create(&netns_path)?;
        let mut record = Record { pod: pod.clone(), netns_path, list: self.list.clone(), result: None };
        self.save(&record)?;
        match self.add(&record) {
            Ok(result) => {
                let attached = attachment(record.netns_path.clone(), &result);
                record.result = Some(result);
                self.save(&record)?;
                Ok(attached)
            }
            Err(err) => {
                if self.del(&record).is_ok() {
                    let _ = netns::remove(&record.netns_path);
                    let _ = fs::remove_file(self.record_path(&pod.uid));
                }
                Err(err)
            }
        }
    }

    fn environment(&self, verb: &'static str, record: &Record) -> BTreeMap<String, String> {
        let pod = &record.pod;
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
            pod.namespace, pod.name, pod.uid, pod.uid
        );
        let mut env = self.plain_environment(verb);
        env.insert("CNI_CONTAINERID".into(), pod.uid.clone());
        env.insert("CNI_NETNS".into(), record.netns_path.display().to_string());
        env.insert("CNI_IFNAME".into(), POD_INTERFACE.into());
        env.insert("CNI_ARGS".into(), args);
        env
    }

    fn plain_environment(&self, verb: &'static str) -> BTreeMap<String, String> {
        let dirs: Vec<String> = self.config.plugin_dirs.iter().map(|dir| dir.display().to_string()).collect();
        BTreeMap::from([("CNI_COMMAND".into(), verb.into()), ("CNI_PATH".into(), dirs.join(":"))])
    }

    fn add(&self, record: &Record) -> Result<CniResult, PodNetworkError> {
        let env = self.environment("ADD", record);
        let mut previous: Option<CniResult> = None;
        for plugin in &record.list.plugins {
            let conf = record.list.plugin_conf(plugin, previous.as_ref(), None);
            let output = self.plugin("ADD", plugin, &env, &conf)?;
            let result = serde_json::from_slice(&output).map_err(|err| {
                let source = CniError::with(crate::error::DECODING_FAILURE, "cannot decode the plugin's result", err);
                PodNetworkError::Plugin { plugin: conflist::plugin_type(plugin).into(), verb: "ADD", source }
            })?;
            previous = Some(result);
        }
        previous.ok_or_else(|| PodNetworkError::Config("the configuration list has no plugins".into()))
    }

    /// All plugins in reverse, each tried; the first error counts.
    fn del(&self, record: &Record) -> Result<(), PodNetworkError> {
        let env = self.environment("DEL", record);
        let mut outcome = Ok(());
        for plugin in record.list.plugins.iter().rev() {
            let conf = record.list.plugin_conf(plugin, record.result.as_ref(), None);
            if let Err(err) = self.plugin("DEL", plugin, &env, &conf)
                && outcome.is_ok()
            {
                outcome = Err(err);
            }
        }
        outcome
    }

    fn detach(&self, uid: &str) -> Result<(), PodNetworkError> {
        if !crate::paths::is_plain(uid) {
            return Ok(());
        }
        let netns_path = self.netns_path(uid);
        let record = self.load(uid)?.unwrap_or_else(|| Record {
            pod: PodRef { uid: uid.into(), name: String::new(), namespace: String::new() },
            netns_path: netns_path.clone(),
            list: self.list.clone(),
            result: None,
        });
        let known = self.record_path(uid).exists();
        if known || record.list.is_ours() {
            self.del(&record)?;
        }
        netns::remove(&netns_path)?;
        match fs::remove_file(self.record_path(uid)) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                Err(PodNetworkError::io("cannot remove", self.record_path(uid))(err))
            }
            _ => Ok(()),
        }
    }

    fn check(&self, uid: &str) -> Result<(), PodNetworkError> {
        let record = self.load(uid)?;
        let record = record.ok_or_else(|| PodNetworkError::Config(format!("pod {uid} is not attached")))?;
        let env = self.environment("CHECK", &record);
        for plugin in &record.list.plugins {
            let conf = record.list.plugin_conf(plugin, record.result.as_ref(), None);
            self.plugin("CHECK", plugin, &env, &conf)?;
        }
        Ok(())
    }

    fn status(&self) -> Result<(), PodNetworkError> {
        if !self.list.at_least_1_1() {
            return Ok(());
        }
        let env = self.plain_environment("STATUS");
        for plugin in &self.list.plugins {
            self.plugin("STATUS", plugin, &env, &self.list.plugin_conf(plugin, None, None))?;
        }
        Ok(())
    }

    fn known(&self) -> Vec<String> {
        let uid = |path: &Path| Some(path.file_name()?.to_str()?.strip_suffix(".json")?.to_string());
        let records = fs::read_dir(self.config.state_dir.join("pods")).into_iter().flatten().flatten();
        let mut known: Vec<String> = records.filter_map(|entry| uid(&entry.path())).collect();
        let spaces = fs::read_dir(&self.config.netns_dir).into_iter().flatten().flatten();
        let names = spaces.filter_map(|entry| entry.file_name().into_string().ok());
        known.extend(names.filter_map(|name| name.strip_prefix(NETNS_PREFIX).map(str::to_string)));
        known.sort();
        known.dedup();
        known
    }

    fn gc(&self, live: &[String]) -> Result<(), PodNetworkError> {
        let mut outcome = Ok(());
        let mut note = |result: Result<(), PodNetworkError>| {
            if outcome.is_ok() {
                outcome = result;
            }
        };
        for uid in self.known().iter().filter(|uid| !live.contains(uid)) {
            note(self.detach(uid));
        }
        if let Ok(conf) = self.own_conf() {
            let path = self.shared_path();
            note(shared::gc(&conf, &path, live).map_err(|source| own_error("GC", source)));
        }
        if self.list.at_least_1_1() {
            let attached = |uid: &String, ifname: &str| Attached { container_id: uid.clone(), ifname: ifname.into() };
            let both =
                live.iter().flat_map(|uid| [attached(uid, POD_INTERFACE), attached(uid, shared::SHARED_INTERFACE)]);
            let valid: Vec<Attached> = both.collect();
            let env = self.plain_environment("GC");
            for plugin in &self.list.plugins {
                let conf = self.list.plugin_conf(plugin, None, Some(&valid));
                note(self.plugin("GC", plugin, &env, &conf).map(|_| ()));
            }
        }
        outcome
    }
}

fn attachment(netns_path: PathBuf, result: &CniResult) -> Attachment {
    Attachment { netns_path, ips: result.ips.iter().map(|ip| ip.address.addr()).collect() }
}
