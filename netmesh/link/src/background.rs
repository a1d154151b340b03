//! Writing without waiting for the path: objects and facts may take long on a slow link, and meanwhile a driver has
//! heartbeats to send and to answer, and acknowledgements to read.

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_env::{NetError, SendStream, Task, World};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Frames that wait on one stream; whoever writes more waits for the path after all. The engines have one batch under
/// way at a time, and a question or an answer beside it.
const QUEUE: usize = 4;

/// A stream that a task of its own writes to. An error shows at the next write; what is waiting goes with the handle.
pub(crate) struct Background {
    queue: Option<mpsc::Sender<Bytes>>,
    failed: Arc<Mutex<Option<NetError>>>,
    /// Becomes the stream again once all is written.
    returned: Option<tokio::sync::oneshot::Receiver<Box<dyn SendStream>>>,
    _task: Task,
}

impl Background {
    /// Writes to `stream` from now on.
    pub(crate) fn start(env: &World, mut stream: Box<dyn SendStream>) -> Box<dyn SendStream> {
        let (queue, mut queued) = mpsc::channel::<Bytes>(QUEUE);
        let failed: Arc<Mutex<Option<NetError>>> = Arc::default();
        let (give_back, returned) = tokio::sync::oneshot::channel();
        let note = failed.clone();
        let write = async move {
            while let Some(data) = queued.recv().await {
                if let Err(err) = stream.write(data).await {
                    *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(err);
                    return;
                }
            }
            // Nobody waits for it when the handle is gone.
            let _ = give_back.send(stream);
        };
        let task = env.spawn("link-writer", Box::pin(write));
        Box::new(Background { queue: Some(queue), failed, returned: Some(returned), _task: task })
    }

    fn error(&self) -> NetError {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failed.unwrap_or_else(|| NetError::Closed("the stream has ended".into()))
    }
}

#[async_trait]
impl SendStream for Background {
    async fn write(&mut self, data: Bytes) -> Result<(), NetError> {
        let Some(queue) = &self.queue else { return Err(self.error()) };
        queue.send(data).await.map_err(|_| self.error())
    }

    async fn finish(&mut self) -> Result<(), NetError> {
        self.queue = None;
        let Some(returned) = self.returned.take() else { return Err(self.error()) };
        returned.await.map_err(|_| self.error())?.finish().await
    }

    fn reset(&mut self, _code: u64) {
        // What is waiting is dropped with the task, and the stream with it.
        (self.queue, self.returned) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_env::host::HostEnv;
    use tokio::sync::Semaphore;

    /// Takes a frame for each permit; without any more it breaks once closed.
    struct Slow(Arc<Semaphore>, Arc<Mutex<Vec<Bytes>>>);

    #[async_trait]
    impl SendStream for Slow {
        async fn write(&mut self, data: Bytes) -> Result<(), NetError> {
            self.0.acquire().await.map_err(|_| NetError::Reset(7))?.forget();
            self.1.lock().unwrap().push(data);
            Ok(())
        }
        async fn finish(&mut self) -> Result<(), NetError> {
            self.write(Bytes::from_static(b"end")).await
        }
        fn reset(&mut self, _code: u64) {}
    }

    #[tokio::test]
    async fn a_slow_path_holds_nobody_up_and_nothing_is_lost() {
        let (permits, written) = (Arc::new(Semaphore::new(0)), Arc::<Mutex<Vec<Bytes>>>::default());
        let env: World = HostEnv::new("/nonexistent");
        let mut stream = Background::start(&env, Box::new(Slow(permits.clone(), written.clone())));
        for n in 0..QUEUE {
            stream.write(vec![n as u8].into()).await.unwrap();
        }
        assert!(written.lock().unwrap().is_empty());
        permits.add_permits(QUEUE + 1);
        stream.finish().await.unwrap();
        let expected: Vec<Bytes> =
            (0..QUEUE).map(|n| vec![n as u8].into()).chain([Bytes::from_static(b"end")]).collect();
        assert_eq!(*written.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn an_error_shows_at_a_later_write() {
        let permits = Arc::new(Semaphore::new(0));
        let env: World = HostEnv::new("/nonexistent");
        let mut stream = Background::start(&env, Box::new(Slow(permits.clone(), Arc::default())));
        permits.close();
        let err = loop {
            if let Err(err) = stream.write(Bytes::from_static(b"x")).await {
                break err;
            }
        };
        assert_eq!(err, NetError::Reset(7));
        assert_eq!(stream.finish().await, Err(NetError::Reset(7)));
    }
}
