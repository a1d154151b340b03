//! Targets of the codecs that read what clients of the API say: SPDY, WebSocket and its channels, and protobuf.

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use holdfast_server::codec::protobuf::{decode, document};
use holdfast_server::limits::{SPDY_CONTROL_FRAME, SPDY_HEADER_BLOCK, SPDY_STREAMS, WS_MESSAGE};
use holdfast_server::stream::channel::{self, Protocol};
use holdfast_server::stream::spdy::engine::{Engine, Event};
use holdfast_server::stream::spdy::frame::{self, FrameReader, Reset};
use holdfast_server::stream::spdy::headers::HeaderWriter;
use holdfast_server::stream::websocket as socket;
use serde_json::json;
use std::io::{self, Read, Write};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

/// Bytes of the head of a SPDY frame.
const SPDY_HEAD: usize = 8;
/// Pieces that a network may make of an input, at most so large.
const PIECE: usize = 41;
/// A close, with the longest reason that a control frame has (RFC 6455 section 5.5).
const CLOSE: usize = 2 + 125;

/// A client's whole talk: streams opened, data, pings, resets, the goodbye.
fn spdy_talk() -> Vec<u8> {
    let mut headers = HeaderWriter::default();
    let mut talk = Vec::new();
    for (id, sort) in [(1, "error"), (3, "data")] {
        let block = headers.block(&[("streamtype", sort), ("port", "8080"), ("requestid", "0")]);
        talk.extend_from_slice(&frame::syn_stream(id, &block, sort == "error"));
    }
    for part in [frame::data(3, b"GET / HTTP/1.1\r\n\r\n", false), frame::ping(1), frame::data(3, b"", true)] {
        talk.extend_from_slice(&part);
    }
    talk.extend_from_slice(&frame::rst(1, Reset::Cancel));
    talk.extend_from_slice(&frame::go_away(0, false));
    talk
}

/// What the SPDY target begins with.
pub(crate) fn spdy_corpus() -> Vec<Vec<u8>> {
    vec![spdy_talk(), frame::ping(1).to_vec(), Vec::new()]
}

/// Any bytes, however they are cut: what is held and what is answered stays bounded, and an answer is itself a talk that
/// can be read.
pub(crate) fn spdy(input: &[u8]) -> Result<()> {
    let mut engine = Engine::default();
    let mut held = FrameReader::default();
    let mut answers = FrameReader::default();
    let (mut open, mut broken) = (0_usize, false);
    for piece in input.chunks(1 + input.len() % PIECE) {
        held.push(piece);
        while let Ok(Some(_)) = held.next_frame() {}
        engine.push(piece);
        loop {
            match engine.next_event() {
                Ok(Some(Event::Opened { id, headers, .. })) => {
                    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                    // What is no UTF-8 grows when it is replaced.
                    ensure!(bytes <= 3 * SPDY_HEADER_BLOCK, "{bytes} bytes of headers came out of one block");
                    open += 1;
                    if id % 4 == 1 { engine.accept(id) } else { engine.reset(id) }
                }
                Ok(Some(Event::Data { data, .. })) => {
                    ensure!(data.len() <= input.len(), "data grew to {} bytes", data.len());
                }
                Ok(Some(Event::Reset { .. })) => {}
                Ok(None) => break,
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        if broken {
            break;
        }
        ensure!(held.buffered() <= SPDY_CONTROL_FRAME + SPDY_HEAD + PIECE, "{} bytes are held", held.buffered());
        let said = engine.take_output();
        ensure!(said.len() <= PIECE, "one piece was answered by {} frames", said.len());
        for frame in said {
            answers.push(&frame);
            while answers.next_frame()?.is_some() {}
        }
    }
    ensure!(open <= input.len() / SPDY_HEAD && SPDY_STREAMS > 0, "{open} streams of {} bytes", input.len());
    Ok(())
}

/// A connection that brought these bytes, and takes what is answered.
struct Connection<'i> {
    input: &'i [u8],
    answered: usize,
}

impl Read for Connection<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // In pieces, so that no frame comes as a whole.
        let length = into.len().min(self.input.len()).min(PIECE);
        let (piece, rest) = self.input.split_at(length);
        into[..length].copy_from_slice(piece);
        self.input = rest;
        Ok(length)
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answered += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the WebSocket target begins with: what a client says, whole and in parts, with pings between and a close at the end.
pub(crate) fn websocket_corpus() -> Vec<Vec<u8>> {
    /// A frame of a client (RFC 6455 section 5.2), masked with zeros.
    fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![head];
        match u16::try_from(payload.len()) {
            Ok(length) if length < 126 => bytes.push(0x80 | u8::try_from(length).unwrap_or(125)),
            Ok(length) => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        bytes
    }
    let resize = b"\x04{\"Width\":80,\"Height\":24}";
    let talk = [
        frame(0x82, b"\0input"),
        frame(0x02, resize),
        frame(0x89, b"ping"),
        frame(0x00, b"more"),
        frame(0x80, &[7; 300]),
        frame(0x81, b"0aW5wdXQ="),
        frame(0x88, &[0x03, 0xe8]),
    ];
    vec![talk.concat(), frame(0x82, &vec![1; 70_000]), frame(0x8a, b""), Vec::new()]
}

/// What a client sends on a WebSocket: messages of bounded length, answers that are not longer than what was said, and an end.
pub(crate) fn websocket(input: &[u8]) -> Result<()> {
    let connection = Connection { input, answered: 0 };
    let mut socket = WebSocket::from_raw_socket(connection, Role::Server, Some(socket::config()));
    let (mut messages, mut bytes) = (0, 0);
    // Whatever it is that ends it.
    while let Ok(message) = socket.read() {
        messages += 1;
        bytes += message.len();
        ensure!(message.len() <= WS_MESSAGE, "a message of {} bytes", message.len());
        ensure!(
            messages <= input.len() && bytes <= input.len(),
            "{messages} messages of {bytes} bytes of {}",
            input.len()
        );
    }
    let answered = socket.get_ref().answered;
    ensure!(answered <= input.len() + CLOSE, "{answered} bytes answer {}", input.len());
    Ok(())
}

/// What the target of channels begins with.
pub(crate) fn channel_corpus() -> Vec<Vec<u8>> {
    let messages: [&[u8]; 5] = [b"\0input", b"\x04{\"Width\":80,\"Height\":24}", b"\xff\0", b"0aW5wdXQ=", b""];
    messages.map(<[u8]>::to_vec).into()
}

/// Any message, in every protocol: it is read or ignored, and what is written is read again.
pub(crate) fn channels(input: &[u8]) -> Result<()> {
    let message = Bytes::copy_from_slice(input);
    for name in channel::NAMES {
        let protocol = Protocol::of(name);
        channel::decode(protocol, message.clone());
        let channel = input.first().map_or(0, |byte| byte % 80);
        let written = channel::encode(protocol.base64, channel, input);
        let read = channel::split(protocol.base64, written);
        ensure!(read == Some((channel, message.clone())), "{name:?}: wrote {input:02x?} and read {read:02x?}");
    }
    Ok(())
}

/// What the protobuf target begins with: objects with most types of fields.
pub(crate) fn protobuf_corpus() -> Vec<Vec<u8>> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"a": "b", "c": ""},
        "creationTimestamp": "2026-11-24T01:50:06Z", "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}, "livenessProbe":
            {"httpGet": {"port": "http"}, "periodSeconds": 3}}], "volumes": [{"name": "v", "emptyDir": {}}]}});
    let schema = json!({"type": "object", "additionalProperties": false, "properties": {"a": {"items": {"type": "string"},
        "default": [1], "maximum": 0.5, "additionalProperties": {"enum": [null, "x"]}}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "b"}, "spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "eA=="}, "immutable": false});
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "spec": {"renewTime": "2026-11-24T01:50:06.250000Z", "leaseDurationSeconds": -1}});
    [pod, definition, secret, lease].iter().filter_map(|object| document(object).ok()).collect()
}

/// What is read can be written, and is then read as what was written.
pub(crate) fn protobuf(input: &[u8]) -> Result<()> {
    let Ok(object) = decode(input) else { return Ok(()) };
    // Years that no text has, and types of others' making.
    let Ok(written) = document(&object) else { return Ok(()) };
    let again = decode(&written).map_err(|err| anyhow!("{object} was written and not read: {err}"))?;
    ensure!(document(&again)? == written, "read {object}, wrote it, and read {again}");
    Ok(())
}
