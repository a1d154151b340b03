//! The run leases of a box: what it may run, and until when.

use crate::delegation::PodUid;
use crate::limits::{CLAIM, MAX_PODS, PENDING, RUN_LEASE};
use crate::message::Message;
use crate::voter::Term;
use holdfast_core::NodeUid;
use holdfast_mutation::broken;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a box runs.
pub(crate) struct Runs {
    life: u64,
    /// Whom to ask.
    coordinator: Option<(NodeUid, Term)>,
    round: u64,
    /// When the claims were sent that wait for their answers.
    sent: BTreeMap<u64, Duration>,
    next: Duration,
    /// When the last claim was sent that was answered with the pod.
    renewed: BTreeMap<PodUid, Duration>,
}

impl Runs {
    /// Of a box that has just started: nothing.
    pub(crate) fn new(life: u64) -> Runs {
        Runs {
            life,
            coordinator: None,
            round: 0,
            sent: BTreeMap::new(),
            next: Duration::ZERO,
            renewed: BTreeMap::new(),
        }
    }

    /// Who coordinates. Answers of an earlier one count no more.
    pub(crate) fn follow(&mut self, now: Duration, coordinator: &NodeUid, term: Term) {
        if self.coordinator.as_ref().is_none_or(|(who, known)| who != coordinator || *known != term) {
            self.coordinator = Some((coordinator.clone(), term));
            self.sent.clear();
            self.next = now;
        }
    }

    /// When something is to be done.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let claim = self.coordinator.as_ref().map(|_| self.next);
        let over = self.renewed.values().min().map(|at| at.saturating_add(lease()));
        claim.into_iter().chain(over).min()
    }

    /// The claim that is due.
    pub(crate) fn claim(&mut self, now: Duration) -> Option<(NodeUid, Message)> {
        let (coordinator, term) = self.coordinator.clone().filter(|_| now >= self.next)?;
        self.next = now.saturating_add(CLAIM);
        self.round += 1;
        self.sent.insert(self.round, now);
        while self.sent.len() > PENDING {
            self.sent.pop_first();
        }
        let holds = self.renewed.keys().cloned().collect();
        Some((coordinator, Message::Claim { term, life: self.life, round: self.round, holds }))
    }

    /// Whether an answer is one to a claim of this life, by whom it was sent to, in time; when that claim was sent.
    fn answers(&mut self, now: Duration, from: &NodeUid, term: Term, life: u64, round: u64) -> Option<Duration> {
        let is_theirs = self.coordinator.as_ref().is_some_and(|(who, known)| who == from && *known == term);
        if !is_theirs || life != self.life {
            return None;
        }
        let sent = self.sent.remove(&round)?;
        // An older answer must not undo a newer one.
        self.sent = self.sent.split_off(&round);
        (now < sent.saturating_add(RUN_LEASE)).then_some(sent)
    }

    /// The coordinator has answered: what to start and what to stop.
    pub(crate) fn granted(
        &mut self,
        now: Duration,
        from: &NodeUid,
        (term, life, round): (Term, u64, u64),
        pods: Vec<PodUid>,
    ) -> (Vec<PodUid>, Vec<PodUid>) {
        if pods.len() > MAX_PODS {
            return (Vec::new(), Vec::new());
        }
        let Some(at) = self.answers(now, from, term, life, round) else { return (Vec::new(), Vec::new()) };
        let pods: BTreeSet<PodUid> = pods.into_iter().collect();
        let stop = self.renewed.keys().filter(|pod| !pods.contains(*pod)).cloned().collect();
        let start = pods.iter().filter(|pod| !self.renewed.contains_key(*pod)).cloned().collect();
        self.renewed = pods.into_iter().map(|pod| (pod, at)).collect();
        (start, stop)
    }

    /// What to stop because its lease is over.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<PodUid> {
        let is_over = |at: &Duration| now >= at.saturating_add(lease());
        let over: Vec<PodUid> = self.renewed.iter().filter(|(_, at)| is_over(at)).map(|(pod, _)| pod.clone()).collect();
        self.renewed.retain(|_, at| !is_over(at));
        over
    }
}

fn lease() -> Duration {
    if broken("site-run-lease-not-enforced") { RUN_LEASE.saturating_mul(100) } else { RUN_LEASE }
}
