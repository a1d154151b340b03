//! The way up: volumes, sandbox, init containers, containers; images, starts, restarts and probes.

use crate::container::Stage;
use crate::machine::{Sandbox, Volumes, backoff};
use crate::memory::{Outcome, Run, Termination};
use crate::probes::{self, Verdict};
use crate::spec::{self, Role};
use crate::{ImageCame, ImageFailure, Now, PodAction, PodMachine, ProbeKind, ProbeOutcome, StartFailure, limits};
use std::time::Duration;

impl ImageCame {
    /// The text of the event about an image that came so; `waited` is since when it was wanted.
    pub fn told(&self, image: &str, waited: Option<Duration>) -> String {
        match self {
            ImageCame::Pulled { took, size_bytes } => {
                let waited = crate::status::go_duration(waited.unwrap_or(*took));
                let took = crate::status::go_duration(*took);
                format!(
                    "Successfully pulled image {image:?} in {took} ({waited} including waiting). Image size: {size_bytes} \
                     bytes."
                )
            }
            ImageCame::Present => {
                format!("Container image {image:?} already present on machine and can be accessed by the pod")
            }
            ImageCame::Unchecked { reason } => crate::machine::bounded(format!(
                "Container image {image:?} already present on machine, and used unchecked: {reason}"
            )),
        }
    }
}

impl PodMachine {
    /// What the clock alone brings about.
    pub(crate) fn expire(&mut self, now: Now, out: &mut Vec<PodAction>) {
        for name in self.names(|_| true) {
            let attempt = self.mem(&name).attempt;
            let started_at = self.mem(&name).started_at;
            let live = self.live(&name);
            for kind in live.probes.overdue(now.mono) {
                self.probe_result(now, &name, kind, ProbeOutcome::Failure, "the probe did not return".into(), out);
            }
            match &mut self.live(&name).stage {
                Stage::Failed { turns_at, .. } if turns_at.is_some_and(|at| at <= now.mono) => {
                    *turns_at = None;
                    let image = self.live(&name).failed_image.clone();
                    self.image_backoff(&name, &image, out);
                }
                Stage::Stopping { returned: Some(at), .. } if at.saturating_add(limits::EXIT_WAIT) <= now.mono => {
                    self.ended(now, &name, crate::observe::lost(attempt, started_at, now));
                }
                _ => {}
            }
        }
        let grace = spec::grace(&self.pod);
        for ((container, attempt), at) in &mut self.strays {
            if *at <= now.mono {
                *at = now.mono.saturating_add(grace).saturating_add(limits::EXIT_WAIT);
                let reason = "an older attempt still runs".to_string();
                out.push(PodAction::StopContainer { container: container.clone(), attempt: *attempt, grace, reason });
            }
        }
    }

    fn image_backoff(&mut self, name: &str, image: &str, out: &mut Vec<PodAction>) {
        let live = self.live(name);
        let why = live.waiting.take().map(|(reason, message)| format!("{reason}: {message}")).unwrap_or_default();
        live.waiting = Some(("ImagePullBackOff", format!("Back-off pulling image {image:?}: {why}")));
        out.push(self.event(false, "BackOff", format!("Back-off pulling image {image:?}"), Some(name)));
        out.push(self.event(true, "Failed", "Error: ImagePullBackOff".into(), Some(name)));
    }

    /// Whether the pod is over by itself, and how.
    pub(crate) fn decide_outcome(&mut self, now: Now, out: &mut Vec<PodAction>) {
        if self.ending() {
            return;
        }
        if self.active_deadline().is_some_and(|at| at <= now.mono) {
            let message = "Pod was active on the node longer than the specified deadline".to_string();
            out.push(self.event(false, "DeadlineExceeded", message.clone(), None));
            self.memory.outcome = Some(Outcome { succeeded: false, reason: "DeadlineExceeded".into(), message });
            return;
        }
        let over = |machine: &PodMachine, name: &str| -> Option<i32> {
            let (role, container) = spec::container(&machine.pod, name)?;
            let live = machine.live.get(name)?;
            let memory = machine.memory.containers.get(name)?;
            let code = memory.last.as_ref()?.exit_code;
            let ended = memory.run == Run::Ended && !live.may_live() && !live.force;
            (ended && !spec::restarts(&machine.pod, role, container, code)).then_some(code)
        };
        let inits = spec::names(&self.pod, |role| role == Role::Init);
        let init_failed = inits.iter().any(|name| over(self, name).is_some_and(|code| code != 0));
        let apps = spec::names(&self.pod, |role| role == Role::App);
        let ends: Option<Vec<i32>> = apps.iter().map(|name| over(self, name)).collect();
        // What may run once cannot be begun again in another sandbox.
        let spoilt = self.sandbox == Sandbox::Lost
            && spec::restart_policy(&self.pod) == "Never"
            && self.memory.containers.values().any(|memory| memory.run != Run::No);
        let succeeded = match ends {
            _ if init_failed => false,
            Some(codes) if !codes.is_empty() => codes.iter().all(|code| *code == 0),
            _ if spoilt => false,
            _ => return,
        };
        self.memory.outcome = Some(Outcome { succeeded, reason: String::new(), message: String::new() });
    }

    /// Every step towards running containers.
    pub(crate) fn run(&mut self, now: Now, out: &mut Vec<PodAction>) {
        let volumes_due = match self.volumes {
            Volumes::Unknown | Volumes::Gone => true,
            Volumes::Failed { retry_at } => retry_at <= now.mono,
            Volumes::SettingUp | Volumes::Ready | Volumes::TearingDown => false,
        };
        if volumes_due {
            self.volumes = Volumes::SettingUp;
            out.push(PodAction::SetUpVolumes);
        }
        if self.sandbox == Sandbox::Lost && !self.clear_sandbox(now, out) {
            return;
        }
        self.stop_began = None;
        self.drive_size(now, out);
        let volumes_ready = self.volumes == Volumes::Ready;
        let attempt = match self.sandbox {
            Sandbox::None if volumes_ready => {
                self.memory.sandbox_attempt.map(|last| last.saturating_add(1)).or(Some(0))
            }
            Sandbox::Failed { retry_at } if retry_at <= now.mono && volumes_ready => self.memory.sandbox_attempt,
            _ => None,
        };
        if let Some(attempt) = attempt {
            self.run_sandbox(attempt, out);
        }
        if matches!(self.sandbox, Sandbox::Ready { .. }) {
            self.drive_containers(now, out);
            self.drive_ephemeral(now, out);
        }
    }

    /// Stops what is left in a lost sandbox, then the sandbox. Whether it is on its way out.
    fn clear_sandbox(&mut self, now: Now, out: &mut Vec<PodAction>) -> bool {
        let grace = spec::grace(&self.pod);
        if !self.stop_containers(now, grace, out) {
            return false;
        }
        self.sandbox = Sandbox::Stopping;
        let attempt = self.memory.sandbox_attempt.unwrap_or(0);
        out.push(PodAction::StopSandbox { attempt });
        true
    }

    fn run_sandbox(&mut self, attempt: u32, out: &mut Vec<PodAction>) {
        let new = self.memory.sandbox_attempt != Some(attempt);
        self.memory.sandbox_attempt = Some(attempt);
        self.memory.ips.clear();
        self.sandbox = Sandbox::Starting;
        self.size_sandbox(attempt);
        // A new sandbox starts all afresh: no back-off, and init containers run again.
        for (role, container) in spec::containers(&self.pod) {
            let Some(memory) = self.memory.containers.get(&container.name) else { continue };
            let code = memory.last.as_ref().map_or(0, |last| last.exit_code);
            let again = role == Role::Init || spec::restarts(&self.pod, role, container, code);
            if let Some(live) = self.live.get_mut(&container.name)
                && again
                && matches!(live.stage, Stage::Ended { .. } | Stage::Failed { .. })
            {
                live.stage = Stage::Idle;
            }
        }
        if new {
            out.push(PodAction::Remember);
        }
        out.push(PodAction::RunSandbox { attempt });
    }

    /// Whether an init container is through in this sandbox.
    pub(crate) fn passed(&self, role: Role, name: &str) -> bool {
        let Some(memory) = self.memory.containers.get(name) else { return false };
        let here = memory.passed_in.is_some() && memory.passed_in == self.memory.sandbox_attempt;
        match role {
            Role::Init => {
                here && memory.run == Run::Ended && memory.last.as_ref().is_some_and(|last| last.exit_code == 0)
            }
            Role::Sidecar => here,
            Role::App | Role::Ephemeral => false,
        }
    }

    fn drive_containers(&mut self, now: Now, out: &mut Vec<PodAction>) {
        let roles: Vec<(Role, String)> =
            spec::containers(&self.pod).map(|(role, container)| (role, container.name.clone())).collect();
        // Once the pod proper has begun in this sandbox, its init containers are through.
        let apps_ran = self.apps_started();
        for (role, name) in &roles {
            let running = matches!(self.live(name).stage, Stage::Running { .. });
            if *role == Role::Sidecar && running && self.live(name).probes.started() {
                let sandbox = self.memory.sandbox_attempt;
                self.mem(name).passed_in = sandbox;
            }
            if *role == Role::Init && (apps_ran || self.passed(*role, name)) {
                continue;
            }
            self.ensure(now, *role, name, out);
            if *role != Role::App && !apps_ran && !self.passed(*role, name) {
                break;
            }
        }
    }

    /// Has the probes run that are due, of containers that are being stopped too.
    pub(crate) fn drive_probes(&mut self, now: Now, out: &mut Vec<PodAction>) {
        if !matches!(self.sandbox, Sandbox::Ready { .. }) {
            return;
        }
        for name in self.names(|role| role != Role::Ephemeral) {
            if matches!(self.live(&name).stage, Stage::Running { .. } | Stage::Stopping { .. }) {
                let attempt = self.mem(&name).attempt;
                for probe in self.live(&name).probes.due(now.mono) {
                    out.push(PodAction::RunProbe { container: name.clone(), attempt, probe });
                }
            }
        }
    }

    /// The next step of a container that should run.
    fn ensure(&mut self, now: Now, role: Role, name: &str, out: &mut Vec<PodAction>) {
        let Some((_, container)) = spec::container(&self.pod, name) else { return };
        let image = container.image.clone().unwrap_or_default();
        let memory = self.memory.containers.get(name).cloned().unwrap_or_default();
        let code = memory.last.as_ref().map_or(0, |last| last.exit_code);
        let again = spec::restarts(&self.pod, role, container, code);
        let pod = spec::full_name(&self.pod);
        let volumes_ready = self.volumes == Volumes::Ready;
        let stray = self.has_stray(name);
        let live = self.live(name);
        let again = again || live.force;
        match &live.stage {
            Stage::Running { .. } if role != Role::Init && !memory.image.is_empty() && memory.image != image => {
                live.force = true;
                let why = format!("Container {name} definition changed, will be restarted");
                self.stop_one(now, name, spec::grace(&self.pod), why, out);
            }
            Stage::Idle if volumes_ready => self.begin(name, out),
            // It completed in an older sandbox.
            Stage::Ended { .. } if role == Role::Init && code == 0 && volumes_ready => self.begin(name, out),
            Stage::Failed { retry_at, .. } if *retry_at <= now.mono && volumes_ready => self.begin(name, out),
            Stage::Ended { retry_at, .. } if again && *retry_at <= now.mono && volumes_ready && !stray => {
                // What was stopped to be started anew has not crashed.
                let stopped = live.force;
                let memory = self.mem(name);
                if !stopped && memory.last.as_ref().is_some_and(|last| last.reason != "ContainerStatusUnknown") {
                    memory.crashes = memory.crashes.saturating_add(1);
                }
                self.begin(name, out);
            }
            Stage::Ended { backoff, retry_at } if again && *retry_at > now.mono && live.waiting.is_none() => {
                let text = format!(
                    "back-off {} restarting failed container={name} pod={pod}",
                    crate::status::go_duration(*backoff)
                );
                live.waiting = Some(("CrashLoopBackOff", text));
                let text = format!("Back-off restarting failed container {name} in pod {pod}");
                out.push(self.event(true, "BackOff", text, Some(name)));
            }
            _ => {}
        }
    }

    pub(crate) fn begin(&mut self, name: &str, out: &mut Vec<PodAction>) {
        if self.has_stray(name) || self.is_resizing() {
            return;
        }
        let Some((_, container)) = self.container(name) else { return };
        let image = container.image.as_deref().unwrap_or_default();
        let (always, never) = spec::pull_policy(container.image_pull_policy.as_deref(), image);
        self.live(name).stage = Stage::Pulling { fetching: None };
        out.push(PodAction::PullImage { container: name.to_string(), always, never });
    }

    fn image(&self, name: &str) -> String {
        self.container(name).and_then(|(_, container)| container.image.clone()).unwrap_or_default()
    }

    pub(crate) fn image_pulling(&mut self, now: Now, name: &str, out: &mut Vec<PodAction>) {
        let image = self.image(name);
        if let Stage::Pulling { fetching: fetching @ None } = &mut self.live(name).stage {
            *fetching = Some(now.mono);
            out.push(self.event(false, "Pulling", format!("Pulling image {image:?}"), Some(name)));
        }
    }

    pub(crate) fn image_ready(
        &mut self,
        now: Now,
        name: &str,
        image_id: String,
        came: &ImageCame,
        out: &mut Vec<PodAction>,
    ) {
        let image = self.image(name);
        let Stage::Pulling { fetching } = self.live(name).stage else { return };
        let text = came.told(&image, fetching.map(|since| now.mono.saturating_sub(since)));
        out.push(self.event(false, "Pulled", text, Some(name)));
        if self.ending() || !matches!(self.sandbox, Sandbox::Ready { .. }) {
            self.live(name).stage = Stage::Idle;
            return;
        }
        let memory = self.mem(name);
        if memory.run == Run::Ended {
            memory.attempt = memory.attempt.saturating_add(1);
        }
        memory.run = Run::Asked;
        memory.started_at = None;
        memory.pull_failures = 0;
        memory.image_id = image_id;
        memory.image = image;
        let attempt = memory.attempt;
        if spec::container(&self.pod, name).is_some_and(|(role, _)| role == Role::App) {
            let sandbox = self.memory.sandbox_attempt;
            self.mem(name).passed_in = sandbox;
        }
        self.size(name);
        let live = self.live(name);
        live.stage = Stage::Starting { early: None };
        live.force = false;
        out.push(PodAction::Remember);
        out.push(PodAction::StartContainer { container: name.to_string(), attempt });
    }

    pub(crate) fn image_failed(
        &mut self,
        now: Now,
        name: &str,
        of_volume: Option<String>,
        reason: ImageFailure,
        message: String,
        out: &mut Vec<PodAction>,
    ) {
        if !matches!(self.live(name).stage, Stage::Pulling { .. }) {
            return;
        }
        let image = of_volume.unwrap_or_else(|| self.image(name));
        let memory = self.mem(name);
        let wait = backoff((limits::BACKOFF_INITIAL, limits::BACKOFF_CAP), memory.pull_failures);
        memory.pull_failures = memory.pull_failures.saturating_add(1);
        // What the status says, and what the event is called.
        let (word, event) = match reason {
            ImageFailure::Pull => ("ErrImagePull", "Failed"),
            ImageFailure::NeverPull => ("ErrImageNeverPull", "ErrImageNeverPull"),
            ImageFailure::InvalidName => ("InvalidImageName", "InspectFailed"),
            ImageFailure::Inspect => ("ImageInspectError", "InspectFailed"),
        };
        let turns_at = (reason == ImageFailure::Pull).then(|| now.mono.saturating_add(limits::PULL_ERROR_SHOWN));
        let message = crate::machine::bounded(message);
        let text = match reason {
            ImageFailure::Pull => format!("Failed to pull image {image:?}: {message}"),
            ImageFailure::NeverPull | ImageFailure::InvalidName | ImageFailure::Inspect => message.clone(),
        };
        let live = self.live(name);
        live.stage = Stage::Failed { turns_at, retry_at: now.mono.saturating_add(wait) };
        live.waiting = Some((word, message));
        live.failed_image = image;
        out.push(self.event(true, event, text, Some(name)));
        out.push(self.event(true, "Failed", format!("Error: {word}"), Some(name)));
    }

    pub(crate) fn container_started(&mut self, now: Now, name: &str, attempt: u32, out: &mut Vec<PodAction>) {
        let early = match &mut self.live(name).stage {
            Stage::Starting { early } => early.take(),
            _ => return,
        };
        let memory = self.mem(name);
        if memory.attempt != attempt {
            return;
        }
        memory.run = Run::Started;
        memory.started_at = Some(now.wall);
        self.running(now, name);
        out.push(self.event(false, "Created", format!("Created container: {name}"), Some(name)));
        out.push(self.event(false, "Started", format!("Started container {name}"), Some(name)));
        if let Some(end) = early {
            self.mem(name).started_at = end.started_at;
            self.ended(now, name, end);
        }
    }

    pub(crate) fn container_failed(
        &mut self,
        now: Now,
        name: &str,
        attempt: u32,
        reason: StartFailure,
        message: String,
        out: &mut Vec<PodAction>,
    ) {
        if !matches!(self.live(name).stage, Stage::Starting { .. }) || self.mem(name).attempt != attempt {
            return;
        }
        let message = crate::machine::bounded(message);
        out.push(self.event(true, "Failed", format!("Error: {message}"), Some(name)));
        let word = match reason {
            StartFailure::Config => "CreateContainerConfigError",
            StartFailure::Create => "CreateContainerError",
            StartFailure::Run => "RunContainerError",
        };
        if reason == StartFailure::Run {
            let end = Termination {
                attempt,
                started_at: None,
                finished_at: Some(now.wall),
                exit_code: 128,
                reason: "StartError".into(),
                message: message.clone(),
            };
            self.ended(now, name, end);
            if matches!(self.live(name).stage, Stage::Ended { backoff: Duration::ZERO, .. }) {
                self.live(name).waiting = Some((word, message));
            }
            return;
        }
        self.mem(name).run = Run::No;
        let live = self.live(name);
        let wait = backoff(limits::START_RETRY, live.start_failures);
        live.start_failures = live.start_failures.saturating_add(1);
        live.stage = Stage::Failed { turns_at: None, retry_at: now.mono.saturating_add(wait) };
        live.waiting = Some((word, message));
        if self.runs_once(name) {
            // It certainly did not run: what may run only once may be tried again after a power cut.
            out.push(PodAction::Remember);
        }
    }

    pub(crate) fn probe_result(
        &mut self,
        now: Now,
        name: &str,
        kind: ProbeKind,
        outcome: ProbeOutcome,
        message: String,
        out: &mut Vec<PodAction>,
    ) {
        if !matches!(self.live(name).stage, Stage::Running { .. } | Stage::Stopping { .. }) {
            return;
        }
        let Some(verdict) = self.live(name).probes.result(now.mono, kind, outcome) else { return };
        let word = probes::word(kind);
        let told = match outcome {
            ProbeOutcome::Success => None,
            ProbeOutcome::Warning => Some(("ProbeWarning", format!("{word} probe warning: {message}"))),
            ProbeOutcome::Failure => Some(("Unhealthy", format!("{word} probe failed: {message}"))),
            ProbeOutcome::Error => {
                Some(("Unhealthy", format!("{word} probe errored and resulted in unknown state: {message}")))
            }
        };
        if let Some((reason, text)) = told {
            out.push(self.event(true, reason, text, Some(name)));
        }
        if verdict == Verdict::Kill && !self.ending() {
            let grace = spec::container(&self.pod, name)
                .and_then(|(_, container)| probes::spec_of(container, kind))
                .map_or(spec::grace(&self.pod), |probe| spec::probe_grace(&self.pod, probe));
            let why = format!("Container {name} failed {} probe, will be restarted", word.to_lowercase());
            self.stop_one(now, name, grace, why, out);
        }
    }
}
