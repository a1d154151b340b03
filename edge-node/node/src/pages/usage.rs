//! What is used, and how fast. A speed needs two looks: the one before may have been for somebody else.

use crate::parts::{HostUsage, NodeParts};
use holdfast_core::Timestamp;
use holdfast_env::Mono;
use holdfast_runtime::{ContainerUsage, RuntimeError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The shortest time that a speed is taken over; answers within it are the same.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest. After it an average hides what is going on now.
const LONGEST: Duration = Duration::from_secs(60);

/// One look.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) at: Mono,
    pub(super) time: Timestamp,
    pub(super) host: HostUsage,
    pub(super) containers: BTreeMap<String, ContainerUsage>,
    /// A runtime did not answer: containers are missing.
    pub(super) is_partial: bool,
}

/// Two looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    pub(super) now: Arc<Reading>,
    pub(super) before: Arc<Reading>,
}

impl Usage {
    pub(super) fn container(&self, id: &str) -> Option<&ContainerUsage> {
        self.now.containers.get(id)
    }

    /// What the machine has computed for, in billionths of a CPU.
    pub(super) fn host_nano_cores(&self) -> Option<u64> {
        self.speed(self.before.host.cpu_nanos?, self.now.host.cpu_nanos?)
    }

    /// The same of a container; `None` for one that was not there before.
    pub(super) fn container_nano_cores(&self, id: &str) -> Option<u64> {
        let cpu = |reading: &Reading| reading.containers.get(id)?.cpu_nanos;
        self.speed(cpu(&self.before)?, cpu(&self.now)?)
    }

    /// The time between the looks.
    pub(super) fn window(&self) -> Duration {
        self.now.at.since(self.before.at)
    }

    fn speed(&self, before: u64, now: u64) -> Option<u64> {
        let nanos = u128::from(now.checked_sub(before)?) * 1_000_000_000;
        u64::try_from(nanos.checked_div(self.window().as_nanos())?).ok()
    }
}

/// Looks.
pub(super) struct Meter {
    parts: NodeParts,
    /// Held while looking, so that many who ask at once cost one look.
    last: Mutex<Option<Usage>>,
}

impl Meter {
    pub(super) fn new(parts: NodeParts) -> Meter {
        Meter { parts, last: Mutex::default() }
    }

    /// What is used now.
    pub(super) async fn usage(&self) -> Usage {
        let env = &self.parts.env;
        let mut last = self.last.lock().await;
        let age = |usage: &Usage| env.monotonic().since(usage.now.at);
        let before = match last.take() {
            Some(usage) if age(&usage) < SHORTEST => return last.insert(usage).clone(),
            Some(usage) if age(&usage) <= LONGEST => usage.now,
            _ => {
                let first = Arc::new(self.read().await);
                env.sleep(SHORTEST).await;
                first
            }
        };
        let now = Arc::new(self.read().await);
        last.insert(Usage { now, before }).clone()
    }

    async fn read(&self) -> Reading {
        let NodeParts { env, host, .. } = &self.parts;
        let host = {
            let host = host.clone();
            env.blocking(move || host.usage()).await.unwrap_or_default()
        };
        let (containers, is_partial) = of_containers(&self.parts).await;
        Reading { at: env.monotonic(), time: Timestamp::from_wall(env.wall().0), host, containers, is_partial }
    }
}

/// What the containers of both runtimes use, by id, and whether one of those did not answer.
pub(crate) async fn of_containers(parts: &NodeParts) -> (BTreeMap<String, ContainerUsage>, bool) {
    let (mut containers, mut is_partial) = (BTreeMap::new(), false);
    for runtime in [&parts.oci, &parts.wasm] {
        match runtime.usage().await {
            Ok(usages) => containers.extend(usages.into_iter().map(|usage| (usage.id.clone(), usage))),
            // What another runtime has is worth saying all the same.
            Err(err) => {
                tracing::debug!(runtime = runtime.name(), %err, "No statistics of containers");
                is_partial |= !matches!(err, RuntimeError::NotImplemented(_));
            }
        }
    }
    (containers, is_partial)
}
