//! Traffic that leaves the cluster gets the node's address: one nftables chain per bridge, replaced as a whole.

use crate::config::NetConf;
use crate::netns::NetError;
use ipnet::{IpNet, Ipv4Net};
use std::io::Write;
use std::process::{Command, Stdio};

/// The rules for `nft -f -`; applied twice they are the same.
pub(crate) fn rules(bridge: &str, subnets: &[Ipv4Net], cluster: &[IpNet]) -> String {
    let chain = format!("post-{bridge}");
    let mut inside: Vec<String> =
        cluster.iter().filter(|net| matches!(net, IpNet::V4(_))).map(|n| n.to_string()).collect();
    // Multicast never has another sender than its own.
    inside.push("224.0.0.0/4".to_string());
    let mut text = format!(
        "add table ip holdfast-cni\n\
         add chain ip holdfast-cni {chain} {{ type nat hook postrouting priority srcnat; policy accept; }}\n\
         flush chain ip holdfast-cni {chain}\n"
    );
    for subnet in subnets {
        text.push_str(&format!(
            "add rule ip holdfast-cni {chain} oifname != \"{bridge}\" ip saddr {subnet} ip daddr != {{ {} }} masquerade\n",
            inside.join(", ")
        ));
    }
    text
}

/// Puts the rules in place in the namespace of this thread. Blocks.
pub(crate) fn apply(conf: &NetConf, subnets: &[Ipv4Net]) -> Result<(), NetError> {
    if !conf.masquerade {
        return Ok(());
    }
    run(&rules(&conf.bridge, subnets, &conf.cluster_cidrs))
}

fn run(text: &str) -> Result<(), NetError> {
    let failed = |err: &std::io::Error| NetError::io("running nft", err);
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|err| failed(&err))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(|err| failed(&err))?;
    }
    let output = child.wait_with_output().map_err(|err| failed(&err))?;
    if output.status.success() {
        return Ok(());
    }
    Err(NetError::new("nft", String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_read_as_written() {
        let subnets = ["10.42.1.0/24".parse().unwrap()];
        let cluster = ["10.42.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()];
        insta::assert_snapshot!(rules("hf0", &subnets, &cluster));
    }
}
