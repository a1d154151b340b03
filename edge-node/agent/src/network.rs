//! The pod network of the agent: `holdfast-cni` through its runner.

use crate::{connect, host};
use async_trait::async_trait;
use holdfast_cni::{PodNetwork, PodNetworkConfig};
use holdfast_env::BiStream;
use holdfast_node::{Attachment, Interfaces, PodNet, PodPlace, PodRef};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// The pod network, known once the hub has given the node one.
pub(crate) struct CniNetwork {
    template: PodNetworkConfig,
    current: RwLock<Option<(String, Arc<PodNetwork>)>>,
}

impl CniNetwork {
    /// `cni_dir` holds configuration, plugins and state; `cluster` is the network of all pods.
    pub(crate) fn new(cni_dir: &std::path::Path, cluster: IpNet) -> CniNetwork {
        let template = PodNetworkConfig {
            conf_dir: cni_dir.join("net.d"),
            plugin_dirs: vec![cni_dir.join("bin"), PathBuf::from("/opt/cni/bin")],
            state_dir: cni_dir.join("state"),
            netns_dir: PathBuf::from("/run/netns"),
            pod_cidrs: Vec::new(),
            cluster_cidrs: vec![cluster],
            bridge: "hf0".into(),
            mtu: 1500,
        };
        CniNetwork { template, current: RwLock::new(None) }
    }

    fn network(&self) -> Result<Arc<PodNetwork>, String> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let network = current.as_ref().map(|(_, network)| network.clone());
        network.ok_or_else(|| "network is not ready: the node has no pod network yet".to_string())
    }
}

fn of(pod: &PodRef) -> holdfast_cni::PodRef {
    holdfast_cni::PodRef { uid: pod.uid.clone(), name: pod.name.clone(), namespace: pod.namespace.clone() }
}

#[async_trait]
impl PodNet for CniNetwork {
    async fn configure(&self, pod_cidr: &str) -> Result<(), String> {
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if current.as_ref().is_some_and(|(cidr, _)| cidr == pod_cidr) {
                return Ok(());
            }
        }
        let range: IpNet = pod_cidr.parse().map_err(|_| format!("{pod_cidr:?} is no network"))?;
        let config = PodNetworkConfig { pod_cidrs: vec![range], ..self.template.clone() };
        let network = PodNetwork::new(config).map_err(|err| err.to_string())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some((pod_cidr.to_string(), Arc::new(network)));
        tracing::info!(pod_cidr, "The pod network is set up");
        Ok(())
    }

    async fn attach(&self, pod: &PodRef, dense: bool) -> Result<Attachment, String> {
        let network = self.network()?;
        let attached = if dense { network.attach_shared(&of(pod)).await } else { network.attach(&of(pod)).await };
        let attached = attached.map_err(|err| format!("failed to setup network for sandbox: {err}"))?;
        Ok(Attachment {
            netns_path: attached.netns_path.to_string_lossy().into_owned(),
            ips: attached.ips.iter().map(ToString::to_string).collect(),
        })
    }

    async fn detach(&self, pod: &PodRef, dense: bool) -> Result<(), String> {
        let network = self.network()?;
        let done = if dense { network.detach_shared(&of(pod)).await } else { network.detach(&of(pod)).await };
        done.map_err(|err| err.to_string())
    }

    async fn connect(&self, place: &PodPlace, port: u16) -> Result<BiStream, String> {
        let stream = match place {
            PodPlace::Host => connect::dial("localhost", port).await?,
            PodPlace::Own(pod) => self.network()?.connect(&of(pod), port).await.map_err(|err| err.to_string())?,
            PodPlace::Shared(ip) => connect::dial(ip, port).await?,
        };
        Ok(connect::halves(stream))
    }

    async fn gc(&self, live: &[PodRef]) -> Result<(), String> {
        let live: Vec<_> = live.iter().map(of).collect();
        self.network()?.gc(&live).await.map_err(|err| err.to_string())
    }

    async fn interfaces(&self, pods: Vec<PodRef>) -> BTreeMap<String, Interfaces> {
        let Ok(network) = self.network() else { return BTreeMap::new() };
        let pods: Vec<_> = pods.iter().map(of).collect();
        let tables = network.interface_tables(pods).await.into_iter();
        tables.map(|(uid, table)| (uid, host::interfaces(&table))).collect()
    }
}
