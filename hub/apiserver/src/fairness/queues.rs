//! The queues of one level: which request is served next, sans-IO. Fair queueing for server requests, as upstream has it (its
//! KEP-1040): virtual time `R` is the seat-time that each queue in use has had a right to; a queue's next request begins, in
//! virtual time, where its last one ended, and the one that ends first is served first. What a request costs is guessed until
//! it has been served, and the guess is made good then. A queue that did not use its right does not save it up.
//!
//! A queue is there only while a request of it waits or is served: a level may have millions of them, and one whose requests
//! were all served means nothing to the rule.
//!
//! Given: times that do not fall, requests with numbers that are never used again. Taken: numbers of requests that are to be
//! served now, in their order, appended to a list of the caller's.

use super::demand::Demand;
use super::limits::{GUESS, WAITING};
use super::shuffle::Hand;
use super::stats::{Flow, Now, Refused};
use super::width::{Width, Work, work};
use holdfast_env::Mono;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The number of a request.
pub(super) type Id = u64;

/// What becomes of requests for which no seat is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// There is always a seat.
    Exempt,
    /// They are refused.
    Reject,
    /// They wait.
    Queue {
        /// Queues.
        queues: u32,
        /// Those that a flow may use.
        hand: u32,
        /// Requests that wait in one.
        length: u32,
    },
}

/// A request as it comes.
pub(super) struct Arriving {
    /// Its number.
    pub(super) id: Id,
    /// Its flow schema.
    pub(super) schema: Arc<str>,
    /// The user or the namespace by which the schema tells flows apart.
    pub(super) flow: String,
    /// The hash of both.
    pub(super) hash: u64,
    /// Its seats.
    pub(super) width: Width,
}

/// A request that is here.
pub(super) struct Held {
    /// Its flow schema.
    pub(super) schema: Arc<str>,
    /// What tells its flow apart.
    pub(super) flow: String,
    /// Its queue; `None` for one that never waited because its level has none.
    pub(super) queue: Option<u32>,
    /// Its seats.
    pub(super) width: Width,
    /// When it came.
    pub(super) arrived: Mono,
    /// When it began to be served.
    pub(super) started: Option<Mono>,
    arrived_r: Work,
}

/// A queue in use.
#[derive(Default)]
pub(super) struct Queue {
    /// Requests that wait, oldest first.
    pub(super) waiting: VecDeque<Id>,
    /// Their seats while they are served, the most that they take, and their work.
    pub(super) sums: (u64, u64, Work),
    /// Requests that are served, and their seats.
    pub(super) served: (u64, u64),
    /// Where its next request begins, in virtual time.
    pub(super) next_r: Work,
}

/// The queues of a level.
pub(super) struct Queues {
    shape: Shape,
    limit: u64,
    queues: BTreeMap<u32, Queue>,
    requests: BTreeMap<Id, Held>,
    /// Virtual time at `at`.
    r: Work,
    at: Mono,
    /// The queue that was served last.
    robin: u32,
    enqueued: u64,
    waiting: (usize, u64),
    served: u64,
    /// Seats of requests that are served, and of those whose events are still on their way.
    seats: u64,
    /// The latter: when they are given back, and how many.
    lingering: BTreeMap<(Mono, Id), u64>,
    demand: Demand,
    flows: BTreeMap<Arc<str>, Flow>,
}

impl Queues {
    /// Queues without requests.
    pub(super) fn new(now: Mono, shape: Shape, limit: u64) -> Queues {
        Queues {
            shape,
            limit,
            queues: BTreeMap::new(),
            requests: BTreeMap::new(),
            r: 0,
            at: now,
            robin: 0,
            enqueued: 0,
            waiting: (0, 0),
            served: 0,
            seats: 0,
            lingering: BTreeMap::new(),
            demand: Demand::default(),
            flows: BTreeMap::new(),
        }
    }

    /// A request comes: whether it was let in, or has to wait. It may let others in as well, when it is not the next.
    ///
    /// # Errors
    /// Why neither.
    pub(super) fn arrive(&mut self, now: Mono, request: Arriving, out: &mut Vec<Id>) -> Result<bool, Refused> {
        self.advance(now, out);
        let Arriving { id, schema, flow, hash, width } = request;
        let held = Held { schema, flow, queue: None, width, arrived: now, started: None, arrived_r: self.r };
        let (hand, length) = match self.shape {
            Shape::Exempt | Shape::Reject => return self.serve_without_queue(now, id, held),
            Shape::Queue { queues, hand, length } => (Hand::deal(hash, queues, hand), length),
        };
        let index = self.shortest(&hand);
        let waits = self.queues.get(&index).map_or(0, |queue| queue.waiting.len());
        let full = self.seats >= self.limit && waits >= length as usize;
        if full || self.waiting.0 >= WAITING {
            return Err(self.refuse(&held.schema, Refused::QueueFull, Duration::ZERO));
        }
        self.enqueue(index, id, held);
        self.dispatch(now, out);
        Ok(self.requests.get(&id).is_some_and(|held| held.started.is_some()))
    }

    /// A request is over, or not wanted any more: whether it still waited. What is not here is left alone.
    pub(super) fn leave(&mut self, now: Mono, id: Id, out: &mut Vec<Id>) -> bool {
        self.advance(now, out);
        let Some(held) = self.requests.remove(&id) else { return false };
        let waited = held.started.is_none();
        match held.started {
            Some(started) => self.finish(now, id, &held, started),
            None => self.give_up(now, id, &held),
        }
        self.demand.is(self.wanted());
        self.dispatch(now, out);
        waited
    }

    /// Gives back what was kept until now.
    pub(super) fn advance(&mut self, now: Mono, out: &mut Vec<Id>) {
        while let Some(((due, id), seats)) = self.lingering.first_key_value().map(|(key, seats)| (*key, *seats)) {
            if due > now {
                break;
            }
            self.sync(due);
            self.lingering.remove(&(due, id));
            self.seats -= seats;
            self.demand.is(self.wanted());
            self.dispatch(due, out);
        }
        self.sync(now);
    }

    /// When seats come back for which somebody waits.
    pub(super) fn next_release(&self) -> Option<Mono> {
        self.lingering.keys().next().filter(|_| self.waiting.0 > 0).map(|(due, _)| *due)
    }

    /// Another configuration; what waits goes on waiting where it is.
    pub(super) fn configure(&mut self, now: Mono, shape: Shape, limit: u64, out: &mut Vec<Id>) {
        self.advance(now, out);
        (self.shape, self.limit) = (shape, limit);
        self.dispatch(now, out);
    }

    /// The demand so far; another period of it begins.
    pub(super) fn demand(&mut self, now: Mono, out: &mut Vec<Id>) -> (&mut Demand, u64) {
        self.advance(now, out);
        let wanted = self.wanted();
        (&mut self.demand, wanted)
    }

    /// Forgets what was counted of schemas that are none any more.
    pub(super) fn forget_flows(&mut self, known: impl Fn(&str) -> bool) {
        let here: Vec<Arc<str>> = self.requests.values().map(|held| held.schema.clone()).collect();
        self.flows.retain(|schema, _| known(schema) || here.contains(schema));
    }

    /// Whether a request waits.
    pub(super) fn waits(&self, id: Id) -> bool {
        self.requests.get(&id).is_some_and(|held| held.started.is_none())
    }

    /// Whether nobody waits or is served.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// Seats that may be in use.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Requests that wait, and that are served.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.waiting.0, self.served)
    }

    /// Seats in use.
    #[cfg(test)]
    pub(super) fn seats(&self) -> u64 {
        self.seats
    }

    /// What is counted by schema.
    pub(super) fn flows(&self) -> &BTreeMap<Arc<str>, Flow> {
        &self.flows
    }

    /// What is here by schema.
    pub(super) fn now(&self) -> BTreeMap<Arc<str>, Now> {
        let mut all: BTreeMap<Arc<str>, Now> = BTreeMap::new();
        for held in self.requests.values() {
            let now = all.entry(held.schema.clone()).or_default();
            let part = if held.started.is_some() { &mut now.served } else { &mut now.waiting };
            part.0 += 1;
            part.1 += held.width.most();
        }
        all
    }

    /// The queues in use.
    pub(super) fn queues(&self) -> impl Iterator<Item = (u32, &Queue)> {
        self.queues.iter().map(|(index, queue)| (*index, queue))
    }

    /// The requests that are here, and where each stands in its queue; `None` for those that are served.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&Held, Option<usize>)> {
        self.requests.iter().map(|(id, held)| {
            let queue = held.queue.filter(|_| held.started.is_none()).and_then(|index| self.queues.get(&index));
            (held, queue.and_then(|queue| queue.waiting.iter().position(|waiting| waiting == id)))
        })
    }

    fn wanted(&self) -> u64 {
        self.seats + self.waiting.1
    }

    /// Lets virtual time come up to `now`.
    fn sync(&mut self, now: Mono) {
        let passed = now.since(self.at);
        self.at = self.at.max(now);
        self.demand.lasted(self.wanted(), passed);
        if let Some(queues) = i128::try_from(self.queues.len()).ok().filter(|queues| *queues > 0) {
            self.r += work(self.wanted().min(self.limit), passed) / queues;
        }
    }

    fn flow(&mut self, schema: &Arc<str>) -> &mut Flow {
        self.flows.entry(schema.clone()).or_default()
    }

    fn refuse(&mut self, schema: &Arc<str>, why: Refused, waited: Duration) -> Refused {
        let flow = self.flow(schema);
        *flow.refused.entry(why).or_default() += 1;
        flow.waited[1].observe(waited);
        why
    }

    fn fits(&self, seats: u64) -> bool {
        match self.shape {
            Shape::Exempt => true,
            // One that is wider than all seats has them for itself.
            _ if seats > self.limit => self.served == 0,
            _ => self.seats + seats <= self.limit,
        }
    }

    fn serve_without_queue(&mut self, now: Mono, id: Id, held: Held) -> Result<bool, Refused> {
        if !self.fits(held.width.most()) {
            return Err(self.refuse(&held.schema, Refused::NoSeat, Duration::ZERO));
        }
        let exempt = self.shape == Shape::Exempt;
        self.served += 1;
        self.seats += held.width.most();
        self.demand.is(self.wanted());
        let flow = self.flow(&held.schema);
        flow.dispatched += 1;
        if !exempt {
            flow.waited[0].observe(Duration::ZERO);
        }
        self.requests.insert(id, Held { started: Some(now), ..held });
        Ok(true)
    }

    /// The queue of a hand where the least work waits.
    fn shortest(&mut self, hand: &Hand) -> u32 {
        let offset = self.enqueued;
        self.enqueued += 1;
        let waits = |index: &u32| self.queues.get(index).map_or(0, |queue| queue.sums.2);
        // Of equal ones the first.
        hand.cards(offset).min_by_key(waits).unwrap_or_default()
    }

    fn enqueue(&mut self, index: u32, id: Id, mut held: Held) {
        let r = self.r;
        let queue = self.queues.entry(index).or_insert_with(|| Queue { next_r: r, ..Queue::default() });
        queue.waiting.push_back(id);
        let (first, most, work) = (held.width.first, held.width.most(), held.width.work());
        queue.sums = (queue.sums.0 + first, queue.sums.1 + most, queue.sums.2 + work);
        held.queue = Some(index);
        self.requests.insert(id, held);
        self.waiting = (self.waiting.0 + 1, self.waiting.1 + most);
        self.demand.is(self.wanted());
        self.bound(index);
    }

    /// Lets in as many as there are seats for.
    fn dispatch(&mut self, now: Mono, out: &mut Vec<Id>) {
        while self.waiting.0 > 0 && self.seats < self.limit {
            let Some((index, id)) = self.next() else { return };
            self.serve(now, index, id);
            out.push(id);
        }
    }

    /// The request that ends first in virtual time, of the queues from the one after that which was served last: where several
    /// end at once, those come first that have waited for their turn. Nobody passes it, if it does not fit: it would never.
    fn next(&self) -> Option<(u32, Id)> {
        let after = self.queues.range(self.robin.saturating_add(1)..);
        let before = self.queues.range(..=self.robin);
        let mut first: Option<(Work, u32, Id)> = None;
        for (index, queue) in after.chain(before) {
            let Some(id) = queue.waiting.front() else { continue };
            let Some(held) = self.requests.get(id) else { continue };
            let ends = queue.next_r + held.width.work();
            if first.is_none_or(|(earliest, ..)| ends < earliest) {
                first = Some((ends, *index, *id));
            }
        }
        let (_, index, id) = first?;
        let seats = self.requests.get(&id)?.width.most();
        self.fits(seats).then_some((index, id))
    }

    fn serve(&mut self, now: Mono, index: u32, id: Id) {
        let limit = self.limit;
        let (Some(queue), Some(held)) = (self.queues.get_mut(&index), self.requests.get_mut(&id)) else { return };
        take(queue, held.width);
        queue.waiting.pop_front();
        self.waiting = (self.waiting.0 - 1, self.waiting.1 - held.width.most());
        held.width = held.width.narrowed(limit);
        held.started = Some(now);
        let (seats, schema, waited) = (held.width.most(), held.schema.clone(), now.since(held.arrived));
        queue.served = (queue.served.0 + 1, queue.served.1 + seats);
        queue.next_r += held.width.work();
        self.robin = index;
        self.served += 1;
        self.seats += seats;
        self.demand.is(self.wanted());
        let flow = self.flow(&schema);
        flow.dispatched += 1;
        flow.waited[0].observe(waited);
        self.bound(index);
    }

    fn finish(&mut self, now: Mono, id: Id, held: &Held, started: Mono) {
        let (served, seats) = (now.since(started), held.width.most());
        self.served -= 1;
        if held.width.lasting.is_zero() {
            self.seats -= seats;
        } else {
            self.lingering.insert((now.after(held.width.lasting), id), seats);
        }
        self.flow(&held.schema).served.observe(served);
        let Some(index) = held.queue else { return };
        if let Some(queue) = self.queues.get_mut(&index) {
            queue.served = (queue.served.0 - 1, queue.served.1 - seats);
            // What was guessed of it is made good.
            queue.next_r += work(held.width.first, served) - work(held.width.first, GUESS);
        }
        self.bound(index);
        self.drop_unused(index);
    }

    fn give_up(&mut self, now: Mono, id: Id, held: &Held) {
        self.waiting = (self.waiting.0 - 1, self.waiting.1 - held.width.most());
        self.refuse(&held.schema, Refused::TimedOut, now.since(held.arrived));
        let Some(index) = held.queue else { return };
        if let Some(queue) = self.queues.get_mut(&index) {
            queue.waiting.retain(|waiting| *waiting != id);
            take(queue, held.width);
        }
        self.bound(index);
        self.drop_unused(index);
    }

    /// A queue cannot be served, in virtual time, before its oldest request came: it would save up what it did not use.
    fn bound(&mut self, index: u32) {
        let Some(queue) = self.queues.get_mut(&index) else { return };
        if let Some(oldest) = queue.waiting.front().and_then(|id| self.requests.get(id)) {
            queue.next_r = queue.next_r.max(oldest.arrived_r);
        }
    }

    fn drop_unused(&mut self, index: u32) {
        if self.queues.get(&index).is_some_and(|queue| queue.waiting.is_empty() && queue.served.0 == 0) {
            self.queues.remove(&index);
        }
    }
}

/// Takes a request out of the sums of those that wait.
fn take(queue: &mut Queue, width: Width) {
    let (first, most, work) = queue.sums;
    queue.sums = (first - width.first, most - width.most(), work - width.work());
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
