//! Graceful shutdown of the node (KEP-2000, and KEP-2712 for priorities): pods are stopped group by group, those of the lowest
//! priority first, each group within its period. Asked for by `holdfast-edge shutdown`, which systemd calls before it stops
//! anything that pods need.
//!
//! [`Plan`] is the order, sans-IO; [`Shutdown`] carries it out. That a shutdown is under way is kept where it outlives the agent
//! and not the boot.

use crate::main_loop::Running;
use crate::parts::NodeParts;
use crate::pods::{PodManager, Shown};
use holdfast_core::Span;
use holdfast_env::Mono;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the node says of itself meanwhile, as the kubelet.
pub(crate) const SHUTTING_DOWN: &str = "node is shutting down";
/// Name of the value that outlives the agent.
const NAME: &str = "shutdown";
/// Priorities from here on are critical (`system-cluster-critical`).
const CRITICAL: i32 = 2_000_000_000;
/// How long the hub is given to hear how all ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often pods are looked at when nothing rings.
const LOOK: Duration = Duration::from_secs(1);

/// How long pods may take to stop, by their priority: each entry is for pods of that priority and above, up to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownPeriods(Vec<(i32, Duration)>);

impl ShutdownPeriods {
    /// `total` for all pods, of which critical ones have the last `critical`.
    ///
    /// # Errors
    /// When that is more than there is.
    pub fn of(total: Duration, critical: Duration) -> Result<ShutdownPeriods, String> {
        let rest = total
            .checked_sub(critical)
            .ok_or_else(|| format!("critical pods cannot have {} of {}", Span(critical), Span(total)))?;
        let periods = vec![(0, rest), (CRITICAL, critical)];
        Ok(ShutdownPeriods(if total.is_zero() { Vec::new() } else { periods }))
    }

    /// Reads `PRIORITY=TIME`, separated by commas.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<ShutdownPeriods, String> {
        let mut periods = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || format!("{part:?} must have the form PRIORITY=TIME");
            let (priority, time) = part.split_once('=').ok_or_else(wrong)?;
            let priority = priority.trim().parse().map_err(|_| wrong())?;
            let Span(time) = time.trim().parse()?;
            if periods.iter().any(|(known, _)| *known == priority) {
                return Err(format!("priority {priority} is there twice"));
            }
            periods.push((priority, time));
        }
        periods.sort_unstable();
        Ok(ShutdownPeriods(periods))
    }

    /// Whether pods are just left to the machine's end.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long it takes at most.
    pub fn total(&self) -> Duration {
        self.0.iter().map(|(_, period)| *period).sum()
    }

    /// The group of a priority; those below the lowest are of the lowest.
    fn group(&self, priority: i32) -> usize {
        self.0.partition_point(|(from, _)| *from <= priority).saturating_sub(1)
    }
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Stop these pods, by their UIDs, within this time.
    Stop(Vec<String>, Duration),
    /// Look again when a pod is down, or at this time.
    Wait(Mono),
    /// All is done that can be.
    Done,
}

/// The order of a shutdown.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Groups that are to come, the next one last.
    groups: Vec<(Duration, BTreeSet<String>)>,
    /// The one that is being stopped, and until when that may take.
    current: Option<(Mono, BTreeSet<String>)>,
}

impl Plan {
    /// For pods with their UIDs and priorities.
    pub(crate) fn new(periods: &ShutdownPeriods, pods: impl Iterator<Item = (String, i32)>) -> Plan {
        let mut groups: Vec<_> = periods.0.iter().map(|(_, period)| (*period, BTreeSet::new())).collect();
        for (uid, priority) in pods {
            if let Some((_, group)) = groups.get_mut(periods.group(priority)) {
                group.insert(uid);
            }
        }
        groups.reverse();
        Plan { groups, current: None }
    }

    /// The next step; `is_down` says of a pod whether nothing of it runs any more.
    pub(crate) fn step(&mut self, now: Mono, is_down: impl Fn(&str) -> bool) -> Step {
        if let Some((until, pods)) = &self.current
            && now < *until
            && !pods.iter().all(|uid| is_down(uid))
        {
            return Step::Wait(*until);
        }
        // Nobody waits for a group of none.
        while let Some((period, pods)) = self.groups.pop() {
            if !pods.is_empty() {
                let list = pods.iter().cloned().collect();
                self.current = Some((now.after(period), pods));
                return Step::Stop(list, period);
            }
        }
        self.current = None;
        Step::Done
    }
}

/// How a shutdown went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownReport {
    /// Pods that were stopped.
    pub stopped: usize,
    /// Pods of which something still runs: `namespace/name`.
    pub left: Vec<String>,
    /// There is no period to stop pods in: nothing was done.
    pub unconfigured: bool,
}

/// Whether an earlier life of the agent began a shutdown in this boot.
pub(crate) fn was_under_way(parts: &NodeParts) -> bool {
    !parts.config.shutdown.is_empty() && parts.host.recall(NAME).is_some_and(|mark| !mark.is_empty())
}

/// Shuts the node's pods down.
pub(crate) struct Shutdown<'a> {
    pub(crate) node: &'a Running,
    pub(crate) pods: &'a PodManager,
}

fn uid(shown: &Shown) -> String {
    shown.pod.metadata.uid.clone().unwrap_or_default()
}

impl Shutdown<'_> {
    /// Stops the pods; returns when they are down, or the time for that is over.
    pub(crate) async fn run(&self, linked: impl Fn() -> bool) -> ShutdownReport {
        let Running { parts, store, .. } = self.node;
        let periods = &parts.config.shutdown;
        if periods.is_empty() {
            return ShutdownReport { unconfigured: true, ..ShutdownReport::default() };
        }
        let env = &parts.env;
        parts.host.remember(NAME, b"1");
        self.node.shutting_down.send_replace(true);
        tracing::info!(periods = ?periods.0, "The node shuts down");
        self.tell("Shutdown manager detected shutdown event").await;
        let priority = |shown: &Shown| shown.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        let up = self.pods.shown().into_iter().filter(|shown| !shown.down && !shown.gone);
        let mut plan = Plan::new(periods, up.map(|shown| (uid(&shown), priority(&shown))));
        let mut changes = store.changes();
        let mut stopped = 0;
        loop {
            changes.mark_unchanged();
            let left: BTreeSet<String> = self.left().iter().map(uid).collect();
            match plan.step(env.monotonic(), |uid| !left.contains(uid)) {
                Step::Stop(pods, grace) => {
                    stopped += pods.len();
                    for uid in pods {
                        self.pods.shut_down(&uid, grace).await;
                    }
                }
                Step::Wait(until) => {
                    let until = until.min(env.monotonic().after(LOOK));
                    tokio::select! {
                        biased;
                        changed = changes.changed() => if changed.is_err() { break },
                        () = env.sleep_until(until) => {}
                    }
                }
                Step::Done => break,
            }
        }
        let left = self.left();
        let deadline = env.monotonic().after(LAST_WORDS);
        while linked() && store.read(|state| state.outbox().backlog() > 0) && env.monotonic() < deadline {
            env.sleep(Duration::from_millis(100)).await;
        }
        let names = left.iter().map(|shown| {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}/{}", part(&shown.pod.metadata.namespace), part(&shown.pod.metadata.name))
        });
        let left: Vec<String> = names.collect();
        tracing::info!(stopped, ?left, "The node's pods are stopped");
        ShutdownReport { stopped: stopped.saturating_sub(left.len()), left, unconfigured: false }
    }

    /// The node goes on: what was stopped starts again, what was ended stays so.
    pub(crate) async fn cancel(&self) {
        self.node.parts.host.remember(NAME, b"");
        if self.node.shutting_down.send_replace(false) {
            tracing::info!("The node goes on after all");
            self.tell("Shutdown manager detected shutdown cancellation").await;
            self.pods.cancel_shutdown().await;
        }
    }

    async fn tell(&self, message: &str) {
        self.node.events.node(&self.node.parts.config.node_uid, false, "NodeShutdown", message).await;
    }

    fn left(&self) -> Vec<Shown> {
        self.pods.shown().into_iter().filter(|shown| !shown.down && !shown.gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(secs(seconds))
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn stop(pods: &[&str], seconds: u64) -> Step {
        Step::Stop(pods.iter().map(ToString::to_string).collect(), secs(seconds))
    }

    fn plan(periods: &ShutdownPeriods, pods: &[(&str, i32)]) -> Plan {
        Plan::new(periods, pods.iter().map(|(uid, priority)| (uid.to_string(), *priority)))
    }

    #[test]
    fn critical_pods_come_last_and_have_their_own_time() {
        let periods = ShutdownPeriods::of(secs(30), secs(10)).unwrap();
        let mut plan = plan(&periods, &[("dns", CRITICAL + 1000), ("web", 0), ("batch", -5), ("high", CRITICAL - 1)]);
        let nothing = |_: &str| false;
        assert_eq!(plan.step(at(100), nothing), stop(&["batch", "high", "web"], 20));
        assert_eq!(plan.step(at(101), nothing), Step::Wait(at(120)));
        assert_eq!(plan.step(at(110), |uid| uid == "web"), Step::Wait(at(120)));
        // Done sooner, or out of time.
        assert_eq!(plan.step(at(112), |uid| uid != "dns"), stop(&["dns"], 10));
        assert_eq!(plan.step(at(121), |uid| uid != "dns"), Step::Wait(at(122)));
        assert_eq!(plan.step(at(122), |uid| uid != "dns"), Step::Done);
        assert_eq!(plan.step(at(123), nothing), Step::Done);
    }

    #[test]
    fn a_group_of_none_is_not_waited_for() {
        let periods = ShutdownPeriods::parse("1000=5s, 0=1m,100000=0s").unwrap();
        assert_eq!(periods.total(), secs(65));
        let pods = [("low", -1), ("edge", 1000), ("between", 99_999), ("top", i32::MAX)];
        let mut first = plan(&periods, &pods);
        let all = |_: &str| true;
        assert_eq!(first.step(at(0), all), stop(&["low"], 60));
        assert_eq!(first.step(at(0), all), stop(&["between", "edge"], 5));
        assert_eq!(first.step(at(0), all), stop(&["top"], 0));
        assert_eq!(first.step(at(0), |_| false), Step::Done, "no time at all");
        let mut last = plan(&periods, &[("top", 100_000)]);
        assert_eq!(last.step(at(0), all), stop(&["top"], 0));
        assert_eq!(plan(&periods, &[]).step(at(0), all), Step::Done);
    }

    #[test]
    fn periods_are_checked() {
        assert!(ShutdownPeriods::of(secs(0), secs(0)).unwrap().is_empty());
        let text = |result: Result<ShutdownPeriods, String>| result.unwrap_err();
        assert_eq!(text(ShutdownPeriods::of(secs(5), secs(10))), "critical pods cannot have 10s of 5s");
        assert_eq!(text(ShutdownPeriods::parse("0")), "\"0\" must have the form PRIORITY=TIME");
        assert_eq!(text(ShutdownPeriods::parse("x=1s")), "\"x=1s\" must have the form PRIORITY=TIME");
        assert_eq!(text(ShutdownPeriods::parse("0=1s,0=2s")), "priority 0 is there twice");
        assert!(text(ShutdownPeriods::parse("0=soon")).contains("no duration"));
    }
}
