//! The server: UDP and TCP on one address.

use crate::message::{Step, UDP_BYTES, failure, handle};
use crate::zone::Zone;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Queries forwarded at a time; further ones are answered SERVFAIL.
const MAX_FORWARDS: usize = 256;
/// TCP connections at a time; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long upstream may take for one try.
const UPSTREAM: Duration = Duration::from_secs(3);
/// How long a TCP client may be silent.
const IDLE: Duration = Duration::from_secs(10);
/// Largest UDP packet that is read.
const PACKET: usize = 4096;

/// Where to listen and whom to ask.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// The node's own resolver configuration, read anew for each forwarded query.
    pub resolv_conf: PathBuf,
}

/// A running server; dropping it ends it.
pub struct DnsServer {
    zone: Arc<RwLock<Arc<Zone>>>,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

struct Shared {
    zone: Arc<RwLock<Arc<Zone>>>,
    resolv_conf: PathBuf,
    own: IpAddr,
    forwards: Semaphore,
}

impl Shared {
    fn zone(&self) -> Arc<Zone> {
        self.zone.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn answer(&self, packet: &[u8], limit: usize) -> Option<Vec<u8>> {
        match handle(&self.zone(), packet, limit) {
            Step::Reply(reply) => Some(reply),
            Step::Ignore => None,
            Step::Forward => match self.forwards.try_acquire() {
                Ok(_permit) => self.forward(packet, limit).await.or_else(|| failure(packet)),
                Err(_) => failure(packet),
            },
        }
    }

    async fn forward(&self, packet: &[u8], limit: usize) -> Option<Vec<u8>> {
        for server in upstreams(&self.resolv_conf, self.own) {
            let asked =
                async { if limit > UDP_BYTES { ask_tcp(server, packet).await } else { ask_udp(server, packet).await } };
            if let Ok(Ok(reply)) = tokio::time::timeout(UPSTREAM, asked).await {
                return Some(reply);
            }
        }
        None
    }
}

impl DnsServer {
    /// Binds and serves.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(config: DnsConfig) -> std::io::Result<DnsServer> {
        let udp = Arc::new(UdpSocket::bind(config.listen).await?);
        let address = udp.local_addr()?;
        let tcp = TcpListener::bind(address).await?;
        let zone = Arc::new(RwLock::new(Arc::new(Zone::new("cluster.local", &[], &[]))));
        let shared = Arc::new(Shared {
            zone: zone.clone(),
            resolv_conf: config.resolv_conf,
            own: address.ip(),
            forwards: Semaphore::new(MAX_FORWARDS),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, shared.clone()));
        tasks.spawn(serve_tcp(tcp, shared));
        Ok(DnsServer { zone, address, _tasks: tasks })
    }

    /// The address that it serves on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the zone.
    pub fn set_zone(&self, zone: Zone) {
        *self.zone.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(zone);
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; PACKET];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, peer)) = received else { continue };
                let packet = buffer[..length].to_vec();
                let (socket, shared) = (socket.clone(), shared.clone());
                tasks.spawn(async move {
                    if let Some(reply) = shared.answer(&packet, UDP_BYTES).await {
                        // The client asks again when the answer is lost.
                        let _ = socket.send_to(&reply, peer).await;
                    }
                });
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut tasks = JoinSet::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = shared.clone();
                tasks.spawn(async move {
                    // The client sees a closed connection, whatever the reason.
                    let _ = serve_stream(stream, &shared).await;
                    drop(permit);
                });
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn serve_stream(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    loop {
        let Ok(length) = tokio::time::timeout(IDLE, stream.read_u16()).await else { return Ok(()) };
        let mut packet = vec![0; usize::from(length?)];
        let Ok(read) = tokio::time::timeout(IDLE, stream.read_exact(&mut packet)).await else { return Ok(()) };
        read?;
        let Some(reply) = shared.answer(&packet, usize::from(u16::MAX)).await else { return Ok(()) };
        stream.write_all(&framed(&reply)).await?;
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    out.extend_from_slice(message);
    out
}

async fn ask_udp(server: SocketAddr, packet: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = vec![0; PACKET];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Only the answer to this very query counts.
        if buffer.get(..2) == packet.get(..2) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, packet: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&framed(packet)).await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

/// The name servers of a resolver configuration, except ourselves.
fn upstreams(resolv_conf: &Path, own: IpAddr) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(resolv_conf).unwrap_or_default();
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    servers.filter(|ip| *ip != own).take(3).map(|ip| SocketAddr::new(ip, 53)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};
    use serde_json::json;

    fn query(name: &str) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    #[tokio::test]
    async fn answers_over_udp_and_tcp() {
        let config = DnsConfig { listen: ([127, 0, 0, 1], 0).into(), resolv_conf: "/nonexistent".into() };
        let server = DnsServer::start(config).await.unwrap();
        let service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "demo"}, "spec": {"clusterIP": "10.43.0.5"},
        }));
        server.set_zone(Zone::new("cluster.local", &[service.unwrap()], &[]));
        let packet = query("web.demo.svc.cluster.local.");
        for reply in [ask_udp(server.address(), &packet).await, ask_tcp(server.address(), &packet).await] {
            let reply = Message::from_vec(&reply.unwrap()).unwrap();
            assert_eq!(reply.answers.len(), 1);
            assert!(reply.metadata.authoritative);
        }
        let code = |reply: Vec<u8>| Message::from_vec(&reply).unwrap().metadata.response_code;
        let gone = ask_udp(server.address(), &query("gone.demo.svc.cluster.local.")).await.unwrap();
        assert_eq!(code(gone), ResponseCode::NXDomain);
        let foreign = ask_udp(server.address(), &query("example.com.")).await.unwrap();
        assert_eq!(code(foreign), ResponseCode::ServFail, "without an upstream there is no answer");
        let garbage = ask_udp(server.address(), b"\x12\x34garbage").await.unwrap();
        assert_eq!(code(garbage), ResponseCode::FormErr);
    }
}
