//! [`Fairness`]: the engine behind a lock, and those that wait for it. It decides nothing.

use super::config::{LevelSpec, Schema};
use super::engine::{Arrived, Engine, Ticket};
use super::limits::MEASURED_FOR;
use super::matching::{Asked, What};
use super::queues::Id;
use super::width::{Load, Watched, Watches, list_seats, patience};
use super::{dump, stats};
use async_trait::async_trait;
use holdfast_core::{FieldSelector, Gvr, Status, Target};
use holdfast_env::{Mono, World};
use holdfast_server::{Entered, Gate, Place, RETRY_SECONDS, Registry, Seeking, Sort, Stored, TOO_MANY};
use http::{HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

static SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
static LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// Where the tables are.
const PAGES: &str = "/debug/api_priority_and_fairness/";

/// Priority and fairness of an API server. Clones are the same.
#[derive(Clone)]
pub struct Fairness(Arc<Inner>);

struct Inner {
    world: World,
    registry: Arc<dyn Registry>,
    state: Mutex<State>,
    /// Told when seats come back for which somebody waits.
    release: Notify,
    /// How much is stored of resources that were listed, and since when that is known; none that is not served.
    stored: Mutex<BTreeMap<Gvr, (Mono, Stored)>>,
}

struct State {
    engine: Engine,
    /// Those that wait, by their number.
    waiting: BTreeMap<Id, oneshot::Sender<()>>,
    watches: Watches,
    /// Kept, so that letting somebody in takes no memory.
    let_in: Vec<Id>,
}

/// What a request holds while it waits or is served.
struct Seat {
    fairness: Fairness,
    ticket: Ticket,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.fairness.with(|state, now| {
            state.waiting.remove(&self.ticket.id);
            state.engine.leave(now, &self.ticket, &mut state.let_in);
        });
    }
}

/// A watch, while it lives.
struct Watching {
    fairness: Fairness,
    watched: Watched,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.fairness.lock().watches.remove(&self.watched);
    }
}

impl Fairness {
    /// For a server with so many seats; what is stored says how wide lists are.
    pub fn new(world: World, registry: Arc<dyn Registry>, seats: usize) -> Fairness {
        let state = State {
            engine: Engine::new(world.monotonic(), seats as u64),
            waiting: BTreeMap::new(),
            watches: Watches::default(),
            let_in: Vec::new(),
        };
        let (state, stored) = (Mutex::new(state), Mutex::default());
        Fairness(Arc::new(Inner { world, registry, state, release: Notify::new(), stored }))
    }

    /// Writes its figures.
    pub fn metrics(&self, out: &mut String) {
        stats::write(&self.lock().engine, out);
    }

    pub(super) fn world(&self) -> &World {
        &self.0.world
    }

    /// Another configuration.
    pub(super) fn configure(&self, schemas: &[Arc<Schema>], levels: &[LevelSpec]) {
        self.with(|state, now| state.engine.configure(now, schemas, levels, &mut state.let_in));
    }

    /// Shifts seats between levels.
    pub(super) fn adjust(&self) {
        self.with(|state, now| state.engine.adjust(now, &mut state.let_in));
    }

    /// Gives back seats when their time comes and somebody waits for them, for ever.
    pub(super) async fn release(&self) {
        loop {
            let due = self.lock().engine.next_release();
            let told = self.0.release.notified();
            match due {
                None => told.await,
                Some(due) => {
                    tokio::select! {
                        biased;
                        () = told => {}
                        () = self.0.world.sleep_until(due) => {
                            self.with(|state, now| state.engine.advance(now, &mut state.let_in));
                        }
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the state, and tells those that it let in.
    fn with<T>(&self, act: impl FnOnce(&mut State, Mono) -> T) -> T {
        let mut guard = self.lock();
        let state = &mut *guard;
        // Under the lock: the engine's time does not fall.
        let done = act(state, self.0.world.monotonic());
        for id in state.let_in.drain(..) {
            // One that was let in as it came waits for nobody.
            if let Some(waiting) = state.waiting.remove(&id) {
                // Who left meanwhile gives the seat back by himself.
                let _ = waiting.send(());
            }
        }
        if !state.waiting.is_empty() && state.engine.next_release().is_some() {
            self.0.release.notify_one();
        }
        done
    }

    /// What a request means to the server.
    async fn load(&self, seeking: &Seeking<'_>, watched: Option<&Watched>) -> Load {
        let (Some(target), Some(watched)) = (seeking.target, watched) else { return Load::One };
        let query = |name: &str| seeking.query.get(name);
        match (seeking.verb, seeking.sort) {
            ("watch", Sort::Watch) => {
                let streams = seeking.query.flag("sendInitialEvents").unwrap_or(false);
                let from_start = matches!(query("resourceVersion"), None | Some("0"));
                match streams || from_start {
                    true => self.list_load(target, &watched[3], 0).await,
                    false => Load::One,
                }
            }
            ("list", _) => {
                let limit = query("limit").and_then(|text| text.parse().ok()).unwrap_or_default();
                self.list_load(target, &watched[3], limit).await
            }
            ("create" | "update" | "patch" | "delete", _) => {
                // A token is no event. Who watches is counted under the lock.
                let token = watched[1] == "serviceaccounts" && target.subresource() == "token";
                if token { Load::One } else { Load::Write(0) }
            }
            _ => Load::One,
        }
    }

    async fn list_load(&self, target: &Target, name: &str, limit: u64) -> Load {
        let stored = self.stored(&target.gvr).await;
        Load::List(stored.map_or(0, |stored| list_seats(stored, limit, !name.is_empty())))
    }

    async fn stored(&self, gvr: &Gvr) -> Option<Stored> {
        let known = || self.0.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.0.world.monotonic();
        let fresh = known().get(gvr).filter(|(since, _)| now.since(*since) < MEASURED_FOR).map(|(_, stored)| *stored);
        if fresh.is_some() {
            return fresh;
        }
        let measured = self.0.registry.stored(gvr).await;
        let mut known = known();
        known.retain(|_, (since, _)| now.since(*since) < MEASURED_FOR);
        if let Some(stored) = measured {
            known.insert(gvr.clone(), (now, stored));
        }
        measured
    }

    /// Lets a request in, refuses it, or says what it waits for.
    fn arrive(
        &self,
        asked: &Asked<'_>,
        mut load: Load,
        watched: Option<&Watched>,
    ) -> Option<(Arrived, Option<oneshot::Receiver<()>>)> {
        self.with(|state, now| {
            if let (Load::Write(watches), Some(watched)) = (&mut load, watched) {
                *watches = state.watches.interested(watched);
            }
            let arrived = state.engine.arrive(now, asked, load, &mut state.let_in)?;
            let receiver = match &arrived.outcome {
                Ok((ticket, false)) => {
                    let (sender, receiver) = oneshot::channel();
                    state.waiting.insert(ticket.id, sender);
                    Some(receiver)
                }
                _ => None,
            };
            Some((arrived, receiver))
        })
    }

    /// Waits to be let in for at most so long. Whether it was; if not, the seat is not waited for any more.
    async fn wait(&self, seat: &Seat, told: oneshot::Receiver<()>, patience: Duration) -> bool {
        if let Some(Ok(())) = self.0.world.timeout(patience, told).await {
            return true;
        }
        self.with(|state, now| {
            // It may have been let in at the last moment.
            let gave_up = state.engine.waits(&seat.ticket);
            if gave_up {
                state.waiting.remove(&seat.ticket.id);
                state.engine.leave(now, &seat.ticket, &mut state.let_in);
            }
            !gave_up
        })
    }
}

/// What a request is about, as watches of it would have it; `None` where that does not matter.
fn watched(seeking: &Seeking<'_>) -> Option<Watched> {
    let target = seeking.target.filter(|_| seeking.verb != "get")?;
    let named = match (&target.name, seeking.verb) {
        (None, "list" | "watch") => {
            let fields =
                FieldSelector::parse(seeking.query.get("fieldSelector").unwrap_or_default()).unwrap_or_default();
            fields.required("metadata.name").map(String::from)
        }
        (name, _) => name.clone(),
    };
    let Gvr { group, resource, .. } = &target.gvr;
    Some([group.clone(), resource.clone(), target.namespace().to_string(), named.unwrap_or_default()])
}

/// Whether a watch is about what is on one node: few events reach it.
fn of_one_node(seeking: &Seeking<'_>, watched: &Watched) -> bool {
    let fields = || FieldSelector::parse(seeking.query.get("fieldSelector").unwrap_or_default()).unwrap_or_default();
    watched[1] == "pods" && fields().required("spec.nodeName").is_some_and(|node| !node.is_empty())
}

fn what<'a>(seeking: &Seeking<'a>) -> What<'a> {
    let Some(target) = seeking.target else { return What::Path(seeking.path) };
    let resource = match target.subresource() {
        "" => target.gvr.resource.as_str().into(),
        subresource => format!("{}/{subresource}", target.gvr.resource).into(),
    };
    // As upstream: a namespace is in itself.
    let namespace = match (target.gvr.group.as_str(), target.gvr.resource.as_str()) {
        ("", "namespaces") => target.name(),
        _ => target.namespace(),
    };
    What::Resource { group: &target.gvr.group, resource, namespace }
}

fn uid(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[async_trait]
impl Gate for Fairness {
    async fn enter(&self, seeking: &Seeking<'_>) -> Entered {
        if seeking.sort == Sort::Stream {
            return Entered::free();
        }
        let watched = watched(seeking);
        let load = self.load(seeking, watched.as_ref()).await;
        let asked = Asked { user: seeking.user, verb: seeking.verb, what: what(seeking) };
        // Every request meets a schema, at the last the mandatory one.
        let Some((arrived, told)) = self.arrive(&asked, load, watched.as_ref()) else { return Entered::free() };
        let headers =
            vec![(SCHEMA_UID.clone(), uid(&arrived.schema.uid)), (LEVEL_UID.clone(), uid(&arrived.level_uid))];
        let refused = || Status::too_many_requests(TOO_MANY, RETRY_SECONDS);
        let seat = match arrived.outcome {
            Ok((ticket, _)) => Seat { fairness: self.clone(), ticket },
            Err(_) => return Entered { headers, ..Entered::refused(refused()) },
        };
        if let Some(told) = told
            && !self.wait(&seat, told, patience(seeking.time)).await
        {
            return Entered { headers, ..Entered::refused(refused()) };
        }
        let counted = watched.filter(|watched| seeking.sort == Sort::Watch && !of_one_node(seeking, watched));
        let watching = counted.map(|watched| -> Place {
            self.lock().watches.add(&watched);
            Arc::new(Watching { fairness: self.clone(), watched })
        });
        Entered { watching, headers, ..Entered::at(Arc::new(seat)) }
    }

    fn page(&self, path: &str) -> Option<String> {
        let name = path.strip_prefix(PAGES)?;
        let world = &self.0.world;
        dump::page(&self.lock().engine, name, (world.monotonic(), world.wall()))
    }
}
