//! Byte streams as readers and writers, for what speaks HTTP over them.

use crate::limits;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use holdfast_env::{BiStream, NetError, RecvStream, SendStream, splice};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The other end of a stream, joined to it by a task that ends with either, or with `closing`.
pub fn io(tasks: &TaskTracker, closing: &CancellationToken, stream: BiStream) -> DuplexStream {
    let (near, far) = tokio::io::duplex(limits::PROXY_BUFFER);
    let (reader, writer) = tokio::io::split(far);
    let closing = closing.clone();
    tasks.spawn(async move {
        tokio::select! {
            // Whoever reads sees that it broke off.
            joined = splice((Box::new(Writer(writer)), Box::new(Reader(reader))), stream) => drop(joined),
            () = closing.cancelled() => {}
        }
    });
    near
}

fn broken(err: &std::io::Error) -> NetError {
    NetError::Closed(err.to_string())
}

struct Writer(WriteHalf<DuplexStream>);

#[async_trait]
impl SendStream for Writer {
    async fn write(&mut self, data: Bytes) -> Result<(), NetError> {
        self.0.write_all(&data).await.map_err(|err| broken(&err))
    }

    async fn finish(&mut self) -> Result<(), NetError> {
        self.0.shutdown().await.map_err(|err| broken(&err))
    }

    fn reset(&mut self, _code: u64) {}
}

struct Reader(ReadHalf<DuplexStream>);

#[async_trait]
impl RecvStream for Reader {
    async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError> {
        let mut data = BytesMut::with_capacity(max.min(limits::PROXY_BUFFER));
        let count = self.0.read_buf(&mut data).await.map_err(|err| broken(&err))?;
        Ok((count > 0).then(|| data.freeze()))
    }

    fn stop(&mut self, _code: u64) {}
}
