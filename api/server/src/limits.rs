//! Bounds of the server, each with its reason.

use std::time::Duration;

/// Largest request body, as upstream's.
pub const BODY_BYTES: usize = 3 << 20;
/// Problems of one document that a strict reader tells of, as upstream's.
pub const STRICT_TEXTS: usize = 100;
/// Nodes of a YAML text, one for each two bytes of a body: what a JSON body can hold.
pub const YAML_NODES: usize = BODY_BYTES / 2;
/// What the aliases of a YAML text unfold to, in events of its parser. Upstream begins to doubt a text at 400,000.
pub const YAML_UNFOLDED: usize = 100_000;
/// Connections at once; a further one waits in the kernel's queue.
pub const CONNECTIONS: usize = 16_384;
/// A client must finish its TLS handshake within this.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// A client must send its request's head within this; also how long an idle HTTP/1 connection is kept.
pub const HEADER_READ: Duration = Duration::from_secs(90);
/// A request that is no watch or stream must be answered within this, as upstream's.
pub const REQUEST: Duration = Duration::from_secs(60);
/// Requests that change nothing and are answered at once, as upstream's default.
pub const READS_AT_ONCE: usize = 400;
/// Requests that change something and are answered at once, as upstream's default.
pub const WRITES_AT_ONCE: usize = 200;
/// A client that takes no bytes for this long is cut.
pub const WRITE_STALL: Duration = Duration::from_secs(60);
/// HTTP/2 pings find dead clients.
pub const PING_EVERY: Duration = Duration::from_secs(30);
/// … that do not answer within this.
pub const PING_ANSWER: Duration = Duration::from_secs(20);
/// Streams of one HTTP/2 connection; client-go keeps all watches of a process on one.
pub const H2_STREAMS: u32 = 1000;
/// Bytes of request headers.
pub const HEADER_BYTES: u32 = 64 << 10;
/// Size of a frame of a list.
pub const LIST_FRAME: usize = 64 << 10;
/// Items of a protobuf list that are kept from when their length was found until they are sent; those beyond are encoded twice.
pub const LIST_KEPT: usize = 2 << 20;
/// Size of a frame of a watch.
pub const WATCH_FRAME: usize = 32 << 10;
/// Answers from this size on are compressed when the client can read it, as upstream's.
pub const GZIP_FROM: u64 = 128 << 10;
/// A watch without `timeoutSeconds` ends after this and a random part of it, so that clients spread.
pub const WATCH_DEFAULT: Duration = Duration::from_secs(1800);
/// The log's first bytes or error are waited for so long before the answer's head goes out.
pub const LOG_HEAD: Duration = Duration::from_millis(300);
/// A WebSocket message; kubectl sends at most 32 KiB.
pub const WS_MESSAGE: usize = 1 << 20;
/// Bytes of one WebSocket message that we send.
pub const WS_CHUNK: usize = 32 << 10;
/// WebSocket pings keep proxies from closing an idle session.
pub const WS_PING: Duration = Duration::from_secs(30);
/// A session whose client sent nothing, not even pongs, for this long is over.
pub const WS_SILENCE: Duration = Duration::from_secs(120);
/// How long a finished session waits for the client's close frame.
pub const WS_CLOSE: Duration = Duration::from_secs(5);
/// Streams of one SPDY connection; a forwarded connection takes two.
pub const SPDY_STREAMS: usize = 512;
/// A SPDY control frame, compressed headers and all.
pub const SPDY_CONTROL_FRAME: usize = 32 << 10;
/// Headers of one SPDY frame once they are unpacked; Kubernetes' clients send three short ones.
pub const SPDY_HEADER_BLOCK: usize = 64 << 10;
/// Their number.
pub const SPDY_HEADERS: usize = 128;
/// Frames of a SPDY connection that wait to be sent; those who have more wait.
pub const SPDY_FRAMES: usize = 8;
/// Pieces of one SPDY stream that wait to be taken; then the connection is not read on.
pub const SPDY_PIECES: usize = 8;
/// A tag of a page that comes through the proxy; longer ones stay as they are.
pub const TAG_BYTES: usize = 16 << 10;
/// Bytes of a proxied connection that wait, each way.
pub const PROXY_BUFFER: usize = 64 << 10;
/// How long the streams that belong together may take to come, as upstream's.
pub const STREAMS_COME: Duration = Duration::from_secs(30);
/// Connections that one SPDY session has to a pod at once; further ones wait. A node serves few calls at once, and others
/// want some.
pub const FORWARDS: usize = 24;
/// Ports that one WebSocket forwards: two channels each, and base64 has a printable sign for 80.
pub const WS_PORTS: usize = 39;

const _: () = assert!(SPDY_HEADER_BLOCK >= SPDY_CONTROL_FRAME && WS_PORTS * 2 <= 79);
const _: () = assert!(WATCH_FRAME <= LIST_FRAME && LIST_FRAME <= LIST_KEPT && WS_CHUNK <= WS_MESSAGE);
