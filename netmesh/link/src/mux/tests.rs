//! The driver over a pipe in memory, in virtual time.

use super::*;
use crate::testing::Virtual;
use futures_util::FutureExt;
use tokio::io::DuplexStream;

const IDLE: Duration = Duration::from_secs(40);

fn peer() -> Peer {
    Peer { certificates: vec![], address: "there".into(), local: None, transport: Transport::Memory }
}

fn pair(env: &World) -> (Arc<dyn Connection>, Arc<dyn Connection>) {
    let (near, far) = tokio::io::duplex(4096);
    let node = connection(env, near, Side::Dialer, IDLE, peer());
    (node, connection(env, far, Side::Listener, IDLE, peer()))
}

/// A hub whose peer is this pipe.
fn hub(env: &World) -> (DuplexStream, Arc<dyn Connection>) {
    let (near, far) = tokio::io::duplex(4096);
    (near, connection(env, far, Side::Listener, IDLE, peer()))
}

async fn read_to_end(stream: &mut Box<dyn RecvStream>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = stream.read(10_000).await.unwrap() {
        all.extend_from_slice(&piece);
    }
    all
}

#[test]
fn a_megabyte_goes_each_way_at_once() {
    Virtual::run(async |env| {
        let (node, hub) = pair(&env);
        let (mut sender, mut receiver) = node.open_bi().await.unwrap();
        let (mut back, mut there) = hub.accept_bi().await.unwrap();
        let data = |seed: usize| Bytes::from((0..1 << 20).map(|n| (n * seed % 251) as u8).collect::<Vec<_>>());
        let send = async |sender: &mut Box<dyn SendStream>, seed| {
            sender.write(data(seed)).await.unwrap();
            sender.finish().await.unwrap();
        };
        let (_, _, down, up) =
            tokio::join!(send(&mut sender, 3), send(&mut back, 5), read_to_end(&mut receiver), read_to_end(&mut there));
        assert!(up == data(3) && down == data(5));
        assert_eq!(env.monotonic().0, Duration::ZERO);
    });
}

#[test]
fn codes_arrive_and_the_connection_lives_on() {
    Virtual::run(async |env| {
        let (node, hub) = pair(&env);
        let (mut sender, receiver) = node.open_bi().await.unwrap();
        let (mut back, mut there) = hub.accept_bi().await.unwrap();
        sender.reset(7);
        assert_eq!(there.read(10).await, Err(NetError::Reset(7)));
        drop(receiver);
        let mut written = Ok(());
        while written.is_ok() {
            written = back.write(Bytes::from_static(b"more")).await;
        }
        assert_eq!(written, Err(NetError::Reset(0)));
        // A sender that is dropped has finished.
        let (mut sender, _receiver) = hub.open_bi().await.unwrap();
        sender.write(Bytes::from_static(b"all")).await.unwrap();
        drop(sender);
        let (_sender, mut there) = node.accept_bi().await.unwrap();
        assert_eq!(read_to_end(&mut there).await, b"all");
        node.send_datagram(Bytes::from_static(b"beat")).unwrap();
        assert_eq!(hub.recv_datagram().await.unwrap(), "beat");
    });
}

#[test]
fn a_close_is_heard_with_its_reason_by_all_who_wait() {
    Virtual::run(async |env| {
        let (node, hub) = pair(&env);
        let (_sender, mut receiver) = node.open_bi().await.unwrap();
        let (_back, mut there) = hub.accept_bi().await.unwrap();
        let close = async {
            env.sleep(Duration::from_secs(1)).await;
            hub.close("the hub is stopping");
        };
        let (accepted, opened, datagram, read, there, closed, ()) = tokio::join!(
            node.accept_bi(),
            async {
                let mut open = Vec::new();
                loop {
                    match node.open_bi().await {
                        Ok(stream) => open.push(stream),
                        Err(err) => return err,
                    }
                }
            },
            node.recv_datagram(),
            receiver.read(10),
            there.read(10),
            node.closed(),
            close,
        );
        let expected = NetError::Closed("the hub is stopping".into());
        assert_eq!(accepted.err(), Some(expected.clone()));
        assert_eq!(datagram.err(), Some(expected.clone()));
        assert_eq!(
            (opened, read.err(), there.err()),
            (expected.clone(), Some(expected.clone()), Some(expected.clone()))
        );
        assert_eq!((closed, hub.closed().await), (expected.clone(), expected.clone()));
        assert_eq!(node.send_datagram(Bytes::new()), Err(expected));
    });
}

#[test]
fn letting_go_of_every_handle_closes() {
    Virtual::run(async |env| {
        let (node, hub) = pair(&env);
        let (sender, receiver) = node.open_bi().await.unwrap();
        drop(node);
        env.sleep(Duration::from_secs(1)).await;
        // A stream is a handle too.
        assert!(hub.closed().now_or_never().is_none());
        drop((sender, receiver));
        assert_eq!(hub.closed().await, NetError::Closed("the peer let go of the connection".into()));
    });
}

#[test]
fn a_pipe_that_ends_or_says_nothing_ends_the_connection() {
    Virtual::run(async |env| {
        let (pipe, hub) = self::hub(&env);
        drop(pipe);
        assert_eq!(hub.closed().await, NetError::Closed("the peer ended the TCP connection".into()));

        let (pipe, hub) = self::hub(&env);
        let begun = env.monotonic();
        assert_eq!(hub.closed().await, NetError::Closed("the peer was silent for 40 s".into()));
        assert_eq!(env.monotonic().since(begun), IDLE);
        drop(pipe);
    });
}

#[test]
fn half_a_frame_and_nonsense_end_with_a_clear_error_that_the_peer_hears() {
    Virtual::run(async |env| {
        let (mut pipe, hub) = self::hub(&env);
        let drip = async {
            for byte in [1u8, 1, 0, 0, 0, 9] {
                env.sleep(Duration::from_secs(9)).await;
                // The hub may have hung up.
                let _ = pipe.write_all(&[byte]).await;
            }
        };
        let (closed, ()) = tokio::join!(hub.closed(), drip);
        assert_eq!(closed, NetError::Closed("a frame was not finished within 40 s".into()));

        let (mut pipe, hub) = self::hub(&env);
        pipe.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let NetError::Closed(reason) = hub.closed().await else { panic!() };
        let mut heard = Vec::new();
        pipe.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard[0], 11);
        assert_eq!(String::from_utf8_lossy(&heard[7..]), reason);
        assert!(reason.contains("larger than is allowed"), "{reason}");
    });
}

#[test]
fn a_peer_that_takes_no_bytes_holds_neither_the_closer_nor_its_task() {
    Virtual::run(async |env| {
        let (pipe, hub) = self::hub(&env);
        let (mut sender, _receiver) = hub.open_bi().await.unwrap();
        let full = env.timeout(Duration::from_secs(5), sender.write(Bytes::from(vec![0; 1 << 20]))).await;
        assert!(full.is_none());
        hub.close("enough");
        assert_eq!(hub.closed().await, NetError::Closed("enough".into()));
        env.sleep(limits::CLOSE_LINGER * 2).await;
        let (mut rest, mut pipe) = (Vec::new(), pipe);
        // It was let go without the last word: the pipe just ends.
        pipe.read_to_end(&mut rest).await.unwrap();
        assert!(!String::from_utf8_lossy(&rest).contains("enough"));
    });
}
