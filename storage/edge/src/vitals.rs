//! What must not go back when the journal does: the link's session, the outbox's name and numbers, and whether the
//! journal itself is in doubt.

use crate::StoreError;
use crate::file::{Found, Slots};
use holdfast_core::{Lineage, OutboxGen, Seq, Session};
use holdfast_env::Disk;
use holdfast_mutation::broken;
use serde::{Deserialize, Serialize};

const PATH: &str = "vitals";

/// Whether the journal may lack what was acknowledged. It ends when the node has the hub's whole view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Doubt {
    /// It is whole.
    #[default]
    None,
    /// It ended in something that a power cut leaves, and that damage may look like.
    Tail,
    /// Something is lost for certain, and the hub has been told.
    LossTold,
    /// Something is lost for certain.
    Loss,
}

/// The values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vitals {
    /// The hub's history that issued the session; 0 when it is not known.
    pub lineage: Lineage,
    /// The last session.
    pub session: Session,
    /// The outbox's name, once it is drawn.
    pub outbox: Option<OutboxGen>,
    /// The first number of a fact that is surely free.
    pub ceiling: Seq,
    /// Whether the journal is in doubt.
    pub doubt: Doubt,
}

/// As it is on disk; new forms are added at the end.
#[derive(Serialize, Deserialize)]
enum Stored {
    V1(Vitals),
}

/// The file.
pub(crate) struct VitalsFile {
    slots: Slots,
    value: Vitals,
}

/// What the file held.
pub(crate) enum Held {
    /// There was none yet.
    Nothing,
    /// The last values.
    Last,
    /// Values that may be older than the last.
    Doubtful,
}

impl VitalsFile {
    pub(crate) fn open(disk: &dyn Disk) -> Result<(VitalsFile, Held), StoreError> {
        let (slots, Found { value, is_doubtful }) = Slots::open(disk, PATH)?;
        let held = match (&value, is_doubtful) {
            (_, true) => Held::Doubtful,
            (None, false) => Held::Nothing,
            (Some(_), false) => Held::Last,
        };
        let mut value = match value.map(|bytes| postcard::from_bytes(&bytes)) {
            None => Vitals::default(),
            Some(Ok(Stored::V1(vitals))) => vitals,
            Some(Err(_)) => {
                return Err(StoreError::Damaged { path: PATH.into(), reason: "a newer release has written it" });
            }
        };
        if matches!(held, Held::Doubtful) && !broken("doubtful-vitals-trusted") {
            // A session of no history is one that the hub takes; an older one of its own would pass for a cloned card.
            (value.lineage, value.session) = Default::default();
            // Numbers beyond the ceiling may be used up: under a new name they count anew.
            value.outbox = None;
            value.doubt = value.doubt.max(Doubt::Tail);
        }
        Ok((VitalsFile { slots, value }, held))
    }

    pub(crate) fn get(&self) -> &Vitals {
        &self.value
    }

    /// Replaces the values durably.
    pub(crate) fn set(&mut self, value: Vitals) -> Result<(), StoreError> {
        let data = postcard::to_allocvec(&Stored::V1(value))
            .map_err(|_| StoreError::Damaged { path: PATH.into(), reason: "the values do not encode" })?;
        self.slots.write(&data)?;
        self.value = value;
        Ok(())
    }
}
