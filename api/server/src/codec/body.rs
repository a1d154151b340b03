//! Bodies of answers: whole, as frames of a list, as a running watch, as bytes that come.

use super::accept::Shape;
use super::protobuf::{self, ObjectWriter};
use super::watch::WatchBody;
use crate::audit::Trail;
use crate::limits::{LIST_FRAME, LIST_KEPT};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use holdfast_core::{Json, Object, Status};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Why a body broke off. The client sees a broken transfer.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub enum Body {
    /// All of it.
    Full(Option<Bytes>),
    /// A list, spliced from stored bodies as the client takes it.
    List(Box<ListBody>),
    /// A watch.
    Watch(Box<WatchBody>),
    /// Bytes as they come (logs); the first chunk was read ahead. What is noted of the request ends with it.
    Stream(Option<Bytes>, mpsc::Receiver<Result<Bytes, Status>>, Option<Arc<Trail>>),
    /// What something behind the proxy answers.
    Proxied(Box<Incoming>),
    /// The same, changed piece by piece on its way.
    Changed(Box<Changed>),
}

/// Changes a body piece by piece.
pub trait Change: Send {
    /// What becomes of the next piece; some of it may be held back.
    fn push(&mut self, piece: &[u8]) -> Vec<u8>;

    /// What was held back, when nothing more comes.
    fn end(&mut self) -> Vec<u8>;
}

/// A body that is changed on its way.
pub struct Changed {
    body: Option<Incoming>,
    change: Box<dyn Change>,
}

impl Changed {
    /// `body` as `change` changes it.
    pub fn new(body: Incoming, change: impl Change + 'static) -> Changed {
        Changed { body: Some(body), change: Box::new(change) }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            let changed = match std::task::ready!(http_body::Body::poll_frame(Pin::new(body), cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => self.change.push(&piece),
                    // What follows a body is about the one that was sent.
                    Err(_) => continue,
                },
                Some(Err(err)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(err.into())));
                }
                None => {
                    self.body = None;
                    self.change.end()
                }
            };
            if !changed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(changed.into()))));
            }
        }
    }
}

impl Body {
    /// No bytes.
    pub fn empty() -> Body {
        Body::Full(None)
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        Body::Full(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }

    /// How many bytes it has, where that is known.
    pub fn exact_size(&self) -> Option<u64> {
        match self {
            Body::Full(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Body::List(list) => list.remaining_bytes(),
            Body::Watch(_) | Body::Stream(..) | Body::Changed(_) => None,
            Body::Proxied(body) => http_body::Body::size_hint(&**body).exact(),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::List(list) => Poll::Ready(list.next_frame().map(|frame| frame.map(Frame::data))),
            Body::Watch(watch) => watch.poll_frame(cx).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes)))),
            Body::Changed(changed) => changed.poll_frame(cx),
            Body::Proxied(body) => {
                Pin::new(&mut **body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Body::Stream(first, rest, _) => match first.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => rest.poll_recv(cx).map(|chunk| {
                    chunk.map(|chunk| chunk.map(Frame::data).map_err(|status| Box::new(status) as BodyError))
                }),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(bytes) => bytes.is_none(),
            Body::Proxied(body) => body.is_end_stream(),
            _ => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.exact_size().map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// A list as it is written: a head, items, a tail.
pub struct ListBody {
    head: Vec<u8>,
    /// Items that were written already.
    kept: Bytes,
    items: std::vec::IntoIter<Arc<Object>>,
    form: Form,
    tail: &'static [u8],
    remaining: u64,
    done: bool,
    gzip: Option<GzEncoder<Vec<u8>>>,
    sent: u64,
    at_end: Option<AtEnd>,
}

/// Is told how many bytes went out.
type AtEnd = Box<dyn FnOnce(u64) + Send>;

impl Drop for ListBody {
    fn drop(&mut self) {
        if let Some(at_end) = self.at_end.take() {
            at_end(self.sent);
        }
    }
}

/// How the items of a list are written.
enum Form {
    /// As JSON with commas between.
    Json { first: bool },
    /// As messages.
    Protobuf(Box<ObjectWriter>),
}

impl ListBody {
    /// The list whose JSON before the items is `head` (it ends with `[`).
    pub fn new(head: Vec<u8>, items: Vec<Arc<Object>>) -> ListBody {
        let commas = items.len().saturating_sub(1) as u64;
        let bodies: u64 = items.iter().map(|item| item.json_len() as u64).sum();
        ListBody::of(head, Bytes::new(), items.into_iter(), Form::Json { first: true }, b"]}\n", bodies + commas)
    }

    /// The list as a message. The length of a message stands before it, so all items are written once before the first
    /// byte goes out; what is long of them is not kept but written again.
    ///
    /// # Errors
    /// 500 for an item that does not encode.
    pub async fn protobuf(
        api_version: &str,
        kind: &str,
        metadata: &Json,
        mut items: Vec<Arc<Object>>,
        shape: Shape,
    ) -> Result<ListBody, Status> {
        let mut writer = ObjectWriter::new(shape);
        let (mut kept, mut whole, mut length, mut since) = (Vec::new(), 0, 0, 0);
        let mut scratch = Vec::new();
        for item in &items {
            scratch.clear();
            protobuf::put_item(&mut scratch, writer.bare(item)?);
            length += scratch.len();
            since += scratch.len();
            if kept.len() < LIST_KEPT {
                kept.extend_from_slice(&scratch);
                whole += 1;
            }
            // Others may want the thread.
            if since >= LIST_FRAME {
                since = 0;
                tokio::task::yield_now().await;
            }
        }
        let head = protobuf::list_head(api_version, kind, metadata, length)?;
        items.drain(..whole);
        let form = Form::Protobuf(Box::new(writer));
        Ok(ListBody::of(head, kept.into(), items.into_iter(), form, protobuf::TAIL, length as u64))
    }

    fn of(
        head: Vec<u8>,
        kept: Bytes,
        items: std::vec::IntoIter<Arc<Object>>,
        form: Form,
        tail: &'static [u8],
        bodies: u64,
    ) -> ListBody {
        let remaining = head.len() as u64 + bodies + tail.len() as u64;
        ListBody { head, kept, items, form, tail, remaining, done: false, gzip: None, sent: 0, at_end: None }
    }

    /// Bytes that are still to come, before they are compressed.
    pub fn bytes(&self) -> u64 {
        self.remaining
    }

    /// Compresses what follows.
    #[must_use]
    pub fn compressed(mut self) -> ListBody {
        self.gzip = Some(GzEncoder::new(Vec::new(), Compression::fast()));
        self
    }

    /// Has `at_end` told how many bytes went out, once no more will.
    pub fn measure(&mut self, at_end: impl FnOnce(u64) + Send + 'static) {
        self.at_end = Some(Box::new(at_end));
    }

    fn remaining_bytes(&self) -> Option<u64> {
        self.gzip.is_none().then_some(self.remaining)
    }

    fn next_frame(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            if self.done {
                return None;
            }
            let bytes = match self.next_bytes() {
                Ok(bytes) => bytes,
                Err(status) => {
                    self.done = true;
                    return Some(Err(status.into()));
                }
            };
            self.done = self.remaining == 0;
            match self.gzip.take() {
                None => {
                    self.sent += bytes.len() as u64;
                    return Some(Ok(bytes));
                }
                Some(gzip) => match compress(gzip, &bytes, self.done) {
                    Err(err) => return Some(Err(err.into())),
                    Ok((gzip, out)) => {
                        self.gzip = gzip;
                        if !out.is_empty() {
                            self.sent += out.len() as u64;
                            return Some(Ok(out.into()));
                        }
                    }
                },
            }
        }
    }

    fn next_bytes(&mut self) -> Result<Bytes, Status> {
        let mut out = std::mem::take(&mut self.head);
        out.reserve(LIST_FRAME.saturating_sub(out.len()));
        out.extend_from_slice(&self.kept.split_to(LIST_FRAME.min(self.kept.len())));
        while out.len() < LIST_FRAME {
            let Some(item) = self.items.next() else {
                out.extend_from_slice(self.tail);
                break;
            };
            match &mut self.form {
                Form::Json { first } => {
                    if !std::mem::take(first) {
                        out.push(b',');
                    }
                    item.write_json(&mut out);
                }
                Form::Protobuf(writer) => protobuf::put_item(&mut out, writer.bare(&item)?),
            }
        }
        self.remaining = self.remaining.saturating_sub(out.len() as u64);
        Ok(out.into())
    }
}

type Compressed = (Option<GzEncoder<Vec<u8>>>, Vec<u8>);

fn compress(mut gzip: GzEncoder<Vec<u8>>, bytes: &[u8], last: bool) -> std::io::Result<Compressed> {
    gzip.write_all(bytes)?;
    if last {
        return Ok((None, gzip.finish()?));
    }
    let out = std::mem::take(gzip.get_mut());
    Ok((Some(gzip), out))
}

/// Compresses a whole answer.
///
/// # Errors
/// Never in practice: the sink is memory.
pub fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use holdfast_core::{Json, Revision};
    use http_body_util::BodyExt;
    use serde_json::json;
    use std::io::Read;

    fn items(count: u64) -> Vec<Arc<Object>> {
        (0..count)
            .map(|i| {
                let doc = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{i}")}, "pad": "x".repeat(300)});
                Arc::new(Object::from_json(doc).unwrap().at_revision(Revision(i * 7)))
            })
            .collect()
    }

    #[tokio::test]
    async fn lists_have_the_length_that_they_announce() {
        for count in [0, 1, 2, 1000] {
            let body = Body::List(Box::new(ListBody::new(b"{\"items\":[".to_vec(), items(count))));
            let announced = body.exact_size().unwrap();
            let bytes = body.collect().await.unwrap().to_bytes();
            assert_eq!(bytes.len() as u64, announced, "{count}");
            let doc: Json = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(doc["items"].as_array().unwrap().len() as u64, count);
        }
    }

    #[tokio::test]
    async fn compressed_lists_say_the_same() {
        let list = ListBody::new(b"{\"items\":[".to_vec(), items(1000)).compressed();
        let bytes = Body::List(Box::new(list)).collect().await.unwrap().to_bytes();
        let mut text = String::new();
        GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        let doc: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(doc["items"].as_array().unwrap().len(), 1000);
        assert!(bytes.len() < text.len() / 5);
    }
}
