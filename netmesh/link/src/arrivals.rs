//! What the other tasks of a connection hand to its driver, of either end.

use crate::framed::FrameRecv;
use holdfast_env::{SendStream, World};
use holdfast_link_engine::{Frame, Stream};
use tokio::sync::mpsc;

/// Inputs that wait for the engine; a full queue makes the readers wait, and so the peer.
pub(crate) const INPUTS: usize = 64;

/// Something for the driver, whose engine takes `I`.
pub(crate) enum Arrived<I> {
    Input(I),
    /// A stream that the peer opened: its first frame comes after this.
    Opened(Stream, Box<dyn SendStream>),
    /// A stream ended, or what it carries cannot be read or applied: so must the connection.
    Broken(String),
}

/// Hands over the frames of a stream, each as what `input` makes of it, to the stream's end.
pub(crate) async fn read_frames<I>(
    env: World,
    stream: Stream,
    mut frames: FrameRecv,
    inputs: mpsc::Sender<Arrived<I>>,
    input: fn(Stream, Frame) -> I,
) {
    loop {
        let arrived = match frames.next_in_time(&env).await {
            Ok(Some(frame)) => Arrived::Input(input(stream, frame)),
            Ok(None) => Arrived::Broken(format!("the peer ended the {stream:?} stream")),
            Err(err) => Arrived::Broken(err.to_string()),
        };
        let last = matches!(arrived, Arrived::Broken(_));
        if inputs.send(arrived).await.is_err() || last {
            return;
        }
    }
}
