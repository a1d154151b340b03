//! `load`: an image into the nodes, by `holdfast-edge images import` inside each.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cluster::{Cluster, Node};
use crate::node::exec::inside;
use crate::process::{output, wait_until};
use crate::{cli, deps, place};

/// How long the agent's socket may take after a node's start.
const AGENT: Duration = Duration::from_secs(30);

pub(crate) fn load(args: &cli::Load) -> Result<()> {
    deps::need_root("load")?;
    let cluster = Cluster::load(&args.dir.dir)?;
    let image = place::absolute(&args.image)?;
    if !image.is_file() {
        bail!("there is no file {}", image.display());
    }
    let nodes: Vec<&Node> = match &args.node {
        Some(name) => vec![cluster.node(name)?],
        None => cluster.nodes.iter().collect(),
    };
    for node in nodes {
        print!("{}", import(&cluster, node, &[&image])?);
    }
    Ok(())
}

/// Waits for the agent's socket, then imports; returns what the agent's program printed.
pub(crate) fn import(cluster: &Cluster, node: &Node, images: &[&Path]) -> Result<String> {
    let init = node.init()?;
    let socket = format!("/proc/{init}/root/run/holdfast/edge.sock");
    if !wait_until(AGENT, || Path::new(&socket).exists()) {
        bail!(
            "the agent of {} opened no socket within {} s; see {}",
            node.name,
            AGENT.as_secs(),
            node.logs.agent.display()
        );
    }
    let mut command = vec!["holdfast-edge".into(), "images".into(), "import".into()];
    command.extend(images.iter().map(|i| i.as_os_str().to_owned()));
    let mut last = None;
    // The socket may stand before containerd does.
    let done = wait_until(AGENT, || match inside(cluster, node, &command).and_then(|mut c| output(&mut c)) {
        Ok(said) => {
            last = Some(Ok(said));
            true
        }
        Err(err) => {
            let transient = err.to_string().contains("containerd");
            last = Some(Err(err));
            !transient
        }
    });
    match last {
        Some(Ok(said)) if done => Ok(said),
        Some(Err(err)) => Err(err).with_context(|| format!("importing into {}", node.name)),
        _ => bail!("importing into {} did not end", node.name),
    }
}
