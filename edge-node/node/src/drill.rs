//! Drills: the link is cut on purpose, and what happens to the pods is written down.
//!
//! [`Observer`] is the judgement, over lists of pods and nothing else; [`watch`] feeds it while the link is cut.

use crate::pods::{PodManager, PodSummary};
use crate::store::SharedStore;
use holdfast_env::World;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Changes within this time are looked at together.
const SETTLE: Duration = Duration::from_millis(200);

/// What a drill found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillReport {
    /// Whether nothing was found: all pods stayed as they were, and all would come back.
    pub passed: bool,
    /// How long the link was to be cut, in seconds.
    pub asked_seconds: u64,
    /// How long it was, in seconds.
    pub offline_seconds: u64,
    /// Whether the link was up before.
    pub was_connected: bool,
    /// Pods at the start.
    pub pods: usize,
    /// What would not have come back after a reboot, and why.
    pub would_not_come_back: Vec<String>,
    /// Pods that had trouble meanwhile.
    pub troubles: Vec<Trouble>,
    /// Facts that waited for the hub at the end.
    pub backlog: usize,
}

/// A pod that had trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// `namespace/name`.
    pub pod: String,
    /// Seconds after the cut when it began.
    pub after_seconds: u64,
    /// What `kubectl get pods` showed as STATUS then.
    pub status: String,
    /// Restarts of its containers during the drill.
    pub restarts: i32,
    /// Whether it was well again at the end.
    pub recovered: bool,
}

/// Compares the pods during a drill with those at its start.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    before: BTreeMap<String, PodSummary>,
    troubles: BTreeMap<String, Trouble>,
}

/// A pod that has ended well, or is Ready.
fn is_well(pod: &PodSummary) -> bool {
    pod.ready || matches!(pod.status.as_str(), "Completed" | "Succeeded")
}

impl Observer {
    /// The pods as they are when the link is cut.
    pub fn new(pods: Vec<PodSummary>) -> Observer {
        Observer { before: pods.into_iter().map(|pod| (pod.uid.clone(), pod)).collect(), troubles: BTreeMap::new() }
    }

    /// The pods as they are so long after.
    pub fn look(&mut self, after: Duration, pods: &[PodSummary]) {
        let now: BTreeMap<&str, &PodSummary> = pods.iter().map(|pod| (pod.uid.as_str(), pod)).collect();
        for (uid, before) in &self.before {
            let pod = now.get(uid.as_str()).copied();
            let restarts = pod.map_or(0, |pod| pod.restarts - before.restarts);
            // Trouble that was there before the cut does not come from it.
            let failing = is_well(before) && !pod.is_some_and(is_well);
            if let Some(trouble) = self.troubles.get_mut(uid) {
                trouble.restarts = trouble.restarts.max(restarts);
                trouble.recovered = !failing;
            } else if failing || restarts > 0 {
                let trouble = Trouble {
                    pod: format!("{}/{}", before.namespace, before.name),
                    after_seconds: after.as_secs(),
                    status: pod.map_or_else(|| "Gone".to_string(), |pod| pod.status.clone()),
                    restarts,
                    recovered: !failing,
                };
                self.troubles.insert(uid.clone(), trouble);
            }
        }
    }

    /// What was found.
    pub fn report(
        self,
        asked: Duration,
        lasted: Duration,
        was_connected: bool,
        would_not_come_back: Vec<String>,
        backlog: usize,
    ) -> DrillReport {
        let mut troubles: Vec<Trouble> = self.troubles.into_values().collect();
        troubles.sort_by(|a, b| (a.after_seconds, &a.pod).cmp(&(b.after_seconds, &b.pod)));
        DrillReport {
            passed: troubles.is_empty() && would_not_come_back.is_empty(),
            asked_seconds: asked.as_secs(),
            offline_seconds: lasted.as_secs(),
            was_connected,
            pods: self.before.len(),
            would_not_come_back,
            troubles,
            backlog,
        }
    }
}

/// Watches the pods for `offline`, or until `stop` completes.
pub(crate) async fn watch(
    env: &World,
    store: &SharedStore,
    pods: &PodManager,
    offline: Duration,
    stop: impl Future<Output = ()> + Send,
) -> Observer {
    let mut changes = store.changes();
    changes.mark_unchanged();
    let mut observer = Observer::new(pods.list());
    let started = env.monotonic();
    let end = started.after(offline);
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = stop.as_mut() => break,
            () = env.sleep_until(end) => break,
            changed = changes.changed() => if changed.is_err() { break },
        }
        env.sleep(SETTLE).await;
        changes.mark_unchanged();
        observer.look(env.monotonic().since(started), &pods.list());
    }
    observer.look(env.monotonic().since(started), &pods.list());
    observer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, status: &str, ready: bool, restarts: i32) -> PodSummary {
        PodSummary {
            namespace: "demo".into(),
            name: uid.into(),
            uid: uid.into(),
            status: status.into(),
            ready,
            restarts,
            ..PodSummary::default()
        }
    }

    #[test]
    fn only_what_the_cut_may_have_caused_is_trouble() {
        let well = pod("well", "Running", true, 2);
        let broken = pod("broken", "CrashLoopBackOff", false, 5);
        let job = pod("job", "Running", true, 0);
        let mut observer = Observer::new(vec![well.clone(), broken.clone(), job]);
        let later = [well.clone(), pod("broken", "CrashLoopBackOff", false, 5), pod("job", "Completed", false, 0)];
        observer.look(Duration::from_secs(5), &later);
        // A pod that came meanwhile has nothing to compare with.
        observer.look(Duration::from_secs(6), &[later.as_slice(), &[pod("new", "Pending", false, 0)]].concat());
        let asked = Duration::from_secs(60);
        let report = observer.report(asked, asked, true, Vec::new(), 3);
        assert_eq!((report.passed, report.pods, report.backlog), (true, 3, 3));
        assert_eq!(report.troubles, []);
    }

    #[test]
    fn trouble_keeps_its_first_sight_and_says_how_it_ended() {
        let mut observer = Observer::new(vec![pod("a", "Running", true, 1), pod("b", "Running", true, 0)]);
        observer.look(Duration::from_secs(10), &[pod("a", "Error", false, 1), pod("b", "Running", true, 0)]);
        observer.look(Duration::from_secs(20), &[pod("a", "Running", true, 2)]);
        let report =
            observer.report(Duration::from_secs(60), Duration::from_secs(20), true, vec!["pod x: y".into()], 0);
        let told = |trouble: &Trouble| {
            (trouble.pod.clone(), trouble.after_seconds, trouble.status.clone(), trouble.restarts, trouble.recovered)
        };
        assert_eq!(
            report.troubles.iter().map(told).collect::<Vec<_>>(),
            [("demo/a".into(), 10, "Error".into(), 1, true), ("demo/b".to_string(), 20, "Gone".to_string(), 0, false),]
        );
        assert!(!report.passed);
        assert_eq!((report.asked_seconds, report.offline_seconds), (60, 20));
    }
}
