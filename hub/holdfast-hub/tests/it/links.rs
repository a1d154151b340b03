//! Nodes at the hub's doors: the link's port, and the API's port where UDP is blocked.

use crate::hub::{Hub, text};
use holdfast_core::{Lineage, OutboxGen, Session, SetDigest};
use holdfast_env::host::HostEnv;
use holdfast_env::{Connection, Dialer, NetError, SendStream, Transport, World};
use holdfast_link::framed::{FrameRecv, opening, send};
use holdfast_link::identity::node_of;
use holdfast_link::join::{JoinToken, join};
use holdfast_link::tls::{CertificateClock, CertificateTime};
use holdfast_link::{NodeIdentity, QuicDialer, TcpDialer, tls};
use holdfast_link_engine::Stream;
use holdfast_link_engine::wire::{Hello, VERSION, VERSION_MIN, Welcome};
use std::sync::Arc;
use std::time::Duration;

const HEARTBEAT: Duration = Duration::from_secs(10);

/// The machine's time, believed.
pub(crate) struct Now(pub(crate) World);

impl CertificateClock for Now {
    fn certificate_time(&self) -> CertificateTime {
        CertificateTime { at: self.0.wall().0, trusted: true }
    }
}

pub(crate) fn dialer(env: &World, on: Transport, tls: rustls::ClientConfig) -> Arc<dyn Dialer> {
    match on {
        Transport::Quic => Arc::new(QuicDialer::new(tls, HEARTBEAT).unwrap()),
        _ => Arc::new(TcpDialer::new(env.clone(), tls, HEARTBEAT)),
    }
}

/// Says hello, and hears what session it gives. The stream, whose end would be the connection's.
pub(crate) async fn greet(
    connection: &Arc<dyn Connection>,
    identity: &NodeIdentity,
) -> (Session, Box<dyn SendStream>, FrameRecv) {
    let (mut sender, receiver) = connection.open_bi().await.unwrap();
    let hello = Hello {
        version_min: VERSION_MIN,
        version_max: VERSION,
        node_uid: identity.node_uid.clone(),
        node_name: identity.node_name.clone(),
        boot: 1,
        lineage: Lineage(0),
        session: Session(0),
        root: SetDigest::default().root(),
        outbox: OutboxGen(1),
        clock_micros: 0,
    };
    sender.write(opening(Stream::Control)).await.unwrap();
    send(&mut sender, &hello).await.unwrap();
    let mut frames = FrameRecv::new(receiver);
    let welcome: Welcome = frames.expect().await.unwrap();
    (welcome.session, sender, frames)
}

#[test]
fn a_node_joins_and_links_over_udp_and_over_the_port_of_the_api() {
    let root = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(root.path());
    let addresses = [(Transport::Quic, hub.told("link")), (Transport::Tcp, hub.told("api"))];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let connections = runtime.block_on(async {
        let env: World = HostEnv::new("/nonexistent");
        let mut connections = Vec::new();
        for (on, address) in &addresses {
            let token = JoinToken::parse(&text(&hub.token(&["create"]).stdout)).unwrap();
            let joins = dialer(&env, *on, tls::join_config(&token.ca_hash).unwrap());
            let name = format!("edge-{}", on.name());
            let connection = joins.dial(address).await.unwrap();
            let identity = join(&env, &connection, &token, &name).await.unwrap();
            assert_eq!(node_of(&identity.chain[0]).unwrap(), (identity.node_uid.clone(), name));

            let links = dialer(&env, *on, tls::node_config(Arc::new(Now(env.clone())), &identity).unwrap());
            let connection = links.dial(address).await.unwrap();
            assert_eq!(connection.transport(), *on);
            let (session, sender, frames) = greet(&connection, &identity).await;
            assert!(session > Session(0));
            connections.push((connection, links, sender, frames));
        }
        connections
    });
    hub.signal("TERM");
    runtime.block_on(async {
        for (connection, ..) in &connections {
            let ended = tokio::time::timeout(Duration::from_secs(10), connection.closed()).await.unwrap();
            assert_eq!(ended, NetError::Closed("the hub is stopping".into()));
        }
    });
    assert_eq!(hub.ended(), Some(0));
}
