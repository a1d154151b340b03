//! What the layer above may add to a write's transaction.

use crate::admission::dynamic::FAILED_WEBHOOK;
use holdfast_core::{Gvr, Reason, Status};
use holdfast_store::{Check, Op};

/// Checks and writes that commit with the object's own write, or not at all. Put into
/// `RequestContext::extension` by the hub's links: the mark of a fact commits with its effect.
///
/// They also commit when the write itself changes nothing. A dry run leaves them out.
#[derive(Clone, Debug, Default)]
pub struct CommitWith {
    /// Further conditions.
    pub checks: Vec<Check>,
    /// Further writes; their keys must differ from the object's.
    pub ops: Vec<Op>,
    /// The request creates a pod that this hub once had, and that its node kept: the object keeps the UID, the time of
    /// creation and the status that it comes with. Whether it may is the asker's to judge; it is a node that asks.
    pub adopts: bool,
}

/// Part of the message of the 409 that a failed check of [`CommitWith`] gives.
pub const STALE_SESSION: &str = "link session is stale";

/// Whether `status` says that a check of [`CommitWith`] did not hold.
pub fn is_stale_session(status: &Status) -> bool {
    status.is(Reason::Conflict) && status.message().ends_with(STALE_SESSION)
}

pub(crate) fn stale_session(gvr: &Gvr, name: &str) -> Status {
    Status::conflict(gvr, name, STALE_SESSION)
}

/// Whether `status` says that a webhook could not be asked, or answered what is no answer: the write did not take place, and
/// waiting helps. A webhook's "no" is not meant.
pub fn is_webhook_failure(status: &Status) -> bool {
    status.is(Reason::InternalError) && status.message().contains(FAILED_WEBHOOK)
}
