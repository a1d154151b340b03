//! The same rule, slow and plain: every queue is there, every sum is taken anew.

use super::super::limits::GUESS;
use super::super::shuffle::Hand;
use super::super::width::{Load, Width, Work, work};
use super::{Arriving, Id, Queues, Shape};
use holdfast_env::Mono;
use proptest::prelude::*;
use std::time::Duration;

const QUEUES: u32 = 5;
const HAND: u32 = 2;
const LENGTH: u32 = 4;

struct One {
    id: Id,
    queue: usize,
    width: Width,
    arrived_r: Work,
    started: Option<Mono>,
}

struct Model {
    limit: u64,
    /// In the order in which they came.
    all: Vec<One>,
    next_r: Vec<Work>,
    lingering: Vec<(Mono, Id, u64)>,
    r: Work,
    at: Mono,
    robin: usize,
    arrivals: u64,
}

impl Model {
    fn waiting(&self, queue: usize) -> Vec<&One> {
        self.all.iter().filter(|one| one.queue == queue && one.started.is_none()).collect()
    }

    fn in_use(&self, queue: usize) -> bool {
        self.all.iter().any(|one| one.queue == queue)
    }

    fn seats(&self) -> u64 {
        let served = self.all.iter().filter(|one| one.started.is_some()).map(|one| one.width.most());
        served.sum::<u64>() + self.lingering.iter().map(|(.., seats)| seats).sum::<u64>()
    }

    fn sync(&mut self, now: Mono) {
        let waiting: u64 = self.all.iter().filter(|one| one.started.is_none()).map(|one| one.width.most()).sum();
        let used = (0..QUEUES as usize).filter(|queue| self.in_use(*queue)).count() as i128;
        if used > 0 {
            self.r += work((self.seats() + waiting).min(self.limit), now.since(self.at)) / used;
        }
        self.at = now;
    }

    fn advance(&mut self, now: Mono, out: &mut Vec<Id>) {
        loop {
            self.lingering.sort();
            match self.lingering.first() {
                Some((due, ..)) if *due <= now => {
                    let due = *due;
                    self.sync(due);
                    self.lingering.remove(0);
                    self.dispatch(due, out);
                }
                _ => return self.sync(now),
            }
        }
    }

    fn bound(&mut self, queue: usize) {
        let oldest = self.waiting(queue).first().map(|one| one.arrived_r);
        self.next_r[queue] = self.next_r[queue].max(oldest.unwrap_or(Work::MIN));
    }

    fn arrive(&mut self, now: Mono, id: Id, hash: u64, width: Width, out: &mut Vec<Id>) -> Option<bool> {
        self.advance(now, out);
        let mut best: Option<(Work, usize)> = None;
        for card in Hand::deal(hash, QUEUES, HAND).cards(self.arrivals) {
            let waits: Work = self.waiting(card as usize).iter().map(|one| one.width.work()).sum();
            if best.is_none_or(|(least, _)| waits < least) {
                best = Some((waits, card as usize));
            }
        }
        let (_, queue) = best.unwrap();
        self.arrivals += 1;
        if self.seats() >= self.limit && self.waiting(queue).len() >= LENGTH as usize {
            return None;
        }
        if !self.in_use(queue) {
            self.next_r[queue] = self.r;
        }
        self.all.push(One { id, queue, width, arrived_r: self.r, started: None });
        self.bound(queue);
        self.dispatch(now, out);
        Some(self.all.iter().any(|one| one.id == id && one.started.is_some()))
    }

    fn dispatch(&mut self, now: Mono, out: &mut Vec<Id>) {
        while self.seats() < self.limit {
            let mut best: Option<(Work, usize)> = None;
            for step in 1..=QUEUES as usize {
                let queue = (self.robin + step) % QUEUES as usize;
                let Some(one) = self.waiting(queue).first().map(|one| one.width.work()) else { continue };
                let ends = self.next_r[queue] + one;
                if best.is_none_or(|(first, _)| ends < first) {
                    best = Some((ends, queue));
                }
            }
            let Some((_, queue)) = best else { return };
            let (id, width) = self.waiting(queue).first().map(|one| (one.id, one.width)).unwrap();
            let served = self.all.iter().filter(|one| one.started.is_some()).count();
            let alone = width.most() > self.limit && served == 0;
            if !alone && (width.most() > self.limit || self.seats() + width.most() > self.limit) {
                return;
            }
            let width = width.narrowed(self.limit);
            let one = self.all.iter_mut().find(|one| one.id == id).unwrap();
            (one.width, one.started) = (width, Some(now));
            self.next_r[queue] += width.work();
            self.robin = queue;
            self.bound(queue);
            out.push(id);
        }
    }

    fn leave(&mut self, now: Mono, id: Id, out: &mut Vec<Id>) -> bool {
        self.advance(now, out);
        let Some(at) = self.all.iter().position(|one| one.id == id) else { return false };
        let one = self.all.remove(at);
        if let Some(started) = one.started {
            if !one.width.lasting.is_zero() {
                self.lingering.push((now.after(one.width.lasting), id, one.width.most()));
            }
            self.next_r[one.queue] += work(one.width.first, now.since(started)) - work(one.width.first, GUESS);
        }
        self.bound(one.queue);
        self.dispatch(now, out);
        one.started.is_none()
    }
}

/// What happens: a request of a flow comes, one of those that are here leaves, the limit changes; after so many milliseconds.
#[derive(Clone, Debug)]
enum Step {
    Arrive { flow: u64, load: Load },
    Leave { which: prop::sample::Index },
    Limit(u64),
    Pass,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let load = prop_oneof![
        4 => Just(Load::One),
        1 => (1u64..12).prop_map(Load::List),
        1 => (10usize..80).prop_map(Load::Write),
    ];
    let what = prop_oneof![
        6 => (0u64..6, load).prop_map(|(flow, load)| Step::Arrive { flow, load }),
        4 => any::<prop::sample::Index>().prop_map(|which| Step::Leave { which }),
        1 => (0u64..8).prop_map(Step::Limit),
        1 => Just(Step::Pass),
    ];
    (prop_oneof![Just(0u64), 1u64..20], what)
}

proptest! {
    #[test]
    fn queues_do_what_the_plain_rule_says(steps in prop::collection::vec(step(), 1..120)) {
        let shape = Shape::Queue { queues: QUEUES, hand: HAND, length: LENGTH };
        let mut queues = Queues::new(Mono::default(), shape, 4);
        let mut model = Model {
            limit: 4,
            all: Vec::new(),
            next_r: vec![0; QUEUES as usize],
            lingering: Vec::new(),
            r: 0,
            at: Mono::default(),
            robin: 0,
            arrivals: 0,
        };
        let mut now = Mono::default();
        for (id, (passed, step)) in steps.into_iter().enumerate() {
            now = now.after(Duration::from_millis(passed));
            let id = id as Id;
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            match step {
                Step::Arrive { flow, load } => {
                    let (hash, width) = (flow.wrapping_mul(0x9e37_79b9_7f4a_7c15), Width::of(load, 0));
                    let request = Arriving { id, schema: "s".into(), flow: flow.to_string(), hash, width };
                    let result = queues.arrive(now, request, &mut out).ok();
                    prop_assert_eq!(result, model.arrive(now, id, hash, width, &mut expected));
                }
                Step::Leave { which } if !model.all.is_empty() => {
                    let id = model.all[which.index(model.all.len())].id;
                    prop_assert_eq!(queues.leave(now, id, &mut out), model.leave(now, id, &mut expected));
                }
                Step::Limit(limit) => {
                    queues.configure(now, shape, limit, &mut out);
                    model.advance(now, &mut expected);
                    model.limit = limit;
                    model.dispatch(now, &mut expected);
                }
                Step::Leave { .. } | Step::Pass => {
                    queues.advance(now, &mut out);
                    model.advance(now, &mut expected);
                }
            }
            prop_assert_eq!(out, expected);
            prop_assert_eq!(queues.seats(), model.seats());
            let served = model.all.iter().filter(|one| one.started.is_some()).count();
            prop_assert_eq!(queues.counts(), (model.all.len() - served, served as u64));
            let used = (0..QUEUES as usize).filter(|queue| model.in_use(*queue)).count();
            prop_assert_eq!(queues.queues().count(), used, "a queue that is not used is not there");
        }
    }
}
