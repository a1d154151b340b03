//! Streams over SPDY, plain and inside a WebSocket: exec, and the ports of pods.

use crate::client::ADMIN;
use crate::fake::Hub;
use crate::sessions::{Socket, open_at};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use holdfast_core::Json;
use holdfast_server::stream::spdy::frame::{self, Frame, FrameReader, Reset};
use holdfast_server::stream::spdy::headers::HeaderWriter;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

enum Wire {
    Plain(Box<TlsStream<TcpStream>>),
    Tunnel(Box<Socket>),
}

/// A client's end of a connection.
struct Client {
    wire: Wire,
    reader: FrameReader,
    headers: HeaderWriter,
    /// What came on each stream, whether it has ended, and whether it was reset.
    streams: BTreeMap<u32, (Vec<u8>, bool, bool)>,
    pings: Vec<u32>,
    next: u32,
}

impl Client {
    fn new(wire: Wire) -> Client {
        let (reader, headers) = (FrameReader::default(), HeaderWriter::default());
        Client { wire, reader, headers, streams: BTreeMap::new(), pings: Vec::new(), next: 1 }
    }

    /// The head of the answer, and a client when it is 101.
    async fn plain(hub: &Hub, path: &str, protocols: &str) -> (String, Client) {
        let mut stream = hub.connect(None, b"http/1.1").await.unwrap();
        let head = format!(
            "POST /api/v1/namespaces/a/pods/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
            Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {protocols}\r\nAuthorization: Bearer {ADMIN}\r\n\
            Content-Length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        (String::from_utf8(answer).unwrap().to_lowercase(), Client::new(Wire::Plain(Box::new(stream))))
    }

    async fn tunnel(hub: &Hub, path: &str) -> Client {
        let socket = open_at(hub, path, "SPDY/3.1+portforward.k8s.io").await.unwrap();
        Client::new(Wire::Tunnel(Box::new(socket)))
    }

    async fn send(&mut self, bytes: Bytes) {
        match &mut self.wire {
            Wire::Plain(stream) => stream.write_all(&bytes).await.unwrap(),
            // The borders of messages mean nothing.
            Wire::Tunnel(socket) => {
                for piece in bytes.chunks(7000) {
                    socket.send(Message::binary(piece.to_vec())).await.unwrap();
                }
            }
        }
    }

    async fn open(&mut self, headers: &[(&str, &str)], fin: bool) -> u32 {
        let id = self.next;
        self.next += 2;
        self.streams.insert(id, Default::default());
        let block = self.headers.block(headers);
        self.send(frame::syn_stream(id, &block, fin)).await;
        id
    }

    /// The streams of one connection to a port: error, data.
    async fn pair(&mut self, port: &str, request: &str) -> (u32, u32) {
        let headers = |sort| [("streamtype", sort), ("port", port), ("requestid", request)];
        (self.open(&headers("error"), true).await, self.open(&headers("data"), false).await)
    }

    /// Reads more; false at the end.
    async fn read(&mut self) -> bool {
        let bytes = match &mut self.wire {
            Wire::Plain(stream) => {
                let mut buffer = vec![0; 4096];
                let count = stream.read(&mut buffer).await.unwrap_or(0);
                buffer.truncate(count);
                Bytes::from(buffer)
            }
            Wire::Tunnel(socket) => match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => return true,
                _ => Bytes::new(),
            },
        };
        self.reader.push(&bytes);
        while let Some(frame) = self.reader.next_frame().unwrap() {
            match frame {
                Frame::Data { id, data, fin } => {
                    let stream = self.streams.get_mut(&id).unwrap();
                    stream.0.extend_from_slice(&data);
                    stream.1 |= fin;
                }
                Frame::Rst { id } => self.streams.get_mut(&id).unwrap().2 = true,
                Frame::Ping(id) => self.pings.push(id),
                Frame::GoAway => {}
                Frame::SynStream { .. } => panic!("the server opens no streams"),
            }
        }
        !bytes.is_empty()
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Client) -> bool) {
        let reading = async {
            while !done(self) {
                assert!(self.read().await, "{what}: the server has left");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reading).await.unwrap_or_else(|_| panic!("{what}: not in time"));
    }

    async fn ended(&mut self, id: u32) -> String {
        self.until("a stream's end", |client| client.streams[&id].1).await;
        String::from_utf8(self.streams[&id].0.clone()).unwrap()
    }
}

async fn forwards(mut client: Client) {
    let (error, data) = client.pair("80", "0").await;
    client.send(frame::data(data, b"hello", false)).await;
    client.until("the echo", |client| client.streams[&data].0 == b"hello").await;
    // A second one on the same connection, while the first stands.
    let (refused, gone) = client.pair("81", "1").await;
    let text = client.ended(refused).await;
    let expected = "error forwarding port 81 to pod x, uid u: ";
    assert!(text.starts_with(expected) && text.ends_with("connect: connection refused"), "{text}");
    assert_eq!(client.ended(gone).await, "");
    let large = vec![b'x'; 1 << 20];
    client.send(frame::data(data, &large, true)).await;
    client.until("all of it", |client| client.streams[&data].0.len() == 5 + large.len()).await;
    assert_eq!((client.ended(error).await, client.ended(data).await.len()), (String::new(), 5 + large.len()));
    client.send(frame::ping(3)).await;
    client.until("the answer to a ping", |client| client.pings == [3]).await;
}

#[tokio::test]
async fn ports_are_forwarded_over_spdy() {
    let hub = Hub::start().await;
    let (head, client) = Client::plain(&hub, "x/portforward", "portforward.k8s.io").await;
    assert!(
        head.starts_with("http/1.1 101") && head.contains("x-stream-protocol-version: portforward.k8s.io"),
        "{head}"
    );
    forwards(client).await;
}

#[tokio::test]
async fn ports_are_forwarded_over_spdy_inside_a_websocket() {
    let hub = Hub::start().await;
    forwards(Client::tunnel(&hub, "x/portforward").await).await;
}

#[tokio::test]
async fn streams_that_are_no_pair_are_refused() {
    let hub = Hub::start().await;
    let mut client = Client::plain(&hub, "x/portforward", "portforward.k8s.io").await.1;
    let bad: [&[(&str, &str)]; 4] = [
        &[("streamtype", "data"), ("port", "0")],
        &[("streamtype", "data")],
        &[("port", "80")],
        &[("streamtype", "other"), ("port", "80")],
    ];
    for headers in bad {
        let id = client.open(headers, false).await;
        client.until("a reset", |client| client.streams[&id].2).await;
    }
    let error = client.open(&[("streamtype", "error"), ("port", "80"), ("requestid", "0")], true).await;
    let again = client.open(&[("streamtype", "error"), ("port", "80"), ("requestid", "0")], true).await;
    client.until("the refusal", |client| client.streams[&again].2 && !client.streams[&error].0.is_empty()).await;
    let text = String::from_utf8_lossy(&client.streams[&error].0).into_owned();
    assert_eq!(text, "error processing stream for request 0: error stream already assigned");
    // Clients from before request ids are told apart by the numbers of their streams.
    client.open(&[("streamtype", "error"), ("port", "80")], true).await;
    let data = client.open(&[("streamtype", "data"), ("port", "80")], false).await;
    client.send(frame::data(data, b"old", true)).await;
    assert_eq!(client.ended(data).await, "old");
    // What is no SPDY ends the connection, and nothing else.
    client.send(Bytes::from_static(&[0x80, 2, 0, 1, 0, 0, 0, 0])).await;
    while client.read().await {}
}

#[tokio::test]
async fn a_connection_that_is_given_up_ends_alone() {
    let hub = Hub::start().await;
    let mut client = Client::tunnel(&hub, "x/portforward").await;
    let (error, data) = client.pair("80", "0").await;
    client.send(frame::data(data, b"x", false)).await;
    client.until("the echo", |client| client.streams[&data].0 == b"x").await;
    client.send(frame::rst(data, Reset::Cancel)).await;
    assert_eq!(client.ended(error).await, "");
    let (_, other) = client.pair("80", "1").await;
    client.send(frame::data(other, b"y", true)).await;
    assert_eq!(client.ended(other).await, "y");
}

#[tokio::test]
async fn ports_are_forwarded_over_channels() {
    let hub = Hub::start().await;
    let mut socket = open_at(&hub, "x/portforward?ports=80,81&ports=82", "v4.channel.k8s.io").await.unwrap();
    let mut got: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    socket.send(Message::binary(&b"\x00hi"[..])).await.unwrap();
    socket.send(Message::binary(&b"\x04there"[..])).await.unwrap();
    let complete = |got: &BTreeMap<u8, Vec<u8>>| {
        let len = |channel| got.get(&channel).map_or(0, Vec::len);
        len(0) == 4 && len(4) == 7 && len(3) > 2
    };
    while !complete(&got) {
        let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.expect("a message in time");
        if let Message::Binary(bytes) = message.unwrap().unwrap() {
            got.entry(bytes[0]).or_default().extend_from_slice(&bytes[1..]);
        }
    }
    // Each channel begins with its port.
    assert_eq!((&got[&0][..], &got[&1][..], &got[&4][..]), (&b"\x50\0hi"[..], &b"\x50\0"[..], &b"\x52\0there"[..]));
    assert!(got[&3].starts_with(b"\x51\0error forwarding port 81 to pod x, uid u: "));
    for query in ["", "?ports=", "?ports=x", "?ports=0", "?ports=70000"] {
        assert!(open_at(&hub, &format!("x/portforward{query}"), "v4.channel.k8s.io").await.is_err(), "{query}");
    }
}

#[tokio::test]
async fn commands_run_over_spdy() {
    let hub = Hub::start().await;
    for protocol in ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"] {
        let path = "x/exec?command=cat&stdin=true&stdout=true&stderr=true";
        let (head, mut client) = Client::plain(&hub, path, protocol).await;
        assert!(head.starts_with("http/1.1 101"), "{head}");
        let error = client.open(&[("streamtype", "error")], false).await;
        let stdin = client.open(&[("streamtype", "stdin")], false).await;
        let stdout = client.open(&[("streamtype", "stdout")], false).await;
        let stderr = client.open(&[("streamtype", "stderr")], false).await;
        client.send(frame::data(stdin, b"hello", true)).await;
        assert_eq!((client.ended(stdout).await, client.ended(stderr).await), ("hello".to_string(), String::new()));
        let last = client.ended(error).await;
        if protocol.starts_with("v4") {
            assert_eq!(serde_json::from_str::<Json>(&last).unwrap()["status"], "Success");
        } else {
            assert_eq!(last, "");
        }
        while client.read().await {}
    }
    let path = "x/exec?command=exit&command=7&stdout=true";
    let mut client = Client::plain(&hub, path, "v2.channel.k8s.io,v9.channel.k8s.io").await.1;
    let error = client.open(&[("streamtype", "error")], false).await;
    client.open(&[("streamtype", "stdout")], false).await;
    assert_eq!(client.ended(error).await, "command terminated with non-zero exit code: exit status 7");
}

#[tokio::test]
async fn a_terminal_over_spdy_has_a_size() {
    let hub = Hub::start().await;
    let path = "x/exec?command=cat&stdin=true&stdout=true&stderr=true&tty=true";
    let mut client = Client::plain(&hub, path, "v4.channel.k8s.io").await.1;
    let error = client.open(&[("streamtype", "error")], false).await;
    let stdin = client.open(&[("streamtype", "stdin")], false).await;
    client.open(&[("streamtype", "stdout")], false).await;
    let resize = client.open(&[("streamtype", "resize")], false).await;
    client.send(frame::data(resize, b"{\"Width\":80,", false)).await;
    client.send(frame::data(resize, b"\"Height\":24}\n", false)).await;
    client.send(frame::data(stdin, b"", true)).await;
    assert!(client.ended(error).await.contains("Success"));
}
