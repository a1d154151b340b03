//! What runs on a box. Starting takes a moment, and stopping as long as it may.

use super::ledger::{BoxNo, Ledger, Seen};
use super::limits::STOP;
use holdfast_env::World;
use holdfast_sim_world::{Machine, Universe};
use holdfast_site_engine::PodUid;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Default)]
struct Pod {
    is_wanted: bool,
    runs: bool,
    has_worker: bool,
}

/// The pods of one life of a box.
pub struct Pods {
    no: BoxNo,
    universe: Universe,
    machine: Arc<Machine>,
    ledger: Ledger,
    pods: Mutex<BTreeMap<PodUid, Pod>>,
    rung: Notify,
}

impl Pods {
    /// None yet.
    pub fn new(no: BoxNo, universe: &Universe, machine: &Arc<Machine>, ledger: &Ledger) -> Arc<Pods> {
        Arc::new(Pods {
            no,
            universe: universe.clone(),
            machine: machine.clone(),
            ledger: ledger.clone(),
            pods: Mutex::default(),
            rung: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PodUid, Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a pod.
    pub fn run(self: &Arc<Pods>, env: &World, uid: PodUid) {
        let mut pods = self.lock();
        let pod = pods.entry(uid.clone()).or_default();
        pod.is_wanted = true;
        if !std::mem::replace(&mut pod.has_worker, true) {
            let work = work(self.clone(), env.clone(), uid);
            self.universe.spawn(self.machine.id(), "pod", Box::pin(work));
        }
    }

    /// Begins to stop a pod.
    pub fn stop(&self, uid: &PodUid) {
        if let Some(pod) = self.lock().get_mut(uid) {
            pod.is_wanted = false;
        }
        self.rung.notify_waiters();
    }

    /// The box is off, and all of them with it.
    pub fn die(&self) {
        for (uid, pod) in std::mem::take(&mut *self.lock()) {
            if pod.runs {
                self.ledger.see(&Seen::Stopped { no: self.no, pod: &uid });
            }
        }
    }

    fn is_wanted(&self, uid: &PodUid) -> bool {
        self.lock().get(uid).is_some_and(|pod| pod.is_wanted)
    }

    fn runs(&self, uid: &PodUid, runs: bool) {
        if let Some(pod) = self.lock().get_mut(uid) {
            pod.runs = runs;
        }
        let (no, pod) = (self.no, uid);
        self.ledger.see(&if runs { Seen::Started { no, pod } } else { Seen::Stopped { no, pod } });
    }
}

async fn work(pods: Arc<Pods>, env: World, uid: PodUid) {
    let draw = |from: u64, to: u64| Duration::from_millis(from + env.random_u64() % (to - from));
    loop {
        env.sleep(draw(50, 1_000)).await;
        if pods.is_wanted(&uid) {
            pods.runs(&uid, true);
            loop {
                let mut rung = std::pin::pin!(pods.rung.notified());
                rung.as_mut().enable();
                if !pods.is_wanted(&uid) {
                    break;
                }
                rung.await;
            }
            // Often as slow as it may be.
            let slow = env.random_u64().is_multiple_of(2);
            env.sleep(if slow { STOP - Duration::from_millis(50) } else { draw(50, 4_000) }).await;
            pods.runs(&uid, false);
        }
        let mut all = pods.lock();
        let Some(pod) = all.get_mut(&uid).filter(|pod| pod.is_wanted) else {
            all.remove(&uid);
            return;
        };
        pod.has_worker = true;
    }
}
