//! The bytes of an upgraded connection, plain or inside the messages of a WebSocket.

use super::websocket::{Sink, Socket, push};
use crate::limits;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_tungstenite::tungstenite::protocol::Message;

/// Where bytes come from.
pub(crate) enum WireReader {
    /// The connection itself.
    Plain(ReadHalf<TokioIo<Upgraded>>),
    /// Binary messages, whose borders mean nothing.
    Tunnel(SplitStream<Socket>),
}

/// Where bytes go.
pub(crate) enum WireWriter {
    /// The connection itself.
    Plain(WriteHalf<TokioIo<Upgraded>>),
    /// A binary message each.
    Tunnel(Sink),
}

/// Both halves of the connection itself.
pub(crate) fn plain(upgraded: Upgraded) -> (WireReader, WireWriter) {
    let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
    (WireReader::Plain(reader), WireWriter::Plain(writer))
}

/// Both halves of the bytes within a WebSocket.
pub(crate) fn tunnel(socket: Socket) -> (WireReader, WireWriter) {
    let (sink, stream) = socket.split();
    (WireReader::Tunnel(stream), WireWriter::Tunnel(sink))
}

impl WireReader {
    /// The next bytes; `None` when the client has left, in order or not. Cancel safe.
    pub(crate) async fn read(&mut self) -> Option<Bytes> {
        match self {
            WireReader::Plain(reader) => {
                let mut bytes = BytesMut::with_capacity(limits::WS_CHUNK);
                match reader.read_buf(&mut bytes).await {
                    Ok(count) if count > 0 => Some(bytes.freeze()),
                    _ => None,
                }
            }
            WireReader::Tunnel(stream) => loop {
                match stream.next().await?.ok()? {
                    Message::Binary(bytes) if !bytes.is_empty() => return Some(bytes),
                    Message::Close(_) => return None,
                    _ => {}
                }
            },
        }
    }
}

impl WireWriter {
    /// Sends; a client that takes nothing for too long is given up.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), ()> {
        match self {
            WireWriter::Plain(writer) => {
                let write = async {
                    writer.write_all(&bytes).await?;
                    writer.flush().await
                };
                match tokio::time::timeout(limits::WRITE_STALL, write).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) | Err(_) => Err(()),
                }
            }
            WireWriter::Tunnel(sink) => push(sink, Message::Binary(bytes)).await,
        }
    }

    /// Says that nothing more comes.
    pub(crate) async fn close(&mut self) -> Result<(), ()> {
        match self {
            WireWriter::Plain(writer) => writer.shutdown().await.map_err(|_| ()),
            WireWriter::Tunnel(sink) => push(sink, Message::Close(Some(super::websocket::normal()))).await,
        }
    }
}
