//! What a coordinator knows: how long it acts, and which box it has granted each pod. Gone when it stops coordinating.

use crate::delegation::{Pod, PodUid};
use crate::limits::{CLAIM, LEASE, PENDING, run_wait};
use crate::message::Numbers;
use crate::set::VoterSet;
use crate::voter::Term;
use holdfast_core::NodeUid;
use holdfast_mutation::broken;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Why a pod is not placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPlaced {
    /// This box does not coordinate, or not any more.
    #[error("this box does not coordinate the site")]
    NotCoordinating,
    /// The hub has not handed the pod to the site, or has it back.
    #[error("pod {0} is not delegated to the site")]
    NotDelegated(PodUid),
    /// A witness, or a box of no set.
    #[error("box {0} runs no pods of the site")]
    RunsNothing(NodeUid),
    /// Another box may still run it. Waiting helps.
    #[error("pod {pod} may run on another box for {left:?} yet")]
    MayRun {
        /// The pod.
        pod: PodUid,
        /// How long to wait.
        left: Duration,
    },
}

struct Held {
    node: NodeUid,
    /// When nothing is left of what was granted, by this box's clock.
    until: Duration,
    /// It is not granted again.
    withdrawn: bool,
}

/// One term of coordinating.
pub(crate) struct Coordinator {
    pub(crate) term: Term,
    /// When it was elected: what earlier ones granted, they granted before.
    begun: Duration,
    /// When the last renewal was sent that majorities have answered.
    renewed: Duration,
    /// When the next renewal is due.
    pub(crate) next: Duration,
    round: u64,
    sent: BTreeMap<u64, Duration>,
    /// When that was sent which each voter has answered last.
    answered: BTreeMap<NodeUid, Duration>,
    /// What each voter knows durably to be over.
    released: BTreeMap<NodeUid, u64>,
    /// What the hub was told to be over.
    pub(crate) reported: u64,
    held: BTreeMap<PodUid, Held>,
    heard: BTreeMap<NodeUid, Duration>,
}

impl Coordinator {
    /// Elected now, by votes that were asked for at `asked`.
    pub(crate) fn elected(
        now: Duration,
        term: Term,
        asked: Duration,
        votes: BTreeMap<NodeUid, Numbers>,
    ) -> Coordinator {
        Coordinator {
            term,
            begun: now,
            renewed: if broken("site-lease-from-receipt") { now } else { asked },
            next: now,
            round: 0,
            sent: BTreeMap::new(),
            answered: votes.keys().map(|voter| (voter.clone(), asked)).collect(),
            released: votes.into_iter().map(|(voter, numbers)| (voter, numbers.released)).collect(),
            reported: 0,
            held: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// Until when it acts.
    pub(crate) fn until(&self) -> Duration {
        self.renewed.saturating_add(LEASE)
    }

    /// A renewal is sent now; its number.
    pub(crate) fn renewing(&mut self, now: Duration, me: &NodeUid) -> u64 {
        self.round += 1;
        self.sent.insert(self.round, now);
        while self.sent.len() > PENDING {
            self.sent.pop_first();
        }
        // It has promised itself the same.
        self.answered.insert(me.clone(), now);
        self.round
    }

    /// A voter has answered a renewal.
    pub(crate) fn answered(&mut self, now: Duration, set: &VoterSet, voter: &NodeUid, round: u64, numbers: Numbers) {
        self.knows_released(voter, numbers.released);
        let Some(sent) = self.sent.get(&round).copied() else { return };
        let last = self.answered.entry(voter.clone()).or_insert(sent);
        *last = (*last).max(sent);
        let counts =
            |sent: &Duration| set.is_majority(|voter| self.answered.get(voter).is_some_and(|last| last >= sent));
        if let Some(sent) = self.answered.values().filter(|sent| counts(sent)).max().copied() {
            self.renewed = self.renewed.max(if broken("site-lease-from-receipt") { now } else { sent });
        }
    }

    /// A voter knows durably that all up to `number` is over.
    pub(crate) fn knows_released(&mut self, voter: &NodeUid, number: u64) {
        let known = self.released.entry(voter.clone()).or_default();
        *known = (*known).max(number);
    }

    /// Whether majorities know durably that all up to `number` is over.
    pub(crate) fn is_released(&self, set: &VoterSet, number: u64) -> bool {
        set.is_majority(|voter| self.released.get(voter).is_some_and(|known| *known >= number))
    }

    /// A box of the site asks what it may run; `pods` is what is delegated.
    pub(crate) fn claim(&mut self, now: Duration, from: &NodeUid, holds: &[PodUid], pods: &[Pod]) -> Vec<PodUid> {
        self.heard.insert(from.clone(), now);
        let delegated: BTreeSet<&PodUid> = pods.iter().map(|pod| &pod.uid).collect();
        // What was withdrawn, or is not delegated any more, is forgotten once nothing can be left of it.
        self.held.retain(|uid, held| now < held.until || (!held.withdrawn && delegated.contains(uid)));
        let shown: BTreeSet<&PodUid> = holds.iter().collect();
        let mut granted = Vec::new();
        for pod in pods {
            if shown.contains(&pod.uid) {
                // Nobody else has it in this term, and earlier ones granted it to nobody else.
                let held = Held { node: from.clone(), until: now, withdrawn: false };
                self.held.entry(pod.uid.clone()).or_insert(held);
            }
            let held = self.held.get_mut(&pod.uid).filter(|held| held.node == *from && !held.withdrawn);
            if let Some(held) = held {
                held.until = now.saturating_add(run_wait(pod.stop));
                granted.push(pod.uid.clone());
            }
        }
        granted
    }

    /// Gives a pod to a box from its next claim on.
    pub(crate) fn place(&mut self, now: Duration, pod: &Pod, on: &NodeUid) -> Result<(), NotPlaced> {
        let wait = |until: Duration| match until.saturating_sub(now) {
            Duration::ZERO => Ok(()),
            left => Err(NotPlaced::MayRun { pod: pod.uid.clone(), left }),
        };
        match self.held.get_mut(&pod.uid) {
            Some(held) if held.node == *on => {
                held.withdrawn = false;
                return Ok(());
            }
            Some(held) => wait(held.until)?,
            None if broken("site-grants-at-once") => {}
            None => wait(self.begun.saturating_add(run_wait(pod.stop)))?,
        }
        self.held.insert(pod.uid.clone(), Held { node: on.clone(), until: now, withdrawn: false });
        Ok(())
    }

    /// Grants a pod no more.
    pub(crate) fn withdraw(&mut self, pod: &PodUid) {
        if let Some(held) = self.held.get_mut(pod) {
            held.withdrawn = true;
        }
    }

    /// Where pods are.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (&PodUid, &NodeUid)> {
        self.held.iter().filter(|(_, held)| !held.withdrawn).map(|(pod, held)| (pod, &held.node))
    }

    /// Boxes that have claimed lately.
    pub(crate) fn heard(&self, now: Duration) -> impl Iterator<Item = &NodeUid> {
        let lately = now.saturating_sub(CLAIM.saturating_mul(3));
        self.heard.iter().filter(move |(_, at)| **at >= lately).map(|(node, _)| node)
    }
}
