//! Connections to what listens in a pod's network namespace, also on its loopback alone.
//!
//! A socket belongs to the namespace that it was made in, so only its making happens there.

use crate::netns::{NetError, enter};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// How long one address is tried.
const DIAL: Duration = Duration::from_secs(5);

/// Connects to a port of `localhost` inside a namespace: IPv4 first, then IPv6.
///
/// # Errors
/// What was tried and what the kernel said.
pub async fn connect(netns: &Path, port: u16) -> Result<TcpStream, NetError> {
    let what = format!("failed to connect to localhost:{port} inside namespace {netns:?}");
    let v4 = dial(netns, AddressFamily::INET, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await;
    let v4 = match v4 {
        Ok(stream) => return Ok(stream),
        Err(err) => err,
    };
    let v6 = dial(netns, AddressFamily::INET6, SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)).await;
    v6.map_err(|v6| NetError::new(what, format!("IPv4: {v4}, IPv6: {v6}")))
}

async fn dial(netns: &Path, family: AddressFamily, address: SocketAddr) -> Result<TcpStream, NetError> {
    let what = format!("dial tcp {address}");
    let netns = netns.to_path_buf();
    let made = tokio::task::spawn_blocking(move || {
        enter(Some(&netns), move || {
            socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
        })
    });
    let made = made.await.map_err(|err| NetError::new(&what, err))??;
    let socket = made.map_err(|err| NetError::io(&what, &err.into()))?;
    let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
    match tokio::time::timeout(DIAL, socket.connect(address)).await {
        Ok(connected) => connected.map_err(|err| NetError::io(&what, &err)),
        Err(_) => Err(NetError::new(what, "i/o timeout")),
    }
}
