//! What a pod machine must not forget over a power cut. A disk record: change it only with [`VERSION`].

use crate::spec;
use holdfast_core::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// First byte of an encoded record.
pub const VERSION: u8 = 1;

/// The record of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodMemory {
    /// When this node first saw the pod (`startTime`).
    pub start_time: Option<Timestamp>,
    /// Newest sandbox attempt that was asked for.
    pub sandbox_attempt: Option<u32>,
    /// Addresses of the newest sandbox.
    pub ips: Vec<String>,
    /// By container name, init containers included.
    pub containers: BTreeMap<String, ContainerMemory>,
    /// The pod is to end, and how: decided once, kept for ever.
    pub outcome: Option<Outcome>,
    /// All was stopped after the outcome: the phase is terminal.
    pub finished: bool,
    /// The hub's object is gone.
    pub deleted_at_hub: bool,
    /// Status and last change of each condition by type.
    pub conditions: BTreeMap<String, (bool, Timestamp)>,
}

/// How a pod ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// `Succeeded` rather than `Failed`.
    pub succeeded: bool,
    /// `status.reason`; empty for none.
    pub reason: String,
    /// `status.message`; empty for none.
    pub message: String,
}

/// How far the current attempt of a container came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Run {
    /// It was not asked for.
    #[default]
    No,
    /// It may have started: asked for, no answer yet.
    Asked,
    /// It started.
    Started,
    /// It ended; [`ContainerMemory::last`] is its end.
    Ended,
}

/// The record of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMemory {
    /// The current attempt, which is also `restartCount`.
    pub attempt: u32,
    /// How far it came.
    pub run: Run,
    /// When the current attempt started.
    pub started_at: Option<Timestamp>,
    /// The newest end.
    pub last: Option<Termination>,
    /// The end before it.
    pub previous: Option<Termination>,
    /// Restarts since the back-off was last forgotten.
    pub crashes: u32,
    /// Pulls that failed in a row.
    pub pull_failures: u32,
    /// Sandbox attempt in which an init container last completed, a sidecar was first up, or a container of the pod
    /// proper was last started.
    pub passed_in: Option<u32>,
    /// Digest reference of the image.
    pub image_id: String,
    /// Image reference that the current attempt runs.
    pub image: String,
    /// Scheme of `containerID`; empty for `containerd`.
    pub runtime: String,
}

/// The end of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// Which attempt.
    pub attempt: u32,
    /// Start.
    pub started_at: Option<Timestamp>,
    /// End.
    pub finished_at: Option<Timestamp>,
    /// Exit code.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
    pub reason: String,
    /// Text.
    pub message: String,
}

impl PodMemory {
    /// The memory of a pod that the hub hands out, maybe once more: what ended only because the pod was to go counts no more
    /// when it is not, unless it may run only once.
    #[must_use]
    pub fn for_another_life(self, pod: &Pod) -> PodMemory {
        let ended_itself = |outcome: &Outcome| {
            // Evictions, deadlines and refusals have a reason; what has none ended by itself, or was told to go.
            !outcome.reason.is_empty()
                || match spec::restart_policy(pod) {
                    "Never" => true,
                    "OnFailure" => outcome.succeeded,
                    _ => false,
                }
        };
        if pod.metadata.deletion_timestamp.is_some() || self.outcome.as_ref().is_none_or(ended_itself) {
            return self;
        }
        PodMemory { outcome: None, finished: false, ..self }
    }

    /// Whether a container of it may have run.
    pub fn has_run(&self) -> bool {
        self.containers.values().any(|container| container.run != Run::No)
    }

    /// As bytes for the disk.
    pub fn encode(&self) -> Vec<u8> {
        // A record of numbers, strings and maps with known lengths: postcard cannot refuse it.
        postcard::to_extend(self, vec![VERSION]).unwrap_or_default()
    }

    /// From bytes of the disk; `None` when they are damaged or of an unknown version.
    pub fn decode(bytes: &[u8]) -> Option<PodMemory> {
        let (version, rest) = bytes.split_first()?;
        (*version == VERSION).then_some(())?;
        postcard::from_bytes(rest).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn what_ended_only_because_it_was_to_go_lives_again() {
        let ended = |succeeded, reason: &str| PodMemory {
            outcome: Some(Outcome { succeeded, reason: reason.into(), message: String::new() }),
            finished: true,
            ..PodMemory::default()
        };
        for (policy, memory, lives) in [
            ("Always", ended(false, ""), true),
            ("Always", ended(true, ""), true),
            ("Always", ended(false, "Evicted"), false),
            ("OnFailure", ended(false, ""), true),
            ("OnFailure", ended(true, ""), false),
            ("OnFailure", ended(false, "DeadlineExceeded"), false),
            ("Never", ended(false, ""), false),
            ("Never", ended(true, ""), false),
        ] {
            let spec = PodSpec { restart_policy: Some(policy.into()), ..PodSpec::default() };
            let mut pod = Pod { spec: Some(spec), ..Pod::default() };
            let now = memory.clone().for_another_life(&pod);
            assert_eq!(!now.finished && now.outcome.is_none(), lives, "{policy} {memory:?}");
            pod.metadata.deletion_timestamp = Some(Time(Default::default()));
            assert_eq!(memory.clone().for_another_life(&pod), memory, "one that is to go stays as it ended");
        }
    }
}
