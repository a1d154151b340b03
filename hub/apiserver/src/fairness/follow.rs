//! What keeps the engine's configuration that of the cluster, and tells each flow schema whether its level is there.

use super::config::{DANGLING, Dangling, LevelSpec, Schema, StoredSchema};
use super::gate::Fairness;
use super::limits::{ADJUST, STATUS_PAUSE};
use crate::client::LocalClient;
use holdfast_controller::Informer;
use holdfast_core::user::MASTERS;
use holdfast_core::{Gvr, Json, Patch, PatchType, Reason, Status, Target, Timestamp, UserInfo, WriteOptions};
use holdfast_env::{Mono, Task, World};
use holdfast_server::{Api, Operation, Request, RequestContext};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const VERSION: &str = "v1";
/// Who owns the condition, as upstream has it.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Starts both tasks.
pub(crate) fn start(fairness: &Fairness, api: &Arc<Api>) -> [Task; 2] {
    let world = fairness.world().clone();
    let releasing = fairness.clone();
    let follower =
        Follower { world: world.clone(), api: api.clone(), fairness: fairness.clone(), written: BTreeMap::new() };
    [
        world.spawn("fairness-release", Box::pin(async move { releasing.release().await })),
        world.spawn("fairness", Box::pin(follower.run())),
    ]
}

struct Follower {
    world: World,
    api: Arc<Api>,
    fairness: Fairness,
    /// When the status of schemas was written last.
    written: BTreeMap<Arc<str>, Mono>,
}

fn gvr(resource: &str) -> Gvr {
    Gvr::new(GROUP, VERSION, resource)
}

fn user() -> UserInfo {
    UserInfo::new("system:apiserver", &[MASTERS])
}

impl Follower {
    async fn run(mut self) {
        let client = Arc::new(LocalClient::new(self.api.clone(), self.world.clone(), user()));
        let schemas: Informer<StoredSchema> = Informer::new(&self.world, client.clone(), gvr("flowschemas"));
        let levels: Informer<LevelSpec> = Informer::new(&self.world, client, gvr("prioritylevelconfigurations"));
        let changed = Arc::new(Notify::new());
        let (of_schemas, of_levels) = (changed.clone(), changed.clone());
        schemas.on_change(move |_| of_schemas.notify_one());
        levels.on_change(move |_| of_levels.notify_one());
        let _running = (schemas.start(), levels.start());
        schemas.synced().await;
        levels.synced().await;
        let mut used: (Vec<Arc<Schema>>, Vec<LevelSpec>) = Default::default();
        let mut adjust = self.world.monotonic().after(ADJUST);
        loop {
            let stored = schemas.cache().all();
            let specs: Vec<LevelSpec> = levels.cache().all().iter().map(|item| item.value.clone()).collect();
            let stands: Vec<Arc<Schema>> = stored.iter().map(|item| item.value.schema.clone()).collect();
            if (&stands, &specs) != (&used.0, &used.1) {
                used = (stands, specs);
                self.fairness.configure(&used.0, &used.1);
            }
            let seen = stored.iter().map(|item| &item.value);
            let again = self.tell(seen, &used.1).await;
            loop {
                let due = again.map_or(adjust, |again| again.min(adjust));
                tokio::select! {
                    biased;
                    () = changed.notified() => break,
                    () = self.world.sleep_until(due) => {}
                }
                let now = self.world.monotonic();
                if now >= adjust {
                    adjust = now.after(ADJUST);
                    self.fairness.adjust();
                }
                if again.is_some_and(|again| now >= again) {
                    break;
                }
            }
        }
    }

    /// Writes the conditions that are wrong. When those are to be looked at again that could not be written now.
    async fn tell<'a>(&mut self, stored: impl Iterator<Item = &'a StoredSchema>, levels: &[LevelSpec]) -> Option<Mono> {
        let now = self.world.monotonic();
        self.written.retain(|_, written| now.since(*written) < STATUS_PAUSE);
        let mut again: Option<Mono> = None;
        for StoredSchema { schema, told } in stored {
            let right = Dangling::of(&schema.level, levels.iter().any(|level| level.name == schema.level));
            if right.is(told.as_ref()) {
                continue;
            }
            let wait = match self.written.get(&schema.name) {
                Some(written) => Some(written.after(STATUS_PAUSE)),
                None => {
                    self.written.insert(schema.name.clone(), now);
                    self.write(&schema.name, &right).await.err().map(|err| {
                        tracing::warn!(flow_schema = %schema.name, %err, "Could not write a condition");
                        now.after(STATUS_PAUSE)
                    })
                }
            };
            again = again.into_iter().chain(wait).min();
        }
        again
    }

    async fn write(&self, name: &str, dangling: &Dangling) -> Result<(), Status> {
        let now = Timestamp::from_wall(self.world.wall().0);
        let condition: Json = json!({
            "type": DANGLING,
            "status": dangling.status,
            "reason": dangling.reason,
            "message": dangling.message,
            "lastTransitionTime": now,
        });
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "FlowSchema",
            "metadata": { "name": name },
            "status": { "conditions": [condition] },
        });
        let patch = Patch { patch_type: PatchType::Apply, body };
        let options = WriteOptions { field_manager: MANAGER.into(), force: true, ..WriteOptions::default() };
        let cx = RequestContext::new(user(), self.world.random_uuid());
        let target = Target::object(gvr("flowschemas"), "", name).with_subresource("status");
        match self.api.call(Request { cx, target, operation: Operation::Patch { patch, options } }).await {
            // It was deleted meanwhile.
            Err(status) if !status.is(Reason::NotFound) => Err(status),
            _ => Ok(()),
        }
    }
}
