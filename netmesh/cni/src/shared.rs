//! The network namespace that all pure Wasm pods of a node share: one veth, an address per pod.
//!
//! A packet from one of its pods to another would normally stay inside and meet neither Services nor policies.
//! So local addresses are looked up only for what comes in by the veth; everything else goes to the host,
//! which routes it back. The namespace lives on a tmpfs and is made anew when it is missing.

use crate::config::{NetConf, Range4};
use crate::ipam::{Allocation, Ipam, Owner};
use crate::net::sysctl;
use crate::netns::{self, NetError, enter, with_net};
use crate::paths::{hardware_address, host_link};
use crate::plugin::ensure_host;
use crate::{CniError, POD_INTERFACE};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// File name of the namespace.
pub const SHARED_NAME: &str = "holdfast-wasm";
/// What stands for the interface in the owner of a shared pod's address.
pub(crate) const SHARED_INTERFACE: &str = "wasm0";

/// Makes the namespace and its link, where they are missing. Blocks.
fn ensure(conf: &NetConf, ranges: &[Range4], path: &Path) -> Result<(), NetError> {
    ensure_host(conf, ranges)?;
    netns::create(path)?;
    let host = host_link(SHARED_NAME, POD_INTERFACE);
    let inside = with_net(Some(path.to_path_buf()), async |net| Ok(net.link(POD_INTERFACE).await?.is_some()))?;
    let (bridge, mtu) = (conf.bridge.clone(), conf.mtu);
    let file = File::open(path).map_err(|err| NetError::io(format!("opening {}", path.display()), &err))?;
    // The network's own address is nobody else's: a hardware address from it is free.
    let mac = hardware_address(ranges.first().map_or(Ipv4Addr::UNSPECIFIED, |range| range.subnet.network()));
    with_net(None, async move |net| {
        if !inside || net.link(&host).await?.is_none() {
            net.remove_link(&host).await?;
            net.add_veth(&host, POD_INTERFACE, file.as_raw_fd(), mac, mtu).await?;
        }
        let bridge = net.set_up(&bridge).await?;
        // All pods here are behind one port: see `NetConf::hairpin`.
        net.attach_port(&host, &bridge, true).await
    })?;
    let settings = || {
        for (name, value) in [("rp_filter", "0"), ("accept_local", "1"), ("accept_redirects", "0")] {
            sysctl(&format!("net/ipv4/conf/{POD_INTERFACE}/{name}"), value)?;
        }
        // The stricter of both counts.
        sysctl("net/ipv4/conf/all/rp_filter", "0")
    };
    enter(Some(path), settings)??;
    let gateways: Vec<Ipv4Addr> = ranges.iter().map(|range| range.gateway).collect();
    with_net(Some(path.to_path_buf()), async move |net| {
        net.set_up("lo").await?;
        let link = net.set_up(POD_INTERFACE).await?;
        for gateway in gateways {
            net.default_route(&link, gateway).await?;
        }
        net.local_by_interface(POD_INTERFACE).await
    })
}

fn failed(err: NetError) -> CniError {
    CniError::with(crate::error::KERNEL, err.what, err.reason)
}

/// Gives a pod its addresses in the shared namespace. Idempotent. Blocks.
///
/// `made` says that this process has seen to the namespace: then it is only looked at again when an address
/// cannot be added.
pub(crate) fn attach(conf: &NetConf, path: &Path, pod: &str, made: bool) -> Result<Vec<Ipv4Addr>, CniError> {
    let ranges = conf.ranges4()?;
    let made = made && netns::is_namespace(path);
    if !made {
        ensure(conf, &ranges, path).map_err(failed)?;
    }
    let ipam = Ipam::open(&conf.data_dir, &conf.name)?;
    let owner = Owner::new(pod, SHARED_INTERFACE);
    if !crate::ipam::valid_owner(&owner) {
        return Err(CniError::with(crate::error::INVALID_ENVIRONMENT, "invalid pod UID", pod));
    }
    let given = ipam.allocate(&owner, &ranges)?;
    let ips: Vec<Ipv4Addr> = given.iter().map(|allocation| allocation.ip).collect();
    let mut added = add_addresses(path, ips.clone(), &ranges);
    if made && added.is_err() {
        added = ensure(conf, &ranges, path).and_then(|()| add_addresses(path, ips.clone(), &ranges));
    }
    let added = added.and_then(|()| forget(conf, ips.clone()));
    if added.is_err() && given.iter().any(|Allocation { fresh, .. }| *fresh) {
        let _ = ipam.release(&owner);
    }
    added.map_err(failed)?;
    Ok(ips)
}

fn add_addresses(path: &Path, ips: Vec<Ipv4Addr>, ranges: &[Range4]) -> Result<(), NetError> {
    let gateways: Vec<Ipv4Addr> = ranges.iter().map(|range| range.gateway).collect();
    with_net(Some(path.to_path_buf()), async move |net| {
        let link = net.set_up(POD_INTERFACE).await?;
        for ip in ips {
            net.add_address(&link, ip, 32).await?;
        }
        // The kernel drops an interface's routes with its last address: the first pod after that brings them back.
        for gateway in gateways {
            net.default_route(&link, gateway).await?;
        }
        Ok(())
    })
}

/// The host may still know the hardware address of an earlier owner.
fn forget(conf: &NetConf, ips: Vec<Ipv4Addr>) -> Result<(), NetError> {
    let bridge = conf.bridge.clone();
    with_net(None, async move |net| {
        if let Some(link) = net.link(&bridge).await? {
            for ip in ips {
                net.forget_neighbour(&link, ip).await;
            }
        }
        Ok(())
    })
}

/// Takes a pod's addresses away. Fine when it has none. Blocks.
pub(crate) fn detach(conf: &NetConf, path: &Path, pod: &str) -> Result<(), CniError> {
    let ipam = Ipam::open(&conf.data_dir, &conf.name)?;
    let owner = Owner::new(pod, SHARED_INTERFACE);
    remove_addresses(path, ipam.of(&owner)?).map_err(failed)?;
    ipam.release(&owner).map(|_| ())
}

/// Takes away the addresses of pods that are not in `live`. Blocks.
pub(crate) fn gc(conf: &NetConf, path: &Path, live: &[String]) -> Result<(), CniError> {
    let ipam = Ipam::open(&conf.data_dir, &conf.name)?;
    for (ip, owner) in ipam.list()? {
        if owner.ifname == SHARED_INTERFACE && !live.contains(&owner.container_id) {
            remove_addresses(path, vec![ip]).map_err(failed)?;
            ipam.release(&owner)?;
        }
    }
    Ok(())
}

fn remove_addresses(path: &Path, ips: Vec<Ipv4Addr>) -> Result<(), NetError> {
    if !netns::is_namespace(path) {
        return Ok(());
    }
    let path: PathBuf = path.to_path_buf();
    with_net(Some(path), async move |net| {
        if let Some(link) = net.link(POD_INTERFACE).await? {
            for ip in ips {
                net.remove_address(&link, ip).await?;
            }
        }
        Ok(())
    })
}
