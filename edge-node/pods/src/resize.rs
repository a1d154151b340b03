//! Resizing in place: what the spec wants is asked for, granted by the node or refused, and then made true of what runs.
//!
//! A container whose policy it is to be restarted for that is stopped first and started last; between, the pod and the
//! containers that go on are changed where they are. Events and conditions are upstream's.

use crate::allocation::{self, Allocation, Amounts, ByName, POD, differ, effective, wanted};
use crate::container::Stage;
use crate::ledger::{DEFERRED, INFEASIBLE};
use crate::machine::{Sandbox, backoff, bounded};
use crate::spec::{self, Role};
use crate::status::Verdict;
use crate::{Now, PodAction, PodMachine, limits};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The condition of a pod that is not granted what its spec wants.
pub(crate) const PENDING: &str = "PodResizePending";
/// The condition of a pod whose containers do not run yet with what was granted.
pub(crate) const PROGRESS: &str = "PodResizeInProgress";
/// The reason of one that could not be changed, and is tried again.
const ERROR: &str = "Error";

type Quantities = BTreeMap<String, Quantity>;

/// An answer that was no.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    reason: &'static str,
    message: String,
    /// Of the pod that was judged.
    generation: Option<i64>,
}

/// How far a resize has come; what must survive is in [`Allocation`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Sizing {
    /// What was asked for last, and of which generation.
    asked: Option<(ByName, Option<i64>)>,
    /// The answer is to come.
    asking: bool,
    refused: Option<Refused>,
    /// When a refusal may have become untrue.
    ask_again: Option<Duration>,
    /// What is being made true: the resources, and the attempts of containers that run.
    doing: Option<(ByName, Vec<(String, u32)>)>,
    /// Why it could not be, and when it is tried again.
    failed: Option<(String, Duration)>,
    failures: u32,
}

/// Resources in the texts of events.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<ToldContainer<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<ToldContainer<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct ToldContainer<'a> {
    name: &'a str,
    resources: ToldAmounts<'a>,
}

#[derive(Serialize)]
struct ToldAmounts<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    requests: &'a BTreeMap<String, String>,
}

fn restarts_for(container: &Container, resource: &str) -> bool {
    let mut policies = container.resize_policy.iter().flatten();
    policies.any(|policy| policy.resource_name == resource && policy.restart_policy == "RestartContainer")
}

impl PodMachine {
    /// What must survive of the pod's resources.
    pub fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// The pod with the resources that it was granted: so its containers are started.
    pub fn granted_pod(&self) -> Pod {
        allocation::with(&self.pod, |name| self.allocation.granted.get(name).cloned())
    }

    /// The pod with what it takes from its node now: what was granted, or what its containers still run with, whichever is more.
    pub fn held_pod(&self) -> Pod {
        let more = |name: &str| {
            let mut granted = self.allocation.granted.get(name)?.clone();
            let actual = match name {
                POD => self.allocation.pod.as_ref().and_then(|(_, all, _)| all.get(POD)),
                _ => self.actual(name).filter(|_| self.may_live(name)),
            };
            for (resource, amount) in actual.into_iter().flat_map(|actual| &actual.requests) {
                let known = granted.requests.entry(resource.clone()).or_insert_with(|| amount.clone());
                if allocation::milli(amount) > allocation::milli(known) {
                    known.clone_from(amount);
                }
            }
            Some(granted)
        };
        allocation::with(&self.pod, more)
    }

    /// Whether room on the node would help the pod.
    pub fn waits_for_room(&self) -> bool {
        self.sizing.refused.as_ref().is_some_and(|refused| refused.reason == DEFERRED) && !self.ending()
    }

    /// What a container was last held to.
    fn actual(&self, name: &str) -> Option<&Amounts> {
        self.allocation.actual.get(name).map(|(_, amounts, _)| amounts)
    }

    fn may_live(&self, name: &str) -> bool {
        self.live.get(name).is_some_and(crate::container::Live::may_live)
    }

    /// Containers that run with other resources than were granted: attempt, and whether it is to be restarted.
    fn stale(&self) -> Vec<(String, u32, bool)> {
        let none = ByName::new();
        let before = self.allocation.pod.as_ref().map_or(&none, |(_, all, _)| all);
        let containers = spec::containers(&self.pod).filter(|(role, _)| *role != Role::Init);
        let look = |(_, container): (Role, &Container)| {
            let name = &container.name;
            matches!(self.live.get(name)?.stage, Stage::Running { .. }).then_some(())?;
            let (attempt, actual, sure) = self.allocation.actual.get(name)?;
            let now = effective(&self.allocation.granted, name);
            let mut was = before.clone();
            was.insert(name.clone(), actual.clone());
            let parts = now.differing(&effective(&was, name));
            let restart = parts.iter().any(|resource| restarts_for(container, resource));
            (!parts.is_empty() || !sure).then(|| (name.clone(), *attempt, restart))
        };
        containers.filter_map(look).collect()
    }

    /// Whether the pod's cgroup is not as was granted.
    fn pod_is_stale(&self) -> bool {
        let pod = self.allocation.pod.as_ref().filter(|(attempt, ..)| Some(*attempt) == self.memory.sandbox_attempt);
        pod.is_some_and(|(_, all, sure)| !sure || differ(all, &self.allocation.granted))
    }

    /// Whether containers have to wait: the pod may still be too small for them.
    pub(crate) fn is_resizing(&self) -> bool {
        self.sizing.failed.is_none() && (self.sizing.doing.is_some() || self.pod_is_stale())
    }

    /// The pod's cgroup is made with a new sandbox, from what was granted.
    pub(crate) fn size_sandbox(&mut self, attempt: u32) {
        self.allocation.pod = Some((attempt, self.allocation.granted.clone(), true));
    }

    /// A sandbox that was there before anything was written down of it.
    pub(crate) fn resume_sandbox_size(&mut self) {
        if let (None, Some(attempt)) = (&self.allocation.pod, self.memory.sandbox_attempt) {
            self.size_sandbox(attempt);
        }
    }

    fn attempt(&self, name: &str) -> u32 {
        self.memory.containers.get(name).map_or(0, |memory| memory.attempt)
    }

    /// Notes what an attempt of a container is made with. It may have been made before, with what was granted then.
    pub(crate) fn size(&mut self, name: &str) {
        let attempt = self.attempt(name);
        let Some(granted) = self.allocation.granted.get(name) else { return };
        match self.allocation.actual.get_mut(name) {
            Some((known, made, sure)) if *known == attempt => *sure &= made.differing(granted).is_empty(),
            _ => {
                self.allocation.actual.insert(name.to_string(), (attempt, granted.clone(), true));
            }
        }
    }

    /// A container that runs already: what it was made with was noted, or is not known.
    pub(crate) fn resume_size(&mut self, name: &str) {
        let attempt = self.attempt(name);
        let noted = self.allocation.actual.get(name).is_some_and(|(known, ..)| *known == attempt);
        if let Some(granted) = self.allocation.granted.get(name).filter(|_| !noted) {
            self.allocation.actual.insert(name.to_string(), (attempt, granted.clone(), false));
        }
    }

    /// Every step of a resize that is possible now.
    pub(crate) fn drive_size(&mut self, now: Now, out: &mut Vec<PodAction>) {
        self.ask_for_size(now, out);
        if matches!(self.sandbox, Sandbox::Ready { .. }) {
            self.make_size(now, out);
        }
        self.complete_size(out);
    }

    fn ask_for_size(&mut self, now: Now, out: &mut Vec<PodAction>) {
        let wanted = wanted(&self.pod);
        if !differ(&wanted, &self.allocation.granted) {
            if !self.sizing.asking {
                (self.sizing.asked, self.sizing.refused, self.sizing.ask_again) = (None, None, None);
            }
            return;
        }
        let again = self.sizing.ask_again.is_some_and(|at| at <= now.mono);
        let same = self.sizing.asked.as_ref().is_some_and(|(before, _)| !differ(before, &wanted));
        if self.sizing.asking || (same && !again) {
            return;
        }
        self.sizing.asked = Some((wanted, self.pod.metadata.generation));
        (self.sizing.asking, self.sizing.ask_again) = (true, None);
        out.push(PodAction::AskForSize);
    }

    /// Room has come about on the node.
    pub(crate) fn room(&mut self, now: Now) {
        if self.waits_for_room() && !self.sizing.asking {
            self.sizing.ask_again = Some(now.mono);
        }
    }

    pub(crate) fn size_answered(
        &mut self,
        now: Now,
        answer: Result<(), (&'static str, String)>,
        out: &mut Vec<PodAction>,
    ) {
        if !std::mem::take(&mut self.sizing.asking) {
            return;
        }
        let Some((granted, generation)) = self.sizing.asked.clone() else { return };
        match answer {
            Ok(()) => {
                (self.sizing.asked, self.sizing.refused) = (None, None);
                (self.sizing.failed, self.sizing.failures) = (None, 0);
                self.allocation.granted = granted;
                self.allocation.progress = Some(generation.unwrap_or(0));
                out.push(PodAction::Remember);
                let text = self.size_text("started", &self.allocation.granted, generation, "");
                out.push(self.event(false, "ResizeStarted", text, None));
            }
            Err((reason, message)) => {
                self.sizing.ask_again = (reason == DEFERRED).then(|| now.mono.saturating_add(limits::RESIZE_RETRY));
                let refused = Refused { reason, message, generation };
                if self.sizing.refused.as_ref() == Some(&refused) {
                    return;
                }
                let text = self.size_text(reason, &granted, generation, &refused.message);
                let word = if reason == INFEASIBLE { "ResizeInfeasible" } else { "ResizeDeferred" };
                out.push(self.event(true, word, text, None));
                self.sizing.refused = Some(refused);
            }
        }
    }

    /// Brings what was granted to what runs.
    fn make_size(&mut self, now: Now, out: &mut Vec<PodAction>) {
        if self.sizing.doing.is_some() || self.sizing.failed.as_ref().is_some_and(|(_, at)| *at > now.mono) {
            return;
        }
        let stale = self.stale();
        for (name, ..) in stale.iter().filter(|(.., restart)| *restart) {
            self.live(name).force = true;
            let why = format!("Container {name} resize requires restart");
            self.stop_one(now, name, spec::grace(&self.pod), why, out);
        }
        // Those that are stopped for it have to be out of the way before the pod shrinks.
        let stopping = spec::containers(&self.pod).any(|(_, container)| {
            let live = self.live.get(&container.name);
            live.is_some_and(|live| live.force && matches!(live.stage, Stage::Stopping { .. }))
        });
        if stopping || !(self.pod_is_stale() || stale.iter().any(|(.., restart)| !restart)) {
            return;
        }
        let containers: Vec<(String, u32)> =
            stale.into_iter().filter(|(.., restart)| !restart).map(|(name, attempt, _)| (name, attempt)).collect();
        // Whatever becomes of it: from here on nobody knows, until it is known to be done.
        for (name, _) in &containers {
            if let Some((.., sure)) = self.allocation.actual.get_mut(name) {
                *sure = false;
            }
        }
        if let Some((.., sure)) = &mut self.allocation.pod {
            *sure = false;
        }
        self.sizing.doing = Some((self.allocation.granted.clone(), containers.clone()));
        out.push(PodAction::Remember);
        out.push(PodAction::Resize { containers });
    }

    pub(crate) fn size_made(&mut self, now: Now, failed: Option<String>, out: &mut Vec<PodAction>) {
        let Some((granted, containers)) = self.sizing.doing.take() else { return };
        if let Some(why) = failed {
            let wait = backoff(limits::RESIZE_FAILED, self.sizing.failures);
            self.sizing.failures = self.sizing.failures.saturating_add(1);
            let known = self.sizing.failed.as_ref().is_some_and(|(before, _)| *before == why);
            self.sizing.failed = Some((bounded(why.clone()), now.mono.saturating_add(wait)));
            if !known {
                let text = self.size_text("error", &self.allocation.granted, self.allocation.progress, &why);
                out.push(self.event(true, "ResizeError", text, None));
            }
            return;
        }
        (self.sizing.failed, self.sizing.failures) = (None, 0);
        for (name, attempt) in containers {
            // It may have been started anew meanwhile, with what was granted by then.
            if let Some(entry) = self.allocation.actual.get_mut(&name).filter(|(known, ..)| *known == attempt)
                && let Some(amounts) = granted.get(&name)
            {
                *entry = (attempt, amounts.clone(), true);
            }
        }
        self.allocation.pod = self.memory.sandbox_attempt.map(|attempt| (attempt, granted, true));
        out.push(PodAction::Remember);
    }

    fn complete_size(&mut self, out: &mut Vec<PodAction>) {
        let Some(generation) = self.allocation.progress else { return };
        let restarting = self.live.values().any(|live| live.force);
        if self.sizing.doing.is_some() || self.pod_is_stale() || restarting || !self.stale().is_empty() {
            return;
        }
        self.allocation.progress = None;
        out.push(PodAction::Remember);
        let text = self.size_text("completed", &self.allocation.granted, Some(generation), "");
        out.push(self.event(false, "ResizeCompleted", text, None));
    }

    /// When to look again.
    pub(crate) fn size_deadlines(&self) -> impl Iterator<Item = Duration> {
        self.sizing.ask_again.into_iter().chain(self.sizing.failed.as_ref().map(|(_, at)| *at))
    }

    fn size_text(&self, what: &str, of: &ByName, generation: Option<i64>, error: &str) -> String {
        let list = |inits: bool| {
            let containers = spec::containers(&self.pod).filter(move |(role, _)| (*role != Role::App) == inits);
            let told = containers.filter_map(|(_, container)| {
                let Amounts { requests, limits } = of.get(&container.name)?;
                Some(ToldContainer { name: &container.name, resources: ToldAmounts { limits, requests } })
            });
            told.collect()
        };
        let told =
            Told { init_containers: list(true), containers: list(false), generation: generation.unwrap_or(0), error };
        format!("Pod resize {what}: {}", serde_json::to_string(&told).unwrap_or_default())
    }

    /// Conditions of a resize.
    pub(crate) fn size_verdicts(&self) -> Vec<Verdict> {
        let holds = |kind, reason, message, generation| Verdict { kind, status: true, reason, message, generation };
        let pending = self
            .sizing
            .refused
            .as_ref()
            .map(|refused| holds(PENDING, Some(refused.reason), Some(refused.message.clone()), refused.generation));
        let progress = self.allocation.progress.map(|generation| {
            let failed = self.sizing.failed.as_ref().map(|(why, _)| why.clone());
            holds(PROGRESS, failed.is_some().then_some(ERROR), failed, Some(generation))
        });
        pending.into_iter().chain(progress).filter(|_| !self.memory.finished).collect()
    }

    /// Resources in a container's status: what it runs with, else what it was granted.
    pub(crate) fn size_told(&self, container: &Container, running: bool) -> Option<ResourceRequirements> {
        let actual = self.actual(&container.name).filter(|_| running);
        let granted = self.allocation.granted.get(&container.name);
        let of_spec = || Amounts::of(container.resources.as_ref());
        let all = actual.or(granted).map_or_else(of_spec, Amounts::clone).requirements();
        (all != ResourceRequirements::default()).then_some(all)
    }

    /// `allocatedResources` of a container; of the pod itself under its name.
    pub(crate) fn size_granted(&self, name: &str, of: Option<&ResourceRequirements>) -> Option<Quantities> {
        let granted = self.allocation.granted.get(name);
        granted.map_or_else(|| Amounts::of(of), Amounts::clone).requirements().requests
    }

    /// `resources` of the pod itself.
    pub(crate) fn size_of_pod(&self) -> Option<ResourceRequirements> {
        let (_, all, _) = self.allocation.pod.as_ref()?;
        Some(all.get(POD)?.requirements())
    }
}
