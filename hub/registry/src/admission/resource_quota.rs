//! ResourceQuota: what a write adds is charged to the quotas of its namespace, in the transaction of the write itself.
//! (<https://kubernetes.io/docs/concepts/policy/resource-quotas/>; what counts is `holdfast_kinds::quota`.)
//!
//! *Invariant:* what a quota says is used is never less than what there is, from the moment that its controller has counted
//! once. Three things hold it. A charge checks the revision of the quota that it was made for. A charge only adds: who gives
//! back is the controller, which counts everything. And each write that could add checks the namespace's mark
//! (`/allocations/quotas/<namespace>`), which every change of what is in force puts anew: a write that was judged before a quota
//! came, and would commit after it was counted, is judged again.
//!
//! Charges of one namespace wait for one another, as all but one of them would be judged in vain.

use super::Admission;
use crate::engine::{known, store_error};
use crate::generic::commit::{Meaning, Write};
use crate::keys;
use crate::limits::QUOTA_TURNS;
use bytes::Bytes;
use holdfast_core::json::{at, set};
use holdfast_core::{Gvr, Json, Object, Revision, Status};
use holdfast_kinds::quota::{self, Change, Quota};
use holdfast_store::Condition;
use std::hash::{DefaultHasher, Hash, Hasher};
use tokio::sync::{Mutex, MutexGuard};

/// The key that changes with what is in force in a namespace. It goes with the namespace.
pub(crate) fn mark(namespace: &str) -> String {
    format!("/allocations/quotas/{namespace}")
}

/// Whose turn it is to charge. Namespaces share a few places, so that nothing grows with their number.
pub(crate) struct Turns([Mutex<()>; QUOTA_TURNS]);

impl Turns {
    pub(crate) fn new() -> Turns {
        Turns(std::array::from_fn(|_| Mutex::new(())))
    }

    async fn enter(&self, namespace: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        namespace.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % QUOTA_TURNS as u64).unwrap_or(0);
        self.0[place].lock().await
    }
}

/// What a write has to carry. It is kept until the write has committed: the next one waits for it.
#[derive(Default)]
pub(crate) struct Charge<'a> {
    _turn: Option<MutexGuard<'a, ()>>,
    mark: Option<(String, Condition)>,
    /// The write changes what is in force.
    marks: bool,
    quotas: Vec<Charged>,
}

/// A quota with more used.
struct Charged {
    key: String,
    seen: Revision,
    body: Bytes,
}

impl Charge<'_> {
    /// Adds it to a transaction, behind the put of the object itself.
    pub(crate) fn join(&mut self, write: &mut Write) {
        if let Some((key, condition)) = self.mark.take() {
            write.check(key.clone(), condition, Meaning::Quota);
            if self.marks {
                write.put(key, Bytes::from_static(b"1"));
            }
        }
        for charged in self.quotas.drain(..) {
            write.check(charged.key.clone(), Condition::ModifiedAt(charged.seen), Meaning::Quota);
            write.put(charged.key, charged.body);
        }
    }
}

/// Charges a write. With `judged` it is refused when that is too much; else it is only counted: a status tells what is so, and a
/// pod that a node kept is there already.
///
/// # Errors
/// 403 in upstream's words.
pub(crate) async fn charge<'a>(
    cx: &Admission<'a>,
    doc: &Json,
    old: Option<&Json>,
    judged: bool,
) -> Result<Charge<'a>, Status> {
    if !cx.kind.namespaced {
        return Ok(Charge::default());
    }
    let engine = cx.engine;
    let change = Change { group: cx.kind.group, plural: cx.kind.plural, new: doc, old, now: engine.now() };
    let marks = cx.is_core("ResourceQuota") && changes_what_is_in_force(doc, old);
    if !marks && !change.may_add() {
        return Ok(Charge::default());
    }
    let mut charge = judge(cx, &change, judged).await?;
    if !charge.quotas.is_empty() {
        let turn = engine.quota_turns.enter(cx.namespace).await;
        charge = judge(cx, &change, judged).await?;
        charge._turn = Some(turn);
    }
    charge.marks = marks;
    Ok(charge)
}

fn changes_what_is_in_force(doc: &Json, old: Option<&Json>) -> bool {
    let differs = |old: &Json, path: &[&str]| at(doc, path) != at(old, path);
    old.is_none_or(|old| differs(old, &["spec"]) || differs(old, &["status", "hard"]))
}

async fn judge<'a>(cx: &Admission<'a>, change: &Change<'_>, judged: bool) -> Result<Charge<'a>, Status> {
    // The mark first: a quota that comes after it changes it.
    let key = mark(cx.namespace);
    let record = cx.engine.store.get(&key).await.map_err(store_error)?;
    let condition = record.map_or(Condition::Absent, |record| Condition::ModifiedAt(record.modified));
    let mut charge = Charge { mark: Some((key, condition)), ..Charge::default() };
    if !change.may_add() {
        return Ok(charge);
    }
    let mut adding = Vec::new();
    for object in cx.engine.find_all(&gvr(), cx.namespace).await? {
        let found = object.to_json();
        let quota = Quota::of(&found);
        let added = quota.added(change);
        if judged
            && (change.old.is_none() || !added.is_empty())
            && let Some(why) = quota.uncountable(change)
        {
            return Err(cx.forbidden(change.new, why));
        }
        if !added.is_empty() {
            adding.push((object, found, quota, added));
        }
    }
    for (object, mut found, quota, added) in adding {
        if judged && let Some(why) = quota.exceeded(&added) {
            return Err(cx.forbidden(change.new, why));
        }
        set(&mut found, &["status", "used"], quota::to_json(&quota.with(&added)));
        let charged = Object::with_managed_fields(found, object.managed_fields())?;
        let key = keys::object(known(&gvr())?, cx.namespace, &quota.name);
        charge.quotas.push(Charged { key, seen: object.revision, body: charged.body().clone() });
    }
    Ok(charge)
}

fn gvr() -> Gvr {
    Gvr::new("", "v1", "resourcequotas")
}
