//! `up`: from sources to a ready cluster. Each step writes down what it is about to make before it makes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};

use crate::cluster::{Cluster, Derived, Hub, Logs, Node, Pids, write_private};
use crate::node::power;
use crate::progress::Progress;
use crate::{cli, compile, deps, down, hub, link, load, net, place, process, ready};

const CLUSTER_CIDR: &str = "10.42.0.0/16";
const SERVICE_CIDR: &str = "10.43.0.0/16";
/// Images that every node gets before the examples are applied.
const IMAGES: [&str; 2] = ["agnhost.tar", "hello-wasm.tar"];
/// Steps that a good run shows.
const STEPS: u64 = 8;

/// Set once Ctrl-C was pressed: `down` is at work, and nothing new may start.
static ENDING: AtomicBool = AtomicBool::new(false);

pub(crate) fn up(args: &cli::Up) -> Result<()> {
    deps::need_root("up")?;
    let derived = Derived::of(&args.dir.dir)?;
    clear(&derived)?;
    let progress = Progress::new(STEPS);
    if !args.detach {
        down_on_signal(derived.dir.clone())?;
    }
    let result = bring_up(args, &derived, &progress);
    progress.done();
    let cluster = match result {
        Ok(cluster) => cluster,
        Err(err) if derived.dir.exists() => {
            eprintln!(
                "what started is left for a look: logs in {}; remove it with `{}`",
                derived.dir.display(),
                down_line(args)
            );
            return Err(err);
        }
        Err(err) => return Err(err),
    };
    print!("{}", ready::summary(&cluster, progress.elapsed(), &down_line(args), args.no_sample));
    if !args.detach {
        println!("Ctrl-C ends it");
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    Ok(())
}

fn down_line(args: &cli::Up) -> String {
    match args.dir.dir.to_str() {
        Some(".holdfast") => "cargo xtask down".to_owned(),
        _ => format!("cargo xtask down --dir {}", args.dir.dir.display()),
    }
}

/// Refuses a folder that is not ours or in use; takes away what a crashed run left.
fn clear(derived: &Derived) -> Result<()> {
    let dir = &derived.dir;
    if let Ok(cluster) = Cluster::load(dir)
        && cluster.running()
    {
        bail!("a cluster runs in {} already; `cargo xtask down --dir {0}` ends it", dir.display());
    }
    let foreign = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        !(name == "nodes" || name.to_string_lossy().ends_with(".log"))
    };
    let has_foreign = fs::read_dir(dir).is_ok_and(|mut d| d.any(|e| e.as_ref().is_ok_and(foreign)));
    if has_foreign && !derived.marker().exists() {
        bail!("{} holds files and no cluster; choose an empty folder with --dir", dir.display());
    }
    down::remove(derived)
}

fn bring_up(args: &cli::Up, derived: &Derived, progress: &Progress) -> Result<Cluster> {
    progress.step("installing what is missing");
    let kubectl = progress.aside(deps::ensure)?;
    progress.step("building");
    let bin_dir = match &args.bin_dir {
        Some(dir) => place::absolute(dir)?,
        None => progress.aside(|| compile::binaries(&args.profile))?,
    };
    let images = progress.aside(|| compile::images(&bin_dir))?;
    let deadline = Instant::now() + Duration::from_secs(args.timeout);

    progress.step("starting the hub");
    let cluster = plan(args, derived, bin_dir, images, kubectl)?;
    net::add_bridge(&cluster, &derived.mac(1))?;
    link::apply(&cluster)?;
    go_on()?;
    let process = hub::spawn(&cluster)?;
    hub::wait_ready(&cluster, process, deadline)?;
    let token = hub::join_token(&cluster)?;

    progress.step(&format!("booting {} nodes", cluster.nodes.len()));
    for node in &cluster.nodes {
        write_private(&node.token_file, format!("{token}\n").as_bytes())?;
    }
    each_node(&cluster, |node| power::boot(&cluster, node, deadline))?;

    progress.step("loading images");
    let tars: Vec<PathBuf> = IMAGES.iter().map(|i| cluster.images.join(i)).collect();
    let tars: Vec<&Path> = tars.iter().map(PathBuf::as_path).collect();
    let cluster = Cluster::load(&cluster.dir)?;
    each_node(&cluster, |node| load::import(&cluster, node, &tars, deadline).map(drop))?;

    progress.step("waiting for nodes");
    ready::nodes(&cluster, deadline, progress)?;
    if !args.no_sample {
        progress.step("applying examples/");
        ready::apply_examples(&cluster)?;
        progress.step("waiting for Deployments and Services");
        ready::deployments(&cluster, deadline, progress)?;
        ready::services(&cluster, deadline, progress)?;
    }
    Ok(cluster)
}

fn go_on() -> Result<()> {
    if ENDING.load(Ordering::SeqCst) { bail!("interrupted") } else { Ok(()) }
}

/// One thread a node; the first error wins.
fn each_node(cluster: &Cluster, work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| {
                scope.spawn(|| {
                    go_on()?;
                    work(node)
                })
            })
            .collect();
        threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|_| bail!("a thread of `up` panicked")))
    })
}

/// Chooses names, addresses and ports, makes the folders and writes `cluster.json`.
fn plan(args: &cli::Up, derived: &Derived, bin_dir: PathBuf, images: PathBuf, kubectl: PathBuf) -> Result<Cluster> {
    let dir = derived.dir.clone();
    let x = net::free_subnet(derived)?;
    let gateway = std::net::Ipv4Addr::new(172, 29, x, 1);
    let api_port = net::free_port(&derived.ports(args.port))?;
    let link_port = api_port + 1;
    let node = |index: u32| {
        let name = format!("edge-{index}");
        let home = dir.join("nodes").join(&name);
        let last = u8::try_from(10 + index).context("too many nodes")?;
        Ok::<_, anyhow::Error>(Node {
            addresses: vec![std::net::Ipv4Addr::new(172, 29, x, last)],
            veth: derived.veth(index),
            mac: derived.mac(10 + index),
            cgroup: format!("{}/{name}", derived.cgroup()),
            data_dir: home.join("data"),
            hub: format!("{gateway}:{link_port}"),
            token_file: home.join("join-token"),
            clock_offset_file: home.join("clock-offset"),
            kubeconfig: home.join("kubeconfig"),
            local_kubeconfig: home.join("data").join("local.kubeconfig"),
            logs: Logs {
                agent: home.join("agent.log"),
                containerd: home.join("containerd.log"),
                wasm: home.join("wasm.log"),
                node: home.join("node.log"),
            },
            netns: None,
            pid_namespace: None,
            supervisor: None,
            pids: Pids::default(),
            sockets: None,
            dir: home,
            name,
        })
    };
    let cluster = Cluster {
        version: 1,
        id: derived.id.clone(),
        bin_dir,
        images,
        kubectl,
        kubeconfig: dir.join("kubeconfig"),
        bridge: derived.bridge(),
        subnet: format!("172.29.{x}.0/24"),
        gateway,
        cluster_cidr: CLUSTER_CIDR.to_owned(),
        service_cidr: SERVICE_CIDR.to_owned(),
        cgroup: derived.cgroup(),
        hub: Hub { pid: None, process: None, api_port, link_port, data_dir: dir.join("hub"), log: dir.join("hub.log") },
        nodes: (1..=args.nodes).map(node).collect::<Result<_>>()?,
        dir,
    };
    fs::create_dir_all(&cluster.dir).with_context(|| format!("creating {}", cluster.dir.display()))?;
    fs::write(derived.marker(), "made by `cargo xtask up`; `cargo xtask down` removes this folder but for its logs\n")?;
    for folder in cluster.nodes.iter().map(|n| &n.data_dir).chain([&cluster.hub.data_dir]) {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    for node in &cluster.nodes {
        fs::write(&node.clock_offset_file, "0\n")?;
    }
    cluster.save()?;
    Ok(cluster)
}

/// Ctrl-C and SIGTERM run `down` and end this process; blocked everywhere else, children get them unblocked.
fn down_on_signal(dir: PathBuf) -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("blocking Ctrl-C")?;
    std::thread::spawn(move || {
        if signals.wait().is_err() {
            return;
        }
        ENDING.store(true, Ordering::SeqCst);
        eprintln!("ending the cluster");
        let code = match down::down(&dir) {
            Ok(()) => 0,
            Err(err) => {
                eprintln!("failed: {err:#}");
                1
            }
        };
        std::process::exit(code);
    });
    Ok(())
}

/// `kubectl apply -f FILE` for each of `examples/`, in the order in which they need each other.
pub(crate) fn example_files() -> Vec<PathBuf> {
    ["namespace.yaml", "web.yaml", "hello-wasm.yaml"].iter().map(|f| place::root().join("examples").join(f)).collect()
}

/// Whether any process of the cluster died that `up` waits on.
pub(crate) fn check_alive(cluster: &Cluster) -> Result<()> {
    go_on()?;
    let now = Cluster::load(&cluster.dir)?;
    if !now.hub.process.is_some_and(process::ProcessId::alive) {
        bail!("holdfast-hub ended: {} (log: {})", hub::last_line(&now.hub.log), now.hub.log.display());
    }
    for node in &now.nodes {
        if node.on().is_none() {
            bail!("{} went off: {} (log: {})", node.name, hub::last_line(&node.logs.node), node.logs.node.display());
        }
    }
    Ok(())
}
