//! API priority and fairness: no client's flood keeps others from being served
//! (<https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>).
//!
//! A request is of the first FlowSchema that is about it ([`matching`]), which names its PriorityLevelConfiguration. A level
//! has seats ([`shares`]): its shares of `--max-requests-inflight` and `--max-mutating-requests-inflight` together, more while
//! others lend theirs, less while it lends. A request takes some of them ([`width`]) until its answer begins; where none is
//! free it is refused with 429, or waits in one of the queues that its flow is dealt ([`shuffle`]), and is let in by fair
//! queueing ([`queues`]), or refused after a quarter of its time. [`engine`] is all levels together and, like everything below
//! it, sans-IO: time and requests come in, numbers of those to be let in go out. [`gate`] holds it behind a lock, which a
//! request takes once when it comes and once when it goes; one that is let in at once makes no channel and no timer.
//!
//! *Whom it does not hold up.* What comes from within does not come through here: controllers, scheduler, and the facts of
//! nodes, which the hub writes as `system:node:<name>`. Upstream sends these over the network and gives them levels of their
//! own (leader-election, system, node-high, workload-high), which are there for those who do the same, such as a kubelet.
//! Here they are few by construction: a controller has a fixed number of workers, a node's facts come one after the other.
//! And they must not wait for one another through a queue: a fact that waits holds up a node's outbox, a controller that waits
//! may be what a webhook's answer needs. `system:masters` and probes are exempt by upstream's mandatory and suggested schemas.
//! Logs, sessions and proxied requests are never counted; a watch only until it is answered.
//!
//! *What differs from upstream.* Seats are held until the answer begins, not until it has been sent, so that a slow reader
//! keeps none; all lists are judged as lists from memory, as they are here; `Retry-After` is always 1; watches from within do
//! not widen writes; level and hand say how wide a request may be as there, but the histograms that only tune upstream's own
//! algorithm (`current_r`, `work_estimated_seats`, the utilisation ratios) are not written. A level holds [`limits::WAITING`]
//! requests that wait at most.
//!
//! *Tasks.* Two, owned by [`crate::ApiServer`]: `fairness` follows the configuration, shifts seats every ten seconds and
//! writes the condition `Dangling`; `fairness-release` wakes those that wait for seats kept after a write. The default objects
//! are kept by `hub/registry`. *Absent:* the objects' defaults and validation, which are there too.

mod config;
mod demand;
mod dump;
mod engine;
mod follow;
mod gate;
mod limits;
mod matching;
mod queues;
mod shares;
mod shuffle;
mod stats;
mod width;

pub(crate) use follow::start;
pub use gate::Fairness;
