//! Streams to a node that is linked to another hub of the cluster: a connection a stream, one hop.
//!
//! The hub that wants a stream dials the one that has the node ([`Relayed`]), and names the node; the other opens a stream to
//! the node and joins the two ([`serve`]), and never asks a third one. After the answer the stream is what it would be over
//! the node's own connection, so calls know nothing of it. Both show the certificate of a hub. A connection for each costs a
//! handshake, and needs no pool, no bound on streams and no rule about who keeps it.
//!
//! Tasks: one a stream at the hub that dialled, which says now and then that it is still there.

use crate::call::counted;
use crate::framed::{FrameRecv, LinkError, send};
use crate::traffic::Traffic;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_env::{BiStream, Connection, NetError, RecvStream, Task, Transport, World, splice};
use holdfast_link_engine::wire::{RelayReply, RelayRequest};
use std::sync::Arc;
use std::time::Duration;

/// How long a hub may take to open a stream, or to ask for one.
const OPEN: Duration = Duration::from_secs(10);
/// Between two signs of life of a stream that says nothing. [`crate::TcpDialer`] and [`crate::TcpListener`] of hubs are made
/// with it, so that they bear several being late.
pub const SIGN: Duration = Duration::from_secs(10);
/// How long the hub that was called waits, after the end of both directions, until the other one has read all and goes.
const LINGER: Duration = Duration::from_secs(30);

/// The way to a node through another hub, as a connection that can do nothing but open streams.
pub struct Relayed {
    env: World,
    hub: Arc<dyn Connection>,
    node: RelayRequest,
}

impl Relayed {
    /// Over a fresh connection to the hub that has the node. One stream.
    pub fn new(env: World, hub: Arc<dyn Connection>, node: RelayRequest) -> Arc<Relayed> {
        Arc::new(Relayed { env, hub, node })
    }

    async fn open(&self) -> Result<BiStream, LinkError> {
        let (mut sender, receiver) = self.hub.open_bi().await?;
        let mut frames = FrameRecv::of_stranger(receiver);
        send(&mut sender, &self.node).await?;
        let answer = self.env.timeout(OPEN, frames.expect::<RelayReply>()).await.ok_or(LinkError::Timeout)?;
        if let RelayReply::Refused { reason } = answer? {
            return Err(NetError::Refused(reason).into());
        }
        let (env, hub) = (self.env.clone(), self.hub.clone());
        let signs = async move {
            loop {
                env.sleep(SIGN).await;
                if hub.send_datagram(Bytes::new()).is_err() {
                    return;
                }
            }
        };
        let alive = self.env.spawn("relay-alive", Box::pin(signs));
        Ok((sender, Box::new(Kept { stream: frames.into_bytes(), _alive: alive })))
    }
}

/// A stream with what keeps its connection alive.
struct Kept {
    stream: Box<dyn RecvStream>,
    _alive: Task,
}

#[async_trait]
impl RecvStream for Kept {
    async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError> {
        self.stream.read(max).await
    }

    fn stop(&mut self, code: u64) {
        self.stream.stop(code);
    }
}

#[async_trait]
impl Connection for Relayed {
    async fn open_bi(&self) -> Result<BiStream, NetError> {
        self.open().await.map_err(|err| match err {
            LinkError::Net(err) => err,
            other => NetError::Closed(format!("the hub that has the node: {other}")),
        })
    }

    async fn accept_bi(&self) -> Result<BiStream, NetError> {
        Err(self.hub.closed().await)
    }

    fn send_datagram(&self, _data: Bytes) -> Result<(), NetError> {
        Err(NetError::Closed("another hub carries no datagrams to a node".into()))
    }

    async fn recv_datagram(&self) -> Result<Bytes, NetError> {
        Err(self.hub.closed().await)
    }

    fn close(&self, reason: &str) {
        self.hub.close(reason);
    }

    async fn closed(&self) -> NetError {
        self.hub.closed().await
    }

    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        self.hub.peer_certificates()
    }

    fn peer_address(&self) -> String {
        self.hub.peer_address()
    }

    fn local_address(&self) -> Option<String> {
        self.hub.local_address()
    }

    fn transport(&self) -> Transport {
        self.hub.transport()
    }
}

/// Serves the stream that a hub asks for, to its end. `reach` gives the connection of a node that is linked here, or says why
/// there is none. The node's side is counted in `traffic`.
///
/// # Errors
/// What broke off.
pub async fn serve(
    env: &World,
    hub: &Arc<dyn Connection>,
    traffic: &Arc<Traffic>,
    reach: impl FnOnce(&RelayRequest) -> Result<Arc<dyn Connection>, String>,
) -> Result<(), LinkError> {
    let asked = async {
        let (sender, receiver) = hub.accept_bi().await?;
        let mut frames = FrameRecv::of_stranger(receiver);
        let request: RelayRequest = frames.expect().await?;
        Ok::<_, LinkError>((sender, frames, request))
    };
    let (mut sender, frames, request) = env.timeout(OPEN, asked).await.unwrap_or(Err(LinkError::Timeout))?;
    let opened = match reach(&request) {
        Ok(node) => match env.timeout(OPEN, node.open_bi()).await {
            Some(opened) => opened.map_err(|err| format!("the link to node {:?} was lost: {err}", request.node_name)),
            None => Err(format!("node {:?} takes no further call", request.node_name)),
        },
        Err(reason) => Err(reason),
    };
    match opened {
        Err(reason) => {
            send(&mut sender, &RelayReply::Refused { reason }).await?;
            sender.finish().await?;
        }
        Ok((to_node, from_node)) => {
            send(&mut sender, &RelayReply::Opened).await?;
            let (to_node, from_node) = counted(to_node, FrameRecv::new(from_node), traffic);
            splice((sender, frames.into_bytes()), (to_node, from_node.into_bytes())).await?;
        }
    }
    env.timeout(LINGER, hub.closed()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mux::{Peer, connection};
    use crate::testing::Virtual;
    use holdfast_env::testing::echo;
    use holdfast_link_engine::mux::Side;

    const QUIET: Duration = Duration::from_secs(3600);

    fn pair(env: &World, idle: Duration) -> (Arc<dyn Connection>, Arc<dyn Connection>) {
        let (near, far) = tokio::io::duplex(4096);
        let peer = || Peer { certificates: vec![], address: "there".into(), local: None, transport: Transport::Memory };
        let dialled = connection(env, near, Side::Dialer, idle, peer());
        (dialled, connection(env, far, Side::Listener, idle, peer()))
    }

    fn node() -> RelayRequest {
        RelayRequest { node_name: "edge".into(), node_uid: "u".into() }
    }

    async fn said(stream: &mut Box<dyn RecvStream>) -> Option<Bytes> {
        stream.read(100).await.unwrap()
    }

    #[test]
    fn a_stream_through_another_hub_bears_an_hour_of_silence() {
        Virtual::run(async |env| {
            let (calls, called) = pair(&env, SIGN * 4);
            let (at_node, at_hub) = pair(&env, QUIET * 2);
            let (world, traffic) = (env.clone(), Arc::default());
            let serves = async move {
                let reach = |asked: &RelayRequest| if *asked == node() { Ok(at_hub) } else { Err("another".into()) };
                let _ = serve(&world, &called, &traffic, reach).await;
            };
            let _served = env.spawn("serve", Box::pin(serves));
            let answers = async move {
                let stream = at_node.accept_bi().await.unwrap();
                splice(stream, echo()).await.unwrap();
                at_node.closed().await;
            };
            let _answered = env.spawn("node", Box::pin(answers));
            let relayed = Relayed::new(env.clone(), calls, node());
            let (mut to, mut from) = relayed.open_bi().await.unwrap();
            drop(relayed);
            for word in ["one", "two"] {
                to.write(Bytes::from(word)).await.unwrap();
                assert_eq!(said(&mut from).await.unwrap(), word);
                env.sleep(QUIET).await;
            }
            to.finish().await.unwrap();
            assert_eq!(said(&mut from).await, None);
        });
    }

    #[test]
    fn what_the_other_hub_says_no_to_is_told() {
        Virtual::run(async |env| {
            let (calls, called) = pair(&env, SIGN * 4);
            let (world, traffic) = (env.clone(), Arc::default());
            let serves = async move {
                let _ = serve(&world, &called, &traffic, |_| Err("not here".into())).await;
            };
            let _served = env.spawn("serve", Box::pin(serves));
            let refused = Relayed::new(env.clone(), calls, node()).open_bi().await.map(|_| ()).unwrap_err();
            assert_eq!(refused, NetError::Refused("not here".into()));
        });
    }
}
