//! What the queues promise.

use super::super::width::Load;
use super::*;

const QUEUE: Shape = Shape::Queue { queues: 64, hand: 6, length: 50 };

struct Level {
    queues: Queues,
    now: Mono,
    next: Id,
}

fn level(shape: Shape, limit: u64) -> Level {
    Level { queues: Queues::new(Mono::default(), shape, limit), now: Mono::default(), next: 0 }
}

fn hash(flow: &str) -> u64 {
    flow.bytes().fold(7, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Level {
    fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
    }

    fn arrive(&mut self, flow: &str, load: Load) -> Result<(Id, bool), Refused> {
        self.next += 1;
        let request = Arriving {
            id: self.next,
            schema: "schema".into(),
            flow: flow.into(),
            hash: hash(flow),
            width: Width::of(load, 0),
        };
        self.queues.arrive(self.now, request, &mut Vec::new()).map(|serves| (self.next, serves))
    }

    fn leave(&mut self, id: Id) -> Vec<Id> {
        let mut out = Vec::new();
        self.queues.leave(self.now, id, &mut out);
        out
    }
}

#[test]
fn a_level_without_queues_refuses_what_does_not_fit() {
    let mut level = level(Shape::Reject, 2);
    let (first, serves) = level.arrive("a", Load::One).unwrap();
    assert!(serves && level.arrive("a", Load::One).unwrap().1);
    assert_eq!(level.arrive("b", Load::One), Err(Refused::NoSeat));
    level.leave(first);
    assert_eq!(level.arrive("b", Load::List(2)), Err(Refused::NoSeat));
    assert!(level.arrive("b", Load::One).unwrap().1);
    let flow = &level.queues.flows()["schema"];
    assert_eq!((flow.dispatched, flow.refused[&Refused::NoSeat]), (3, 2));
}

#[test]
fn what_is_exempt_is_never_held_up() {
    let mut level = level(Shape::Exempt, 0);
    let mut ids = Vec::new();
    for _ in 0..100 {
        let (id, serves) = level.arrive("a", Load::One).unwrap();
        assert!(serves);
        ids.push(id);
    }
    assert_eq!(level.queues.seats(), 100);
    for id in ids {
        level.leave(id);
    }
    assert!(level.queues.is_idle() && level.queues.seats() == 0);
}

#[test]
fn a_flow_fills_its_own_queues_and_no_others() {
    let mut level = level(QUEUE, 1);
    let mut waiting = 0;
    let refused = loop {
        match level.arrive("flood", Load::One) {
            Ok((_, serves)) => waiting += usize::from(!serves),
            Err(why) => break why,
        }
    };
    assert_eq!((refused, waiting), (Refused::QueueFull, 6 * 50));
    for other in 0..200 {
        let flow = format!("other-{other}");
        level.arrive(&flow, Load::One).unwrap_or_else(|_| panic!("{flow} found no queue"));
    }
}

/// However much a flow asks for, another that asks for little waits for a few turns, not for all that came before it.
#[test]
fn a_flood_does_not_hold_up_others() {
    let mut level = level(QUEUE, 4);
    let mut served = Vec::new();
    let flood = |level: &mut Level, served: &mut Vec<Id>| {
        if let Ok((id, true)) = level.arrive("flood", Load::One) {
            served.push(id);
        }
    };
    for _ in 0..1000 {
        flood(&mut level, &mut served);
    }
    assert_eq!((served.len(), level.queues.counts().0), (4, 6 * 50));
    for _ in 0..20 {
        let (id, _) = level.arrive("other", Load::One).unwrap();
        let mut turns = 0;
        while level.queues.requests.contains_key(&id) {
            level.pass(10);
            let done = served.remove(0);
            served.extend(level.leave(done));
            flood(&mut level, &mut served);
            turns += 1;
            assert!(turns <= 30, "it waits behind the flood");
        }
    }
}

/// Two flows with much to do get the same, whatever their requests cost.
#[test]
fn seats_are_shared_by_what_requests_cost() {
    let mut level = level(Shape::Queue { queues: 1024, hand: 1, length: 1000 }, 10);
    let mut cost = [Duration::ZERO; 2];
    let mut served: Vec<(Id, usize, Mono)> = Vec::new();
    let mut of = BTreeMap::new();
    for _ in 0..900 {
        for (flow, load) in [Load::One, Load::List(5)].into_iter().enumerate() {
            let name = ["narrow", "wide"][flow];
            let (id, serves) = level.arrive(name, load).unwrap();
            of.insert(id, flow);
            if serves {
                served.push((id, flow, level.now));
            }
        }
    }
    let width = [1, 5];
    for _ in 0..2000 {
        level.pass(1);
        // A narrow one takes 20 ms, a wide one 10.
        let done = served.iter().position(|(_, flow, since)| level.now.since(*since).as_millis() >= [20, 10][*flow]);
        let Some(at) = done else { continue };
        let (id, flow, since) = served.remove(at);
        cost[flow] += level.now.since(since) * width[flow];
        for id in level.leave(id) {
            served.push((id, of[&id], level.now));
        }
    }
    let [narrow, wide] = cost.map(|cost| cost.as_secs_f64());
    assert!(narrow / wide > 0.8 && narrow / wide < 1.25, "{narrow} {wide}");
}

#[test]
fn one_that_is_wider_than_all_seats_has_them_for_itself() {
    let mut level = level(QUEUE, 3);
    let (first, _) = level.arrive("a", Load::One).unwrap();
    let (wide, serves) = level.arrive("b", Load::List(10)).unwrap();
    assert!(!serves);
    // Whoever came long after it does not pass it: it would never be served.
    level.pass(100);
    let (later, serves) = level.arrive("c", Load::One).unwrap();
    assert!(!serves);
    assert_eq!(level.leave(first), [wide]);
    level.pass(5);
    assert_eq!(level.leave(wide), [later]);
}

#[test]
fn seats_come_back_once_the_events_are_told() {
    let mut level = level(QUEUE, 10);
    let (write, _) = level.arrive("a", Load::Write(100)).unwrap();
    let (next, serves) = level.arrive("b", Load::One).unwrap();
    assert!(!serves);
    assert!(level.leave(write).is_empty());
    let due = level.queues.next_release().unwrap();
    assert_eq!(due.since(level.now), Duration::from_millis(5));
    let mut out = Vec::new();
    level.queues.advance(due, &mut out);
    assert_eq!((out, level.queues.next_release()), (vec![next], None));
}

#[test]
fn who_gives_up_is_counted_and_makes_room() {
    let mut level = level(QUEUE, 1);
    let (first, _) = level.arrive("a", Load::One).unwrap();
    let (second, _) = level.arrive("a", Load::One).unwrap();
    let (third, _) = level.arrive("a", Load::One).unwrap();
    assert!(level.queues.leave(level.now, second, &mut Vec::new()));
    assert!(!level.queues.leave(level.now, second, &mut Vec::new()), "it is not here any more");
    assert_eq!(level.leave(first), [third]);
    level.leave(third);
    assert!(level.queues.is_idle() && level.queues.queues().count() == 0);
    assert_eq!(level.queues.flows()["schema"].refused[&Refused::TimedOut], 1);
}

/// What waits when a level is changed is served still.
#[test]
fn another_shape_drains_the_queues() {
    let mut level = level(QUEUE, 1);
    let (first, _) = level.arrive("a", Load::One).unwrap();
    let (second, _) = level.arrive("a", Load::One).unwrap();
    level.queues.configure(level.now, Shape::Reject, 1, &mut Vec::new());
    assert_eq!(level.arrive("b", Load::One), Err(Refused::NoSeat));
    assert_eq!(level.leave(first), [second]);
    let mut out = Vec::new();
    level.queues.configure(level.now, QUEUE, 0, &mut out);
    level.leave(second);
    let (third, serves) = level.arrive("a", Load::One).unwrap();
    assert!(!serves, "no seat at all");
    level.queues.configure(level.now, QUEUE, 2, &mut out);
    assert_eq!(out, [third]);
}
