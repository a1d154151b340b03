//! ADD, DEL, CHECK, GC and STATUS.

use super::Attach;
use crate::config::{NetConf, Range4};
use crate::error::{CHECK_FAILED, CniError, INVALID_CONFIG, IO_FAILURE, KERNEL, NOT_AVAILABLE};
use crate::ipam::{Allocation, Ipam, Owner};
use crate::masquerade;
use crate::net::{Link, sysctl};
use crate::netns::{NetError, with_net};
use crate::paths::{hardware_address, host_link};
use crate::result::{CniResult, Interface, Ip, Route};
use ipnet::{IpNet, Ipv4Net};
use std::collections::HashSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

fn kernel(err: NetError) -> CniError {
    CniError::with(KERNEL, err.what, err.reason)
}

/// Bridge, forwarding and masquerade. Idempotent.
pub(crate) fn ensure_host(conf: &NetConf, ranges: &[Range4]) -> Result<(), NetError> {
    let (bridge, mtu) = (conf.bridge.clone(), conf.mtu);
    let ips: Vec<(Ipv4Addr, u8)> = ranges.iter().map(|range| (range.gateway, range.subnet.prefix_len())).collect();
    with_net(None, async move |net| net.ensure_bridge(&bridge, mtu, &ips).await.map(|_| ()))?;
    sysctl("net/ipv4/ip_forward", "1")?;
    // A host that routes between ports of one bridge would tell pods of a shorter way that does not exist.
    for scope in ["all", &conf.bridge] {
        if let Err(err) = sysctl(&format!("net/ipv4/conf/{scope}/send_redirects"), "0") {
            tracing::debug!(%err, "Redirects stay on");
        }
    }
    let subnets: Vec<Ipv4Net> = ranges.iter().map(|range| range.subnet).collect();
    masquerade::apply(conf, &subnets)
}

pub(super) fn add(conf: &NetConf, attach: &Attach) -> Result<CniResult, CniError> {
    let ranges = conf.ranges4()?;
    ensure_host(conf, &ranges).map_err(kernel)?;
    let ipam = Ipam::open(&conf.data_dir, &conf.name)?;
    let given = ipam.allocate(&attach.owner, &ranges)?;
    let result = wire(conf, attach, &given).map_err(kernel);
    if result.is_err() {
        let _ = remove_host_link(&attach.owner);
        if given.iter().any(|allocation| allocation.fresh) {
            let _ = ipam.release(&attach.owner);
        }
    }
    result
}

/// Makes the pair, unless the one from an earlier ADD is whole.
fn wire(conf: &NetConf, attach: &Attach, given: &[Allocation]) -> Result<CniResult, NetError> {
    let host = host_link(&attach.owner.container_id, &attach.owner.ifname);
    let ips: Vec<Ipv4Addr> = given.iter().map(|allocation| allocation.ip).collect();
    if !intact(conf, attach, &host, &ips)? {
        let file = File::open(&attach.netns)
            .map_err(|err| NetError::io(format!("opening {}", attach.netns.display()), &err))?;
        let stale = attach.owner.ifname.clone();
        with_net(Some(attach.netns.clone()), async move |net| net.remove_link(&stale).await)?;
        let (host, ifname, bridge) = (host.clone(), attach.owner.ifname.clone(), conf.bridge.clone());
        let (mtu, hairpin) = (conf.mtu, conf.hairpin);
        let first = ips.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let mac = hardware_address(first);
        with_net(None, async move |net| {
            net.remove_link(&host).await?;
            net.add_veth(&host, &ifname, file.as_raw_fd(), mac, mtu).await?;
            let bridge = net.set_up(&bridge).await?;
            net.attach_port(&host, &bridge, hairpin).await?;
            net.forget_neighbour(&bridge, first).await;
            Ok(())
        })?;
        let (ifname, given) = (attach.owner.ifname.clone(), given.to_vec());
        with_net(Some(attach.netns.clone()), async move |net| {
            net.set_up("lo").await?;
            let link = net.set_up(&ifname).await?;
            for allocation in &given {
                net.add_address(&link, allocation.ip, 32).await?;
                net.default_route(&link, allocation.range.gateway).await?;
            }
            Ok(())
        })?;
    }
    host_result(conf, attach, &host, given)
}

/// Whether the pod's link has its addresses and its other end is on the bridge.
fn intact(conf: &NetConf, attach: &Attach, host: &str, ips: &[Ipv4Addr]) -> Result<bool, NetError> {
    let (host, bridge) = (host.to_string(), conf.bridge.clone());
    let attached = with_net(None, async move |net| {
        let (link, bridge) = (net.link(&host).await?, net.link(&bridge).await?);
        let same = |link: Link, bridge: Link| link.up && link.controller == bridge.index;
        Ok(link.zip(bridge).is_some_and(|(link, bridge)| same(link, bridge)))
    })?;
    let (ifname, ips) = (attach.owner.ifname.clone(), ips.to_vec());
    let addressed = with_net(Some(attach.netns.clone()), async move |net| {
        let Some(link) = net.link(&ifname).await? else { return Ok(false) };
        let have = net.addresses(&link).await?;
        Ok(link.up && ips.iter().all(|ip| have.contains(ip)))
    })?;
    Ok(attached && addressed)
}

fn host_result(conf: &NetConf, attach: &Attach, host: &str, given: &[Allocation]) -> Result<CniResult, NetError> {
    let mac = |link: &Link| link.mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    let (bridge, name) = (conf.bridge.clone(), host.to_string());
    let (bridge, host) = with_net(None, async move |net| {
        let describe = |name: &str, link: &Link| Interface {
            name: name.into(),
            mac: mac(link),
            mtu: Some(link.mtu),
            sandbox: String::new(),
        };
        Ok((describe(&bridge, &net.set_up(&bridge).await?), describe(&name, &net.set_up(&name).await?)))
    })?;
    let (ifname, sandbox) = (attach.owner.ifname.clone(), attach.netns.display().to_string());
    let pod = with_net(Some(attach.netns.clone()), async move |net| {
        let link = net.set_up(&ifname).await?;
        Ok(Interface { name: ifname, mac: mac(&link), mtu: Some(link.mtu), sandbox })
    })?;
    let ip = |allocation: &Allocation| Ip {
        version: None,
        address: IpNet::V4(Ipv4Net::new_assert(allocation.ip, 32)),
        gateway: Some(IpAddr::V4(allocation.range.gateway)),
        interface: Some(2),
    };
    let route = |allocation: &Allocation| Route {
        dst: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
        gw: Some(IpAddr::V4(allocation.range.gateway)),
    };
    Ok(CniResult {
        interfaces: vec![bridge, host, pod],
        ips: given.iter().map(ip).collect(),
        routes: given.first().map(route).into_iter().collect(),
        ..Default::default()
    })
}

fn remove_host_link(owner: &Owner) -> Result<(), NetError> {
    let host = host_link(&owner.container_id, &owner.ifname);
    with_net(None, async move |net| net.remove_link(&host).await)
}

/// Needs neither the namespace nor an earlier result, and is fine when nothing is left.
pub(super) fn del(conf: &NetConf, owner: &Owner) -> Result<(), CniError> {
    remove_host_link(owner).map_err(kernel)?;
    Ipam::open(&conf.data_dir, &conf.name)?.release(owner).map(|_| ())
}

pub(super) fn check(conf: &NetConf, attach: &Attach) -> Result<(), CniError> {
    let previous = conf.prev_result.as_ref();
    let previous = previous.ok_or_else(|| CniError::new(INVALID_CONFIG, "CHECK needs prevResult"))?;
    let differs = |details: String| CniError::with(CHECK_FAILED, "the attachment is not as it should be", details);
    let owned = Ipam::open(&conf.data_dir, &conf.name)?.of(&attach.owner)?;
    for ip in &owned {
        if !previous.ips.iter().any(|listed| listed.address.addr() == IpAddr::V4(*ip)) {
            return Err(differs(format!("address {ip} is not in prevResult")));
        }
    }
    if owned.is_empty() {
        return Err(differs("no address is allocated".into()));
    }
    let host = host_link(&attach.owner.container_id, &attach.owner.ifname);
    match intact(conf, attach, &host, &owned).map_err(kernel)? {
        true => Ok(()),
        false => Err(differs(format!("link {} or its peer {host} is missing or damaged", attach.owner.ifname))),
    }
}

pub(super) fn gc(conf: &NetConf) -> Result<(), CniError> {
    let valid = conf.valid_attachments.as_ref();
    let valid = valid.ok_or_else(|| CniError::new(INVALID_CONFIG, "GC needs cni.dev/valid-attachments"))?;
    let valid: HashSet<Owner> = valid.iter().map(|entry| Owner::new(&entry.container_id, &entry.ifname)).collect();
    let ipam = Ipam::open(&conf.data_dir, &conf.name)?;
    let gone: Vec<Owner> = ipam.list()?.into_values().filter(|owner| !valid.contains(owner)).collect();
    // Links first: an address that is free must not be in use.
    for owner in &gone {
        remove_host_link(owner).map_err(kernel)?;
    }
    ipam.keep_only(&valid).map(|_| ())
}

pub(super) fn status(conf: &NetConf) -> Result<(), CniError> {
    let unavailable = |err: CniError| CniError::with(NOT_AVAILABLE, "the plugin is not available", err);
    let ranges = conf.ranges4()?;
    ensure_host(conf, &ranges).map_err(|err| unavailable(kernel(err)))?;
    let ipam = Ipam::open(&conf.data_dir, &conf.name).map_err(unavailable)?;
    let probe = conf.data_dir.join(&conf.name).join(".probe");
    std::fs::write(&probe, b"").map_err(|err| unavailable(CniError::with(IO_FAILURE, "cannot write", err)))?;
    let _ = std::fs::remove_file(&probe);
    let taken = ipam.list().map_err(unavailable)?.len();
    let room: usize = ranges.iter().map(|range| range.subnet.hosts().count().saturating_sub(1)).sum();
    if taken >= room {
        return Err(CniError::with(NOT_AVAILABLE, "the plugin is not available", "no IP addresses available"));
    }
    Ok(())
}
