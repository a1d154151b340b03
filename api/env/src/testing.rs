//! Streams for tests of crates that carry them.

use crate::{BiStream, NetError, RecvStream, SendStream};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

/// A stream over channels: what is written goes to `sender`, what is read comes from `receiver`.
pub fn stream_over(sender: mpsc::Sender<Bytes>, receiver: mpsc::Receiver<Bytes>) -> BiStream {
    (Box::new(Sender(Some(sender))), Box::new(Receiver(receiver)))
}

/// A stream to what sends everything back, a chunk at a time.
pub fn echo() -> BiStream {
    let (sender, receiver) = mpsc::channel(1);
    stream_over(sender, receiver)
}

struct Sender(Option<mpsc::Sender<Bytes>>);

#[async_trait]
impl SendStream for Sender {
    async fn write(&mut self, data: Bytes) -> Result<(), NetError> {
        let sender = self.0.as_ref().ok_or(NetError::Reset(0))?;
        sender.send(data).await.map_err(|_| NetError::Reset(0))
    }

    async fn finish(&mut self) -> Result<(), NetError> {
        self.0 = None;
        Ok(())
    }

    fn reset(&mut self, _code: u64) {
        self.0 = None;
    }
}

struct Receiver(mpsc::Receiver<Bytes>);

#[async_trait]
impl RecvStream for Receiver {
    async fn read(&mut self, _max: usize) -> Result<Option<Bytes>, NetError> {
        Ok(self.0.recv().await)
    }

    fn stop(&mut self, _code: u64) {
        self.0.close();
    }
}
