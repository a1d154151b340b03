//! UDP sockets for quinn, which read one packet at a time: quinn's own hold 64 packets that the kernel has joined (GRO)
//! for each of 32 reads, 3 MB an endpoint, for a speed that no link of ours has.
//!
//! Packets are not marked for explicit congestion notification (RFC 3168): with it each acknowledgement carries three
//! counters, a twentieth of what an idle node costs its network, and a link of ours has a packet under way at most times.

use nix::sys::socket::{setsockopt, sockopt};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, EndpointConfig, ServerConfig, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// An endpoint on a new socket.
pub(super) fn endpoint(
    config: EndpointConfig,
    server: Option<ServerConfig>,
    address: SocketAddr,
) -> io::Result<quinn::Endpoint> {
    let runtime = quinn::default_runtime().ok_or_else(|| io::Error::other("no async runtime found"))?;
    let socket = UdpSocket::bind(address)?;
    let handle = socket.try_clone()?;
    let wrapped = runtime.wrap_udp_socket(socket)?;
    // quinn has switched it on where the kernel knows it. What cannot be switched off keeps its buffer.
    let wrapped = match setsockopt(&handle, sockopt::UdpGroSegment, &false) {
        Ok(()) => Arc::new(OnePacket(wrapped)),
        Err(_) => wrapped,
    };
    quinn::Endpoint::new_with_abstract_socket(config, server, wrapped, runtime)
}

/// The address that packets to `peer` leave from. Nothing is sent.
pub(super) fn local_address(peer: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(peer).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// A socket that says that its reads hold one packet, and marks none.
#[derive(Debug)]
struct OnePacket(Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for OnePacket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.0.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(&Transmit { ecn: None, ..*transmit })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.max_transmit_segments()
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}
