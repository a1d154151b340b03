//! Leader election by a Lease (`coordination.k8s.io/v1`), as client-go's `leaderelection` does it.
//!
//! [`engine`] decides, sans-IO: who holds the Lease leads; a follower takes one that is nobody's, or that has not changed for
//! as long as it says, by the follower's own clock; a leader that could not renew it for a shorter time stops. [`Candidate`]
//! asks the API and runs what is led, in a [`Scope`](crate::Scope), so that it knows when all of it has ended.
//!
//! *Invariant:* as long as clocks run and tasks are polled, one leader's work has ended before another's begins. A process
//! that was stopped and goes on cannot know at once that its time is over; what it then still writes must be kept out by the
//! store. For that a [`Term`] carries the revision at which the Lease was taken: whoever takes it writes another record in the
//! same transaction, and writes of the led check that it is still of that revision. Wall clocks decide nothing.
//!
//! Tasks: one, of the candidate; those of the led are in its scope.

mod candidate;
pub mod engine;
#[cfg(test)]
mod tests;

pub use candidate::{Candidacy, Candidate, Lead};
pub use engine::{Election, Term, Timing};
