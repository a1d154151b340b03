//! TCP connections to pods, as the streams that calls over the link are joined to.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use holdfast_env::{BiStream, NetError, RecvStream, SendStream};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How long an address is tried.
const DIAL: Duration = Duration::from_secs(5);

/// Connects from the node's own network.
pub(crate) async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match tokio::time::timeout(DIAL, TcpStream::connect(&address)).await {
        Ok(connected) => connected.map_err(|err| format!("dial tcp {address}: {err}")),
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
    }
}

/// Both halves of a connection.
pub(crate) fn halves(stream: TcpStream) -> BiStream {
    // A prompt answer is better; a kernel that cannot is good enough.
    let _ = stream.set_nodelay(true);
    let (receiver, sender) = stream.into_split();
    (Box::new(Sender(sender)), Box::new(Receiver(receiver)))
}

fn broken(err: &std::io::Error) -> NetError {
    NetError::Closed(err.to_string())
}

struct Sender(OwnedWriteHalf);

#[async_trait]
impl SendStream for Sender {
    async fn write(&mut self, data: Bytes) -> Result<(), NetError> {
        self.0.write_all(&data).await.map_err(|err| broken(&err))
    }

    async fn finish(&mut self) -> Result<(), NetError> {
        match self.0.shutdown().await {
            // The pod has closed its side already.
            Err(err) if err.kind() == std::io::ErrorKind::NotConnected => Ok(()),
            done => done.map_err(|err| broken(&err)),
        }
    }

    fn reset(&mut self, _code: u64) {
        // Without lingering, closing tells the pod of a reset rather than of an end in order.
        let stream: &TcpStream = self.0.as_ref();
        let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    }
}

struct Receiver(OwnedReadHalf);

#[async_trait]
impl RecvStream for Receiver {
    async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError> {
        let mut data = BytesMut::with_capacity(max.min(32 << 10));
        let count = self.0.read_buf(&mut data).await.map_err(|err| broken(&err))?;
        Ok((count > 0).then(|| data.freeze()))
    }

    fn stop(&mut self, _code: u64) {}
}
