//! Links, addresses, routes and rules of one namespace, over rtnetlink. Each step is idempotent.

use crate::netns::NetError;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute};
use rtnetlink::{
    Handle, IpVersion, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EADDRNOTAVAIL: i32 = 99;
/// Table of local addresses.
const LOCAL_TABLE: u32 = 255;

/// One namespace's tables.
pub(crate) struct Net {
    handle: Handle,
}

/// A link, as far as we look.
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) up: bool,
    pub(crate) mtu: u32,
    pub(crate) mac: Vec<u8>,
    pub(crate) controller: u32,
}

fn refused(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetError {
    move |err| match err {
        rtnetlink::Error::NetlinkError(message) => NetError::io(what, &message.to_io()),
        other => NetError::new(what, other),
    }
}

/// Takes some refusals as success.
fn unless(result: Result<(), NetError>, fine: &[i32]) -> Result<(), NetError> {
    match result {
        Err(err) if fine.contains(&err.errno) => Ok(()),
        other => other,
    }
}

impl Net {
    pub(crate) fn new(handle: Handle) -> Net {
        Net { handle }
    }

    pub(crate) async fn link(&self, name: &str) -> Result<Option<Link>, NetError> {
        let what = format!("looking up link {name}");
        let mut found = Box::pin(self.handle.link().get().match_name(name).execute());
        match found.try_next().await.map_err(refused(what)) {
            Ok(message) => Ok(message.map(|message| describe(&message))),
            Err(err) if err.errno == ENODEV => Ok(None),
            Err(err) => Err(err),
        }
    }

    async fn need(&self, name: &str) -> Result<Link, NetError> {
        self.link(name).await?.ok_or_else(|| NetError::new(format!("link {name}"), "it does not exist"))
    }

    async fn set(&self, message: LinkMessage, what: String) -> Result<(), NetError> {
        self.handle.link().set(message).execute().await.map_err(refused(what))
    }

    /// The bridge, up, with its addresses. MTU 0 leaves it alone.
    pub(crate) async fn ensure_bridge(&self, name: &str, mtu: u32, ips: &[(Ipv4Addr, u8)]) -> Result<Link, NetError> {
        if self.link(name).await?.is_none() {
            let made = self.handle.link().add(LinkBridge::new(name).build()).execute().await;
            unless(made.map_err(refused(format!("making bridge {name}"))), &[EEXIST])?;
        }
        let link = self.need(name).await?;
        // With an address of its own it keeps it when ports come and go, and so do the pods' neighbour tables.
        let mac = ips.first().map(|(ip, _)| crate::paths::hardware_address(*ip)).filter(|mac| *mac != link.mac);
        if let Some(mac) = mac {
            let message = LinkUnspec::new_with_index(link.index).address(mac).build();
            self.set(message, format!("setting the address of {name}")).await?;
        }
        self.adjust(name, &link, mtu).await?;
        for (ip, prefix) in ips {
            self.add_address(&link, *ip, *prefix).await?;
        }
        self.need(name).await
    }

    async fn adjust(&self, name: &str, link: &Link, mtu: u32) -> Result<(), NetError> {
        if mtu != 0 && link.mtu != mtu {
            let message = LinkUnspec::new_with_index(link.index).mtu(mtu).build();
            self.set(message, format!("setting the MTU of {name}")).await?;
        }
        if !link.up {
            self.set(LinkUnspec::new_with_index(link.index).up().build(), format!("setting {name} up")).await?;
        }
        Ok(())
    }

    pub(crate) async fn set_up(&self, name: &str) -> Result<Link, NetError> {
        let link = self.need(name).await?;
        self.adjust(name, &link, 0).await?;
        Ok(link)
    }

    /// Makes a pair: `host` here, `peer` in the namespace behind `netns`.
    pub(crate) async fn add_veth(
        &self,
        host: &str,
        peer: &str,
        netns: RawFd,
        mac: Vec<u8>,
        mtu: u32,
    ) -> Result<(), NetError> {
        let mut there = LinkMessageBuilder::<LinkUnspec>::new().name(peer).setns_by_fd(netns).address(mac);
        let mut here = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth).name(host);
        if mtu != 0 {
            there = there.mtu(mtu);
            here = here.mtu(mtu);
        }
        let message = here.set_info_data(InfoData::Veth(InfoVeth::Peer(there.build()))).build();
        self.handle.link().add(message).execute().await.map_err(refused(format!("making veth {host}")))
    }

    /// Makes a link a port of a bridge. With `hairpin` a frame may leave by the port that it came from.
    pub(crate) async fn attach_port(&self, name: &str, bridge: &Link, hairpin: bool) -> Result<(), NetError> {
        let link = self.need(name).await?;
        if link.controller != bridge.index {
            let message = LinkUnspec::new_with_index(link.index).controller(bridge.index).build();
            self.set(message, format!("attaching {name} to the bridge")).await?;
        }
        let port = LinkBridgePort::new(link.index).hairpin(hairpin).build();
        let set = self.handle.link().set_port(port).execute().await;
        set.map_err(refused(format!("setting up port {name}")))?;
        self.adjust(name, &link, 0).await
    }

    /// Removes a link. Fine when it is gone.
    pub(crate) async fn remove_link(&self, name: &str) -> Result<(), NetError> {
        let Some(link) = self.link(name).await? else { return Ok(()) };
        let removed = self.handle.link().del(link.index).execute().await;
        unless(removed.map_err(refused(format!("removing link {name}"))), &[ENODEV])
    }

    pub(crate) async fn add_address(&self, link: &Link, ip: Ipv4Addr, prefix: u8) -> Result<(), NetError> {
        let added = self.handle.address().add(link.index, IpAddr::V4(ip), prefix).execute().await;
        unless(added.map_err(refused(format!("adding address {ip}/{prefix}"))), &[EEXIST])
    }

    async fn address_messages(&self, link: &Link) -> Result<Vec<AddressMessage>, NetError> {
        let found = self.handle.address().get().set_link_index_filter(link.index).execute();
        found.try_collect().await.map_err(refused("listing addresses"))
    }

    pub(crate) async fn addresses(&self, link: &Link) -> Result<Vec<Ipv4Addr>, NetError> {
        let messages = self.address_messages(link).await?;
        Ok(messages.iter().filter_map(address_of).collect())
    }

    /// Removes an address. Fine when it is gone.
    pub(crate) async fn remove_address(&self, link: &Link, ip: Ipv4Addr) -> Result<(), NetError> {
        for message in self.address_messages(link).await? {
            if address_of(&message) == Some(ip) {
                let removed = self.handle.address().del(message).execute().await;
                unless(removed.map_err(refused(format!("removing address {ip}"))), &[EADDRNOTAVAIL])?;
            }
        }
        Ok(())
    }

    /// The gateway on the link, and everything else through it.
    pub(crate) async fn default_route(&self, link: &Link, gateway: Ipv4Addr) -> Result<(), NetError> {
        let on_link = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(gateway, 32)
            .output_interface(link.index)
            .scope(RouteScope::Link)
            .build();
        let default = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(link.index).build();
        for (route, what) in [(on_link, "adding the route to the gateway"), (default, "adding the default route")] {
            self.replace_route(route, what.to_string()).await?;
        }
        Ok(())
    }

    pub(crate) async fn replace_route(&self, route: RouteMessage, what: String) -> Result<(), NetError> {
        self.handle.route().add(route).replace().execute().await.map_err(refused(what))
    }

    pub(crate) async fn remove_route(&self, route: RouteMessage, what: String) -> Result<(), NetError> {
        unless(self.handle.route().del(route).execute().await.map_err(refused(what)), &[ESRCH, ENOENT])
    }

    pub(crate) async fn routes(&self) -> Result<Vec<RouteMessage>, NetError> {
        let all = self.handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        all.try_collect().await.map_err(refused("listing routes"))
    }

    /// Local addresses are looked up only for what comes in by `interface` and for loopback: what one address
    /// here sends to another leaves by the default route.
    pub(crate) async fn local_by_interface(&self, interface: &str) -> Result<(), NetError> {
        let add = || self.handle.rule().add().v4().table_id(LOCAL_TABLE).action(RuleAction::ToTable);
        let incoming = add().input_interface(interface).priority(10).execute().await;
        unless(incoming.map_err(refused("adding a rule")), &[EEXIST])?;
        let loopback = add().destination_prefix(Ipv4Addr::new(127, 0, 0, 0), 8).priority(11).execute().await;
        unless(loopback.map_err(refused("adding a rule")), &[EEXIST])?;
        let rules = self.handle.rule().get(IpVersion::V4).execute();
        let rules: Vec<_> = rules.try_collect().await.map_err(refused("listing rules"))?;
        for rule in rules {
            let priority = rule.attributes.iter().find_map(|attribute| match attribute {
                RuleAttribute::Priority(priority) => Some(*priority),
                _ => None,
            });
            if u32::from(rule.header.table) == LOCAL_TABLE && priority.unwrap_or(0) == 0 {
                let removed = self.handle.rule().del(rule).execute().await;
                unless(removed.map_err(refused("removing a rule")), &[ENOENT])?;
            }
        }
        Ok(())
    }

    /// Forgets what hardware address an address had. Fine when nothing is known.
    pub(crate) async fn forget_neighbour(&self, link: &Link, ip: Ipv4Addr) {
        use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = link.index;
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)));
        let _ = self.handle.neighbours().del(message).execute().await;
    }
}

fn address_of(message: &AddressMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
        _ => None,
    })
}

fn describe(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        mtu: 0,
        mac: Vec::new(),
        controller: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(mac) => link.mac = mac.clone(),
            LinkAttribute::Controller(index) => link.controller = *index,
            _ => {}
        }
    }
    link
}

/// Writes a sysctl of the namespace of this thread, unless it has the value.
pub(crate) fn sysctl(path: &str, value: &str) -> Result<(), NetError> {
    let file = format!("/proc/sys/{path}");
    let have = std::fs::read_to_string(&file).map_err(|err| NetError::io(format!("reading {file}"), &err))?;
    if have.trim() == value {
        return Ok(());
    }
    std::fs::write(&file, value).map_err(|err| NetError::io(format!("writing {value} to {file}"), &err))
}
