//! Frames: type (u16), length (u32), payload (postcard). Little endian.
//!
//! Unknown types are skipped; structs never change, new ones are added under new numbers, so that two
//! releases understand each other. `tests/golden.rs` holds the bytes of every frame.

use crate::limits::MAX_FRAME_BYTES;
use bytes::{Buf, Bytes, BytesMut};
use holdfast_core::calls::Call;
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq, Session};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// ALPN of the link.
pub const ALPN: &[u8] = b"holdfast/1";
/// ALPN of a join, before a node has a certificate.
pub const ALPN_JOIN: &[u8] = b"holdfast-join/1";
/// ALPN between the hubs of a cluster: one [`RelayRequest`], one [`RelayReply`], then what the stream to the node carries.
pub const ALPN_HUB: &[u8] = b"holdfast-hub/1";
/// Newest protocol version of this build. 2: bodies over dictionaries and bases, [`SyncBatch2`] and [`FactBatch2`].
pub const VERSION: u16 = 2;
/// Oldest protocol version that this build still speaks.
pub const VERSION_MIN: u16 = 1;

/// Bytes of a frame before its payload.
const HEAD_BYTES: usize = 6;

/// What a stream is for; the first frame on it ([`Open`]) says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// Opened by the node: who is who.
    Control,
    /// Opened by the node: what it owes.
    Facts,
    /// Opened by the hub: objects.
    Sync,
    /// Opened by the hub, one for each call.
    Call,
    /// Opened by the node: one [`RenewRequest`], one [`RenewReply`].
    Renew,
}

impl Stream {
    /// Which stream goes first on a slow link: the higher number. Heartbeats are datagrams, which go before all streams.
    pub fn priority(self) -> i32 {
        match self {
            Stream::Control | Stream::Renew => 3,
            Stream::Facts => 2,
            Stream::Sync => 1,
            Stream::Call => 0,
        }
    }
}

/// Why bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The length says more than is allowed.
    #[error("a frame of {0} bytes is larger than is allowed")]
    TooLarge(usize),
    /// The payload does not decode.
    #[error("a frame of type {0} is malformed")]
    Malformed(u16),
    /// The frame has no place here.
    #[error("a frame of type {0} is not expected here")]
    Unexpected(u16),
}

/// A frame, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u16,
    /// Its payload.
    pub payload: Bytes,
}

/// A record that is the payload of one type of frame.
pub trait Payload: Serialize + DeserializeOwned {
    /// The number of the type.
    const KIND: u16;
}

impl Frame {
    /// How many bytes it is on its stream.
    pub fn wire_bytes(&self) -> usize {
        HEAD_BYTES + self.payload.len()
    }

    /// Decodes the payload.
    ///
    /// # Errors
    /// When the frame is of another type, or malformed.
    pub fn decode<T: Payload>(&self) -> Result<T, WireError> {
        if self.kind != T::KIND {
            return Err(WireError::Unexpected(self.kind));
        }
        postcard::from_bytes(&self.payload).map_err(|_| WireError::Malformed(self.kind))
    }
}

/// Encodes a frame.
pub fn encode<T: Payload>(record: &T) -> Bytes {
    let mut out = vec![0; 6];
    // Postcard fails only on types that cannot be encoded at all; none of ours is one (see the golden test).
    out = postcard::to_extend(record, out).unwrap_or_default();
    let length = u32::try_from(out.len().saturating_sub(6)).unwrap_or(u32::MAX);
    out[..2].copy_from_slice(&T::KIND.to_le_bytes());
    out[2..6].copy_from_slice(&length.to_le_bytes());
    Bytes::from(out)
}

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    /// Bytes of the largest payload.
    most: usize,
}

impl Default for FrameReader {
    fn default() -> FrameReader {
        FrameReader::bounded(MAX_FRAME_BYTES)
    }
}

impl FrameReader {
    /// One that takes no payload of more than `most` bytes.
    pub fn bounded(most: usize) -> FrameReader {
        FrameReader { buffer: BytesMut::new(), most }
    }

    /// Takes in what arrived.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next whole frame of a known type; others are a newer release's words and skipped.
    ///
    /// # Errors
    /// [`WireError::TooLarge`]; the stream cannot be read on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            let Some(head) = self.buffer.get(..6) else { return Ok(None) };
            let kind = u16::from_le_bytes([head[0], head[1]]);
            let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
            if length > self.most {
                return Err(WireError::TooLarge(length));
            }
            if self.buffer.len() < 6 + length {
                return Ok(None);
            }
            self.buffer.advance(6);
            let payload = self.buffer.split_to(length).freeze();
            if KINDS.contains(&kind) {
                return Ok(Some(Frame { kind, payload }));
            }
        }
    }

    /// What was taken in and is in no frame yet: the first bytes of whatever follows the frames.
    pub fn into_rest(self) -> Bytes {
        self.buffer.freeze()
    }

    /// Whether bytes of a frame that is not whole are waiting.
    pub fn is_mid_frame(&self) -> bool {
        !self.buffer.is_empty()
    }
}

macro_rules! payloads {
    ($($number:literal => $name:ident),* $(,)?) => {
        $(impl Payload for $name { const KIND: u16 = $number; })*
        /// The numbers in use.
        pub const KINDS: &[u16] = &[$($number),*];
    };
}

payloads! {
    1 => Open,
    10 => Hello,
    11 => Welcome,
    12 => SessionReady,
    13 => Refuse,
    20 => SyncState,
    21 => SyncDigests,
    22 => SyncAsk,
    23 => SyncEntries,
    24 => SyncBatch,
    25 => SyncApplied,
    26 => SyncBatch2,
    27 => SyncUnfit,
    30 => FactBatch,
    31 => FactAck,
    32 => FactBatch2,
    40 => CallStart,
    41 => CallInput,
    42 => CallOutput,
    43 => CallOpened,
    44 => PageOpened,
    50 => Heartbeat,
    51 => HeartbeatAnswer,
    52 => PacedHeartbeat,
    53 => HeartbeatLimits,
    60 => JoinRequest,
    61 => JoinReply,
    62 => RenewRequest,
    63 => RenewReply,
    64 => TimeResetRequest,
    65 => TimeResetReply,
    70 => RelayRequest,
    71 => RelayReply,
}

/// First frame of every stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// What the stream is for.
    pub stream: Stream,
}

/// The node says who it is. Its identity is its certificate's; these words are checked against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest version spoken.
    pub version_min: u16,
    /// Newest version spoken.
    pub version_max: u16,
    /// The node's identity.
    pub node_uid: String,
    /// The node's name.
    pub node_name: String,
    /// Drawn at random at each boot of the machine.
    pub boot: u128,
    /// The lineage that the node last saw; 0 for none.
    pub lineage: Lineage,
    /// The last session that the node made durable.
    pub session: Session,
    /// Digest of the node's objects.
    pub root: u64,
    /// The node's outbox.
    pub outbox: OutboxGen,
    /// The node's wall clock in microseconds since 1970, as it believes.
    pub clock_micros: i64,
}

/// The hub takes the node in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that both will speak.
    pub version: u16,
    /// The hub's history.
    pub lineage: Lineage,
    /// The node's session; durable at the node before use.
    pub session: Session,
    /// The hub's wall clock in microseconds since 1970.
    pub time_micros: i64,
    /// How often the node sends a heartbeat, in milliseconds.
    pub heartbeat_ms: u32,
    /// The hub has all facts of this outbox up to here.
    pub mark: Seq,
}

/// The node has made its session durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReady {
    /// The session.
    pub session: Session,
}

/// Why the hub does not take the node in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    /// For programs, for example `DuplicateIdentity`, `UnknownNode`, `Version`.
    pub code: String,
    /// For people.
    pub reason: String,
}

/// What the hub has for this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncState {
    /// The revision of this view.
    pub revision: Revision,
    /// Its digest.
    pub root: u64,
}

/// The node's digests by bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncDigests {
    /// One for each bucket.
    pub buckets: Vec<u64>,
}

/// The hub wants to know what is in these buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncAsk {
    /// A bit for each bucket.
    pub buckets: u64,
}

/// What is in the buckets that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncEntries {
    /// Keys and hashes.
    pub entries: Vec<(String, ContentHash)>,
}

/// An object for the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemPut {
    /// Key.
    pub key: String,
    /// Hash of the body, checked by the node.
    pub hash: ContentHash,
    /// The hub's revision of this content.
    pub revision: Revision,
    /// The body, compressed with zstd.
    pub body: Bytes,
}

/// Why an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DropCause {
    /// The hub saw it being deleted, or no longer being this node's business.
    Tombstone,
    /// It is not in the hub's complete view. Counts only within the lineage that assigned it, at or after
    /// the revision of the assignment.
    Absent,
}

/// An object that the node no longer needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemDrop {
    /// Key.
    pub key: String,
    /// Why.
    pub cause: DropCause,
}

/// Changes of the node's objects, durable together or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncBatch {
    /// Counts batches of this connection from 1.
    pub id: u64,
    /// The revision of the view that they come from.
    pub revision: Revision,
    /// New and changed objects.
    pub puts: Vec<ItemPut>,
    /// Objects that go.
    pub drops: Vec<ItemDrop>,
    /// With this batch the node has the whole view at this revision.
    pub complete: bool,
}

/// A batch is durable at the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncApplied {
    /// The batch.
    pub id: u64,
}

/// A body on its way, since version 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ItemBody {
    /// By itself.
    Zstd {
        /// The dictionary that it is compressed over; 0 for none.
        dictionary: u32,
        /// The body, compressed with zstd.
        data: Bytes,
    },
    /// As what differs from the body of an object that the node has, or that stands before it in the same batch.
    Delta {
        /// The key of that object; empty for an older version of this one.
        base_key: String,
        /// The hash of the base.
        base_hash: ContentHash,
        /// The body, compressed with zstd over the base.
        data: Bytes,
    },
}

/// An object for the node, since version 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemPut2 {
    /// Key.
    pub key: String,
    /// Hash of the body, checked by the node.
    pub hash: ContentHash,
    /// The hub's revision of this content.
    pub revision: Revision,
    /// The body.
    pub body: ItemBody,
}

/// A [`SyncBatch`], since version 2; answered by [`SyncApplied`] or [`SyncUnfit`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncBatch2 {
    /// Counts batches of this connection from 1.
    pub id: u64,
    /// The revision of the view that they come from.
    pub revision: Revision,
    /// New and changed objects.
    pub puts: Vec<ItemPut2>,
    /// Objects that go.
    pub drops: Vec<ItemDrop>,
    /// With this batch the node has the whole view at this revision.
    pub complete: bool,
}

/// The node has not the base of a delta, or what came of it does not fit its hash: nothing of the batch was applied. The
/// hub compares anew, and sends no more deltas over this connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncUnfit {
    /// The batch.
    pub id: u64,
    /// Digest of the node's objects.
    pub root: u64,
}

/// The sort of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FactSort {
    /// The latest word about an object.
    State,
    /// Something that happened.
    Log,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireFact {
    /// Number within the outbox.
    pub seq: Seq,
    /// Sort.
    pub sort: FactSort,
    /// What it is about, as an item's key; empty for log facts.
    pub key: String,
    /// JSON: for a state fact the object's status (and uid), for a log fact the object to create.
    pub body: Bytes,
}

/// Facts in order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactBatch {
    /// The node's session.
    pub session: Session,
    /// The outbox.
    pub outbox: OutboxGen,
    /// Facts.
    pub facts: Vec<WireFact>,
}

/// A [`FactBatch`], since version 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactBatch2 {
    /// The node's session.
    pub session: Session,
    /// The outbox.
    pub outbox: OutboxGen,
    /// The dictionary that the facts are compressed over; 0 for none.
    pub dictionary: u32,
    /// The facts as in a [`FactBatch`], compressed together with zstd.
    pub data: Bytes,
}

/// The hub's store has all facts up to here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactAck {
    /// The outbox.
    pub outbox: OutboxGen,
    /// The number.
    pub seq: Seq,
}

/// First frame of a call, after [`Open`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallStart {
    /// Names the request in logs.
    pub request_id: String,
    /// What is wanted.
    pub call: Call,
}

/// From the hub into a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallInput {
    /// Bytes for standard input.
    Stdin(Bytes),
    /// Standard input ends.
    StdinClosed,
    /// Columns and lines of the terminal.
    Resize(u16, u16),
}

/// From a call to the hub. `Exited`, `Failed` and `End` are last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallOutput {
    /// Bytes of standard output, or of a log.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// The process ended with this code.
    Exited(i32),
    /// The call failed: HTTP code and text.
    Failed(u16, String),
    /// Nothing more will come.
    End,
}

/// The connection that a call asked for stands: from here on its stream carries the connection's bytes, both ways, and
/// no frames. The end of a half is the end of that half of the connection. Where it cannot be, [`CallOutput::Failed`]
/// comes instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallOpened {}

/// The page that a call asked for begins: its bytes follow as [`CallOutput::Stdout`], and [`CallOutput::End`] ends it.
/// Where there is none, [`CallOutput::Failed`] comes instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageOpened {
    /// As in HTTP.
    pub content_type: String,
}

/// A datagram of either side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The session.
    pub session: Session,
    /// Counts the node's heartbeats; the hub's answer repeats it.
    pub count: u64,
    /// The sender's wall clock in microseconds since 1970.
    pub clock_micros: i64,
}

/// The hub's answer to a [`PacedHeartbeat`], a datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// The session.
    pub session: Session,
    /// The heartbeat's number.
    pub count: u64,
    /// The hub's wall clock in microseconds since 1970.
    pub clock_micros: i64,
    /// A short hash of the address that the hub sees the node at.
    pub address: u32,
}

/// A heartbeat of a node that was told [`HeartbeatLimits`]: it chooses its interval itself. A datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacedHeartbeat {
    /// The session.
    pub session: Session,
    /// Counts the node's heartbeats; the hub's answer repeats it.
    pub count: u64,
    /// The node's wall clock in microseconds since 1970.
    pub clock_micros: i64,
    /// The node sends the next one after this, in milliseconds.
    pub interval_ms: u32,
}

/// How seldom a node's heartbeats may come: on the control stream, right after [`Welcome`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatLimits {
    /// The longest interval, in milliseconds.
    pub longest_ms: u32,
    /// How long the hub lets a node be silent, in milliseconds.
    pub grace_ms: u32,
    /// A short hash of the address that the hub sees the node at.
    pub address: u32,
}

/// A machine asks to become a node, over [`ALPN_JOIN`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Id of the bootstrap token.
    pub token_id: String,
    /// Secret of the bootstrap token.
    pub token_secret: String,
    /// The name that the node wants.
    pub node_name: String,
    /// Certificate signing request, DER.
    pub csr: Bytes,
}

/// The answer to a join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinReply {
    /// Welcome.
    Joined {
        /// The node's identity.
        node_uid: String,
        /// The node's chain, DER, leaf first.
        chain: Vec<Bytes>,
        /// The cluster's CA certificates, DER.
        roots: Vec<Bytes>,
    },
    /// Not with this token or name.
    Refused {
        /// For people.
        reason: String,
    },
}

/// A node asks for a new certificate, with the one that it has shown to TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// The lineage that the node last saw.
    pub lineage: Lineage,
    /// The last session that the node made durable: a cloned card is behind.
    pub session: Session,
    /// Certificate signing request of the new key, signed by it, DER.
    pub csr: Bytes,
}

/// The answer to a [`RenewRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenewReply {
    /// The hub has noted the new certificate as the node's last.
    Renewed {
        /// The node's new chain, DER, leaf first.
        chain: Vec<Bytes>,
        /// The cluster's CA certificates, DER.
        roots: Vec<Bytes>,
    },
    /// Not now, or never.
    Refused {
        /// For programs, for example `RateLimited`, `Revoked`, `UnknownNode`.
        code: String,
        /// For people.
        reason: String,
    },
}

/// A node asks for the time, signed by the CA, over [`ALPN_JOIN`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeResetRequest {
    /// The node's identity; it need not prove it: the answer is good for nobody else.
    pub node_uid: String,
    /// Drawn for this question.
    pub nonce: u128,
}

/// The answer to a [`TimeResetRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeResetReply {
    /// It is this time now.
    Reset {
        /// Microseconds since 1970.
        time_micros: i64,
        /// By the CA's key over node, nonce and time (ASN.1, ECDSA P-256, SHA-256).
        signature: Bytes,
    },
    /// Not now.
    Refused {
        /// For programs, for example `NotAllowed`.
        code: String,
        /// For people.
        reason: String,
    },
}

/// A hub asks another for a stream to a node that is linked there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayRequest {
    /// The node's name.
    pub node_name: String,
    /// The node's identity.
    pub node_uid: String,
}

/// Whether there is one. The hub that is asked asks no further one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelayReply {
    /// All that follows goes to and comes from the node.
    Opened,
    /// There is none.
    Refused {
        /// For people.
        reason: String,
    },
}
