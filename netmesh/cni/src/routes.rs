//! Routes to other nodes' pods (`host-gw`): the kernel's table made to match a list.
//!
//! Only routes with our own protocol number are looked at; everyone else's stay.

use crate::netns::{NetError, with_net};
use ipnet::{IpNet, Ipv4Net};
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Marks our routes (`ip route show proto 97`).
pub const ROUTE_PROTOCOL: u8 = 97;

/// What [`sync_routes`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteChanges {
    /// Destinations added or changed.
    pub set: Vec<IpNet>,
    /// Destinations removed.
    pub removed: Vec<IpNet>,
    /// Destinations that the kernel refused, and why: the others are in place.
    pub failed: Vec<(IpNet, String)>,
}

/// Makes the routes through other nodes exactly these: (pods' network, node's address). Idempotent.
///
/// # Errors
/// When the table cannot be read.
pub async fn sync_routes(desired: &[(IpNet, IpAddr)]) -> Result<RouteChanges, NetError> {
    let desired = desired.to_vec();
    let work = move || with_net(None, async move |net| sync(&net, &desired).await);
    tokio::task::spawn_blocking(work).await.map_err(|err| NetError::new("setting routes", err))?
}

async fn sync(net: &crate::net::Net, desired: &[(IpNet, IpAddr)]) -> Result<RouteChanges, NetError> {
    let mut changes = RouteChanges::default();
    let mut wanted: BTreeMap<Ipv4Net, Ipv4Addr> = BTreeMap::new();
    for (destination, via) in desired {
        match (destination, via) {
            (IpNet::V4(destination), IpAddr::V4(via)) => drop(wanted.insert(destination.trunc(), *via)),
            _ => changes.failed.push((*destination, "not implemented: routes of IPv6".into())),
        }
    }
    let ours: Vec<(Ipv4Net, Option<Ipv4Addr>, RouteMessage)> =
        net.routes().await?.into_iter().filter_map(our_route).collect();
    for (destination, via, message) in &ours {
        match wanted.get(destination) {
            Some(want) if Some(*want) == *via => {}
            // Replaced below, so that there is no moment without.
            Some(_) => {}
            None => {
                net.remove_route(message.clone(), format!("removing the route to {destination}")).await?;
                changes.removed.push(IpNet::V4(*destination));
            }
        }
    }
    for (destination, via) in wanted {
        if ours.iter().any(|(have, through, _)| *have == destination && *through == Some(via)) {
            continue;
        }
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination.network(), destination.prefix_len())
            .gateway(via)
            .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
            .build();
        match net.replace_route(route, format!("setting the route to {destination} via {via}")).await {
            Ok(()) => changes.set.push(IpNet::V4(destination)),
            Err(err) => changes.failed.push((IpNet::V4(destination), err.to_string())),
        }
    }
    Ok(changes)
}

fn our_route(message: RouteMessage) -> Option<(Ipv4Net, Option<Ipv4Addr>, RouteMessage)> {
    if message.header.protocol != RouteProtocol::Other(ROUTE_PROTOCOL) {
        return None;
    }
    let (mut destination, mut via) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => destination = Some(*ip),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => via = Some(*ip),
            _ => {}
        }
    }
    let net = Ipv4Net::new(destination?, message.header.destination_prefix_length).ok()?;
    Some((net, via, message))
}
