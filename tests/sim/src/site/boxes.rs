//! A box: a machine with the engine on it, and the driver that the real agent will have a longer form of.

use super::disk;
use super::ledger::{BoxNo, Ledger, Seen};
use super::limits::{PLACE, REPAIR, SAY};
use super::pods::Pods;
use super::post::{HUB, Letter, Post};
use bytes::Bytes;
use holdfast_core::NodeUid;
use holdfast_env::{Env, World};
use holdfast_sim_world::{Machine, Universe};
use holdfast_site_engine::{Input, Kept, Output, Persist, Report, SiteBox};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a box.
pub fn name(no: BoxNo) -> NodeUid {
    NodeUid(format!("box-{no}"))
}

fn number(node: &NodeUid) -> Option<BoxNo> {
    node.0.strip_prefix("box-")?.parse().ok()
}

/// A box. It keeps its disk and its clock's rate while power comes and goes.
pub struct SimBox {
    /// Its number.
    pub no: BoxNo,
    /// The machine.
    pub machine: Arc<Machine>,
    /// Pods change places without need.
    restless: AtomicBool,
    universe: Universe,
    post: Arc<Post>,
    ledger: Ledger,
    life: Mutex<Option<Life>>,
}

/// What is gone with the process.
#[derive(Clone)]
struct Life {
    env: Arc<holdfast_sim_world::MachineEnv>,
    site: Arc<Mutex<Option<SiteBox>>>,
    pods: Arc<Pods>,
}

impl SimBox {
    /// A box that is off.
    pub fn new(
        no: BoxNo,
        universe: &Universe,
        machine: Arc<Machine>,
        post: &Arc<Post>,
        ledger: &Ledger,
        restless: bool,
    ) -> Arc<SimBox> {
        let (universe, post, ledger) = (universe.clone(), post.clone(), ledger.clone());
        Arc::new(SimBox {
            no,
            machine,
            restless: AtomicBool::new(restless),
            universe,
            post,
            ledger,
            life: Mutex::default(),
        })
    }

    /// Pods change places for a reason only, from now on.
    pub fn calm(&self) {
        self.restless.store(false, Ordering::Relaxed);
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        lock(&self.life).is_some()
    }

    /// Whether it acts as coordinator at this instant.
    pub fn acts(&self) -> bool {
        let Some(life) = lock(&self.life).clone() else { return false };
        lock(&life.site).as_ref().is_some_and(|site| site.coordinates(life.env.boottime()))
    }

    /// The power comes back.
    pub fn power_on(self: &Arc<SimBox>) {
        if !self.is_on() {
            self.machine.boot();
            self.start();
        }
    }

    /// The power goes.
    pub fn power_off(&self) {
        if let Some(life) = self.end() {
            self.machine.cut_power();
            life.pods.die();
        }
    }

    /// The agent dies, its pods with it, and starts again.
    pub fn restart(self: &Arc<SimBox>) {
        if let Some(life) = self.end() {
            self.machine.crash();
            life.pods.die();
            self.start();
        }
    }

    fn end(&self) -> Option<Life> {
        self.post.close(self.no);
        lock(&self.life).take()
    }

    fn start(self: &Arc<SimBox>) {
        let env = self.machine.process();
        let pods = Pods::new(self.no, &self.universe, &self.machine, &self.ledger);
        let life = Life { env: env.clone(), site: Arc::default(), pods };
        *lock(&self.life) = Some(life.clone());
        let serve = serve(self.clone(), life, env);
        self.universe.spawn(self.no, "box", Box::pin(serve));
    }

    /// The process ends by itself, and is started again after a while.
    fn fail(self: &Arc<SimBox>) {
        let (me, off) = (self.clone(), self.universe.sleep(REPAIR));
        let again = async move {
            if let Some(life) = me.end() {
                me.machine.crash();
                life.pods.die();
                off.await;
                if !me.is_on() {
                    me.start();
                }
            }
        };
        self.universe.spawn(Universe::NOBODY, "fail", Box::pin(again));
    }
}

/// One life of the process.
struct Driver {
    me: Arc<SimBox>,
    env: World,
    site: Arc<Mutex<Option<SiteBox>>>,
    pods: Arc<Pods>,
    writes: mpsc::UnboundedSender<Persist>,
    /// The latest word for the hub.
    report: Option<Report>,
}

async fn serve(me: Arc<SimBox>, life: Life, env: World) {
    let (store, letters) = (env.disk(), me.post.open(me.no));
    let (count, kept) = disk::load(&*store);
    // What a failed sync left in the page cache may be read and be gone later: nothing is built on it before it is written.
    let again = kept.clone();
    if !matches!(env.blocking(move || disk::save(&*store, count + 1, &again)).await, Some(Ok(()))) {
        return me.fail();
    }
    me.ledger.see(&Seen::Opened { no: me.no, kept: &kept });
    let site = SiteBox::start(env.boottime(), name(me.no), env.random_u64(), kept.clone());
    *lock(&life.site) = Some(site);
    let (writes, to_write) = mpsc::unbounded_channel();
    let (done, written) = mpsc::unbounded_channel();
    let writer = env.spawn("writer", Box::pin(write(env.clone(), kept, count + 1, to_write, done)));
    let mut driver = Driver { me, env, site: life.site, pods: life.pods, writes, report: None };
    driver.run(letters, written).await;
    drop(writer);
    driver.me.fail();
}

async fn write(
    env: World,
    mut kept: Kept,
    mut count: u64,
    mut to_write: mpsc::UnboundedReceiver<Persist>,
    done: mpsc::UnboundedSender<bool>,
) {
    while let Some(what) = to_write.recv().await {
        kept.apply(what);
        count += 1;
        let (store, now) = (env.disk(), kept.clone());
        let is_durable = matches!(env.blocking(move || disk::save(&*store, count, &now)).await, Some(Ok(())));
        if done.send(is_durable).is_err() || !is_durable {
            return;
        }
    }
}

impl Driver {
    async fn run(
        &mut self,
        mut letters: mpsc::UnboundedReceiver<(u32, Bytes)>,
        mut written: mpsc::UnboundedReceiver<bool>,
    ) {
        let (mut say_at, mut place_at) = (Duration::ZERO, Duration::ZERO);
        loop {
            let now = self.env.boottime();
            let due = lock(&self.site).as_ref().and_then(SiteBox::next_deadline).unwrap_or(Duration::MAX);
            let timer = self.env.sleep(due.min(say_at).min(place_at).saturating_sub(now));
            tokio::select! {
                biased;
                is_durable = written.recv() => {
                    if is_durable != Some(true) {
                        // Nobody knows what is on the disk: the next start finds out.
                        return;
                    }
                    self.input(Input::Persisted);
                }
                letter = letters.recv() => {
                    let Some((from, data)) = letter else { return };
                    self.letter(from, &data);
                }
                () = timer => {
                    self.input(Input::Tick);
                    let now = self.env.boottime();
                    if now >= say_at {
                        say_at = now + SAY;
                        self.say();
                    }
                    if now >= place_at {
                        place_at = now + PLACE;
                        self.place(now);
                    }
                }
            }
        }
    }

    fn letter(&mut self, from: u32, data: &[u8]) {
        match postcard::from_bytes(data) {
            Ok(Letter::Site(message)) => self.input(Input::Message(name(from), message)),
            Ok(Letter::Items { set, record, asked_back }) if from == HUB => {
                let now = self.env.boottime();
                let outputs = {
                    let mut site = lock(&self.site);
                    let Some(site) = site.as_mut() else { return };
                    let number = set.id().number;
                    // A refusal is no fault: an old letter brings an old set.
                    let mut outputs = site.take_set(now, set).unwrap_or_else(|err| {
                        tracing::debug!(no = self.me.no, number, %err, "Refused a voter set");
                        Vec::new()
                    });
                    outputs.extend(site.take_delegation(now, record, asked_back));
                    outputs
                };
                self.perform(outputs);
            }
            _ => self.me.ledger.violation(format!("box {} has a letter from {from} that it cannot read", self.me.no)),
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.env.boottime();
        let outputs = lock(&self.site).as_mut().map(|site| site.handle(now, input)).unwrap_or_default();
        self.perform(outputs);
    }

    fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(to, message) => {
                    self.me.ledger.see(&Seen::Sent { from: self.me.no, to: &to, message: &message });
                    if let Some(to) = number(&to) {
                        self.me.post.send(self.me.no, to, &Letter::Site(message));
                    }
                }
                Output::Persist(what) => {
                    let _ = self.writes.send(what);
                }
                Output::Run(pod) => self.pods.run(&self.env, pod),
                Output::Stop(pod) => self.pods.stop(&pod),
                Output::Report(report) => {
                    self.report = Some(report);
                    self.say();
                }
            }
        }
    }

    /// Tells the hub the latest again: it may not have heard it.
    fn say(&self) {
        if let Some(report) = self.report {
            self.me.post.send(self.me.no, HUB, &Letter::Report(report));
        }
    }

    /// Stands in for a scheduler: pods without a box go to one that was heard, and some go elsewhere for no reason.
    fn place(&self, now: Duration) {
        let mut site = lock(&self.site);
        let Some(site) = site.as_mut().filter(|site| site.coordinates(now)) else { return };
        let restless = self.me.restless.load(Ordering::Relaxed);
        let (placed, heard) = (site.placed(), site.heard(now));
        let pods: Vec<_> = site.delegation().pods().iter().map(|pod| pod.uid.clone()).collect();
        for pod in pods {
            let at = usize::try_from(self.env.random_u64() % heard.len().max(1) as u64).unwrap_or(0);
            let Some(drawn) = heard.get(at) else { return };
            match placed.get(&pod).filter(|on| heard.contains(on)) {
                Some(_) if restless && self.env.random_u64().is_multiple_of(20) => site.withdraw(&pod),
                Some(_) => {}
                None => {
                    // What may still run elsewhere is tried again.
                    let _ = site.place(now, &pod, drawn);
                }
            }
        }
    }
}
