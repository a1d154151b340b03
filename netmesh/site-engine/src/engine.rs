//! A box of a site: votes, stands for election, coordinates, runs what it is granted.

use crate::coordinator::{Coordinator, NotPlaced};
use crate::delegation::{Delegation, PodUid, Record};
use crate::limits::{CAMPAIGN, LEASE, MAX_ANSWERS, MAX_PODS, MAX_WRITES, RENEW, RETRY, STAGGER};
use crate::message::{Message, Numbers, Report};
use crate::runs::Runs;
use crate::set::{SetError, SetId, VoterSet};
use crate::voter::{Ballot, Promise, Term};
use holdfast_core::NodeUid;
use holdfast_mutation::broken;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What a box must not forget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Persist {
    /// Its voter set.
    Set(VoterSet),
    /// Its vote.
    Ballot(Ballot),
    /// What it knows of the delegation.
    Delegation(Delegation),
}

/// All that a box has kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its voter set; none before the hub has given it one.
    pub set: Option<VoterSet>,
    /// Its vote.
    pub ballot: Ballot,
    /// What it knows of the delegation.
    pub delegation: Delegation,
}

impl Kept {
    /// Takes over what was asked to be kept, in that order.
    pub fn apply(&mut self, what: Persist) {
        match what {
            Persist::Set(set) => self.set = Some(set),
            Persist::Ballot(ballot) => self.ballot = ballot,
            Persist::Delegation(delegation) => self.delegation = delegation,
        }
    }
}

/// What happens to a box.
#[derive(Clone, Debug)]
pub enum Input {
    /// A box, which is surely this one, has said something.
    Message(NodeUid, Message),
    /// The oldest outstanding [`Output::Persist`] is on disk.
    Persisted,
    /// Nothing but time.
    Tick,
}

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Say this to a box; it may be lost.
    Send(NodeUid, Message),
    /// Make durable, then say [`Input::Persisted`]. The order is kept.
    Persist(Persist),
    /// Run a pod.
    Run(PodUid),
    /// Begin to stop a pod.
    Stop(PodUid),
    /// Tell the hub; a later report takes the place of this one.
    Report(Report),
}

/// What is done once the writes before it are on disk, if it still holds then.
#[derive(Clone, Debug)]
enum After {
    Ask(Term),
    Vote { to: NodeUid, set: SetId, term: Term },
    Renewed { to: NodeUid, set: SetId, term: Term, round: u64 },
    Released(u64),
}

enum Role {
    Voter,
    Sounding { term: Term, yes: BTreeSet<NodeUid>, until: Duration },
    Candidate { term: Term, asked: Option<Duration>, votes: BTreeMap<NodeUid, Numbers>, until: Duration },
    Coordinator(Coordinator),
}

/// A box. Times are its `CLOCK_BOOTTIME`.
pub struct SiteBox {
    me: NodeUid,
    set: Option<VoterSet>,
    ballot: Ballot,
    delegation: Delegation,
    promise: Promise,
    role: Role,
    /// When to stand for election.
    stand_at: Duration,
    /// The highest term that was heard of.
    seen: Term,
    /// What waits for each write, oldest first.
    waiting: VecDeque<Vec<After>>,
    runs: Runs,
}

impl SiteBox {
    /// A box that has just started, with what it had kept. `life` is drawn at random.
    pub fn start(now: Duration, me: NodeUid, life: u64, kept: Kept) -> SiteBox {
        let mut site = SiteBox {
            me,
            seen: kept.ballot.term,
            set: kept.set,
            ballot: kept.ballot,
            delegation: kept.delegation,
            promise: Promise::of_the_start(now),
            role: Role::Voter,
            stand_at: now,
            waiting: VecDeque::new(),
            runs: Runs::new(life),
        };
        site.stand_later(now);
        site
    }

    /// Whether the box coordinates the site at this instant.
    pub fn coordinates(&self, now: Duration) -> bool {
        matches!(&self.role, Role::Coordinator(term) if now < term.until())
    }

    /// What the box knows of the delegation.
    pub fn delegation(&self) -> &Delegation {
        &self.delegation
    }

    /// The voter set that the box counts in.
    pub fn set(&self) -> Option<&VoterSet> {
        self.set.as_ref()
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        let may_coordinate = self.set.as_ref().is_some_and(|set| set.may_coordinate(&self.me));
        let role = match &self.role {
            Role::Voter => may_coordinate.then_some(self.stand_at),
            Role::Sounding { until, .. } | Role::Candidate { until, .. } => Some(*until),
            Role::Coordinator(term) => Some(term.next.min(term.until())),
        };
        role.into_iter().chain(self.runs.deadline()).min()
    }

    /// Takes what happened at `now`.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            // A box whose disk is stuck is as good as cut off.
            Input::Message(..) if self.waiting.len() >= MAX_WRITES => {}
            Input::Message(from, message) => self.message(now, &from, message, &mut out),
            Input::Persisted => {
                for after in self.waiting.pop_front().unwrap_or_default() {
                    self.run_after(now, after, &mut out);
                }
            }
            Input::Tick => self.tick(now, &mut out),
        }
        out
    }

    /// Takes the voter set that the hub has for this box.
    ///
    /// # Errors
    /// What is wrong with it; the box keeps its own.
    pub fn take_set(&mut self, now: Duration, set: VoterSet) -> Result<Vec<Output>, SetError> {
        set.check()?;
        match &self.set {
            Some(held) if *held == set => return Ok(Vec::new()),
            Some(held) => set.check_after(held)?,
            None => {}
        }
        let mut out = Vec::new();
        self.set = Some(set.clone());
        self.persist(Persist::Set(set), &mut out);
        if broken("site-promise-ends-with-set") {
            self.promise.break_it();
        }
        let coordinated = matches!(self.role, Role::Coordinator(_));
        self.step_down(now);
        if coordinated {
            // Those that have promised it their votes may go on with it at once.
            self.stand_at = now;
        }
        Ok(out)
    }

    /// Takes what the hub has delegated, and up to which number it wants it back.
    pub fn take_delegation(&mut self, now: Duration, record: Option<Record>, asked_back: u64) -> Vec<Output> {
        let mut out = Vec::new();
        if self.delegation.learn(record, asked_back) {
            self.persist(Persist::Delegation(self.delegation.clone()), &mut out);
            if let Role::Coordinator(term) = &mut self.role {
                term.next = now;
            }
        }
        out
    }

    /// Lets a box run a pod, from its next claim on, as long as it claims.
    ///
    /// # Errors
    /// Why it may not, or not yet.
    pub fn place(&mut self, now: Duration, pod: &PodUid, on: &NodeUid) -> Result<(), NotPlaced> {
        if !self.set.as_ref().is_some_and(|set| set.may_coordinate(on)) {
            return Err(NotPlaced::RunsNothing(on.clone()));
        }
        let Role::Coordinator(term) = &mut self.role else { return Err(NotPlaced::NotCoordinating) };
        if now >= term.until() {
            return Err(NotPlaced::NotCoordinating);
        }
        let found = self.delegation.pods().iter().find(|known| known.uid == *pod);
        term.place(now, found.ok_or_else(|| NotPlaced::NotDelegated(pod.clone()))?, on)
    }

    /// Grants a pod no more, so that it may go elsewhere later.
    pub fn withdraw(&mut self, pod: &PodUid) {
        if let Role::Coordinator(term) = &mut self.role {
            term.withdraw(pod);
        }
    }

    /// Where the pods are that this box, as coordinator, grants.
    pub fn placed(&self) -> BTreeMap<PodUid, NodeUid> {
        let Role::Coordinator(term) = &self.role else { return BTreeMap::new() };
        term.placed().map(|(pod, node)| (pod.clone(), node.clone())).collect()
    }

    /// Boxes that have lately asked this box, as coordinator, what they may run.
    pub fn heard(&self, now: Duration) -> Vec<NodeUid> {
        let Role::Coordinator(term) = &self.role else { return Vec::new() };
        term.heard(now).cloned().collect()
    }

    fn persist(&mut self, what: Persist, out: &mut Vec<Output>) {
        out.push(Output::Persist(what));
        self.waiting.push_back(Vec::new());
    }

    /// Does it once all writes so far are on disk.
    fn after_disk(&mut self, now: Duration, after: After, out: &mut Vec<Output>) {
        match self.waiting.back_mut() {
            None => self.run_after(now, after, out),
            Some(list) if list.len() < MAX_ANSWERS => list.push(after),
            Some(_) => {}
        }
    }

    fn run_after(&mut self, now: Duration, after: After, out: &mut Vec<Output>) {
        let held = self.set.as_ref().map(VoterSet::id);
        match after {
            After::Ask(term) => self.ask(now, term, out),
            After::Vote { to, set, term } => {
                let is_cast = self.ballot.term == term && self.ballot.voted_for.as_ref() == Some(&to);
                // Since it was cast another may have been elected whose renewal was answered.
                if held == Some(set) && is_cast && self.promise.allows(now, &to) {
                    self.promised(now, &to);
                    out.push(Output::Send(to, Message::Vote { set, term, numbers: Numbers::of(&self.delegation) }));
                }
            }
            After::Renewed { to, set, term, round } => {
                if held == Some(set) && self.ballot.term == term {
                    self.promised(now, &to);
                    let numbers = Numbers::of(&self.delegation);
                    out.push(Output::Send(to, Message::Renewed { set, term, round, numbers }));
                }
            }
            After::Released(number) => {
                if let Role::Coordinator(term) = &mut self.role {
                    term.knows_released(&self.me, number);
                    self.report_released(out);
                }
            }
        }
    }

    /// Promises a box now that no other has this one's vote for a while.
    fn promised(&mut self, now: Duration, to: &NodeUid) {
        self.promise.give(now, to);
        self.stand_later(now);
    }

    /// Stands for election once nothing is promised any more, in its turn.
    fn stand_later(&mut self, now: Duration) {
        let rank = self.set.as_ref().and_then(|set| set.rank(&self.me)).unwrap_or(0);
        self.stand_at = self.promise.until().max(now).saturating_add(STAGGER.saturating_mul(rank));
    }

    /// Neither coordinates nor wants to any more.
    fn step_down(&mut self, now: Duration) {
        if !matches!(self.role, Role::Voter) {
            self.role = Role::Voter;
            self.promise.take_back(&self.me);
        }
        self.stand_later(now.saturating_add(RETRY));
    }

    fn to_others(&self, message: &Message, out: &mut Vec<Output>) {
        let voters = self.set.iter().flat_map(VoterSet::voters).filter(|voter| **voter != self.me);
        out.extend(voters.map(|voter| Output::Send(voter.clone(), message.clone())));
    }

    fn tick(&mut self, now: Duration, out: &mut Vec<Output>) {
        out.extend(self.runs.expire(now).into_iter().map(Output::Stop));
        match &self.role {
            Role::Voter if now >= self.stand_at => self.sound(now, out),
            Role::Sounding { until, .. } | Role::Candidate { until, .. } if now >= *until => self.step_down(now),
            Role::Coordinator(term) if now >= term.until() => self.step_down(now),
            Role::Coordinator(term) if now >= term.next => self.renew(now, out),
            _ => {}
        }
        let claims = self.set.as_ref().is_some_and(|set| set.may_coordinate(&self.me));
        if let Some((to, message)) = self.runs.claim(now).filter(|_| claims) {
            if to == self.me {
                self.message(now, &to, message, out);
            } else {
                out.push(Output::Send(to, message));
            }
        }
    }

    /// Asks whether it would be elected.
    fn sound(&mut self, now: Duration, out: &mut Vec<Output>) {
        let Some(set) = self.set.as_ref().filter(|set| set.may_coordinate(&self.me)).map(VoterSet::id) else { return };
        if !self.promise.allows(now, &self.me) {
            return self.stand_later(now);
        }
        self.seen = self.seen.max(self.ballot.term);
        let term = self.seen.next();
        let yes = BTreeSet::from([self.me.clone()]);
        self.role = Role::Sounding { term, yes, until: now.saturating_add(CAMPAIGN) };
        self.to_others(&Message::Sound { set, term }, out);
        self.stand_if_wanted(now, out);
    }

    /// Stands for election when majorities would have it.
    fn stand_if_wanted(&mut self, now: Duration, out: &mut Vec<Output>) {
        let (Role::Sounding { term, yes, .. }, Some(set)) = (&self.role, &self.set) else { return };
        if !set.is_majority(|voter| yes.contains(voter)) {
            return;
        }
        let term = *term;
        let may = self.promise.allows(now, &self.me) && self.ballot.allows(term, &self.me);
        if !may || self.waiting.len() >= MAX_WRITES {
            return self.step_down(now);
        }
        let until = now.saturating_add(CAMPAIGN);
        self.role = Role::Candidate { term, asked: None, votes: BTreeMap::new(), until };
        self.promise.give(now, &self.me);
        self.ballot = Ballot { term, voted_for: Some(self.me.clone()) };
        self.persist(Persist::Ballot(self.ballot.clone()), out);
        self.after_disk(now, After::Ask(term), out);
    }

    /// Its own vote is durable: asks for the others'.
    fn ask(&mut self, now: Duration, asks: Term, out: &mut Vec<Output>) {
        let Some(set) = self.set.as_ref().map(VoterSet::id) else { return };
        match &mut self.role {
            Role::Candidate { term, asked, votes, .. } if *term == asks => {
                *asked = Some(now);
                votes.insert(self.me.clone(), Numbers::of(&self.delegation));
            }
            _ => return,
        }
        self.promise.give(now, &self.me);
        self.to_others(&Message::Ask { set, term: asks }, out);
        self.lead_if_elected(now, out);
    }

    fn lead_if_elected(&mut self, now: Duration, out: &mut Vec<Output>) {
        let (Role::Candidate { term, asked: Some(asked), votes, .. }, Some(set)) = (&self.role, &self.set) else {
            return;
        };
        if !set.is_majority(|voter| votes.contains_key(voter)) {
            return;
        }
        let (term, asked, votes, set) = (*term, *asked, votes.clone(), set.id());
        if now >= asked.saturating_add(LEASE) {
            return self.step_down(now);
        }
        // One of them knows what majorities know.
        let known = votes.values().copied().reduce(Numbers::and);
        self.role = Role::Coordinator(Coordinator::elected(now, term, asked, votes));
        self.learn(now, known.unwrap_or_default(), out);
        self.runs.follow(now, &self.me, term);
        out.push(Output::Report(Report { set, term, released: 0 }));
        self.renew(now, out);
    }

    fn renew(&mut self, now: Duration, out: &mut Vec<Output>) {
        let Some(set) = self.set.as_ref().map(VoterSet::id) else { return };
        if self.delegation.asked_back > self.delegation.released && self.waiting.len() < MAX_WRITES {
            // From here on it grants nothing.
            self.delegation.released = self.delegation.asked_back;
            self.persist(Persist::Delegation(self.delegation.clone()), out);
            self.after_disk(now, After::Released(self.delegation.released), out);
        }
        let Role::Coordinator(coordinator) = &mut self.role else { return };
        coordinator.next = now.saturating_add(RENEW);
        let (term, round) = (coordinator.term, coordinator.renewing(now, &self.me));
        self.promise.give(now, &self.me);
        let numbers = Numbers::of(&self.delegation);
        self.to_others(&Message::Renew { set, term, round, numbers }, out);
    }

    /// Takes over what others know of the delegation.
    fn learn(&mut self, now: Duration, numbers: Numbers, out: &mut Vec<Output>) {
        let is_news = self.delegation.learn(None, numbers.asked_back) | (numbers.released > self.delegation.released);
        if is_news {
            self.delegation.released = self.delegation.released.max(numbers.released);
            self.persist(Persist::Delegation(self.delegation.clone()), out);
        }
        self.after_disk(now, After::Released(self.delegation.released), out);
    }

    /// Tells the hub when majorities have come to know that something is over.
    fn report_released(&mut self, out: &mut Vec<Output>) {
        let (Role::Coordinator(coordinator), Some(set)) = (&mut self.role, &self.set) else { return };
        let released = self.delegation.released;
        if released > coordinator.reported && coordinator.is_released(set, released) {
            coordinator.reported = released;
            out.push(Output::Report(Report { set: set.id(), term: coordinator.term, released }));
        }
    }

    fn message(&mut self, now: Duration, from: &NodeUid, message: Message, out: &mut Vec<Output>) {
        let Some(set) = self.set.as_ref().filter(|set| set.voters().contains(from)) else { return };
        let (held, may_coordinate) = (set.id(), set.may_coordinate(from));
        match message {
            Message::Sound { set, term } if set == held && may_coordinate => {
                let yes = term > self.ballot.term && self.ballot.is_near(term) && self.promise.allows(now, from);
                let answer = Message::Sounded { set, term, yes, known: self.ballot.term };
                out.push(Output::Send(from.clone(), answer));
            }
            Message::Sounded { set, term: of, yes: is_yes, known } if set == held => {
                let Role::Sounding { term, yes, .. } = &mut self.role else { return };
                if is_yes && of == *term {
                    yes.insert(from.clone());
                } else if self.ballot.is_near(known.next()) {
                    self.seen = self.seen.max(known);
                }
                self.stand_if_wanted(now, out);
            }
            Message::Ask { set, term } if set == held && may_coordinate => self.asked(now, from, set, term, out),
            Message::Vote { set, term: of, numbers } if set == held => {
                let Role::Candidate { term, asked: Some(_), votes, .. } = &mut self.role else { return };
                if of == *term {
                    votes.insert(from.clone(), numbers);
                    self.lead_if_elected(now, out);
                }
            }
            Message::Renew { set, term, round, numbers } if set == held && may_coordinate => {
                self.renewed(now, from, (set, term, round), numbers, out);
            }
            Message::Renewed { set, term, round, numbers } if set == held => {
                let (Role::Coordinator(coordinator), Some(set)) = (&mut self.role, &self.set) else { return };
                // Once over, a lease is over: others may hold one since.
                if coordinator.term == term && now < coordinator.until() {
                    coordinator.answered(now, set, from, round, numbers);
                    if numbers.asked_back > self.delegation.asked_back {
                        coordinator.next = now;
                        self.learn(now, Numbers { asked_back: numbers.asked_back, released: 0 }, out);
                    }
                    self.report_released(out);
                }
            }
            Message::Claim { term, life, round, holds } if may_coordinate && holds.len() <= MAX_PODS => {
                let Role::Coordinator(coordinator) = &mut self.role else { return };
                if coordinator.term != term || now >= coordinator.until() {
                    return;
                }
                let pods = coordinator.claim(now, from, &holds, self.delegation.pods());
                let answer = Message::Granted { term, life, round, pods };
                if *from == self.me {
                    self.message(now, from, answer, out);
                } else {
                    out.push(Output::Send(from.clone(), answer));
                }
            }
            Message::Granted { term, life, round, pods } => {
                let (start, stop) = self.runs.granted(now, from, (term, life, round), pods);
                out.extend(stop.into_iter().map(Output::Stop));
                out.extend(start.into_iter().map(Output::Run));
            }
            // Of another set, or by somebody who may not say it.
            _ => {}
        }
    }

    /// Somebody stands for election.
    fn asked(&mut self, now: Duration, from: &NodeUid, set: SetId, term: Term, out: &mut Vec<Output>) {
        if !self.promise.allows(now, from) || !self.ballot.allows(term, from) {
            return;
        }
        let vote = Ballot { term, voted_for: Some(from.clone()) };
        self.step_down(now);
        self.promised(now, from);
        let is_news = vote != self.ballot;
        self.ballot = vote;
        if broken("site-vote-before-sync") {
            self.run_after(now, After::Vote { to: from.clone(), set, term }, out);
        }
        if is_news {
            self.persist(Persist::Ballot(self.ballot.clone()), out);
        }
        self.after_disk(now, After::Vote { to: from.clone(), set, term }, out);
    }

    /// Somebody coordinates: it was elected, so whatever was promised to a coordinator of an earlier term is over.
    fn renewed(
        &mut self,
        now: Duration,
        from: &NodeUid,
        (set, term, round): (SetId, Term, u64),
        numbers: Numbers,
        out: &mut Vec<Output>,
    ) {
        if *from == self.me || term < self.ballot.term || !self.ballot.is_near(term) {
            return;
        }
        self.step_down(now);
        if term > self.ballot.term {
            self.ballot = Ballot { term, voted_for: None };
            self.persist(Persist::Ballot(self.ballot.clone()), out);
        }
        self.learn(now, numbers, out);
        self.runs.follow(now, from, term);
        self.after_disk(now, After::Renewed { to: from.clone(), set, term, round }, out);
    }
}

#[cfg(test)]
mod tests;
