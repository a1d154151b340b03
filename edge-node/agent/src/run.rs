//! `holdfast-edge agent`: start, run, stop.

use crate::alone::{self, NoHub};
use crate::cli::{AgentFlags, SOCKET};
use crate::config::Config;
use crate::dataplane::LinuxDataplane;
use crate::dialing::HubConnector;
use crate::docker::forward;
use crate::happenings::Happenings;
use crate::host::LinuxHost;
use crate::network::CniNetwork;
use crate::probe::NetProber;
use crate::{clock_offset, local, token_key};
use anyhow::Context;
use holdfast_containerd::{ContainerdConfig, ContainerdRuntime};
use holdfast_edge_store::{EdgeStore, OpenReport, StoreError};
use holdfast_env::World;
use holdfast_env::host::HostEnv;
use holdfast_link::HubAddress;
use holdfast_link::identity::validity;
use holdfast_node::{Identities, NodeClock, NodeConfig, NodeParts, SharedStore, node_main};
use holdfast_pull::{Providers, ProxySettings, RegistryClient, RegistrySettings};
use holdfast_volumes::VolumeManager;
use holdfast_wasm_client::{WasmConfig, WasmRuntime};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The cluster's domain.
const DOMAIN: &str = "cluster.local";
/// Silence after which the hub counts a node out, unless it says otherwise (`node-monitor-grace-period`).
const GRACE: Duration = Duration::from_secs(40);
/// Pods of a node (`maxPods`).
const MAX_PODS: u32 = 110;
/// Exit code when the journal's disk failed: the service manager starts the agent again, and it recovers.
const EXIT_DISK: u8 = 74;
/// How often a journal is tried again that the disk did not let be opened.
const OPEN_RETRY: Duration = Duration::from_secs(5);

/// Runs the agent until it is told to stop.
pub(crate) fn agent(flags: Box<AgentFlags>) -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("HOLDFAST_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();
    let config = Config::read(*flags)?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .with_context(|| format!("cannot make {}", config.data_dir.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(run(config));
    runtime.shutdown_timeout(Duration::from_secs(2));
    code
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let host = HostEnv::new(&config.data_dir);
    let machine: World = host.clone();
    // The machine's clock may be shifted by tests; the node's own is made from that.
    let _offset = config.clock_offset_file.clone().map(|path| {
        clock_offset::read(&host, &path);
        machine.spawn("clock-offset", Box::pin(clock_offset::follow(host.clone(), path)))
    });
    let boot_id = boot_id(&machine)?;
    let clock = NodeClock::open(machine, u128::from_str_radix(&boot_id.replace('-', ""), 16).unwrap_or(0));
    let env: World = clock.clone();
    let mut stop = Stop::new()?;
    let Some((store, report)) = opened(&env, &mut stop).await? else { return Ok(ExitCode::SUCCESS) };
    tracing::info!(frames = report.frames, torn_tail = report.torn_tail, "The journal is open");
    if let Some((path, reason)) = &report.lost {
        tracing::error!(path, reason, aside = ?report.aside, "The journal was damaged: it is set back to what is whole");
    } else if report.snapshot_fallback {
        tracing::warn!(aside = ?report.aside, "A snapshot of the journal was damaged; nothing is lost");
    }
    if report.vitals_lost {
        tracing::error!("The link's session and the outbox's name were damaged: both begin anew");
    }
    let store = SharedStore::new(env.clone(), store);
    let mut prepared = None;
    let (identities, listens) = match Identities::load(env.clone())? {
        Some(identities) => (identities, None),
        None => {
            if config.static_pod_path.is_some() {
                prepared = Some(parts(&config, clock.clone(), boot_id.clone())?);
            }
            tokio::select! {
                joined = alone::join(&env, &config, prepared.clone(), &store) => joined?,
                () = stop.wait() => return Ok(ExitCode::SUCCESS),
            }
        }
    };
    let (identity, _) = identities.in_use();
    if identity.node_name != config.node_name {
        anyhow::bail!(
            "this machine has joined as {:?}; it cannot become {:?} without a new data folder",
            identity.node_name,
            config.node_name
        );
    }
    // The CA has signed it, so that moment is past.
    if let Some(issued) = identity.chain.first().and_then(|leaf| validity(leaf).ok()) {
        clock.certified(issued.not_before);
    }
    let mut parts = match prepared {
        Some(prepared) => prepared,
        None => parts(&config, clock.clone(), boot_id)?,
    };
    parts.connector = Arc::new(HubConnector::new(clock, &identity)?);
    parts.config.node_uid = identity.node_uid.clone();
    parts.config.hubs = config.hubs.clone();
    parts.identity = identities;
    let node = node_main(parts, store).await;
    let _local = match listens {
        Some(local) => {
            local.ask(node.commands.clone());
            local
        }
        None => local::server::start(Path::new(SOCKET), config.data_dir.join("imports"), node.commands.clone())?,
    };
    let (docker, pods) = (config.docker_socket.clone(), config.cluster_cidr.trunc().to_string());
    let _firewall = env.spawn("docker-firewall", Box::pin(forward::keep(env.clone(), docker, pods)));
    let _local_api = match config.local_api {
        // What runs here does not depend on it: the node goes on without.
        Some(address) => local::api::start(&env, address, &config.data_dir, &config.node_name, node.commands.clone())
            .inspect_err(|err| tracing::error!(err = format!("{err:#}"), "The local API does not listen"))
            .ok(),
        None => None,
    };
    tracing::info!(node = config.node_name, "The node is running");
    tokio::select! {
        () = stop.wait() => {
            tracing::info!("Stopping; pods go on running");
            Ok(ExitCode::SUCCESS)
        }
        reason = node.fatal() => {
            tracing::error!(reason, "The node's disk failed; starting again to recover");
            Ok(ExitCode::from(EXIT_DISK))
        }
    }
}

/// Opens the journal. A disk that refuses is waited for, and why is said: to end would have the agent started again for the same.
/// `None` when told to stop meanwhile.
async fn opened(env: &World, stop: &mut Stop) -> anyhow::Result<Option<(EdgeStore, OpenReport)>> {
    const FAILED: &str = "the node's journal cannot be opened; its files are left as they are";
    let waits = Path::new(SOCKET).with_file_name(local::WAITS);
    let mut told = String::new();
    loop {
        let disk = env.disk();
        let why = match env.blocking(move || EdgeStore::open(disk)).await.context("the agent is stopping")? {
            Err(StoreError::Disk(err)) => format!("{:#}", anyhow::Error::from(err)),
            outcome => {
                // Left over from an earlier start, or not there.
                let _ = std::fs::remove_file(&waits);
                return outcome.map(Some).context(FAILED);
            }
        };
        if told != why {
            tracing::error!(why, "The node's disk takes no writes: the agent waits for it, and what runs goes on");
            if let Err(err) = std::fs::write(&waits, format!("{FAILED}: {why}")) {
                tracing::warn!(path = %waits.display(), %err, "What the agent waits for could not be noted");
            }
            told = why;
        }
        tokio::select! {
            () = stop.wait() => {
                let _ = std::fs::remove_file(&waits);
                return Ok(None);
            }
            () = env.sleep(OPEN_RETRY) => {}
        }
    }
}

/// The machine, before it is anybody's node.
fn parts(config: &Config, clock: Arc<NodeClock>, boot_id: String) -> anyhow::Result<NodeParts> {
    let env: World = clock.clone();
    let data = &config.data_dir;
    let cni = data.join("cni");
    install_plugin(&cni.join("bin"))?;
    let node_ip = match &config.node_ip {
        Some(ip) => ip.clone(),
        None => local_address(&config.hubs).context("the node's own address is not known: give it with --node-ip")?,
    };
    let mut containerd = ContainerdConfig::new(&config.containerd_socket, "/run/holdfast/containerd");
    containerd.seccomp_root = data.join("seccomp");
    containerd.volumes_dir = data.join("volumes");
    containerd.programs = data.join("bin");
    (containerd.log_max_bytes, containerd.log_max_files) = config.log_bounds;
    let registries = RegistrySettings { hosts_dir: config.registry_hosts_dir.clone() };
    let proxy = ProxySettings::from_env(|name| std::env::var(name).ok()).map_err(anyhow::Error::msg)?;
    let mut registries = RegistryClient::new(env.clone(), registries).with_proxy(proxy);
    if let Some((file, dir)) = &config.credential_providers {
        let providers = Providers::read(file, dir).map_err(anyhow::Error::msg);
        registries = registries.with_providers(providers.context("in --image-credential-provider-config")?);
    }
    Ok(NodeParts {
        env: env.clone(),
        clock,
        identity: Identities::none(env.clone(), &config.node_name),
        token_key: Some(token_key::open(&env)?),
        config: NodeConfig {
            node_name: config.node_name.clone(),
            node_uid: String::new(),
            node_ips: vec![node_ip],
            hubs: Vec::new(),
            log_dir: data.join("logs").join("pods"),
            cgroup_root: config.cgroup_parent.clone(),
            dns_ip: config.dns_ip.to_string(),
            cluster_domain: DOMAIN.into(),
            grace: GRACE,
            max_pods: MAX_PODS,
            eviction: config.eviction.clone(),
            parallel_pulls: config.parallel_pulls,
            static_pods: config.static_pod_path.clone(),
            shutdown: config.shutdown.clone(),
            pull_verification: config.pull_verification.clone(),
            resources: config.resources.clone(),
        },
        oci: ContainerdRuntime::new(containerd),
        wasm: WasmRuntime::connect(WasmConfig { socket: config.wasm_socket.clone(), spool: data.join("pulls") }),
        registries: Arc::new(registries),
        network: Arc::new(CniNetwork::new(&cni, config.cluster_cidr.into())),
        volumes: Arc::new(VolumeManager::new(data.join("pods"))),
        dataplane: Arc::new(LinuxDataplane::new(config.cluster_cidr.to_string(), config.dns_ip, DOMAIN)),
        prober: Arc::new(NetProber::new().context("cannot set up TLS for probes")?),
        connector: Arc::new(NoHub),
        host: Arc::new(LinuxHost::new(data.clone(), boot_id)),
        events: Arc::new(Happenings::start(env, data.join("views"))),
    })
}

/// The plugin is this very program under another name.
fn install_plugin(bin: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let link = bin.join(holdfast_cni::PLUGIN_NAME);
    let own = std::env::current_exe().context("cannot find this program")?;
    if std::fs::read_link(&link).ok().as_ref() == Some(&own) {
        return Ok(());
    }
    let temporary = bin.join(".holdfast-cni");
    // Left over from a start that was cut short.
    let _ = std::fs::remove_file(&temporary);
    std::os::unix::fs::symlink(&own, &temporary).context("cannot link the CNI plugin")?;
    std::fs::rename(&temporary, &link).context("cannot link the CNI plugin")
}

/// The address that traffic to the hub leaves from. Nothing is sent.
fn local_address(hubs: &[String]) -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    let reachable = |hub: &String| socket.connect(hub.parse::<HubAddress>().ok()?.quic()).ok();
    hubs.iter().find_map(reachable)?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

/// A marker on `/run` that lives as long as this boot: namespaces share the kernel's boot id.
fn boot_id(env: &World) -> anyhow::Result<String> {
    let path = PathBuf::from("/run/holdfast/boot-id");
    if let Ok(id) = std::fs::read_to_string(&path) {
        return Ok(id.trim().to_string());
    }
    let id = env.random_uuid();
    std::fs::create_dir_all("/run/holdfast").context("cannot make /run/holdfast")?;
    std::fs::write(&path, &id).context("cannot write the boot marker")?;
    Ok(id)
}

/// SIGTERM and SIGINT.
struct Stop {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Stop> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Stop { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
