//! Events (`core/v1`): what a user finds with `kubectl describe`.
//!
//! The same event of the same object is one object whose `count` grows. Recording never waits: a full queue drops
//! the newest event, and an object that talks too much is cut short, as upstream's correlator does.

use crate::limits::{CALL_LIMIT, EVENT_BURST, EVENT_REFILL, EVENTS_QUEUED, EVENTS_REMEMBERED};
use crate::{Client, Key};
use holdfast_core::{Gvr, Object, Patch, PatchType, Reason, Status, Target, Timestamp};
use holdfast_env::{Mono, Task, World};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// `type` of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// All is as it should be.
    Normal,
    /// Someone may want to act.
    Warning,
}

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Involved {
    /// `apiVersion`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace and name.
    pub key: Key,
    /// UID.
    pub uid: String,
}

impl Involved {
    /// From its parts.
    pub fn new(api_version: &str, kind: &str, key: &Key, uid: &str) -> Involved {
        Involved { api_version: api_version.into(), kind: kind.into(), key: key.clone(), uid: uid.into() }
    }

    /// An object.
    pub fn of(object: &Object) -> Involved {
        Involved::new(&object.gvk.api_version(), &object.gvk.kind, &Key::of(object), &object.meta.uid)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    about: Involved,
    event_type: EventType,
    reason: String,
    message: String,
}

struct Recorded {
    said: Said,
    when: Timestamp,
}

/// Records Events for one component. Clones share the task; it ends when the last one is dropped.
#[derive(Clone)]
pub struct EventRecorder {
    world: World,
    sender: mpsc::Sender<Recorded>,
    _task: Arc<Task>,
}

impl EventRecorder {
    /// A recorder that writes as `component` through `client`.
    pub fn new(world: &World, client: Arc<dyn Client>, component: &str) -> EventRecorder {
        let (sender, receiver) = mpsc::channel(EVENTS_QUEUED);
        let writer = Writer {
            world: world.clone(),
            client,
            component: component.into(),
            known: BTreeMap::new(),
            uses: 0,
            budgets: BTreeMap::new(),
        };
        let task = world.spawn("event-recorder", Box::pin(writer.run(receiver)));
        EventRecorder { world: world.clone(), sender, _task: Arc::new(task) }
    }

    /// Records a `Normal` event.
    pub fn normal(&self, about: &Involved, reason: &str, message: impl Into<String>) {
        self.record(EventType::Normal, about, reason, message);
    }

    /// Records a `Warning` event.
    pub fn warning(&self, about: &Involved, reason: &str, message: impl Into<String>) {
        self.record(EventType::Warning, about, reason, message);
    }

    /// Records an event.
    pub fn record(&self, event_type: EventType, about: &Involved, reason: &str, message: impl Into<String>) {
        let said = Said { about: about.clone(), event_type, reason: reason.into(), message: message.into() };
        let when = Timestamp::from_wall(self.world.wall().0);
        if self.sender.try_send(Recorded { said, when }).is_err() {
            tracing::warn!(about = %about.key, reason, "An Event was dropped: too many are waiting");
        }
    }
}

struct Known {
    name: String,
    count: u64,
    used: u64,
}

struct Writer {
    world: World,
    client: Arc<dyn Client>,
    component: String,
    known: BTreeMap<Said, Known>,
    uses: u64,
    /// Per object: what is left, and since when.
    budgets: BTreeMap<Involved, (u32, Mono)>,
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<Recorded>) {
        while let Some(event) = receiver.recv().await {
            if !self.affords(&event.said.about) {
                continue;
            }
            let world = self.world.clone();
            let about = event.said.about.key.clone();
            match world.timeout(CALL_LIMIT, self.write(event)).await {
                Some(Ok(())) => {}
                // The namespace is going, or gone: nobody will read it.
                Some(Err(status)) if status.is(Reason::NotFound) || status.is(Reason::Forbidden) => {}
                Some(Err(status)) => tracing::warn!(about = %about, err = %status, "An Event was not written"),
                None => tracing::warn!(about = %about, "An Event was not written in time"),
            }
        }
    }

    fn affords(&mut self, about: &Involved) -> bool {
        let now = self.world.monotonic();
        if self.budgets.len() >= EVENTS_REMEMBERED {
            self.budgets.retain(|_, (_, since)| now.since(*since) < EVENT_REFILL * EVENT_BURST);
            if self.budgets.len() >= EVENTS_REMEMBERED {
                self.budgets.pop_first();
            }
        }
        let (left, since) = self.budgets.entry(about.clone()).or_insert((EVENT_BURST, now));
        let earned = u32::try_from(now.since(*since).as_secs() / EVENT_REFILL.as_secs()).unwrap_or(u32::MAX);
        if earned > 0 {
            *left = left.saturating_add(earned).min(EVENT_BURST);
            *since = now;
        }
        let affords = *left > 0;
        *left = left.saturating_sub(1);
        affords
    }

    async fn write(&mut self, event: Recorded) -> Result<(), Status> {
        let Recorded { said, when } = event;
        let namespace = if said.about.key.namespace.is_empty() { "default" } else { &said.about.key.namespace };
        let gvr = Gvr::new("", "v1", "events");
        self.uses += 1;
        if let Some(known) = self.known.get_mut(&said) {
            known.count += 1;
            known.used = self.uses;
            let body = json!({"count": known.count, "lastTimestamp": when});
            let at = Target::object(gvr.clone(), namespace, &known.name);
            match self.client.patch(&at, Patch { patch_type: PatchType::Merge, body }).await {
                // It expired: a new one begins.
                Err(status) if status.is(Reason::NotFound) => {}
                other => return other.map(|_| ()),
            }
        }
        let about = &said.about;
        let stem: String = about.key.name.chars().take(230).collect();
        let name = format!("{stem}.{:016x}", self.world.random_u64());
        let body = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": about.api_version, "kind": about.kind,
                "namespace": about.key.namespace, "name": about.key.name, "uid": about.uid,
            },
            "type": match said.event_type { EventType::Normal => "Normal", EventType::Warning => "Warning" },
            "reason": said.reason, "message": said.message, "count": 1,
            "firstTimestamp": when, "lastTimestamp": when,
            "source": {"component": self.component},
            "reportingComponent": self.component, "reportingInstance": "",
        });
        self.client.create(&Target::collection(gvr, namespace), body).await?;
        if self.known.len() >= EVENTS_REMEMBERED {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used).map(|(said, _)| said.clone());
            oldest.map(|said| self.known.remove(&said));
        }
        self.known.insert(said, Known { name, count: 1, used: self.uses });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeWorld, MemoryApi};

    #[test]
    fn the_same_event_counts_and_chatter_is_cut() {
        let world = FakeWorld::new(5);
        let env: World = world.clone();
        let api = MemoryApi::new(&env);
        let recorder = EventRecorder::new(&env, api.clone(), "test");
        let pod = Involved::new("v1", "Pod", &Key::new("a", "p"), "u");
        for _ in 0..3 {
            recorder.normal(&pod, "Pulled", "pulled it");
        }
        world.settle();
        let events = api.all("events");
        assert_eq!(events.len(), 1);
        assert_eq!((&events[0]["count"], &events[0]["reason"]), (&json!(3), &json!("Pulled")));
        for number in 0..100 {
            recorder.warning(&pod, "Failed", format!("number {number}"));
        }
        world.settle();
        assert_eq!(api.all("events").len(), 1 + 22);
    }
}
