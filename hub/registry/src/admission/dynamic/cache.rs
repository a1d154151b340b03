//! The configurations, compiled once a revision of each.
//!
//! There is no task: whoever needs them takes what the store's watch has, which without news is a look at one mark. So
//! a write that follows the write of a configuration is judged by it.

use super::expressions::{Conditions, Scope};
use super::mutation::Mutations;
use super::policy::{Binding, Policy};
use super::rules::Criteria;
use crate::engine::{Engine, decode, known, store_error};
use crate::keys;
use crate::webhook::Webhook;
use holdfast_core::json::{at, i64_at, items_at, str_at};
use holdfast_core::{Gvr, Json, Status};
use holdfast_store::{RangeRequest, Record, StoreError, Watcher};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(super) const GROUP: &str = "admissionregistration.k8s.io";
const DEFAULT_SECONDS: i64 = 10;

/// A webhook of a configuration.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) configuration: String,
    pub(super) name: String,
    pub(super) webhook: Webhook,
    pub(super) criteria: Criteria,
    pub(super) conditions: Conditions,
    /// Whether a request fails with the call.
    pub(super) fails: bool,
    pub(super) timeout: Duration,
    pub(super) reinvoked: bool,
    /// Whether it may be asked about a dry run.
    pub(super) dry_runs: bool,
    /// The version of AdmissionReview that it gets; `None` when we know none that it takes.
    pub(super) review: Option<&'static str>,
}

impl Hook {
    fn read(configuration: &str, hook: &Json) -> Hook {
        let text = |path: &[&str]| str_at(hook, path).unwrap_or_default().to_string();
        let seconds = i64_at(hook, &["timeoutSeconds"]).unwrap_or(DEFAULT_SECONDS);
        let versions = items_at(hook, &["admissionReviewVersions"]).iter().filter_map(Json::as_str);
        Hook {
            configuration: configuration.to_string(),
            name: text(&["name"]),
            webhook: Webhook::read(at(hook, &["clientConfig"]).unwrap_or(&Json::Null)),
            criteria: Criteria::read(hook, "rules"),
            conditions: Conditions::new(hook, Scope { params: false, authorizer: true }),
            fails: text(&["failurePolicy"]) != "Ignore",
            timeout: Duration::from_secs(u64::try_from(seconds).unwrap_or(1)),
            reinvoked: text(&["reinvocationPolicy"]) == "IfNeeded",
            dry_runs: ["None", "NoneOnDryRun"].contains(&text(&["sideEffects"]).as_str()),
            review: versions.filter_map(known_review).next(),
        }
    }
}

fn known_review(version: &str) -> Option<&'static str> {
    ["v1", "v1beta1"].into_iter().find(|known| *known == version)
}

/// An object of the group, compiled.
enum Entry {
    Mutating(Vec<Arc<Hook>>),
    Validating(Vec<Arc<Hook>>),
    Policy(Arc<Policy>),
    Binding(Arc<Binding>),
    Mutations(Arc<Mutations>),
    MutationsBinding(Arc<Binding>),
}

impl Entry {
    /// `None` for kinds by which nothing is judged.
    fn read(doc: &Json) -> Option<Entry> {
        let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
        let hooks = || -> Vec<Arc<Hook>> {
            items_at(doc, &["webhooks"]).iter().map(|hook| Arc::new(Hook::read(name, hook))).collect()
        };
        let spec = at(doc, &["spec"]).unwrap_or(&Json::Null);
        Some(match str_at(doc, &["kind"])? {
            "MutatingWebhookConfiguration" => Entry::Mutating(hooks()),
            "ValidatingWebhookConfiguration" => Entry::Validating(hooks()),
            "ValidatingAdmissionPolicy" => Entry::Policy(Arc::new(Policy::read(name, spec))),
            "ValidatingAdmissionPolicyBinding" => Entry::Binding(Arc::new(Binding::read(name, spec))),
            "MutatingAdmissionPolicy" => Entry::Mutations(Arc::new(Mutations::read(name, spec))),
            "MutatingAdmissionPolicyBinding" => Entry::MutationsBinding(Arc::new(Binding::read(name, spec))),
            _ => return None,
        })
    }
}

/// When somebody has a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Mutating,
    Validating,
}

/// All that judges writes, at a moment; by the names of the configurations.
#[derive(Default)]
pub(crate) struct Configurations {
    pub(super) mutating: Vec<Arc<Hook>>,
    pub(super) validating: Vec<Arc<Hook>>,
    /// Policies that are bound, with their bindings.
    pub(super) policies: Vec<(Arc<Policy>, Vec<Arc<Binding>>)>,
    /// The same of policies that mutate.
    pub(super) mutations: Vec<(Arc<Mutations>, Vec<Arc<Binding>>)>,
}

impl Configurations {
    /// Whether anybody has a say at a stage.
    pub(super) fn has(&self, stage: Stage) -> bool {
        match stage {
            Stage::Mutating => !self.mutating.is_empty() || !self.mutations.is_empty(),
            Stage::Validating => !self.validating.is_empty() || !self.policies.is_empty(),
        }
    }

    fn of(entries: &BTreeMap<Arc<str>, Entry>) -> Configurations {
        let mut all = Configurations::default();
        let mut bindings: BTreeMap<&str, Vec<Arc<Binding>>> = BTreeMap::new();
        let mut of_mutations: BTreeMap<&str, Vec<Arc<Binding>>> = BTreeMap::new();
        for entry in entries.values() {
            match entry {
                Entry::Mutating(hooks) => all.mutating.extend(hooks.iter().cloned()),
                Entry::Validating(hooks) => all.validating.extend(hooks.iter().cloned()),
                Entry::Binding(binding) => bindings.entry(&binding.policy).or_default().push(binding.clone()),
                Entry::MutationsBinding(binding) => {
                    of_mutations.entry(&binding.policy).or_default().push(binding.clone());
                }
                Entry::Policy(_) | Entry::Mutations(_) => {}
            }
        }
        for entry in entries.values() {
            match entry {
                Entry::Policy(policy) => {
                    let bound = bindings.remove(&*policy.basis.name);
                    all.policies.extend(bound.map(|bound| (policy.clone(), bound)));
                }
                Entry::Mutations(policy) => {
                    let bound = of_mutations.remove(&*policy.basis.name);
                    all.mutations.extend(bound.map(|bound| (policy.clone(), bound)));
                }
                _ => {}
            }
        }
        all
    }
}

/// The configurations as they are, from first use on.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Option<State>>);

struct State {
    watcher: Box<dyn Watcher>,
    entries: BTreeMap<Arc<str>, Entry>,
    current: Arc<Configurations>,
}

impl Cache {
    /// The configurations now.
    ///
    /// # Errors
    /// The store's, when they have to be read.
    pub(super) async fn current(&self, engine: &Engine) -> Result<Arc<Configurations>, Status> {
        if let Some(current) = self.advanced() {
            return Ok(current);
        }
        let state = State::load(engine).await?;
        let current = state.current.clone();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        Ok(current)
    }

    /// What was read, brought up to date; `None` when it has to be read anew.
    fn advanced(&self) -> Option<Arc<Configurations>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = state.as_mut()?;
        match held.advance() {
            Ok(()) => Some(held.current.clone()),
            Err(err) => {
                tracing::debug!(%err, "Reading the configurations of admission anew");
                *state = None;
                None
            }
        }
    }
}

impl State {
    async fn load(engine: &Engine) -> Result<State, Status> {
        // All kinds of the group lie next to each other.
        let hooks = keys::prefix(known(&Gvr::new(GROUP, "v1", "mutatingwebhookconfigurations"))?);
        let prefix = hooks.strip_suffix("mutatingwebhookconfigurations/").unwrap_or(&hooks);
        let request = RangeRequest { prefix: prefix.to_string(), ..Default::default() };
        let range = engine.store.range(request).await.map_err(store_error)?;
        let watcher = engine.store.watch(prefix, range.revision).map_err(store_error)?;
        let mut state = State { watcher, entries: BTreeMap::new(), current: Arc::default() };
        for record in &range.records {
            state.put(record);
        }
        state.current = Arc::new(Configurations::of(&state.entries));
        Ok(state)
    }

    fn put(&mut self, record: &Record) {
        match decode(record).map(|object| Entry::read(&object.to_json())) {
            Ok(Some(entry)) => {
                self.entries.insert(record.key.clone(), entry);
            }
            Ok(None) => {}
            Err(err) => tracing::error!(key = &*record.key, %err, "Skipped a configuration that does not decode"),
        }
    }

    /// Takes what the watch has. Nobody has to be woken: the next request looks again.
    fn advance(&mut self) -> Result<(), StoreError> {
        let mut changed = false;
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(events) = self.watcher.poll_next(&mut cx) {
            for event in events? {
                match &event.record {
                    Some(record) => self.put(record),
                    None => {
                        self.entries.remove(&event.key);
                    }
                }
                changed = true;
            }
        }
        if changed {
            self.current = Arc::new(Configurations::of(&self.entries));
        }
        Ok(())
    }
}
