//! Elections in virtual time: the engine alone through a network and a store that misbehave, and whole candidates.

use super::engine::{Election, Input, Lease, Output, Term, Timing, Write};
use super::{Candidacy, Candidate};
use crate::testing::{FakeWorld, MemoryApi};
use crate::{Client, Key};
use async_trait::async_trait;
use holdfast_core::{
    DeleteOptions, Json, ListOptions, Object, ObjectList, Patch, Reason, Revision, Status, Target, Watch,
};
use holdfast_env::World;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const SECOND: u64 = 1000;
const LEASE: Duration = Duration::from_secs(15);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn lease(revision: u64, holder: &str) -> Lease {
    Lease { revision: Revision(revision), holder: holder.into(), duration: LEASE, transitions: 3 }
}

fn read(revision: u64, holder: &str) -> Input {
    Input::Read(Some(lease(revision, holder)))
}

/// Leads since second 0, by a write of revision 1.
fn leader() -> Election {
    let mut election = Election::new("me", Timing::default());
    assert_eq!(election.handle(at(0), 0, Input::Tick), [Output::Read]);
    assert_eq!(election.handle(at(0), 0, Input::Read(None)), [Output::Write(Write::Create)]);
    let term = Term { revision: Revision(1), transitions: 0 };
    assert_eq!(election.handle(at(0), 0, Input::Written(Revision(1))), [Output::Lead(term)]);
    election
}

fn renew(revision: u64) -> Output {
    Output::Write(Write::Renew { at: Revision(revision) })
}

#[test]
fn a_follower_takes_what_has_not_changed_for_as_long_as_it_lasts() {
    let mut election = Election::new("me", Timing::default());
    let mut look = |seconds, input| {
        assert_eq!(election.handle(at(seconds), 0, Input::Tick), [Output::Read], "at {seconds}");
        election.handle(at(seconds), 0, input)
    };
    // How old it is when it is seen first, nobody knows.
    assert_eq!(look(100, read(5, "other")), []);
    assert_eq!(look(110, read(5, "other")), []);
    assert_eq!(look(112, read(6, "other")), [], "renewed");
    assert_eq!(look(125, read(6, "other")), []);
    assert_eq!(look(127, read(6, "other")), [Output::Write(Write::Take { over: lease(6, "other") })]);
    let term = Term { revision: Revision(7), transitions: 4 };
    assert_eq!(election.handle(at(128), 0, Input::Written(Revision(7))), [Output::Lead(term)]);
    assert_eq!(election.next_deadline(), Some(at(129)), "a retry after it was sent");
}

#[test]
fn what_is_nobodys_is_taken_at_once_and_what_was_lost_is_waited_for() {
    let mut election = Election::new("me", Timing::default());
    election.handle(at(1), 0, Input::Tick);
    assert_eq!(election.handle(at(1), 0, read(5, "")), [Output::Write(Write::Take { over: lease(5, "") })]);
    assert_eq!(election.handle(at(1), 0, Input::Conflict), []);
    assert_eq!(election.next_deadline(), Some(at(3)));
    election.handle(at(3), 0, Input::Tick);
    assert_eq!(election.handle(at(3), 999, read(6, "other")), []);
    let next = election.next_deadline().unwrap();
    assert!(next > at(5) && next < at(8), "{next:?}: followers do not come in step");
}

#[test]
fn a_take_whose_answer_was_lost_or_late_is_done_again() {
    let mut election = Election::new("me", Timing::default());
    election.handle(at(0), 0, Input::Tick);
    election.handle(at(0), 0, Input::Read(None));
    assert_eq!(election.handle(at(10), 0, Input::Failed), []);
    election.handle(at(12), 0, Input::Tick);
    let over = lease(4, "me");
    assert_eq!(election.handle(at(12), 0, read(4, "me")), [Output::Write(Write::Take { over })]);
    assert_eq!(election.handle(at(22), 0, Input::Written(Revision(9))), [], "too late to lead by it");
    election.handle(at(24), 0, Input::Tick);
    let over = lease(9, "me");
    assert_eq!(election.handle(at(24), 0, read(9, "me")), [Output::Write(Write::Take { over })]);
    let term = Term { revision: Revision(10), transitions: 3 };
    assert_eq!(election.handle(at(24), 0, Input::Written(Revision(10))), [Output::Lead(term)]);
}

#[test]
fn a_leader_that_cannot_renew_stops_before_its_lease_ends() {
    let mut election = leader();
    assert_eq!(election.handle(at(2), 0, Input::Tick), [renew(1)]);
    assert_eq!(election.handle(at(3), 0, Input::Written(Revision(2))), []);
    assert_eq!(election.handle(at(4), 0, Input::Tick), [renew(2)]);
    assert_eq!(election.handle(at(6), 0, Input::Failed), []);
    // It may have been written: what is there has to be read first.
    assert_eq!(election.handle(at(8), 0, Input::Tick), [Output::Read]);
    assert_eq!(election.next_deadline(), Some(at(12)), "ten seconds after the last renewal was sent");
    assert_eq!(election.handle(at(12), 0, Input::Tick), [Output::Stop]);
    assert_eq!(election.handle(at(13), 0, read(3, "me")), [], "too late");
    assert_eq!(election.next_deadline(), None);
    assert_eq!(election.handle(at(14), 0, Input::Ended), []);
    assert_eq!(election.next_deadline(), Some(at(16)), "it follows again");
}

#[test]
fn a_machine_that_slept_stops_leading_when_it_wakes() {
    let mut election = leader();
    assert_eq!(election.handle(at(3600), 0, Input::Tick), [Output::Stop]);
    // An answer that came while it slept says as little.
    let mut election = leader();
    election.handle(at(2), 0, Input::Tick);
    assert_eq!(election.handle(at(3600), 0, Input::Written(Revision(2))), [Output::Stop]);
}

#[test]
fn a_leader_goes_on_over_a_label_and_stops_when_its_lease_is_gone() {
    let mut election = leader();
    election.handle(at(2), 0, Input::Tick);
    assert_eq!(election.handle(at(2), 0, Input::Conflict), [Output::Read]);
    assert_eq!(election.handle(at(2), 0, read(8, "me")), [renew(8)]);
    assert_eq!(election.handle(at(2), 0, Input::Conflict), [Output::Read]);
    assert_eq!(election.handle(at(2), 0, read(9, "other")), [Output::Stop]);
    let mut election = leader();
    election.handle(at(2), 0, Input::Tick);
    assert_eq!(election.handle(at(2), 0, Input::Missing), [Output::Stop]);
}

#[test]
fn who_resigns_ends_the_work_and_then_lets_go() {
    let mut election = leader();
    election.handle(at(2), 0, Input::Tick);
    assert_eq!(election.handle(at(2), 0, Input::Resign), [Output::Stop]);
    assert_eq!(election.handle(at(2), 0, Input::Ended), [], "a renewal is under way");
    let release = Output::Write(Write::Release { at: Revision(2) });
    assert_eq!(election.handle(at(3), 0, Input::Written(Revision(2))), [release]);
    assert_eq!(election.handle(at(3), 0, Input::Written(Revision(3))), [Output::Over]);
    // A follower has nothing to let go, but for what it is just taking.
    let mut election = Election::new("me", Timing::default());
    assert_eq!(election.handle(at(0), 0, Input::Resign), [Output::Over]);
    let mut election = Election::new("me", Timing::default());
    election.handle(at(0), 0, Input::Tick);
    election.handle(at(0), 0, Input::Read(None));
    assert_eq!(election.handle(at(0), 0, Input::Resign), []);
    let release = Output::Write(Write::Release { at: Revision(1) });
    assert_eq!(election.handle(at(0), 0, Input::Written(Revision(1))), [release]);
}

/// splitmix64
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Debug)]
enum Happening {
    Timer(usize, u64),
    Asked(usize, u64, Output),
    Answer(usize, u64, Input),
    Ended(usize),
}

struct Player {
    election: Election,
    /// Its clock is so far ahead.
    offset: u64,
    paused_until: u64,
    unreachable_until: u64,
    leads: Option<Term>,
    /// Numbers what it asks: an answer that comes after its time-out is nobody's.
    asked: u64,
    /// Numbers its timers: one that was set anew does not ring.
    timer: u64,
}

/// Candidates around one Lease, in milliseconds.
struct Play {
    draws: Draws,
    now: u64,
    lease: Option<Lease>,
    revision: u64,
    /// The revision of the record that is written with every take.
    term: Revision,
    players: Vec<Player>,
    queue: BTreeMap<(u64, u64), Happening>,
    queued: u64,
    calm_from: u64,
    terms: usize,
}

impl Play {
    fn new(seed: u64, players: usize) -> Play {
        let mut draws = Draws(seed);
        let players = (0..players).map(|number| Player {
            election: Election::new(&format!("hub-{number}"), Timing::default()),
            offset: draws.below(1 << 30),
            paused_until: 0,
            unreachable_until: 0,
            leads: None,
            asked: 0,
            timer: 0,
        });
        let players: Vec<Player> = players.collect();
        let mut play = Play {
            draws,
            now: 0,
            lease: None,
            revision: 0,
            term: Revision(0),
            players,
            queue: BTreeMap::new(),
            queued: 0,
            calm_from: 400 * SECOND,
            terms: 0,
        };
        (0..play.players.len()).for_each(|player| play.after(0, Happening::Timer(player, 0)));
        play
    }

    fn after(&mut self, wait: u64, happening: Happening) {
        self.queued += 1;
        self.queue.insert((self.now + wait, self.queued), happening);
    }

    /// A change of fortune for one of them.
    fn fate(&mut self) {
        if self.now >= self.calm_from || self.draws.below(40) != 0 {
            return;
        }
        let player = self.draws.below(self.players.len() as u64) as usize;
        let until = self.now + self.draws.below(40 * SECOND);
        let is_pause = self.draws.below(2) == 0;
        let player = &mut self.players[player];
        let fate = if is_pause { &mut player.paused_until } else { &mut player.unreachable_until };
        *fate = until.max(*fate);
    }

    fn step(&mut self) {
        let ((when, _), happening) = self.queue.pop_first().unwrap();
        self.now = self.now.max(when);
        self.fate();
        let (player, input) = match happening {
            Happening::Asked(player, number, output) => return self.at_the_store(player, number, &output),
            Happening::Timer(player, number) if self.players[player].timer != number => return,
            Happening::Timer(player, _) => (player, Input::Tick),
            Happening::Answer(player, number, input) => {
                if self.players[player].asked != number {
                    return;
                }
                self.players[player].asked += 1;
                (player, input)
            }
            Happening::Ended(player) => (player, Input::Ended),
        };
        let paused = self.players[player].paused_until.saturating_sub(self.now);
        if paused > 0 {
            // It comes when the process goes on.
            if let Input::Read(_) | Input::Written(_) | Input::Conflict | Input::Missing | Input::Failed = input {
                self.players[player].asked -= 1;
                let number = self.players[player].asked;
                return self.after(paused, Happening::Answer(player, number, input));
            }
            let timer = self.players[player].timer;
            let again = if input == Input::Ended { Happening::Ended(player) } else { Happening::Timer(player, timer) };
            return self.after(paused, again);
        }
        if input == Input::Ended {
            self.players[player].leads = None;
        }
        self.feed(player, input);
    }

    fn feed(&mut self, player: usize, input: Input) {
        let (clock, draw) = (ms(self.now + self.players[player].offset), self.draws.next());
        for output in self.players[player].election.handle(clock, draw, input) {
            match output {
                Output::Read | Output::Write(_) => {
                    self.players[player].asked += 1;
                    let number = self.players[player].asked;
                    let way =
                        if self.now < self.calm_from && self.draws.below(20) == 0 { 12 * SECOND } else { SECOND / 2 };
                    let wait = self.draws.below(way);
                    self.after(wait, Happening::Asked(player, number, output));
                    self.after(10 * SECOND, Happening::Answer(player, number, Input::Failed));
                }
                Output::Lead(term) => self.leads(player, term),
                Output::Stop => {
                    let wait = self.draws.below(4 * SECOND);
                    self.after(wait, Happening::Ended(player));
                }
                Output::Over => unreachable!("nobody resigned"),
            }
        }
        let offset = self.players[player].offset;
        if let Some(deadline) = self.players[player].election.next_deadline() {
            let deadline = u64::try_from(deadline.as_millis()).unwrap().saturating_sub(offset);
            self.players[player].timer += 1;
            let timer = self.players[player].timer;
            self.after(deadline.saturating_sub(self.now), Happening::Timer(player, timer));
        }
    }

    fn leads(&mut self, player: usize, term: Term) {
        self.terms += 1;
        for (number, other) in self.players.iter().enumerate().filter(|(number, _)| *number != player) {
            let Some(theirs) = other.leads else { continue };
            assert!(
                theirs.revision < term.revision && self.term >= term.revision,
                "the fence does not keep {theirs:?} out"
            );
            let woke = other.paused_until + 5 * SECOND;
            assert!(woke > self.now, "{number} still leads at {} as {player} begins", self.now);
        }
        self.players[player].leads = Some(term);
    }

    fn at_the_store(&mut self, player: usize, number: u64, asked: &Output) {
        let lost = |player: &Player, now| player.unreachable_until > now;
        if lost(&self.players[player], self.now) {
            return;
        }
        let holder = format!("hub-{player}");
        let current = self.lease.as_ref().map(|lease| lease.revision);
        let is_at = |at: Revision| current == Some(at);
        let input = match asked {
            Output::Read => Input::Read(self.lease.clone()),
            Output::Write(Write::Create) if self.lease.is_none() => self.put(&holder, 0, true),
            Output::Write(Write::Take { over }) if is_at(over.revision) => {
                self.put(&holder, over.transitions + 1, true)
            }
            Output::Write(Write::Renew { at }) if is_at(*at) => {
                let transitions = self.lease.as_ref().map_or(0, |lease| lease.transitions);
                self.put(&holder, transitions, false)
            }
            _ => Input::Conflict,
        };
        // Here and there the answer does not come back.
        if self.now < self.calm_from && self.draws.below(12) == 0 {
            return;
        }
        let wait = self.draws.below(SECOND / 2);
        self.after(wait, Happening::Answer(player, number, input));
    }

    fn put(&mut self, holder: &str, transitions: i64, takes: bool) -> Input {
        self.revision += 1;
        let revision = Revision(self.revision);
        if takes {
            self.term = revision;
        }
        self.lease = Some(Lease { revision, holder: holder.into(), duration: LEASE, transitions });
        Input::Written(revision)
    }
}

#[test]
fn no_two_lead_through_pauses_cuts_and_lost_answers() {
    let mut terms = 0;
    for seed in 0..300 {
        let mut play = Play::new(seed, 2 + (seed % 2) as usize);
        // Calm long enough for the last pause, the last lease, and a renewal that is late.
        while play.now < play.calm_from + 150 * SECOND {
            play.step();
        }
        let leading = play.players.iter().filter(|player| player.leads.is_some()).count();
        assert_eq!(leading, 1, "seed {seed}: one leads once it is calm");
        terms += play.terms;
    }
    assert!(terms > 600, "{terms} terms show little");
}

/// A client whose calls stop for a while, as when the store is out of reach.
struct Stalls {
    api: Arc<MemoryApi>,
    stalled: watch::Receiver<bool>,
}

impl Stalls {
    async fn pass(&self) {
        let _ = self.stalled.clone().wait_for(|stalled| !stalled).await;
    }
}

#[async_trait]
impl Client for Stalls {
    async fn get(&self, at: &Target) -> Result<Arc<Object>, Status> {
        self.pass().await;
        self.api.get(at).await
    }
    async fn list(&self, at: &Target, options: &ListOptions) -> Result<ObjectList, Status> {
        self.api.list(at, options).await
    }
    async fn watch(&self, at: &Target, options: &ListOptions) -> Result<Watch, Status> {
        self.api.watch(at, options).await
    }
    async fn create(&self, at: &Target, body: Json) -> Result<Arc<Object>, Status> {
        self.pass().await;
        self.api.create(at, body).await
    }
    async fn update(&self, at: &Target, body: Json) -> Result<Arc<Object>, Status> {
        self.pass().await;
        self.api.update(at, body).await
    }
    async fn patch(&self, at: &Target, patch: Patch) -> Result<Arc<Object>, Status> {
        self.pass().await;
        self.api.patch(at, patch).await
    }
    async fn delete(&self, at: &Target, options: &DeleteOptions) -> Result<(), Status> {
        self.api.delete(at, options).await
    }
}

/// What the led say, with the second.
type Diary = Arc<Mutex<Vec<(u64, String)>>>;

struct Hubs {
    world: Arc<FakeWorld>,
    env: World,
    api: Arc<MemoryApi>,
    diary: Diary,
}

/// Says when it is dropped: late, as work that ends slowly.
struct Word(World, Diary, String);

impl Word {
    fn say(&self, what: &str) {
        self.1.lock().unwrap().push((self.0.monotonic().0.as_secs(), format!("{} {what}", self.2)));
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        self.say("ends");
    }
}

impl Hubs {
    fn new() -> Hubs {
        let world = FakeWorld::new(3);
        let env: World = world.clone();
        let api = MemoryApi::new(&env);
        Hubs { world, env, api, diary: Diary::default() }
    }

    fn stand(&self, name: &str) -> (Candidacy, watch::Sender<bool>) {
        let (stall, stalled) = watch::channel(false);
        let client = Arc::new(Stalls { api: self.api.clone(), stalled });
        let candidate = Candidate {
            world: self.env.clone(),
            client: client.clone(),
            taking: client,
            lease: Key::new("kube-system", "hubs"),
            identity: name.into(),
            component: "hub",
            timing: Timing::default(),
        };
        let (diary, name) = (self.diary.clone(), name.to_string());
        let lead = move |world: World, _: Term| {
            let word = Word(world.clone(), diary.clone(), name.clone());
            word.say("begins");
            let inner = world.clone();
            let work = async move {
                let _inner = inner.spawn(
                    "inner",
                    Box::pin(async move {
                        let _word = word;
                        std::future::pending::<()>().await;
                    }),
                );
                std::future::pending::<()>().await;
            };
            vec![world.spawn("work", Box::pin(work))]
        };
        (candidate.start(Box::new(lead)), stall)
    }

    fn diary(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.diary.lock().unwrap())
    }

    fn words(&self) -> Vec<String> {
        self.diary().into_iter().map(|(_, word)| word).collect()
    }

    fn spec(&self) -> Json {
        self.api.find("leases", "kube-system", "hubs").unwrap()["spec"].clone()
    }

    fn events(&self) -> Vec<String> {
        let events = self.api.all("events");
        events.iter().map(|event| format!("{}: {}", event["reason"], event["message"]).replace('"', "")).collect()
    }
}

#[test]
fn one_of_two_leads_and_the_other_follows_when_it_resigns() {
    let hubs = Hubs::new();
    let (one, _) = hubs.stand("one");
    hubs.world.settle();
    let (_two, _open) = hubs.stand("two");
    hubs.world.advance(at(60));
    assert_eq!(hubs.words(), ["one begins"]);
    let spec = hubs.spec();
    assert_eq!(
        (&spec["holderIdentity"], &spec["leaseDurationSeconds"], &spec["leaseTransitions"]),
        (&json!("one"), &json!(15), &json!(0))
    );
    assert!(spec["renewTime"].as_str().unwrap() > spec["acquireTime"].as_str().unwrap(), "{spec}");
    assert_eq!(hubs.events(), ["LeaderElection: one became leader"]);
    let resigned = hubs.env.spawn("resign", Box::pin(one.resign()));
    hubs.world.settle();
    assert!(resigned.is_finished(), "nothing is in the way");
    assert_eq!(hubs.words(), ["one ends"]);
    let spec = hubs.spec();
    assert_eq!((spec.get("holderIdentity"), &spec["leaseDurationSeconds"]), (None, &json!(1)));
    // What was let go is taken at the next look.
    hubs.world.advance(at(5));
    assert_eq!(hubs.words(), ["two begins"]);
    assert_eq!(hubs.spec()["leaseTransitions"], 1);
}

#[test]
fn a_leader_without_its_store_has_stopped_before_another_begins() {
    let hubs = Hubs::new();
    let (_one, stall) = hubs.stand("one");
    hubs.world.settle();
    let (_two, _open) = hubs.stand("two");
    hubs.world.advance(at(31));
    hubs.diary();
    let cut = hubs.env.monotonic().0.as_secs();
    stall.send_replace(true);
    hubs.world.advance(at(40));
    let diary = hubs.diary();
    let words: Vec<&str> = diary.iter().map(|(_, word)| word.as_str()).collect();
    assert_eq!(words, ["one ends", "two begins"]);
    let [ends, begins] = [diary[0].0 - cut, diary[1].0 - cut];
    assert!((8..=10).contains(&ends) && (13..=24).contains(&begins), "{diary:?}");
    // It comes back as a follower.
    stall.send_replace(false);
    hubs.world.advance(at(60));
    assert!(hubs.diary().is_empty());
    assert_eq!(hubs.spec()["holderIdentity"], "two");
}

#[test]
fn a_store_that_refuses_for_a_while_changes_nothing() {
    let hubs = Hubs::new();
    let (_one, _open) = hubs.stand("one");
    hubs.world.advance(at(10));
    hubs.diary();
    hubs.api.fail("patch", "leases", 3, Status::failure(503, Reason::ServiceUnavailable, "no store"));
    hubs.world.advance(at(30));
    assert!(hubs.diary().is_empty());
    // Somebody takes the Lease away: who led stops, and stands again.
    hubs.api.remove("leases", "kube-system", "hubs");
    hubs.world.advance(at(10));
    assert_eq!(hubs.words(), ["one ends", "one begins"]);
    // Or gives it to another.
    hubs.api.edit("leases", "kube-system", "hubs", |lease| lease["spec"]["holderIdentity"] = json!("stranger"));
    hubs.world.advance(at(10));
    assert_eq!(hubs.words(), ["one ends"]);
    hubs.world.advance(at(20));
    assert_eq!(hubs.words(), ["one begins"], "a stranger that does not renew it");
    assert_eq!(hubs.api.calls("create", "leases"), 2);
}
