//! The records of the journal. Postcard on disk: variants and fields never change, new variants are added at
//! the end; `store/golden.hex` holds old bytes that must still read.

use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, Revision, Seq};
use serde::{Deserialize, Serialize};

/// An object that the hub sent. Its key is `<group>/<version>/<plural>/<namespace>/<name>`, with the group
/// empty for core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Hash of the body.
    pub hash: ContentHash,
    /// The hub's history that it belongs to.
    pub lineage: Lineage,
    /// The hub's revision at which it had this content.
    pub revision: Revision,
    /// The object as JSON, as the hub projects it for nodes.
    pub body: Bytes,
}

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// An object came or changed.
    PutItem {
        /// Key.
        key: String,
        /// Object.
        item: Item,
    },
    /// An object went.
    DropItem {
        /// Key.
        key: String,
    },
    /// A note of the node's own.
    PutNote {
        /// Key, for example `pod/<uid>/attempts`.
        key: String,
        /// Value.
        value: Vec<u8>,
    },
    /// A note is no longer needed.
    DropNote {
        /// Key.
        key: String,
    },
    /// A state fact has this newest value.
    StateFact {
        /// What it is about.
        key: String,
        /// Its number.
        seq: Seq,
        /// The fact, as the hub takes it.
        body: Bytes,
    },
    /// The object of a state fact is gone.
    DropStateFact {
        /// What it was about.
        key: String,
    },
    /// A log fact was appended.
    LogFact {
        /// Its number.
        seq: Seq,
        /// The fact.
        body: Bytes,
    },
    /// The hub has everything up to this number.
    Acknowledged {
        /// The number.
        seq: Seq,
    },
    /// Numbers below this one may be in use.
    SeqCeiling {
        /// The first number that is surely free.
        seq: Seq,
    },
    /// All of the hub's state up to this revision of this lineage is here.
    SyncedTo {
        /// The hub's history.
        lineage: Lineage,
        /// The revision.
        revision: Revision,
    },
    /// The first record of a segment: where the segment before it ended. Without it a damaged last frame would read as
    /// that segment's end.
    Follows {
        /// The offset after the last frame of the segment before.
        end: u64,
    },
    /// A log fact was appended.
    LogFactAt {
        /// Its number.
        seq: Seq,
        /// When, on the node's wall clock, in microseconds since 1970.
        at_micros: i64,
        /// The fact.
        body: Bytes,
    },
    /// Log facts were dropped before the hub had them.
    LogFactsLost {
        /// How many.
        count: u64,
        /// When the first of them was appended, in microseconds since 1970; 0 when that is not known.
        from_micros: i64,
        /// When the last of them was appended.
        to_micros: i64,
    },
    /// All drops so far stand in a log fact of their own.
    LossTold,
}
