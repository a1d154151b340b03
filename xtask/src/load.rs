//! `load`: an image into the nodes, by `holdfast-edge images import` inside each.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cluster::{Cluster, Node};
use crate::failure::{TimedOut, not_done};
use crate::node::exec::inside;
use crate::process::{output_by, wait_until};
use crate::{cli, deps, place};

/// How long an import into one node may take.
const IMPORT: Duration = Duration::from_secs(300);
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
        print!("{}", import(&cluster, node, &[&image], Instant::now() + IMPORT)?);
    }
    Ok(())
}

/// Waits for the agent's socket, then imports, by the deadline at the latest; returns what the agent's program printed.
pub(crate) fn import(cluster: &Cluster, node: &Node, images: &[&Path], deadline: Instant) -> Result<String> {
    let limit = || AGENT.min(deadline.saturating_duration_since(Instant::now()));
    let init = node.init()?;
    let socket = format!("/proc/{init}/root/run/holdfast/edge.sock");
    if !wait_until(limit(), || Path::new(&socket).exists()) {
        let text = format!("the agent of {} has opened no socket; see {}", node.name, node.logs.agent.display());
        return Err(not_done(deadline, text));
    }
    let mut command = vec!["holdfast-edge".into(), "images".into(), "import".into()];
    command.extend(images.iter().map(|i| i.as_os_str().to_owned()));
    let mut last = None;
    // The socket may stand before containerd does.
    let done =
        wait_until(limit(), || match inside(cluster, node, &command).and_then(|mut c| output_by(&mut c, deadline)) {
            Ok(said) => {
                last = Some(Ok(said));
                true
            }
            Err(err) => {
                let transient = err.to_string().contains("containerd") && !err.is::<TimedOut>();
                last = Some(Err(err));
                !transient
            }
        });
    match last {
        Some(Ok(said)) if done => Ok(said),
        // What it said last is the reason, also when waiting on for containerd ended with the deadline.
        Some(Err(err)) if Instant::now() < deadline || err.is::<TimedOut>() => {
            Err(err).with_context(|| format!("importing into {}", node.name))
        }
        Some(Err(err)) => Err(TimedOut(format!("importing into {}: {err:#}", node.name)).into()),
        _ => bail!("importing into {} did not end", node.name),
    }
}
