//! A watch as it is written, flushed as soon as there is an event: a line of JSON each, or a message behind its length.

use super::accept::{Encoding, Negotiated, Shape};
use super::protobuf::{self, ObjectWriter};
use super::table::{TableMaker, write_partial};
use crate::limits::WATCH_FRAME;
use bytes::Bytes;
use holdfast_core::{Object, Status, Timestamp, Watch, WatchEvent};
use holdfast_env::World;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Writes events in the shape that the client asked for.
pub struct EventWriter {
    shape: Shape,
    /// Where events are messages.
    protobuf: Option<Box<ObjectWriter>>,
    table: TableMaker,
    world: World,
    first: bool,
    /// Counts what was written.
    written: Arc<AtomicU64>,
}

impl EventWriter {
    /// A writer of what was agreed, which counts the events in `written`.
    pub fn new(negotiated: Negotiated, table: TableMaker, world: World, written: Arc<AtomicU64>) -> EventWriter {
        let Negotiated { encoding, shape } = negotiated;
        let protobuf = (encoding == Encoding::Protobuf).then(|| Box::new(ObjectWriter::new(shape)));
        EventWriter { shape, protobuf, table, world, first: true, written }
    }

    /// Appends an event.
    ///
    /// # Errors
    /// 500 for an object that does not encode.
    pub fn event(&mut self, event: &WatchEvent, out: &mut Vec<u8>) -> Result<(), Status> {
        self.written.fetch_add(1, Ordering::Relaxed);
        let event_type = event.event_type.as_str();
        if let Some(writer) = &mut self.protobuf {
            return protobuf::event(event_type, out, |out| writer.write(&event.object, out));
        }
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(event_type.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        self.object(&event.object, out);
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    /// Appends the event that ends a watch with an error.
    fn error(&self, status: &Status, out: &mut Vec<u8>) {
        let object = serde_json::to_value(status).unwrap_or_default();
        if self.protobuf.is_some() {
            // A Status is always described.
            let _ = protobuf::event("ERROR", out, |out| {
                out.extend_from_slice(&protobuf::document(&object)?);
                Ok(())
            });
            return;
        }
        out.extend_from_slice(format!("{{\"type\":\"ERROR\",\"object\":{object}}}\n").as_bytes());
    }

    /// The events of a frame that was written here, one by one and without what separates them.
    pub fn events<'f>(&self, frame: &'f [u8]) -> Vec<&'f [u8]> {
        match self.protobuf {
            Some(_) => protobuf::events(frame),
            None => frame.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect(),
        }
    }

    /// Whether what is written is text.
    pub fn is_text(&self) -> bool {
        self.protobuf.is_none()
    }

    fn object(&mut self, object: &Object, out: &mut Vec<u8>) {
        match self.shape {
            Shape::Whole => object.write_json(out),
            Shape::Metadata => write_partial(object, out),
            Shape::Table => {
                let now = Timestamp::from_wall(self.world.wall().0);
                // Only the first event of a watch describes the columns, as upstream does.
                let with_columns = std::mem::take(&mut self.first);
                let metadata = serde_json::json!({"resourceVersion": object.revision.to_string()});
                self.table.write([object], &metadata, with_columns, now, out);
            }
        }
    }
}

/// A running watch.
pub struct WatchBody {
    watch: Watch,
    writer: EventWriter,
    deadline: Pin<Box<Sleep>>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    done: bool,
    /// Lives as long as the watch; counts it.
    _guard: Box<dyn std::any::Any + Send>,
}

impl WatchBody {
    /// Writes `watch` for at most `limit`, or until `closing` is cancelled.
    pub fn new(
        watch: Watch,
        writer: EventWriter,
        limit: Duration,
        closing: CancellationToken,
        guard: Box<dyn std::any::Any + Send>,
    ) -> WatchBody {
        WatchBody {
            watch,
            writer,
            deadline: Box::pin(tokio::time::sleep(limit)),
            closing: Box::pin(closing.cancelled_owned()),
            done: false,
            _guard: guard,
        }
    }

    /// What writes the events.
    pub fn writer(&self) -> &EventWriter {
        &self.writer
    }

    /// The next bytes: what is there now, up to a bound. `None` ends the answer.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.done || self.deadline.as_mut().poll(cx).is_ready() || self.closing.as_mut().poll(cx).is_ready() {
            self.done = true;
            return Poll::Ready(None);
        }
        let mut out = Vec::new();
        while out.len() < WATCH_FRAME {
            match self.watch.poll_next(cx) {
                Poll::Ready(Some(Ok(event))) => {
                    if let Err(status) = self.writer.event(&event, &mut out) {
                        self.writer.error(&status, &mut out);
                        self.done = true;
                        break;
                    }
                }
                Poll::Ready(Some(Err(status))) => {
                    self.writer.error(&status, &mut out);
                    self.done = true;
                    break;
                }
                Poll::Ready(None) => {
                    self.done = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if !out.is_empty() {
            return Poll::Ready(Some(out.into()));
        }
        if self.done { Poll::Ready(None) } else { Poll::Pending }
    }
}
