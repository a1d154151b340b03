//! Crowds that begin and never go on: they hold little, and keep no node away.

#![allow(clippy::disallowed_methods, reason = "tests spawn and sleep for real")]

use super::identity::{HEARTBEAT, Listening, listening, within};
use super::*;
use holdfast_env::{Dialer, NetError, World};
use holdfast_link::join::{JoinToken, join};
use holdfast_link::tls::{self, HUB_NAME};
use holdfast_link::{QuicDialer, TcpDialer, listen};
use quinn::crypto::rustls::QuicClientConfig;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::rustls::ClientConnection;

/// Sends first packets of so many handshakes of joins, all from one address, and reads no answer.
fn begin_joins(hub: &Listening, socket: &UdpSocket, count: usize) {
    let address: SocketAddr = hub.address.parse().unwrap();
    let crypto = QuicClientConfig::try_from(tls::join_config(&hub.ca_hash).unwrap()).unwrap();
    let client = quinn::ClientConfig::new(Arc::new(crypto));
    let mut endpoint = quinn_proto::Endpoint::new(Arc::default(), None, true, None);
    let mut packet = Vec::new();
    for _ in 0..count {
        let now = Instant::now();
        let (_, mut connection) = endpoint.connect(now, client.clone(), address, HUB_NAME).unwrap();
        packet.clear();
        let transmit = connection.poll_transmit(now, 1, &mut packet).unwrap();
        socket.send_to(&packet[..transmit.size], address).unwrap();
    }
}

#[tokio::test]
async fn ten_thousand_half_open_joins_hold_little_and_keep_no_node_away() {
    let hub = listening().await;
    let edge = hub.join("edge").await;
    let links = hub.cluster.links.clone();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..100 {
        begin_joins(&hub, &socket, 100);
        // Lets the hub look at them.
        tokio::task::yield_now().await;
        assert!(links.handshakes.taken() <= MAX_HANDSHAKES / 2 + 1);
        assert!(hub.listener.open_connections() <= MAX_HANDSHAKES / 2 + 2 + listen::WAITING);
    }
    // Those that were let in are still waiting for a word of theirs.
    hub.up(&edge).await;
    hub.join("late").await;
}

#[tokio::test]
async fn silent_joins_have_places_of_their_own_and_the_next_is_told_so() {
    let hub = listening().await;
    let edge = hub.join("edge").await;
    let dialer = QuicDialer::new(tls::join_config(&hub.ca_hash).unwrap(), HEARTBEAT).unwrap();
    let mut silent = Vec::new();
    // So many for one address.
    for _ in 0..MAX_JOINS / 2 {
        silent.push(within(dialer.dial(&hub.address)).await.unwrap());
    }
    let joins = &hub.cluster.links.joins;
    let begun = Instant::now();
    while joins.taken() < MAX_JOINS / 2 {
        assert!(begun.elapsed() < super::identity::LIMIT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let one_more = within(dialer.dial(&hub.address)).await.unwrap();
    let busy = "the hub serves as many joins as it can; try again";
    assert_eq!(within(one_more.closed()).await, NetError::Closed(busy.into()));
    hub.up(&edge).await;
    silent.pop().unwrap().close("goes");
    while joins.taken() == MAX_JOINS / 2 {
        assert!(begun.elapsed() < super::identity::LIMIT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    hub.join("late").await;
}

/// A connection of another machine that says its first words in TLS, and never reads or says any more.
async fn stall(hub: &Listening) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(hub.tcp_address.parse().unwrap()).await.unwrap();
    let config = Arc::new(tls::join_config(&hub.ca_hash).unwrap());
    let mut client = ClientConnection::new(config, HUB_NAME.try_into().unwrap()).unwrap();
    let mut words = Vec::new();
    client.write_tls(&mut words).unwrap();
    stream.write_all(&words).await.unwrap();
    stream
}

#[tokio::test]
async fn handshakes_that_stall_over_tcp_keep_no_node_away() {
    let hub = listening().await;
    let edge = hub.join("edge").await;
    let handshakes = &hub.cluster.links.handshakes;
    let (mut stalled, begun) = (Vec::new(), Instant::now());
    while handshakes.taken() < MAX_HANDSHAKES / 2 {
        assert!(begun.elapsed() < super::identity::LIMIT);
        stalled.push(stall(&hub).await);
    }
    for _ in 0..MAX_HANDSHAKES {
        stalled.push(stall(&hub).await);
        assert!(handshakes.taken() <= MAX_HANDSHAKES / 2 + 1);
    }
    hub.up(&edge).await;
    let env: World = hub.cluster.env.clone();
    let dialer = TcpDialer::new(env.clone(), tls::join_config(&hub.ca_hash).unwrap(), HEARTBEAT);
    let connection = within(dialer.dial(&hub.tcp_address)).await.unwrap();
    let token = JoinToken { id: "abcdef".into(), secret: "s".repeat(16), ca_hash: hub.ca_hash.clone() };
    within(join(&env, &connection, &token, "late")).await.unwrap();
}
