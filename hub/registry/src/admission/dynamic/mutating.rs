//! Mutating webhooks: one after the other, by the names of their configurations, each on what those before it made. The
//! policies that mutate ([`super::mutation`]) come before them, in both rounds.

use super::cache::{Configurations, Hook};
use super::expressions::Input;
use super::review::{Shown, ask, settle};
use super::{Asked, NULL, mutation};
use holdfast_core::{Json, Status};
use holdfast_kinds::Kind;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The second and last round: those that want it are asked again about what others changed after them.
pub(crate) struct Again<'a> {
    all: Arc<Configurations>,
    asked: Asked<'a>,
    rounds: Rounds,
    policies: mutation::Rounds,
    /// What the first round left.
    left: Json,
}

/// Which webhooks, by their numbers, have to be asked again.
#[derive(Default)]
struct Rounds {
    /// Those that were asked and want to hear of later changes.
    earlier: BTreeSet<usize>,
    again: BTreeSet<usize>,
}

impl Rounds {
    /// The document changed: all that were asked before hear of it.
    fn changed(&mut self) {
        self.again.append(&mut self.earlier);
    }
}

/// The first round. [`Again`] when the document changed.
pub(super) async fn first<'a>(
    all: Arc<Configurations>,
    asked: Asked<'a>,
    doc: &mut Json,
    old: Option<&Json>,
) -> Result<Option<Again<'a>>, Status> {
    let (mut rounds, mut policies) = (Rounds::default(), mutation::Rounds::default());
    let mut changed = mutation::round(&all.mutations, &asked, doc, old, &mut policies).await?;
    for (number, hook) in all.mutating.iter().enumerate() {
        changed |= one(&asked, hook, number, doc, old, &mut rounds).await?;
    }
    if !changed {
        return Ok(None);
    }
    let left = doc.clone();
    Ok(Some(Again { all, asked, rounds, policies, left }))
}

impl Again<'_> {
    /// The second round, on what the built-in plug-ins made of the document.
    ///
    /// # Errors
    /// As the first one.
    pub(crate) async fn run(mut self, doc: &mut Json, old: Option<&Json>) -> Result<(), Status> {
        mutation::round(&self.all.mutations, &self.asked, doc, old, &mut self.policies).await?;
        if self.left != *doc {
            self.rounds.changed();
        }
        for (number, hook) in self.all.mutating.iter().enumerate() {
            if self.rounds.again.contains(&number) {
                one(&self.asked, hook, number, doc, old, &mut self.rounds).await?;
            }
        }
        Ok(())
    }
}

/// Asks one webhook, if the request is about what it wants; returns whether the document changed.
async fn one(
    asked: &Asked<'_>,
    hook: &Hook,
    number: usize,
    doc: &mut Json,
    old: Option<&Json>,
    rounds: &mut Rounds,
) -> Result<bool, Status> {
    let Some(kind) = wanted(asked, hook, Some(&*doc), old).await? else { return Ok(false) };
    let (object, old) = (asked.shown(kind, Some(&*doc)).await?, asked.shown(kind, old).await?);
    let outcome = ask(asked, hook, &Shown { kind, object: &object, old: &old }, true).await;
    let mut changed = false;
    match outcome {
        Ok(allowed) => {
            if let Some(patch) = allowed.patch {
                let made = patched(asked, hook, kind, object, &patch).await?;
                changed = made != *doc;
                *doc = made;
            }
        }
        Err(problem) => settle(hook, problem)?,
    }
    if changed {
        rounds.changed();
    }
    if hook.reinvoked {
        rounds.earlier.insert(number);
    }
    Ok(changed)
}

async fn patched(
    asked: &Asked<'_>,
    hook: &Hook,
    kind: &'static Kind,
    mut object: Json,
    patch: &Json,
) -> Result<Json, Status> {
    // A patch that does not fit is a fault of the webhook, not of the client.
    let fault = |why: &dyn std::fmt::Display| {
        Status::internal(format!("the patch of admission webhook {:?} does not fit: {why}", hook.name))
    };
    holdfast_schema::json_patch(&mut object, patch).map_err(|status| fault(&status.message()))?;
    if !object.is_object() {
        return Err(fault(&"it leaves no object"));
    }
    asked.taken(kind, object).await.map_err(|status| fault(&status.message()))
}

/// Asks about what nobody can change.
pub(super) async fn only_ask(all: &Configurations, asked: &Asked<'_>, old: &Json) -> Result<(), Status> {
    for hook in &all.mutating {
        let Some(kind) = wanted(asked, hook, None, Some(old)).await? else { continue };
        let old = asked.shown(kind, Some(old)).await?;
        match ask(asked, hook, &Shown { kind, object: &NULL, old: &old }, true).await {
            Ok(allowed) if allowed.patch.is_some() => {
                let text = format!(
                    "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                    hook.name
                );
                return Err(Status::internal(text));
            }
            Ok(_) => {}
            Err(problem) => settle(hook, problem)?,
        }
    }
    Ok(())
}

/// The version in which a webhook wants to hear of a request; `None` when it does not.
pub(super) async fn wanted(
    asked: &Asked<'_>,
    hook: &Hook,
    object: Option<&Json>,
    old: Option<&Json>,
) -> Result<Option<&'static Kind>, Status> {
    let Some(kind) = hook.criteria.matches(asked, object, old).await? else { return Ok(None) };
    if hook.conditions.is_empty() {
        return Ok(Some(kind));
    }
    let (object, old) = (asked.shown(kind, object).await?, asked.shown(kind, old).await?);
    let request = asked.request(kind);
    let input = Input {
        object: &object,
        old: &old,
        request: &request,
        namespace: &NULL,
        params: &NULL,
        asker: asked.asker.as_ref(),
    };
    match hook.conditions.hold(input) {
        Ok(hold) => Ok(hold.then_some(kind)),
        Err(why) if hook.fails => Err(asked.forbidden(why)),
        Err(why) => {
            tracing::warn!(webhook = hook.name, err = why, "Went on without a webhook whose conditions have no value");
            Ok(None)
        }
    }
}
