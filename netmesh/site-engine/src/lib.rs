//! How the boxes of a site agree, without the hub, on a coordinator and on where each pod runs; without I/O.
//!
//! [`SiteBox`] is one box: `handle(now, input) -> outputs`, `next_deadline()`; `now` is `CLOCK_BOOTTIME`. [`hub`] is what
//! the hub knows of a site. There is no log of commands: what must outlive a power cut is a vote and two records of the
//! hub, and where pods run is said by the boxes that run them.
//!
//! **What is assumed.** Boxes may stop, lose power, forget what was not synced, and be cut off; messages may be lost,
//! doubled, reordered, and come hours late or from a life before the last reboot; wall clocks are never read. Boot clocks
//! of two boxes differ in rate by at most [`limits::RATE`]. Who sent a message is certain (the driver knows the peer's
//! certificate), and a voter keeps the rules: a box that was broken into is not survived.
//!
//! 1. **Only the hub changes the voter set** ([`set`]), and it has at least three votes, of which a witness casts one but
//!    never coordinates. *Why:* two boxes cannot tell a dead neighbour from a cut cable; and a site that could change its
//!    set alone could do so on both sides of a cut.
//! 2. **A set names the voters of the one before it, and needs a majority of both**, in elections and in renewals. A box
//!    counts in one set only, its newest, and never goes back. The hub makes the next set once a coordinator of the
//!    present one has reported; the same voters once more end the need for those that left. *Why:* the old coordinator may
//!    be out of the hub's reach and renewed by its neighbours for ever; no time is long enough. So a majority of the old
//!    set has to have left it. What a voter has promised outlives the change.
//! 3. **A vote is durable before it is told**, one a term, and terms go on across sets ([`Ballot`]). *Why:* a box that
//!    forgets a vote votes twice. A candidate first sounds out whether it would win: a box that is cut off neither writes
//!    to its card nor raises the term that a healthy coordinator has to outbid when it comes back.
//! 4. **The coordinator acts until [`limits::LEASE`] after it *sent* the last renewal that majorities answered; a voter
//!    votes for no other until [`limits::PROMISE`] after it *answered* it.** *Why:* sending comes before answering, so by
//!    any clocks within the bound the promise ends after the lease. Asking for a vote is a renewal like any other. A
//!    request that a promise forbids changes nothing, its term included: a flapping box cannot unseat a coordinator.
//! 5. **A box that has started votes for nobody for [`limits::PROMISE`].** *Why:* promises are not durable, as they would
//!    cost the card a write at every renewal, and boot time begins anew. It does answer renewals at once: an elected
//!    coordinator's electors have waited out their own promises, so answering it breaks none.
//! 6. **Run leases.** A box asks for its pods all the time; it runs a pod until [`limits::RUN_LEASE`] after it *sent* the
//!    last claim that the coordinator answered with that pod, and begins to stop it then. The coordinator gives the pod
//!    to another box [`limits::run_wait`] after it last *answered*. Only answers to claims of this life of the box count.
//! 7. **A new coordinator knows of no grants, so it grants nothing that it was not shown**: a pod that a box says in this
//!    term to hold stays there; any other waits until all that an earlier coordinator may have granted is over. *Why:*
//!    only a coordinator of this term grants in this term, so what a box holds in it, it holds alone; and pods run on while
//!    coordinators change.
//! 8. **Delegation** ([`delegation`]): the hub hands a numbered list of pods to the site, and while it stands replaces none
//!    of them. It ends when the hub has asked for it and a coordinator reports that majorities hold its end durably.
//!    The hub hands over only what runs nowhere by its own word.
//!    *Why:* whoever is elected later has heard of it from one of its electors, and grants nothing under that number again;
//!    silence proves nothing. The list is part of the record: a number never meets another list.
//!
//! Absent on purpose: sockets, clocks, tasks, stores, a scheduler. A box that runs pods and has no vote is not told yet who
//! coordinates. An agent that restarts counts as a box that rebooted.

mod coordinator;
pub mod delegation;
pub mod engine;
pub mod hub;
pub mod limits;
pub mod message;
mod runs;
pub mod set;
mod voter;

pub use coordinator::NotPlaced;
pub use delegation::{Delegation, Pod, PodUid, Record};
pub use engine::{Input, Kept, Output, Persist, SiteBox};
pub use message::{Message, Numbers, Report};
pub use set::{Seat, SetError, SetId, VoterSet};
pub use voter::{Ballot, Term};
