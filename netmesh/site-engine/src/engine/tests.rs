use super::*;
use crate::delegation::Pod;
use crate::limits::{PROMISE, RUN_LEASE, TERM_JUMP, run_wait};
use crate::set::Seat;
use holdfast_core::Lineage;

const STEP: Duration = Duration::from_millis(500);

fn node(name: &str) -> NodeUid {
    NodeUid(name.into())
}

fn pod(name: &str) -> PodUid {
    PodUid(name.into())
}

fn set_of(names: &str) -> VoterSet {
    let seat = |c: char| Seat { node: node(&c.to_ascii_lowercase().to_string()), witness: c.is_ascii_uppercase() };
    VoterSet::first(SetId { number: 1, lineage: Lineage(1) }, names.chars().map(seat).collect()).unwrap()
}

fn record(number: u64, pods: &[&str]) -> Option<Record> {
    let pods = pods.iter().map(|name| Pod { uid: pod(name), stop: Duration::from_secs(5) }).collect();
    Some(Record { number, pods })
}

/// Boxes with good disks and one clock; messages arrive at once, unless one end is cut off.
struct Site {
    now: Duration,
    boxes: BTreeMap<NodeUid, SiteBox>,
    kept: BTreeMap<NodeUid, Kept>,
    cut: BTreeSet<NodeUid>,
    running: BTreeMap<NodeUid, BTreeSet<PodUid>>,
    reports: Vec<Report>,
    lives: u64,
}

impl Site {
    fn of(names: &str) -> Site {
        let kept = Kept { set: Some(set_of(names)), ..Kept::default() };
        let kept: BTreeMap<NodeUid, Kept> =
            set_of(names).voters().into_iter().map(|v| (v.clone(), kept.clone())).collect();
        let mut site = Site {
            now: Duration::from_secs(1),
            boxes: BTreeMap::new(),
            kept: kept.clone(),
            cut: BTreeSet::new(),
            running: BTreeMap::new(),
            reports: Vec::new(),
            lives: 0,
        };
        kept.keys().for_each(|name| site.start(&name.0));
        site
    }

    fn start(&mut self, name: &str) {
        self.lives += 1;
        let kept = self.kept[&node(name)].clone();
        self.running.remove(&node(name));
        self.boxes.insert(node(name), SiteBox::start(self.now, node(name), self.lives, kept));
    }

    fn perform(&mut self, from: &NodeUid, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(to, message) => {
                    if !self.cut.contains(from) && !self.cut.contains(&to) {
                        self.tell(&to, Input::Message(from.clone(), message));
                    }
                }
                Output::Persist(what) => {
                    self.kept.get_mut(from).unwrap().apply(what);
                    self.tell(from, Input::Persisted);
                }
                Output::Run(pod) => assert!(self.running.entry(from.clone()).or_default().insert(pod)),
                Output::Stop(pod) => assert!(self.running.entry(from.clone()).or_default().remove(&pod)),
                Output::Report(report) => self.reports.push(report),
            }
        }
    }

    fn tell(&mut self, to: &NodeUid, input: Input) {
        if let Some(site) = self.boxes.get_mut(to) {
            let outputs = site.handle(self.now, input);
            self.perform(to, outputs);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            let due = |site: &SiteBox| site.next_deadline().is_some_and(|due| due <= self.now);
            let due: Vec<NodeUid> =
                self.boxes.iter().filter(|(_, site)| due(site)).map(|(name, _)| name.clone()).collect();
            due.iter().for_each(|name| self.tell(name, Input::Tick));
            assert!(self.acting().len() <= 1, "{:?}", self.acting());
        }
    }

    fn acting(&self) -> Vec<&str> {
        let acting = self.boxes.iter().filter(|(_, site)| site.coordinates(self.now));
        acting.map(|(name, _)| name.0.as_str()).collect()
    }

    fn delegate(&mut self, record: &Option<Record>, asked_back: u64) {
        for name in self.boxes.keys().cloned().collect::<Vec<_>>() {
            let outputs = self.boxes.get_mut(&name).unwrap().take_delegation(self.now, record.clone(), asked_back);
            self.perform(&name, outputs);
        }
    }

    fn at(&mut self, name: &str) -> &mut SiteBox {
        self.boxes.get_mut(&node(name)).unwrap()
    }

    fn runs(&self, name: &str) -> Vec<&str> {
        self.running.get(&node(name)).into_iter().flatten().map(|pod| pod.0.as_str()).collect()
    }
}

#[test]
fn a_coordinator_is_there_once_the_promises_of_an_earlier_life_are_over() {
    for names in ["abc", "abW"] {
        let mut site = Site::of(names);
        site.pass(PROMISE - STEP * 2);
        assert!(site.acting().is_empty());
        site.pass(STEP * 4);
        assert_eq!(site.acting(), ["a"]);
        site.pass(Duration::from_secs(600));
        assert_eq!(site.acting(), ["a"]);
        assert_eq!(site.at("a").ballot.term, Term(1), "nobody stood a second time");
    }
}

#[test]
fn a_witness_never_coordinates() {
    let mut site = Site::of("abW");
    site.pass(PROMISE * 2);
    site.boxes.remove(&node("a"));
    site.boxes.remove(&node("b"));
    site.start("b");
    site.pass(PROMISE * 2);
    assert_eq!(site.acting(), ["b"]);
    site.boxes.remove(&node("b"));
    site.pass(PROMISE * 4);
    assert!(site.acting().is_empty());
    assert_eq!(site.at("w").place(Duration::ZERO, &pod("p"), &node("w")), Err(NotPlaced::RunsNothing(node("w"))));
}

#[test]
fn a_cut_coordinator_stops_before_another_begins_and_unseats_nobody_on_return() {
    let mut site = Site::of("abc");
    site.pass(PROMISE * 2);
    site.cut.insert(node("a"));
    // `pass` looks at every step that at most one acts.
    site.pass(PROMISE * 2);
    assert_eq!(site.acting(), ["b"]);
    site.pass(Duration::from_secs(3600));
    let term = site.at("b").ballot.term;
    assert_eq!(site.at("a").ballot.term, Term(1), "a box that is cut off writes nothing");
    site.cut.clear();
    site.pass(Duration::from_secs(60));
    assert_eq!(site.acting(), ["b"]);
    assert_eq!(site.at("a").ballot.term, term);
}

#[test]
fn a_vote_waits_for_the_disk_and_for_promises() {
    let set = set_of("abc");
    let id = set.id();
    let kept = Kept { set: Some(set), ..Kept::default() };
    let mut site = SiteBox::start(Duration::ZERO, node("c"), 1, kept);
    let ask = |from: &str, term| Input::Message(node(from), Message::Ask { set: id, term: Term(term) });
    assert!(site.handle(Duration::ZERO, ask("a", 1)).is_empty(), "it has just started");
    let now = PROMISE;
    let outputs = site.handle(now, ask("a", 1));
    let [Output::Persist(Persist::Ballot(ballot))] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(*ballot, Ballot { term: Term(1), voted_for: Some(node("a")) });
    assert!(site.handle(now, ask("b", 2)).is_empty(), "promised to a");
    assert!(site.handle(now, ask("a", 1)).is_empty(), "not durable yet");
    let outputs = site.handle(now + STEP, Input::Persisted);
    assert_eq!(outputs.len(), 2);
    assert!(matches!(&outputs[0], Output::Send(to, Message::Vote { .. }) if *to == node("a")));
    assert!(site.handle(now + PROMISE, ask("b", 2)).is_empty(), "promised when it was told, not when it was asked");
    assert_eq!(site.handle(now + STEP + PROMISE, ask("b", 2)).len(), 1);
}

#[test]
fn who_may_not_say_it_says_it_in_vain() {
    let set = set_of("abW");
    let id = set.id();
    let now = PROMISE;
    let fresh = || SiteBox::start(Duration::ZERO, node("b"), 1, Kept { set: Some(set.clone()), ..Kept::default() });
    let other = SetId { number: 2, lineage: Lineage(1) };
    let numbers = Numbers { asked_back: 9, released: 9 };
    for (from, message) in [
        ("x", Message::Ask { set: id, term: Term(1) }),
        ("w", Message::Ask { set: id, term: Term(1) }),
        ("a", Message::Ask { set: other, term: Term(1) }),
        ("a", Message::Ask { set: id, term: Term(TERM_JUMP + 1) }),
        ("x", Message::Renew { set: id, term: Term(1), round: 1, numbers }),
        ("w", Message::Renew { set: id, term: Term(1), round: 1, numbers }),
        ("a", Message::Renew { set: other, term: Term(1), round: 1, numbers }),
        ("a", Message::Renew { set: id, term: Term(u64::MAX), round: 1, numbers }),
        ("a", Message::Vote { set: id, term: Term(1), numbers }),
        ("a", Message::Renewed { set: id, term: Term(1), round: 1, numbers }),
        ("a", Message::Claim { term: Term(1), life: 1, round: 1, holds: vec![pod("p")] }),
        ("a", Message::Granted { term: Term(0), life: 1, round: 1, pods: vec![pod("p")] }),
    ] {
        let mut site = fresh();
        let outputs = site.handle(now, Input::Message(node(from), message.clone()));
        assert!(outputs.is_empty(), "{from}: {message:?}: {outputs:?}");
        assert_eq!(site.ballot, Ballot::default(), "{from}: {message:?}");
        assert_eq!(site.delegation, Delegation::default(), "{from}: {message:?}");
    }
}

#[test]
fn a_pod_stays_where_it_runs_when_coordinators_change() {
    let mut site = Site::of("abc");
    site.pass(PROMISE * 2);
    site.delegate(&record(1, &["p", "q"]), 0);
    let now = site.now;
    assert!(matches!(site.at("a").place(now, &pod("p"), &node("b")), Err(NotPlaced::MayRun { .. })));
    site.pass(run_wait(Duration::from_secs(5)));
    let now = site.now;
    assert_eq!(site.at("a").place(now, &pod("x"), &node("b")), Err(NotPlaced::NotDelegated(pod("x"))));
    assert_eq!(site.at("b").place(now, &pod("p"), &node("b")), Err(NotPlaced::NotCoordinating));
    site.at("a").place(now, &pod("p"), &node("b")).unwrap();
    site.at("a").place(now, &pod("q"), &node("a")).unwrap();
    site.pass(Duration::from_secs(10));
    assert_eq!((site.runs("a"), site.runs("b")), (vec!["q"], vec!["p"]));
    let now = site.now;
    assert!(matches!(site.at("a").place(now, &pod("p"), &node("c")), Err(NotPlaced::MayRun { .. })));
    // `perform` sees to it that p neither stops nor starts a second time.
    site.boxes.remove(&node("a"));
    site.pass(Duration::from_secs(120));
    assert_eq!((site.acting(), site.runs("b")), (vec!["b"], vec!["p"]));
    let now = site.now;
    site.at("b").place(now, &pod("q"), &node("c")).unwrap();
    site.pass(Duration::from_secs(10));
    assert_eq!(site.runs("c"), ["q"]);
    site.cut.insert(node("c"));
    site.pass(RUN_LEASE);
    assert!(site.runs("c").is_empty(), "without a coordinator its lease ends");
}

#[test]
fn a_delegation_ends_when_majorities_know_and_for_good() {
    let mut site = Site::of("abc");
    site.pass(PROMISE * 2);
    site.delegate(&record(1, &["p"]), 0);
    site.pass(run_wait(Duration::from_secs(5)));
    let now = site.now;
    site.at("a").place(now, &pod("p"), &node("b")).unwrap();
    site.pass(Duration::from_secs(10));
    assert_eq!(site.runs("b"), ["p"]);
    // Only c hears that the hub wants it back, and a hears it from c.
    site.cut.extend([node("b")]);
    let outputs = site.boxes.get_mut(&node("c")).unwrap().take_delegation(site.now, None, 1);
    site.perform(&node("c"), outputs);
    assert!(site.reports.iter().all(|report| report.released == 0));
    site.pass(Duration::from_secs(10));
    assert_eq!(site.reports.last().unwrap().released, 1);
    // b has not heard of it. It learns from whoever elects it.
    site.cut = BTreeSet::from([node("a")]);
    site.boxes.remove(&node("a"));
    site.pass(RUN_LEASE * 3);
    assert_eq!(site.acting().len(), 1);
    let (at, now) = (site.acting()[0].to_string(), site.now);
    assert_eq!(site.at(&at).place(now, &pod("p"), &node("b")), Err(NotPlaced::NotDelegated(pod("p"))));
    assert!(site.runs("b").is_empty());
    assert_eq!(site.kept[&node("b")].delegation.released, 1);
}

#[test]
fn a_new_set_begins_when_the_old_one_cannot_go_on() {
    let old = set_of("abc");
    let seats = ["c", "d", "e"].map(|name| Seat { node: node(name), witness: false });
    let new = old.next(true, SetId { number: 2, lineage: Lineage(1) }, seats.to_vec()).unwrap();
    let mut site = Site::of("abc");
    site.pass(PROMISE * 2);
    for name in ["d", "e"] {
        site.kept.insert(node(name), Kept::default());
        site.start(name);
    }
    for name in ["c", "d", "e"] {
        let outputs = site.boxes.get_mut(&node(name)).unwrap().take_set(site.now, new.clone()).unwrap();
        site.perform(&node(name), outputs);
    }
    site.pass(PROMISE * 4);
    assert_eq!(site.acting(), ["a"], "a and b do not know of the new set, and go on");
    let now = site.now;
    let outputs = site.at("b").take_set(now, new.clone()).unwrap();
    site.perform(&node("b"), outputs);
    site.pass(PROMISE * 4);
    assert!(["c", "d", "e"].contains(&site.acting()[0]), "{:?}", site.acting());
    let err = site.at("b").take_set(Duration::ZERO, old).unwrap_err();
    assert_eq!(err.to_string(), "voter set 1 does not come after 2");
}

#[test]
fn answers_count_from_when_they_were_asked_for_and_in_this_life_alone() {
    let kept = Kept { set: Some(set_of("abc")), ..Kept::default() };
    let (set, numbers) = (set_of("abc").id(), Numbers::default());
    let mut site = SiteBox::start(Duration::ZERO, node("b"), 7, kept);
    site.handle(Duration::ZERO, Input::Message(node("a"), Message::Renew { set, term: Term(0), round: 1, numbers }));
    let claims = site.handle(Duration::ZERO, Input::Tick);
    assert!(matches!(&claims[..], [Output::Send(_, Message::Claim { life: 7, round: 1, .. })]), "{claims:?}");
    let answer = |from: &str, life, round| {
        Input::Message(node(from), Message::Granted { term: Term(0), life, round, pods: vec![pod("p")] })
    };
    let late = RUN_LEASE - STEP;
    for (from, life, round) in [("a", 6, 1), ("c", 7, 1), ("a", 7, 2)] {
        assert!(site.handle(late, answer(from, life, round)).is_empty(), "{from} {life} {round}");
    }
    assert_eq!(site.handle(late, answer("a", 7, 1)), [Output::Run(pod("p"))]);
    assert!(site.handle(late, answer("a", 7, 1)).is_empty(), "once");
    assert!(site.handle(RUN_LEASE, Input::Tick).contains(&Output::Stop(pod("p"))));
}
